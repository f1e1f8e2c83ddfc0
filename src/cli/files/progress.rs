//! How far a transfer is: a bar on a terminal, a line now and then elsewhere, nothing with `-q`.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::{complain, is_colourful, is_quiet};

/// How often a line is said where there is no terminal.
const LINES_EVERY: Duration = Duration::from_secs(5);

/// How often a bar is drawn in a second.
const DRAWN_PER_SECOND: u8 = 5;

/// How far it is.
#[derive(Debug)]
pub(super) struct Progress {
    way: Way,
    files: Count,
    bytes: Count,
    /// Bytes that were there already: they say nothing of the rate.
    there: u64,
    /// Of how many files it is not known how long they are.
    unknown: u64,
}

/// How many were done, of how many.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    done: u64,
    all: u64,
}

#[derive(Debug)]
enum Way {
    Quiet,
    Bar(ProgressBar),
    Lines { began: Instant, next: Duration },
}

impl Progress {
    /// Of so many files with so many bytes in all, but for those of so many.
    pub(super) fn new(files: u64, bytes: u64, unknown: u64) -> Progress {
        let way = if is_quiet() {
            Way::Quiet
        } else if io::stderr().is_terminal() {
            let target = ProgressDrawTarget::stderr_with_hz(DRAWN_PER_SECOND);
            let bar = ProgressBar::with_draw_target(Some(bytes), target);
            bar.set_style(style(unknown == 0));
            Way::Bar(bar)
        } else {
            Way::Lines {
                began: now(),
                next: LINES_EVERY,
            }
        };
        Progress {
            way,
            files: Count {
                done: 0,
                all: files,
            },
            bytes: Count {
                done: 0,
                all: bytes,
            },
            there: 0,
            unknown,
        }
    }

    /// This file is worked at.
    pub(super) fn works_at(&self, name: &str) {
        if let Way::Bar(bar) = &self.way {
            bar.set_message(name.to_owned());
        }
    }

    /// Of one more file it is known how long it is.
    pub(super) fn expect_file(&mut self, bytes: u64) {
        self.unknown = self.unknown.saturating_sub(1);
        if let Way::Bar(bar) = &self.way
            && self.unknown == 0
        {
            bar.set_style(style(true));
        }
        self.expect(bytes);
    }

    /// There are so many bytes more than was known.
    pub(super) fn expect(&mut self, bytes: u64) {
        self.bytes.all = self.bytes.all.saturating_add(bytes);
        if let Way::Bar(bar) = &self.way {
            bar.set_length(self.bytes.all);
        }
    }

    /// So many bytes need not be moved.
    pub(super) fn has(&mut self, bytes: u64) {
        self.there += bytes;
        self.bytes.done += bytes;
        if let Way::Bar(bar) = &self.way {
            bar.set_position(self.bytes.done);
            bar.reset_eta();
        }
    }

    /// So many bytes were moved.
    pub(super) fn moves(&mut self, bytes: usize) {
        self.bytes.done += bytes as u64;
        match &mut self.way {
            Way::Quiet => {}
            Way::Bar(bar) => bar.set_position(self.bytes.done),
            Way::Lines { began, next } => {
                let elapsed = began.elapsed();
                if elapsed >= *next {
                    *next = elapsed + LINES_EVERY;
                    let bytes = Count {
                        all: if self.unknown > 0 { 0 } else { self.bytes.all },
                        ..self.bytes
                    };
                    complain(line(self.files, bytes, self.there, elapsed));
                }
            }
        }
    }

    /// A file is done with.
    pub(super) fn finishes_file(&mut self) {
        self.files.done += 1;
    }

    /// Says something else meanwhile.
    pub(super) fn beside<T>(&self, say: impl FnOnce() -> T) -> T {
        match &self.way {
            Way::Bar(bar) => bar.suspend(say),
            Way::Quiet | Way::Lines { .. } => say(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Way::Bar(bar) = &self.way {
            bar.finish_and_clear();
        }
    }
}

/// How a bar looks; before it is known how long it will be, it is none.
fn style(is_known: bool) -> ProgressStyle {
    if !is_known {
        let template = "{binary_bytes}, {binary_bytes_per_sec}: {wide_msg}";
        return ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    }
    let bar = if is_colourful(&io::stderr()) {
        "{bar:20.green}"
    } else {
        "{bar:20}"
    };
    let template = format!(
        "{bar} {{binary_bytes}} of {{binary_total_bytes}}, {{binary_bytes_per_sec}}, {{eta}} left: {{wide_msg}}"
    );
    let style = ProgressStyle::with_template(&template);
    style.map_or_else(
        |_| ProgressStyle::default_bar(),
        |style| style.progress_chars("=> "),
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "a rate that is shown to a person needs a clock"
)]
fn now() -> Instant {
    Instant::now()
}

fn line(files: Count, bytes: Count, there: u64, elapsed: Duration) -> String {
    let moved = bytes.done.saturating_sub(there);
    let millis = elapsed.as_millis().max(1);
    let per_second = u128::from(moved) * 1000 / millis;
    let rate = u64::try_from(per_second).unwrap_or(u64::MAX);
    let left = match bytes.all.saturating_sub(bytes.done).checked_div(rate) {
        Some(left) if bytes.all > 0 => {
            format!(", {} left", HumanDuration(Duration::from_secs(left)))
        }
        _ => String::new(),
    };
    let of = if bytes.all > 0 {
        format!(" of {}", BinaryBytes(bytes.all))
    } else {
        String::new()
    };
    format!(
        "{} of {} files, {}{of}, {}/s{left}",
        files.done,
        files.all,
        BinaryBytes(bytes.done),
        BinaryBytes(rate),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let files = Count { done: 1, all: 3 };
        let bytes = Count {
            done: 3 << 30,
            all: 5 << 30,
        };
        assert_eq!(
            line(files, bytes, 1 << 30, Duration::from_secs(8)),
            "1 of 3 files, 3.00 GiB of 5.00 GiB, 256.00 MiB/s, 8 seconds left"
        );
        // How long standard input is, nobody knows; and nothing is divided by a rate of nothing.
        let unknown = Count { done: 5, all: 0 };
        assert_eq!(
            line(files, unknown, 0, Duration::from_secs(5)),
            "1 of 3 files, 5 B, 1 B/s"
        );
        let stuck = Count { done: 0, all: 10 };
        assert_eq!(
            line(files, stuck, 0, Duration::ZERO),
            "1 of 3 files, 0 B of 10 B, 0 B/s"
        );
    }
}

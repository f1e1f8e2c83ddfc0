//! What is printed: the same figures as text and as JSON.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::book::{Book, Errors};
use super::histogram::Summary;
use super::plan::{Amount, Close, Mode, Plan};
use super::stopwatch::CpuTime;

/// Changes when a field changes its meaning or goes; new ones may come without.
pub const SCHEMA: u32 = 1;
/// A generator that has less of its time to spare measured itself.
const LIMIT_SHARE: f64 = 0.9;

/// What a run saw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `conn` or `echo`.
    pub mode: &'static str,
    /// Whom it asked.
    pub endpoint: String,
    /// `closed`: a connection asks again once it is answered, so a stalled server is asked less, and
    /// the waiting of those who would have come meanwhile is not seen.
    pub model: &'static str,
    /// How many connections were wanted and had.
    pub connections: Held,
    /// Requests in flight on each connection.
    pub pipeline: usize,
    /// Bytes of a message.
    pub size_bytes: usize,
    /// Who closes, in `conn`.
    pub close: Option<Close>,
    /// Seconds before anything was counted.
    pub warmup_s: f64,
    /// Seconds that were measured.
    pub elapsed_s: f64,
    /// What was asked and answered.
    pub requests: Requests,
    /// Answers while measuring, a second.
    pub rate_per_s: f64,
    /// From the beginning of a request to its last byte, in microseconds; in `conn` from dialling to
    /// the close.
    pub latency_us: Summary,
    /// What failed: in `conn` requests, in `echo` connections.
    pub errors: Errors,
    /// What failed during warm-up.
    pub warmup_errors: Errors,
    /// The first error that is of no named kind, in words.
    pub other_error: Option<String>,
    /// What the generator itself used.
    pub generator: Generator,
}

/// Connections wanted and had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Held {
    /// How many were to be open at once.
    pub asked: usize,
    /// In `echo`: how many were open at the end. In `conn`: how many were open at once at the most.
    pub held: usize,
}

/// Requests and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// Begun while measuring.
    pub asked: u64,
    /// Whole and right answers while measuring.
    pub answered: u64,
    /// Whole and right answers after the end: in the latencies, not in the rate.
    pub late: u64,
    /// Whose connection failed first.
    pub unanswered: u64,
}

/// How busy the generator was while measuring; shares of one processor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Generator {
    /// Time on a processor.
    pub cpu_share: f64,
    /// That, less polling in vain (`--spin`).
    pub busy_share: f64,
    /// Time ready to run while something else had the processor.
    pub queued_share: f64,
    /// Whether it had no time to spare: then the figures are its own rather than the server's.
    pub was_the_limit: bool,
}

impl Generator {
    /// From nanoseconds of processor, of the clock on the wall, and of polling in vain.
    pub fn new(cpu: CpuTime, wall: u64, spun: u64) -> Self {
        let share = |nanos: u64| {
            if wall == 0 {
                0.0
            } else {
                ratio(nanos, wall).min(1.0)
            }
        };
        let busy = share(cpu.used.saturating_sub(spun));
        let queued = share(cpu.queued);
        Self {
            cpu_share: round(share(cpu.used), 3),
            busy_share: round(busy, 3),
            queued_share: round(queued, 3),
            was_the_limit: busy + queued >= LIMIT_SHARE,
        }
    }
}

impl Report {
    /// Of what `book` holds after `elapsed` nanoseconds.
    pub fn new(
        plan: &Plan,
        book: Book,
        connections: Held,
        elapsed: u64,
        generator: Generator,
    ) -> Self {
        Self {
            schema: SCHEMA,
            mode: plan.mode.name(),
            endpoint: plan.endpoint.to_string(),
            model: "closed",
            connections,
            pipeline: plan.pipeline,
            size_bytes: plan.size,
            close: match plan.mode {
                Mode::Conn { close } => Some(close),
                Mode::Echo => None,
            },
            warmup_s: plan.warmup.as_secs_f64(),
            elapsed_s: round(Duration::from_nanos(elapsed).as_secs_f64(), 6),
            requests: Requests {
                asked: match plan.amount {
                    Amount::Count(_) => book.asked,
                    // Answers of requests that began in the warm-up count towards the rate.
                    Amount::For(_) => book.answers + book.late + book.unanswered,
                },
                answered: book.answers,
                late: book.late,
                unanswered: book.unanswered,
            },
            rate_per_s: if elapsed == 0 {
                0.0
            } else {
                round(ratio(book.answers, elapsed) * 1e9, 1)
            },
            latency_us: book.latencies.summary(),
            errors: book.errors,
            warmup_errors: book.warmup_errors,
            other_error: book.other,
            generator,
        }
    }

    /// Whether anything failed, at any time.
    pub fn has_errors(&self) -> bool {
        self.errors.total + self.warmup_errors.total > 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            connections,
            requests,
            latency_us: l,
            generator,
            ..
        } = self;
        write!(
            f,
            "bench {} {}: {} connections, ",
            self.mode,
            self.endpoint,
            grouped(connections.asked as u64)
        )?;
        match self.close {
            Some(close) => writeln!(
                f,
                "one message of {} B each, close: {close}",
                self.size_bytes
            )?,
            None => writeln!(
                f,
                "{} in flight on each, {} B a message",
                self.pipeline, self.size_bytes
            )?,
        }
        writeln!(
            f,
            "  model      closed: asks again once it is answered; waiting behind a stall is not all seen"
        )?;
        writeln!(
            f,
            "  rate       {} /s   ({} answers in {:.3} s, after {:.3} s of warm-up)",
            grouped(whole(self.rate_per_s)),
            grouped(requests.answered),
            self.elapsed_s,
            self.warmup_s
        )?;
        if requests.late + requests.unanswered > 0 {
            writeln!(
                f,
                "             {} late, {} never answered, of {} asked",
                grouped(requests.late),
                grouped(requests.unanswered),
                grouped(requests.asked)
            )?;
        }
        if l.count == 0 {
            writeln!(f, "  latency    of nothing: no answer came")?;
        } else {
            writeln!(
                f,
                "  latency    p50 {}   p90 {}   p99 {}   p99.9 {}   max {}",
                Micros(l.p50),
                Micros(l.p90),
                Micros(l.p99),
                Micros(l.p99_9),
                Micros(l.max)
            )?;
        }
        writeln!(
            f,
            "  held       {} of {} connections",
            grouped(connections.held as u64),
            grouped(connections.asked as u64)
        )?;
        for (errors, when) in [(&self.warmup_errors, " during warm-up"), (&self.errors, "")] {
            if errors.total > 0 || when.is_empty() {
                write!(f, "  errors     {}{when}", grouped(errors.total))?;
                for (at, (count, name)) in errors.by_kind().enumerate() {
                    write!(
                        f,
                        "{} {} {name}",
                        if at == 0 { ":" } else { "," },
                        grouped(count)
                    )?;
                }
                writeln!(f)?;
            }
        }
        if let Some(error) = &self.other_error {
            writeln!(f, "             the first of the others: {error}")?;
        }
        if self.errors.no_port + self.warmup_errors.no_port > 0 {
            writeln!(
                f,
                "             local ports ran out: close with client-rst, or spread over --source 127.0.0.2,127.0.0.3,…"
            )?;
        }
        if self.errors.no_descriptor + self.warmup_errors.no_descriptor > 0 {
            writeln!(
                f,
                "             descriptors ran out: ask for fewer connections, or raise `ulimit -n`"
            )?;
        }
        write!(
            f,
            "  generator  {:.0} % busy of one processor, {:.0} % waiting for it{}",
            generator.busy_share * 100.0,
            generator.queued_share * 100.0,
            if generator.was_the_limit {
                ": it was the limit, the server may do more"
            } else {
                ""
            }
        )
    }
}

/// A latency with its unit and three or four digits.
struct Micros(f64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            us if us < 1_000.0 => write!(f, "{us:.1} µs"),
            us if us < 1_000_000.0 => write!(f, "{:.2} ms", us / 1_000.0),
            us => write!(f, "{:.3} s", us / 1_000_000.0),
        }
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn whole(number: f64) -> u64 {
    // A float-to-int `as` saturates.
    number.round() as u64
}

fn round(number: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (number * scale).round() / scale
}

fn ratio(part: u64, of: u64) -> f64 {
    part as f64 / of as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_have_units() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(Micros(22.04).to_string(), "22.0 µs");
        assert_eq!(Micros(1_500.0).to_string(), "1.50 ms");
        assert_eq!(Micros(2_000_000.0).to_string(), "2.000 s");
    }

    #[test]
    fn a_generator_that_waited_for_its_processor_was_the_limit() {
        let wall = 1_000_000_000;
        let used = |used, queued| CpuTime { used, queued };
        assert!(Generator::new(used(wall, 0), wall, 0).was_the_limit);
        assert!(Generator::new(used(wall / 2, wall / 2), wall, 0).was_the_limit);
        assert!(!Generator::new(used(wall / 2, 0), wall, 0).was_the_limit);
        assert!(!Generator::new(used(wall, 0), wall, wall / 2).was_the_limit);
    }
}

//! What is printed: the same figures as text and as JSON.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::book::{Book, Errors};
use super::histogram::{Latencies, Summary};
use super::plan::{Amount, Close, Mode, Model, Plan};
use super::process::{Server, Usage};
use super::schedule::Arrivals;
use super::series::Second;
use super::stopwatch::CpuTime;
use super::udp::Datagrams;

/// Changes when a field changes its meaning or goes; new ones may come without.
pub const SCHEMA: u32 = 2;
/// A generator that has less of its time to spare measured itself.
const LIMIT_SHARE: f64 = 0.9;
/// What is shorter is noise of the machine.
const STALL: Duration = Duration::from_millis(50);
/// A schedule that 1 % of many requests (10 % of a few) missed by this much, with a connection free,
/// was not kept.
const LAG_US: f64 = 1_000.0;
const MANY: u64 = 1_000;

/// What a run saw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `conn`, `echo`, `exec`, `udp` or `hold`.
    pub mode: &'static str,
    /// Whom it asked.
    pub endpoint: String,
    /// `closed`: a connection asks again once it is answered, so a stalled server is asked less, and
    /// the waiting of those who would have come meanwhile is not seen.
    /// `open`: a request has its time, and its latency counts from then.
    pub model: &'static str,
    /// What the open model was to keep.
    pub schedule: Option<Intended>,
    /// How many connections were wanted and had.
    pub connections: Held,
    /// Requests in flight on each connection.
    pub pipeline: usize,
    /// Bytes of a message.
    pub size_bytes: usize,
    /// What counts as the answer.
    pub expect: String,
    /// The server's process, to be watched.
    #[serde(skip)]
    pid: Option<u32>,
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
    /// In a closed model: what it did not see, if there was a stall.
    pub hidden: Option<Hidden>,
    /// From the beginning of a request (open model: when it was meant to begin) to its last byte, in microseconds; in `conn` from dialling to
    /// the close.
    pub latency_us: Summary,
    /// What that consists of.
    pub phases_us: PhaseSummaries,
    /// What happened in each second.
    pub seconds: Vec<Second>,
    /// What failed: in `conn` requests, in `echo` connections.
    pub errors: Errors,
    /// What failed during warm-up.
    pub warmup_errors: Errors,
    /// The first error that is of no named kind, in words.
    pub other_error: Option<String>,
    /// What became of datagrams, in `udp`.
    pub datagrams: Option<Datagrams>,
    /// What the server's process used, if it was named.
    pub server: Option<Server>,
    /// What the generator itself used.
    pub generator: Generator,
}

/// What an open model was to keep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Intended {
    /// Requests a second.
    pub rate_per_s: f64,
    /// How regularly.
    pub arrivals: Arrivals,
}

/// What a closed model cannot show: who would have come while nobody was answered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Hidden {
    /// The longest time without any answer, in microseconds.
    pub stall_us: f64,
    /// About how many requests would have come meanwhile at the rate of the run, and did not.
    pub not_asked: u64,
}

impl Hidden {
    /// A stall is one that is long in itself, and in which several times as many would have come as
    /// were waiting.
    fn of(book: &Book, rate: f64, in_flight: usize) -> Option<Self> {
        let stall = Duration::from_nanos(book.longest_gap);
        let missed = whole(rate * stall.as_secs_f64()).saturating_sub(in_flight as u64);
        (stall >= STALL && missed > in_flight as u64).then_some(Self {
            stall_us: round(stall.as_secs_f64() * 1e6, 1),
            not_asked: missed,
        })
    }
}

/// The figures of each phase, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PhaseSummaries {
    /// From dialling to being connected.
    pub connect: Summary,
    /// From being connected (`conn`) or asking (`echo`) to the first byte of the answer.
    pub first_byte: Summary,
    /// From the first byte of the answer to its last.
    pub last_byte: Summary,
    /// From the last byte of the answer to the end of the connection; in `echo` of nothing.
    pub close: Summary,
}

/// Connections wanted and had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Held {
    /// How many were to be open at once.
    pub asked: usize,
    /// In `echo` and `hold`: how many were open at the end. In `conn`: how many were open at once at the most.
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
    /// How long its turns took, from waking to the next wait: what came meanwhile was seen late.
    pub turn_us: Summary,
    /// Open model: how long after its time a request began although a connection was free.
    pub lag_us: Summary,
    /// Whether it had no time to spare, or missed its schedule: then the figures are its own rather than the server's.
    pub was_the_limit: bool,
}

impl Generator {
    /// From nanoseconds of processor, of the clock on the wall, and of polling in vain.
    pub fn new(cpu: CpuTime, wall: u64, spun: u64, turns: &Latencies, lag: &Latencies) -> Self {
        let share = |nanos: u64| {
            if wall == 0 {
                0.0
            } else {
                ratio(nanos, wall).min(1.0)
            }
        };
        let busy = share(cpu.used.saturating_sub(spun));
        let queued = share(cpu.queued);
        let lag_us = lag.summary();
        // Of a few hundred, 1 % is one that the machine kept.
        let missed = match lag_us.count {
            MANY.. => lag_us.p99,
            _ => lag_us.p90,
        };
        Self {
            turn_us: turns.summary(),
            lag_us,
            cpu_share: round(share(cpu.used), 3),
            busy_share: round(busy, 3),
            queued_share: round(queued, 3),
            was_the_limit: busy + queued >= LIMIT_SHARE || missed >= LAG_US,
        }
    }
}

impl Generator {
    /// Whether it had time to spare.
    fn has_time(&self) -> bool {
        self.busy_share + self.queued_share < LIMIT_SHARE
    }
}

impl Report {
    /// Of what `book` holds after `elapsed` nanoseconds.
    pub fn new(
        plan: &Plan,
        mut book: Book,
        connections: Held,
        elapsed: u64,
        generator: Generator,
    ) -> Self {
        let rate_per_s = if elapsed == 0 {
            0.0
        } else {
            round(ratio(book.answers, elapsed) * 1e9, 1)
        };
        let in_flight = plan.connections.saturating_mul(plan.pipeline);
        Self {
            seconds: book.series(elapsed),
            hidden: match plan.model {
                Model::Closed => Hidden::of(&book, rate_per_s, in_flight),
                Model::Open { .. } => None,
            },
            schedule: match plan.model {
                Model::Closed => None,
                Model::Open { rate, arrivals } => Some(Intended {
                    rate_per_s: rate,
                    arrivals,
                }),
            },
            phases_us: PhaseSummaries {
                connect: book.phases.connect.summary(),
                first_byte: book.phases.first_byte.summary(),
                last_byte: book.phases.last_byte.summary(),
                close: book.phases.close.summary(),
            },
            schema: SCHEMA,
            pid: plan.pid,
            mode: plan.mode.name(),
            endpoint: plan.endpoint.to_string(),
            model: plan.model.name(),
            connections,
            pipeline: plan.pipeline,
            size_bytes: plan.size,
            expect: plan.expect.to_string(),
            close: match plan.mode {
                Mode::Conn { close } => Some(close),
                _ => None,
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
            rate_per_s,
            latency_us: book.latencies.summary(),
            errors: book.errors,
            warmup_errors: book.warmup_errors,
            other_error: book.other,
            datagrams: None,
            server: None,
            generator,
        }
    }

    /// Adds what the server's process used: before the run, when measuring began, and now; `wall`
    /// nanoseconds were measured.
    pub(super) fn join_server(
        &mut self,
        usage: (Option<Usage>, Option<Usage>, Option<Usage>),
        wall: u64,
    ) {
        let (Some(pid), (Some(before), Some(measured), Some(after))) = (self.pid, usage) else {
            return;
        };
        let cpu = after.cpu.saturating_sub(measured.cpu);
        let per = |count: u64, nanos: u64| ratio(count, nanos.max(1));
        let answered = self.requests.answered;
        self.server = Some(Server {
            pid,
            cpu_share: round(per(cpu, wall), 3),
            sleeps_per_s: round(
                per(after.sleeps.saturating_sub(measured.sleeps), wall) * 1e9,
                1,
            ),
            per_cpu_s: (cpu > 1_000_000 && answered > 0 && self.mode != "exec")
                .then(|| round(per(answered, cpu) * 1e9, 1)),
            memory_before_bytes: before.memory,
            memory_after_bytes: after.memory,
            memory_per_connection_bytes: (self.mode == "hold" && self.connections.held > 0).then(
                || {
                    let more = after.memory.saturating_sub(before.memory);
                    round(ratio(more, self.connections.held as u64), 1)
                },
            ),
        });
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
            ..
        } = self;
        if self.mode == "hold" {
            return self.fmt_hold(f);
        }
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
        if self.expect != "echo" {
            writeln!(f, "  answer     {}", self.expect)?;
        }
        match (&self.schedule, &self.hidden) {
            (Some(schedule), _) => writeln!(
                f,
                "  model      open: {} requests a second, {} arrivals; latency counts from when each was meant to begin",
                schedule.rate_per_s, schedule.arrivals
            )?,
            (None, None) => writeln!(
                f,
                "  model      closed: asks again once it is answered; waiting behind a stall is not all seen"
            )?,
            (None, Some(hidden)) => writeln!(
                f,
                "  model      closed: asks again once it is answered, and so HIDES a stall of {}: some {} requests\n             would have come meanwhile and are in no percentile; `--rate` shows them",
                Micros(hidden.stall_us),
                grouped(hidden.not_asked)
            )?,
        }
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
        if let Some(seen) = &self.datagrams {
            writeln!(
                f,
                "  datagrams  {} sent, {} lost, {} duplicated, {} reordered, {} late, {} wrong, {} refused{}",
                grouped(seen.sent),
                grouped(seen.lost),
                grouped(seen.duplicates),
                grouped(seen.reordered),
                grouped(seen.late),
                grouped(seen.wrong),
                grouped(seen.refused),
                if seen.numbered {
                    ""
                } else {
                    "; too short for a number: duplicates and order cannot be told"
                }
            )?;
        }
        if l.count == 0 {
            writeln!(f, "  latency    of nothing: no answer came")?;
        } else {
            writeln!(f, "  latency    {l}")?;
        }
        for (name, sum) in [
            ("connect", &self.phases_us.connect),
            ("first byte", &self.phases_us.first_byte),
            ("last byte", &self.phases_us.last_byte),
            ("close", &self.phases_us.close),
            ("sent late", &self.generator.lag_us),
        ] {
            if sum.max > 0.0 {
                writeln!(f, "    {name:10} {sum}")?;
            }
        }
        if self.datagrams.is_none() {
            writeln!(
                f,
                "  held       {} of {} connections",
                grouped(connections.held as u64),
                grouped(connections.asked as u64)
            )?;
        }
        self.fmt_errors(f)?;
        self.fmt_server(f)?;
        self.fmt_generator(f)
    }
}

impl Report {
    fn fmt_hold(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (asked, held) = (self.connections.asked as u64, self.connections.held as u64);
        writeln!(
            f,
            "bench hold {}: {} idle connections for {:.3} s",
            self.endpoint,
            grouped(asked),
            self.elapsed_s
        )?;
        write!(f, "  held       {} of {}", grouped(held), grouped(asked))?;
        for (at, (count, name)) in self.errors.by_kind().enumerate() {
            let name = if name == "short answers" {
                "hung up"
            } else {
                name
            };
            write!(
                f,
                "{} {} {name}",
                if at == 0 { ", because" } else { "," },
                grouped(count)
            )?;
        }
        writeln!(f)?;
        writeln!(f, "  connect    {}", self.phases_us.connect)?;
        self.fmt_hints(f)?;
        self.fmt_server(f)?;
        self.fmt_generator(f)
    }

    fn fmt_server(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(server) = &self.server else {
            return Ok(());
        };
        write!(
            f,
            "  server     {:.0} % busy of one processor, {} sleeps /s, {} KiB of memory",
            server.cpu_share * 100.0,
            grouped(whole(server.sleeps_per_s)),
            grouped(server.memory_after_bytes / 1024)
        )?;
        if let Some(rate) = server.per_cpu_s {
            write!(
                f,
                ", {} answers per second of processor",
                grouped(whole(rate))
            )?;
        }
        if let Some(bytes) = server.memory_per_connection_bytes {
            write!(f, ", {} B more a connection", grouped(whole(bytes)))?;
        }
        writeln!(f)
    }

    fn fmt_errors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        self.fmt_hints(f)
    }

    fn fmt_hints(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        Ok(())
    }

    fn fmt_generator(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generator = &self.generator;
        write!(
            f,
            "  generator  {:.0} % busy of one processor, {:.0} % waiting for it{}",
            generator.busy_share * 100.0,
            generator.queued_share * 100.0,
            match (generator.was_the_limit, generator.has_time()) {
                (true, false) => ": it was the limit, the server may do more",
                (true, true) =>
                    ": it was the limit, since it missed its schedule (see \"sent late\")",
                (false, _) => "",
            }
        )
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {}   p90 {}   p99 {}   p99.9 {}   max {}",
            Micros(self.p50),
            Micros(self.p90),
            Micros(self.p99),
            Micros(self.p99_9),
            Micros(self.max)
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
        let none = Latencies::new();
        let limit = |cpu, spun| Generator::new(cpu, wall, spun, &none, &none).was_the_limit;
        assert!(limit(used(wall, 0), 0));
        assert!(limit(used(wall / 2, wall / 2), 0));
        assert!(!limit(used(wall / 2, 0), 0));
        assert!(!limit(used(wall, 0), wall / 2));
        let mut late = Latencies::new();
        late.record(2_000_000, 1);
        assert!(Generator::new(used(0, 0), wall, 0, &none, &late).was_the_limit);
    }
}

//! What a run saw, as JSON has it; `text` prints the same figures.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::generator::{Generator, Pauses, is_delayed};
use crate::load::measure::clock::nanos;
use crate::load::measure::cpu::CpuTime;
use crate::load::measure::failures::{Errors, FailureKind};
use crate::load::measure::figures::{ratio, round, whole};
use crate::load::measure::histogram::{Corrected, Latencies, Quantile, Summary};
use crate::load::measure::process::{Server, Unread, Usage, command_line};
use crate::load::measure::series::SecondSeen;
use crate::load::measure::stages::FailureStages;
use crate::load::plan::Plan;
use crate::load::plan::expect::Expect;
use crate::load::plan::mode::{Arrivals, Close, Mode, ModeName, Model, ModelName};
use crate::load::run::outcome::{
    Address, Breakdown, DatagramCounts, Deliveries, LackingMember, PerConnection, RequestCounts,
    RollCall, Statuses, Throughput,
};
use crate::load::run::tally::Tally;
use crate::wire::{CommandFraming, Digest, Escaped, HmacKey};

/// Changes when a field changes its meaning or goes; new ones may come without.
pub const SCHEMA: u32 = 4;
/// What is shorter is noise of the machine.
const STALL: Duration = Duration::from_millis(50);

/// What a run saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What a request was.
    pub mode: ModeName,
    /// The server, as it was given.
    pub endpoint: String,
    /// The address that was asked, and all that the endpoint's name has.
    #[serde(default)] // an earlier result does not say
    pub address: Option<Address>,
    /// `closed`: each request waits for the answer before it, so a stalled server gets fewer requests, and
    /// the waiting of those that would have come meanwhile is not seen.
    /// `open`: each request has its time, and its latency counts from then.
    pub model: ModelName,
    /// What the open model was to keep.
    pub schedule: Option<Intended>,
    /// How many connections were wanted and had.
    pub connections: Held,
    /// Requests in flight on each connection.
    pub pipeline: usize,
    /// Bytes of a message.
    pub size_bytes: usize,
    /// The first line of the message, where one was given: of HTTP the request line, in `exec` the command; bytes that are
    /// no text are escaped, and a long line is cut.
    #[serde(default)] // an earlier result does not say
    pub request: Option<String>,
    /// The first bytes that the server sent to a connection that asked nothing, escaped, where any bytes count as the answer, or
    /// answers were wrong: so what was counted may be greetings.
    #[serde(default)] // an earlier result does not say
    pub greeting: Option<String>,
    /// What each connection awaited before it asked, from a server that speaks first.
    #[serde(default)] // an earlier result does not say
    pub await_greeting: Option<String>,
    /// What counts as the answer.
    pub expect: String,
    /// With which digest each connection proved itself before it asked; none where it need not.
    pub digest: Option<Digest>,
    /// The server's processes, to be watched.
    #[serde(skip)]
    pids: Vec<u32>,
    /// Which side closes, in `conn`.
    pub close: Option<Close>,
    /// In `conn`: how often each connection asks. All that is counted and timed there is connections.
    pub requests_per_connection: Option<usize>,
    /// Seconds before anything was counted.
    pub warmup_s: f64,
    /// Seconds that were measured.
    pub elapsed_s: f64,
    /// Whether it was ended before its time.
    pub interrupted: bool,
    /// Whether it ended before its time, since no connection was left and none could be made.
    #[serde(default)] // an earlier result does not say
    pub died: bool,
    /// Requests and answers; in `fanout` lines, answered when every member received them.
    pub requests: RequestCounts,
    /// Answers while measuring, a second; in `conn` connections, in `fanout` deliveries, of which a line
    /// has one for each member.
    pub rate_per_s: f64,
    /// What that is the rate of.
    #[serde(skip)]
    achieved: u64,
    /// The same in requests: in `conn` several where a connection asks more than once.
    pub requests_per_s: f64,
    /// The same in bytes, both ways; none in `hold`.
    #[serde(default)] // an earlier result does not say
    pub bytes_per_s: Option<Throughput>,
    /// In a closed model: what it did not see, if there was a stall.
    pub hidden: Option<Hidden>,
    /// In an open model over connections: that they were too few, if they were.
    #[serde(default)] // an earlier result does not say
    pub crowded: Option<Crowded>,
    /// From the beginning of a request (open model: when it was meant to begin) to its last byte, in microseconds; in `conn` from dialling to
    /// the close, in `fanout` to the last member.
    pub latency_us: Summary,
    /// The whole distribution of these latencies, for a picture: denser towards the slowest.
    pub spectrum: Vec<Quantile>,
    /// In a closed model of requests: the same, corrected for what was not asked while it waited, where that is established.
    #[serde(default)] // an earlier result has none
    pub corrected: Option<Corrected>,
    /// In a closed model, on connections that stay: how many answers each had.
    #[serde(default)] // an earlier result does not say
    pub per_connection: Option<PerConnection>,
    /// What that consists of.
    pub phases_us: Breakdown<Summary>,
    /// What happened in each second.
    pub seconds: Vec<SecondSeen>,
    /// Failures: in `conn` of requests, in `echo` of connections; in `fanout` of connections, lines that some
    /// member did not receive in time, and deliveries that are wrong, doubled or out of order.
    pub errors: Errors,
    /// What failed during warm-up.
    pub warmup_errors: Errors,
    /// How far all of these were when they failed.
    #[serde(default)] // an earlier result does not say
    pub failure_stages: FailureStages,
    /// Of HTTP: responses by the first digit of their status.
    #[serde(default)] // an earlier result has none
    pub statuses: Option<Statuses>,
    /// Of commands whose framing tells it: how many of those that began while measuring ended with which exit code.
    #[serde(default)] // an earlier result has none
    pub exit_codes: Option<BTreeMap<i32, u64>>,
    /// Connections that were to stay, that the server ended between two requests or said so before, and that were
    /// replaced.
    #[serde(default)] // an earlier result has none
    pub reconnects: u64,
    /// The first error that is of no named kind, in words.
    pub other_error: Option<String>,
    /// What came of the first answer that was refused, wrong or not whole, in words of ASCII.
    #[serde(default)] // an earlier result does not say
    pub failed_answer: Option<String>,
    /// Whether all went through TLS; then a whole handshake is part of being connected.
    #[serde(default)]
    pub tls: bool,
    /// The version and the cipher suite that its first session agreed upon.
    pub tls_session: Option<String>,
    /// The first failure of TLS, in words.
    pub tls_error: Option<String>,
    /// What was established of each connection at the end, in `hold`.
    #[serde(default)] // an earlier result does not say
    pub roll_call: Option<RollCall>,
    /// What became of datagrams, in `udp`.
    pub datagrams: Option<DatagramCounts>,
    /// What became of lines on their way to the members, in `fanout`.
    pub deliveries: Option<Deliveries>,
    /// The members of `fanout` that lack lines, or have gone: those that lack most come first.
    #[serde(default)] // an earlier result does not say
    pub lacking: Vec<LackingMember>,
    /// What the server's process used, if it was named.
    pub server: Option<Server>,
    /// Why there are no such figures, though it was named.
    #[serde(default)] // an earlier result does not say
    pub server_unread: Option<Unread>,
    /// What the generator itself used.
    pub generator: Generator,
}

/// What an open model was to keep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Intended {
    /// Requests a second.
    pub rate_per_s: f64,
    /// How regularly.
    pub arrivals: Arrivals,
    /// Which times these were, for `--seed`; none where none is random.
    #[serde(default)] // an earlier result does not say
    pub seed: Option<u64>,
}

/// What a closed model cannot show: the requests that would have come while no answer did.
///
/// A stall is a time of 10 ms or more without any answer in which several times as many would have come as were waiting.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Hidden {
    /// The longest stall, in microseconds.
    pub stall_us: f64,
    /// How many there were.
    #[serde(default)] // an earlier result has the longest only
    pub stalls: u64,
    /// How long all of them were together, in microseconds.
    #[serde(default)] // likewise
    pub stalled_us: f64,
    /// About how many requests would have come meanwhile at the rate of the run, and did not.
    pub not_asked: u64,
}

impl Hidden {
    /// They are told where they are long together: what is shorter is noise of the machine.
    fn of(tally: &Tally, rate: f64, in_flight: usize) -> Option<Self> {
        let least = 2.0 * in_flight as f64 / rate.max(f64::MIN_POSITIVE);
        let least = Duration::try_from_secs_f64(least).map_or(u64::MAX, nanos);
        let (stalls, together) = tally.gaps.at_least(least);
        // Of several, the sum is as exact as the histogram is.
        let together = if stalls == 1 {
            tally.longest_gap
        } else {
            together
        };
        let missed = whole(rate * together as f64 / 1e9);
        let not_asked = missed.saturating_sub(in_flight as u64 * stalls);
        let micros = |nanos: u64| round(nanos as f64 / 1e3, 1);
        (together >= nanos(STALL) && not_asked > in_flight as u64).then_some(Self {
            stall_us: micros(tally.longest_gap),
            stalls,
            stalled_us: micros(together),
            not_asked,
        })
    }
}

/// All connections were busy when requests were meant to begin: then latencies are those of a queue in front of the
/// server, of which it has seen nothing, and the rate is what so many connections carry.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Crowded {
    /// How long requests found no connection free, in microseconds; those that did at once among them.
    pub blocked_us: Summary,
    /// So many connections would do if the server took no longer with them: what is in flight at this rate (Little's
    /// law), and twice the root of it, so that few requests wait (square-root staffing). None where nothing was answered,
    /// or where as many would do as there are: then more of them are no remedy.
    pub enough: Option<u64>,
}

impl Crowded {
    fn of(tally: &Tally, rate: f64, connections: usize, depth: usize) -> Option<Self> {
        let blocked_us = tally.blocked.summary();
        let count = tally.latencies.summary().count;
        let waited = tally.breakdown.wait.summary();
        let waited = waited.mean * ratio(waited.count, count.max(1));
        let took = tally.latencies.mean_of_ended();
        let in_flight = rate * (took - waited).max(0.0) / 1e6;
        is_delayed(&blocked_us).then_some(Self {
            blocked_us,
            enough: Some(enough(in_flight, depth))
                .filter(|enough| count > 0 && *enough > connections as u64),
        })
    }
}

/// How many connections carry so many requests at once, `depth` on each, so that few wait.
fn enough(in_flight: f64, depth: usize) -> u64 {
    whole(((in_flight + 2.0 * in_flight.sqrt()) / depth.max(1) as f64).ceil())
}

/// Connections wanted and had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// How many were to be open at once.
    pub asked: usize,
    /// In `echo`, `hold` and `fanout`: how many were open at the end. In `conn`: how many were open at once at the most.
    pub held: usize,
}

/// Bytes of a server, so that no terminal acts on them.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

impl Report {
    /// Of what `tally` holds after `elapsed` nanoseconds.
    pub fn new(
        plan: &Plan,
        mut tally: Tally,
        connections: Held,
        elapsed: u64,
        generator: Generator,
    ) -> Self {
        let per_s = |count| match elapsed {
            0 => 0.0,
            _ => round(ratio(count, elapsed) * 1e9, 1),
        };
        let (counts, achieved) = (tally.requests, tally.achieved());
        let in_flight = match plan.mode {
            Mode::Fanout { depth, .. } => depth,
            _ => plan.connections.saturating_mul(plan.mode.depth()),
        };
        Self {
            seconds: tally.series(elapsed),
            hidden: match plan.model {
                Model::Closed => Hidden::of(&tally, per_s(counts.answered), in_flight),
                Model::Open { .. } => None,
            },
            crowded: match (plan.model, &plan.mode) {
                (_, Mode::Udp { .. } | Mode::Fanout { .. }) | (Model::Closed, _) => None,
                (Model::Open { rate, .. }, mode) => {
                    Crowded::of(&tally, rate, plan.connections, mode.depth())
                }
            },
            schedule: match plan.model {
                Model::Closed => None,
                Model::Open { rate, arrivals } => Some(Intended {
                    rate_per_s: rate,
                    arrivals,
                    seed: (arrivals != Arrivals::Constant).then_some(plan.seed),
                }),
            },
            phases_us: tally.breakdown.map(Latencies::summary),
            schema: SCHEMA,
            pids: plan.pids.clone(),
            mode: plan.mode.name(),
            endpoint: plan.endpoint.to_string(),
            address: None,
            model: plan.model.name(),
            connections,
            pipeline: plan.mode.depth(),
            size_bytes: plan.message_bytes(),
            request: plan.text.as_deref().map(first_line),
            greeting: plan.greeting.as_deref().map(escaped),
            await_greeting: plan.await_greeting.as_ref().map(Expect::to_string),
            expect: match &plan.output {
                Some(output) => format!("{}, exactly {} bytes", plan.expect, output.len()),
                None => plan.expect.to_string(),
            },
            digest: plan.hmac_key.as_ref().map(HmacKey::digest),
            close: match plan.mode {
                Mode::Conn { close, .. } => Some(close),
                _ => None,
            },
            requests_per_connection: (!plan.mode.keeps()).then(|| plan.mode.messages()),
            warmup_s: plan.warmup.as_secs_f64(),
            elapsed_s: round(Duration::from_nanos(elapsed).as_secs_f64(), 6),
            interrupted: false,
            died: false,
            requests: counts,
            rate_per_s: per_s(achieved),
            achieved,
            requests_per_s: round(per_s(achieved) * plan.mode.messages() as f64, 1),
            bytes_per_s: (plan.mode != Mode::Hold).then(|| Throughput {
                sent: per_s(tally.sent_bytes),
                received: per_s(tally.received_bytes),
            }),
            latency_us: tally.latencies.summary(),
            spectrum: tally.latencies.spectrum(),
            corrected: match (plan.model, &plan.mode) {
                (Model::Open { .. }, _) | (_, Mode::Fanout { .. } | Mode::Hold) => None,
                (Model::Closed, _) => tally.latencies.corrected(),
            },
            per_connection: None,
            errors: tally.errors,
            warmup_errors: tally.warmup_errors,
            failure_stages: tally.stages,
            statuses: (plan.expect == Expect::Http).then(|| Statuses::of(tally.statuses)),
            exit_codes: (plan.expect == Expect::Framed(CommandFraming::Json))
                .then_some(tally.exits),
            reconnects: tally.reconnects,
            other_error: tally.other,
            failed_answer: tally.failed_answer,
            tls: plan.is_secured(),
            tls_session: tally.tls_session,
            tls_error: tally.tls_error,
            roll_call: None,
            datagrams: None,
            deliveries: None,
            lacking: Vec::new(),
            server: None,
            server_unread: None,
            generator,
        }
    }

    /// Of a run that has not begun: what is known of it then.
    pub(crate) fn before(plan: &Plan) -> Self {
        let held = Held {
            asked: plan.connections,
            held: 0,
        };
        let none = Latencies::new();
        let generator = Generator::new(CpuTime::default(), 0, 0, &none, &none, Pauses::default());
        Self::new(plan, Tally::new(plan), held, 0, generator)
    }

    /// Adds what the server's process used: before the run, when measuring began, and now; `wall`
    /// nanoseconds were measured.
    pub(crate) fn join_server(
        &mut self,
        usage: (Option<Usage>, Option<Usage>, Option<Usage>),
        wall: u64,
    ) {
        let (Some(before), Some(measured), Some(after)) = usage else {
            let ran_out = self.errors.no_descriptor + self.warmup_errors.no_descriptor > 0;
            let is_watched = !self.pids.is_empty();
            self.server_unread = is_watched.then(|| Unread::of(&self.pids, ran_out));
            return;
        };
        let cpu = after.cpu.saturating_sub(measured.cpu);
        let per = |count: u64, nanos: u64| ratio(count, nanos.max(1));
        let answered = self.achieved;
        // As many as there were when its memory was looked at.
        let connected = self.roll_call.map(|roll| roll.connected);
        let connected = connected.filter(|connected| *connected > 0);
        self.server = Some(Server {
            pids: self.pids.clone(),
            command: self.pids.first().copied().and_then(command_line),
            cpu_share: round(per(cpu, wall), 3),
            sleeps_per_s: round(
                per(after.sleeps.saturating_sub(measured.sleeps), wall) * 1e9,
                1,
            ),
            per_cpu_s: (cpu > 1_000_000 && answered > 0)
                .then(|| round(per(answered, cpu) * 1e9, 1)),
            memory_before_bytes: before.memory,
            memory_after_bytes: after.memory,
            memory_per_connection_bytes: connected.map(|connected| {
                let more = after.memory.saturating_sub(before.memory);
                round(ratio(more, connected as u64), 1)
            }),
        });
    }

    /// Adds how many answers each connection had, where one that is slow is asked less.
    pub(crate) fn join_connections(&mut self, answers: &[u64]) {
        let is_closed = self.model == ModelName::Closed && self.mode != ModeName::Hold;
        if is_closed && self.requests_per_connection.is_none() {
            self.per_connection = PerConnection::of(answers);
        }
    }

    /// Adds what became of datagrams. What was dropped in our own receive buffer is no loss of the server's: as many of those
    /// that were not answered in time are lost there, in doubt those that were measured.
    pub(crate) fn join_datagrams(&mut self, seen: DatagramCounts) {
        let mut left = seen.dropped.unwrap_or(0);
        self.generator.was_the_limit |= left > 0;
        for errors in [&mut self.errors, &mut self.warmup_errors] {
            left -= errors.reassign(FailureKind::Timeout, FailureKind::OwnBuffer, left);
        }
        self.datagrams = Some(seen);
    }

    /// The seconds of a run that were measured from their beginning to their end: a part of one would
    /// look like a drop. None in `hold`, where nothing is asked and no answer comes.
    pub(crate) fn whole_seconds(&self) -> &[SecondSeen] {
        if self.mode == ModeName::Hold {
            return &[];
        }
        // A run of 3 s may end a few nanoseconds early.
        let whole = (self.elapsed_s + 1e-3).floor() as usize;
        &self.seconds[..whole.min(self.seconds.len())]
    }

    /// Requests answered a second while measuring: in `fanout` lines, not deliveries.
    pub fn answered_per_s(&self) -> f64 {
        if self.elapsed_s > 0.0 {
            round(self.requests.came as f64 / self.elapsed_s, 1)
        } else {
            0.0
        }
    }

    /// Answers per second of the server's processor time, where that is known.
    pub fn per_cpu(&self) -> Option<f64> {
        self.server.as_ref()?.per_cpu_s
    }

    /// Whether anything failed, at any time.
    pub fn has_errors(&self) -> bool {
        self.errors.total + self.warmup_errors.total > 0
    }
}

/// Of a message, as it can be printed anywhere.
fn first_line(message: &[u8]) -> String {
    /// A longer URL is a document.
    const BYTES_MAX: usize = 1_000;
    let line = message.split(|byte| *byte == b'\n').next();
    let line = line.unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut text = Escaped(&line[..line.len().min(BYTES_MAX)]).to_string();
    if line.len() > BYTES_MAX {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::target::Endpoint;

    fn plan() -> Plan {
        let mut plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        plan.pids = vec![7];
        plan
    }

    #[test]
    fn what_the_server_used_in_the_warm_up_is_not_its_share() {
        let usage = |cpu, memory, sleeps| {
            Some(Usage {
                cpu,
                memory,
                sleeps,
            })
        };
        let (before, measured, after) = (
            usage(1_000_000, 4_096, 5),
            usage(900_000_000, 8_192, 1_000),
            usage(950_000_000, 12_288, 1_030),
        );
        let mut report = Report::before(&plan());
        report.achieved = 1_000;
        report.join_server((before, measured, after), 100_000_000);
        let server = report.server.unwrap();
        // 50 ms of 100, and 30 times asleep.
        assert_eq!((server.cpu_share, server.sleeps_per_s), (0.5, 300.0));
        assert_eq!(server.per_cpu_s, Some(20_000.0));
        // Its memory is that of all connections, so it is compared with none.
        assert_eq!(server.memory_before_bytes, 4_096);
        assert_eq!(server.memory_after_bytes, 12_288);
        // Without a look at the beginning of measuring nothing is known of it.
        let mut report = Report::before(&plan());
        report.join_server((before, None, after), 100_000_000);
        assert_eq!(report.server, None);
        // A millisecond of processor is none to speak of, and more is.
        for (cpu, per_cpu_s) in [(1_000_000, None), (1_000_001, Some(999_999.0))] {
            let mut report = Report::before(&plan());
            report.achieved = 1_000;
            report.join_server((before, usage(0, 0, 0), usage(cpu, 0, 0)), 100_000_000);
            assert_eq!(report.server.unwrap().per_cpu_s, per_cpu_s);
        }
    }

    #[test]
    fn a_stall_that_is_exactly_as_long_as_one_must_be_is_one() {
        let hidden = |gap: Duration, rate, in_flight| {
            let mut tally = Tally::new(&plan());
            tally.longest_gap = nanos(gap);
            tally.gaps.record(nanos(gap), 1);
            Hidden::of(&tally, rate, in_flight).map(|hidden| (hidden.stall_us, hidden.not_asked))
        };
        // Ten would have come, of which four were waiting.
        assert_eq!(hidden(STALL, 200.0, 4), Some((50_000.0, 6)));
        assert_eq!(hidden(STALL - Duration::from_nanos(1), 200.0, 4), None);
        // As many as were waiting are not several times as many.
        assert_eq!(hidden(STALL, 200.0, 5), None);
    }

    #[test]
    fn a_second_is_whole_when_it_was_measured_to_its_end() {
        let whole = |elapsed_s| {
            let mut report = Report::before(&plan());
            let second = SecondSeen {
                answered: 0,
                errors: 0,
                p50_us: 0.0,
                p99_us: 0.0,
                max_us: 0.0,
            };
            (report.elapsed_s, report.seconds) = (elapsed_s, vec![second; 3]);
            report.whole_seconds().len()
        };
        assert_eq!(
            (whole(2.0), whole(1.999), whole(1.998), whole(3.5)),
            (2, 2, 1, 3)
        );
    }

    #[test]
    fn the_request_is_the_first_line_of_a_message_that_was_given() {
        let request = |text: Option<&[u8]>| {
            let mut plan = plan();
            plan.text = text.map(<[u8]>::to_vec);
            Report::before(&plan).request
        };
        assert_eq!(request(None), None);
        for (message, line) in [
            (
                &b"GET /?a=b HTTP/1.1\r\nHost: h\r\n\r\n"[..],
                "GET /?a=b HTTP/1.1",
            ),
            (b"true\n", "true"),
            (b"no end", "no end"),
            (b"\x1b[2J\xff\0", r"\x1b[2J\xff\x00"),
        ] {
            assert_eq!(request(Some(message)).as_deref(), Some(line));
        }
        let long = request(Some(&[b'x'; 5_000])).unwrap();
        assert_eq!(long, "x".repeat(1_000) + "…");
    }

    #[test]
    fn more_connections_are_a_remedy_only_where_more_are_needed_than_there_are() {
        assert_eq!([enough(50.0, 1), enough(50.0, 16)], [65, 5]);
        let of = |connections, depth| {
            let mut tally = Tally::new(&plan());
            // Each took 50 ms, and found no connection free for 2 ms: a thousand a second are 50 in flight.
            tally.latencies.record(50_000_000, 1_000);
            tally.blocked.record(2_000_000, 1_000);
            Crowded::of(&tally, 1_000.0, connections, depth)
                .unwrap()
                .enough
        };
        assert_eq!(of(64, 1), of(10, 1));
        assert!(of(64, 1).is_some_and(|enough| (65..=66).contains(&enough)));
        assert_eq!((of(66, 1), of(50, 16)), (None, None));
        assert_eq!(of(4, 16), Some(5));
    }

    #[test]
    fn errors_of_the_warm_up_are_errors() {
        let mut report = Report::before(&plan());
        assert!(!report.has_errors());
        report.warmup_errors.total = 1;
        assert!(report.has_errors());
    }
}

//! What is said of reports in text, in tables and on a page: each thing once, in the same words.

use crate::bench::show::label::{harmless, rate};
use crate::bench::study::statistic::Spread;
use crate::load::measure::failures::Errors;
use crate::load::measure::figures::{Grouped, Micros};
use crate::load::measure::process::Unread;
use crate::load::measure::stages::ByStage;
use crate::load::plan::mode::{Close, ModeName};
use crate::load::run::outcome::{DatagramCounts, PerConnection, RollCall};
use crate::load::run::report::{Crowded, Hidden, Report};

/// What is said first of a comparison that was not whole.
pub(crate) const INTERRUPTED: &str =
    "interrupted: what follows is of the rounds that were whole by then";

/// What was asked, and over how many connections, with the line that was sent.
pub(super) fn asked(report: &Report) -> String {
    let mut text = request(report) + &asked_at_end(report);
    if let Some(line) = &report.request {
        text += &format!(", request: {}", harmless(line));
    }
    text
}

/// What was asked, and over how many connections.
pub(super) fn request(report: &Report) -> String {
    let connections = count(report.connections.asked as u64, "connection");
    let (size, pipeline) = (Grouped(report.size_bytes as u64), report.pipeline as u64);
    let mut text = match (report.mode, report.close, several(report)) {
        (ModeName::Hold, ..) => {
            let connections = count(report.connections.asked as u64, "idle connection");
            return connections + &secured(report);
        }
        (ModeName::Fanout, ..) => format!(
            "one sender to {} members, lines of {size} B",
            Grouped(report.connections.asked as u64)
        ),
        (ModeName::Udp, ..) => {
            format!("{} in flight, {size} B each", count(pipeline, "datagram"))
        }
        (_, Some(close), None) => {
            format!("{connections}, one message of {size} B each, close: {close}")
        }
        (_, Some(close), Some(several)) => format!(
            "{connections}, {} messages of {size} B each, one after the other, close: {close}",
            Grouped(several)
        ),
        (_, None, _) => format!(
            "{connections}, {} in flight on each, {size} B a message",
            Grouped(pipeline)
        ),
    };
    if report.expect != "echo" {
        text += &format!(", answer: {}", harmless(&report.expect));
    }
    if let Some(greeting) = &report.await_greeting {
        text += &format!(
            ", awaits a greeting ({}, part of \"connect\")",
            harmless(greeting)
        );
    }
    if let Some(digest) = report.digest {
        text += &format!(", proves itself with {digest} (part of \"connect\")");
    }
    text + &secured(report)
}

/// In `hold`: what each connection is asked at the end.
pub(super) fn asked_at_end(report: &Report) -> String {
    match report.roll_call {
        Some(RollCall {
            answered: Some(_), ..
        }) => format!(
            ", each asked at the end with {} B",
            Grouped(report.size_bytes as u64)
        ),
        _ => String::new(),
    }
}

/// What connections go through.
fn secured(report: &Report) -> String {
    match (&report.tls_session, report.tls) {
        (Some(session), _) => format!(
            ", through {} (a whole handshake is part of \"connect\")",
            harmless(session)
        ),
        (None, true) => ", through TLS".to_owned(),
        (None, false) => String::new(),
    }
}

/// How often each connection asks, where that is not once.
pub(super) fn several(report: &Report) -> Option<u64> {
    let requests = report.requests_per_connection.filter(|count| *count > 1)?;
    Some(requests as u64)
}

/// What makes a request, or a line of a chat, begin in these runs, which differ in their seeds at most, and what the
/// latencies then say.
pub(super) fn model(reports: &[Report]) -> String {
    const STALLS: &str = "waiting behind a stall is only partly seen";
    let Some(report) = reports.first() else {
        return "nothing was asked".to_owned();
    };
    match &report.schedule {
        Some(schedule) => format!(
            "{} {} a second, {} arrivals{}; latency counts from when each was meant to begin",
            rate(schedule.rate_per_s),
            unit(report.mode),
            schedule.arrivals,
            seeds(reports)
        ),
        None if report.mode == ModeName::Fanout => format!(
            "{} in flight, the next when every member has one; {STALLS}",
            Grouped(report.pipeline as u64)
        ),
        None => format!("each request waits for the answer before it; {STALLS}"),
    }
}

/// Which arrivals those were: what `--seed` takes to repeat them is the first.
fn seeds(reports: &[Report]) -> String {
    let all = reports.iter().filter_map(|one| one.schedule?.seed);
    match (all.clone().min(), all.max()) {
        (Some(one), Some(last)) if one == last => format!(" (seed {one})"),
        (Some(first), Some(last)) => format!(" (seeds {first} to {last}, one each round)"),
        _ => String::new(),
    }
}

fn unit(mode: ModeName) -> &'static str {
    if mode == ModeName::Fanout {
        "lines"
    } else {
        "requests"
    }
}

/// How many failures of each kind: `3 refused, 2 timed out`.
pub(super) fn kinds(mode: ModeName, errors: &Errors) -> String {
    let kind = |(count, kind)| match (mode, kind) {
        // These connections owe no answer.
        (ModeName::Hold, "short answers") => format!("{} hung up", Grouped(count)),
        _ => format!("{} {kind}", Grouped(count)),
    };
    errors.by_kind().map(kind).collect::<Vec<_>>().join(", ")
}

/// How far what failed was: `3 connecting, 2 waiting for the first byte`.
pub(super) fn stages(failed: &ByStage) -> String {
    let stages = failed.by_name();
    let stages = stages.map(|(count, stage)| format!("{} {stage}", Grouped(count)));
    stages.collect::<Vec<_>>().join(", ")
}

/// What a reader must know before believing the figures of a run, or of several rounds of it.
pub(super) fn notices(reports: &[Report]) -> Vec<String> {
    let limited = || reports.iter().filter(|one| one.generator.was_the_limit);
    let limit = limited().next().map(|first| {
        let when = match reports.len() {
            1 => String::new(),
            rounds => format!(" in {} of {rounds} rounds", limited().count()),
        };
        format!("the generator was the limit{when}, since {}", limit(first))
    });
    let crowded = reports.iter().filter_map(|one| Some((one.crowded?, one)));
    let worst = crowded.max_by(|(a, _), (b, _)| a.blocked_us.max.total_cmp(&b.blocked_us.max));
    let crowded = worst.map(|(crowded, report)| busy(&crowded, report.connections.asked));
    let dead = match reports {
        // It is said before everything else.
        [_] => None,
        several => several.iter().find_map(died),
    };
    let seen = reports.iter().filter_map(|one| one.datagrams);
    let buffer = seen.max_by_key(|seen| (seen.dropped, seen.buffer_wanted_bytes));
    let buffer = buffer.and_then(|seen| overflowed(&seen));
    let hidden = reports
        .iter()
        .filter_map(|one| Some((one.hidden?, one.mode)));
    let worst = hidden.max_by(|(a, _), (b, _)| a.stall_us.total_cmp(&b.stall_us));
    let stall = worst.map(|(hidden, mode)| stalled(&hidden, mode));
    let shares = reports.iter().filter_map(|one| one.per_connection);
    let starved = shares
        .filter(|shares| shares.starved > 0)
        .max_by_key(|shares| shares.starved);
    let connections = reports
        .first()
        .map_or(0, |one| one.connections.asked as u64);
    let starved = starved.map(|shares| starving(&shares, connections));
    let unasked = reports.iter().find_map(unasked);
    let greeted = reports.iter().find_map(greeted);
    let other = reports.iter().find_map(|one| one.other_error.as_deref());
    let other = other.map(|text| format!("the first of the other errors: {}", harmless(text)));
    let answer = reports.iter().find_map(|one| one.failed_answer.as_deref());
    let answer = answer.map(|text| format!("the first answer that failed: {}", harmless(text)));
    let tls = reports.iter().find_map(|one| one.tls_error.as_deref());
    let tls = tls.map(|text| format!("the first failure of TLS: {}", harmless(text)));
    let hints = HINTS.iter().filter(|(_, is_so)| reports.iter().any(*is_so));
    let hints = hints.map(|(hint, _)| (*hint).to_owned());
    dead.into_iter()
        .chain(limit)
        .chain(crowded)
        .chain(buffer)
        .chain(stall)
        .chain(starved)
        .chain(unasked)
        .chain(greeted)
        .chain(other)
        .chain(answer)
        .chain(tls)
        .chain(hints)
        .collect()
}

/// That a run has ended before its time, since there was no load any more.
pub(super) fn died(report: &Report) -> Option<String> {
    report.died.then(|| {
        if report.elapsed_s == 0.0 {
            return "the load DIED after 0.000 s: no connection could be made, so nothing was measured".to_owned();
        }
        format!(
            "the load DIED after {:.3} s: no connection was left, and none could be made; what follows is of the time before",
            report.elapsed_s
        )
    })
}

/// That the answers may be none.
fn greeted(report: &Report) -> Option<String> {
    let greeting = report.greeting.as_ref()?;
    Some(format!(
        "the server sends \"{}\" before it is asked, and that is taken for the answer ({}): what is counted may be greetings; --await-greeting {} awaits it on each connection, and then asks",
        harmless(greeting),
        harmless(&report.expect),
        // One that is longer is not known whole.
        if greeting.ends_with("\\n") {
            "until=\\n"
        } else {
            "FRAME"
        }
    ))
}

/// That what `hold` has counted is not known of the service.
fn unasked(report: &Report) -> Option<String> {
    let roll = report
        .roll_call
        .filter(|roll| roll.answered.is_none() && roll.connected > 0)?;
    let known = match (roll.established, roll.accepted) {
        (_, Some(_)) => {
            "that the server has accepted a connection does not say that it still serves it"
        }
        (Some(_), None) => {
            "whether the server knows these connections is not known to the kernel of this machine"
        }
        (None, None) => "the kernel did not tell how they stand",
    };
    Some(format!(
        "the service was not asked: {known}; echo://, http:// or --payload with --expect ask each connection at the end"
    ))
}

/// That there were too few connections, and how many would do.
pub(super) fn busy(crowded: &Crowded, connections: usize) -> String {
    let enough = crowded.enough.map_or(String::new(), |enough| {
        format!("; if the server takes no longer with them, -c {enough} would do")
    });
    format!(
        "all connections were busy ({}): half of the requests waited {} for a free one, the longest {}, and that is part of their latency{enough}",
        Grouped(connections as u64),
        Micros(crowded.blocked_us.p50),
        Micros(crowded.blocked_us.max)
    )
}

/// What was lost in our own receive buffer, and that it is too small, if so.
fn overflowed(seen: &DatagramCounts) -> Option<String> {
    let dropped = seen.dropped.filter(|dropped| *dropped > 0);
    let is_small = seen.buffer_bytes < seen.buffer_wanted_bytes;
    let size = format!(
        "the receive buffer holds {} B, and what can come at once takes {} B: raise net.core.rmem_max, or have fewer in flight",
        Grouped(seen.buffer_bytes),
        Grouped(seen.buffer_wanted_bytes)
    );
    let lost = dropped.map(|dropped| {
        format!(
            "{} found no room in our own receive buffer and {} no loss of the server's",
            count(dropped, "datagram"),
            if dropped == 1 { "is" } else { "are" }
        )
    });
    match (lost, is_small) {
        (Some(lost), true) => Some(format!("{lost}; {size}")),
        (None, true) => Some(size),
        (lost, false) => lost,
    }
}

/// That no answer came for a while, and what the figures know nothing of.
fn stalled(hidden: &Hidden, mode: ModeName) -> String {
    let what = match hidden.stalls {
        0 | 1 => format!("a stall of {}", Micros(hidden.stall_us)),
        stalls => format!(
            "{} stalls of {} in all, the longest {}",
            Grouped(stalls),
            Micros(hidden.stalled_us),
            Micros(hidden.stall_us)
        ),
    };
    format!(
        "the closed model HIDES {what}: some {} {} would have come meanwhile and are in no percentile but the corrected; --rate shows them",
        Grouped(hidden.not_asked),
        unit(mode)
    )
}

/// That some connections had few answers, which their requests in the percentiles do not show.
fn starving(shares: &PerConnection, connections: u64) -> String {
    format!(
        "{} of {} connections had less than half as many answers as others ({} on the slowest, {} on one of the fastest): what they did not ask is in no percentile",
        Grouped(shares.starved),
        Grouped(connections),
        Grouped(shares.least),
        Grouped(shares.p90)
    )
}

/// Why there are no figures of the server's processes.
pub(super) fn unread(why: Unread) -> &'static str {
    match why {
        Unread::Ended => "a process of --pid has ended, so there are no figures for it",
        Unread::NoDescriptor => {
            "the generator had no descriptors left to read figures of --pid: raise the limit with `ulimit -n`, or use fewer connections (-c)"
        }
        Unread::Untold => {
            "the kernel does not tell figures of --pid: is it a process of another user?"
        }
    }
}

/// Why the generator was the limit, and what that means.
fn limit(report: &Report) -> String {
    let generator = &report.generator;
    let pauses = generator.pauses;
    if generator.has_time() && pauses.are_long {
        return format!(
            "it was away {} for {} in all, the longest {} (stopped, throttled, or without a processor): latencies of up to that are its own",
            match pauses.count {
                1 => "once".to_owned(),
                count => format!("{} times", Grouped(count)),
            },
            Micros(pauses.total_us),
            Micros(pauses.longest_us)
        );
    }
    let others = generator.queued_share > generator.busy_share;
    let has_overflowed = report.datagrams.and_then(|seen| seen.dropped) > Some(0);
    let why = match generator.has_time() {
        false if others => {
            "other processes used its processor: these figures describe the machine as much as the server"
        }
        false => "it had no processor time to spare: the server may do more",
        true if generator.is_crowded() => {
            "other processes used the rest of its only processor: the server may do more"
        }
        true if has_overflowed => {
            "it did not read its receive buffer in time: what was lost there says nothing of the server"
        }
        true => "it missed its schedule (\"sent late\"): these latencies are partly its own",
    };
    why.to_owned()
}

/// What to do about a failure, and when to say it.
type Hint = (&'static str, fn(&Report) -> bool);

const HINTS: &[Hint] = &[
    (
        "local ports ran out: use `--close client-rst`, or `--source 127.0.0.2-127.0.0.20`",
        |report| report.errors.no_port + report.warmup_errors.no_port > 0,
    ),
    (
        "descriptors ran out: raise the limit with `ulimit -n`, or use fewer connections (-c)",
        |report| report.errors.no_descriptor + report.warmup_errors.no_descriptor > 0,
    ),
    (
        "the server closed connections that were to stay open, and others took their places: nginx does so after keepalive_requests (1,000)",
        |report| {
            let errors = report.errors.and(&report.warmup_errors);
            let ended = errors.short_answer + errors.reset + report.reconnects;
            report.expect == "http" && report.mode == ModeName::Echo && ended > 0
        },
    ),
    (
        "no TLS handshake came to its end: if the server speaks no TLS, leave out --tls",
        |report| {
            let errors = report.errors.and(&report.warmup_errors);
            report.tls && report.tls_session.is_none() && errors.timeout > 0
        },
    ),
    (
        "each connection ends with a reset (`--close client-rst`, the default), which some servers answer with refusals and resets: `--close client-fin` is the polite way",
        |report| {
            let errors = report.errors.and(&report.warmup_errors);
            report.close == Some(Close::ClientRst) && errors.refused + errors.reset > 0
        },
    ),
    (
        "datagrams of this size have no room for a number: duplicates and order cannot be told",
        |report| report.datagrams.is_some_and(|seen| !seen.numbered),
    ),
];

/// The middle, and how far the rounds lie apart if they do.
pub(super) fn apart(spread: &Spread, write: impl Fn(f64) -> String) -> String {
    let median = write(spread.median);
    if spread.low == spread.high {
        return median;
    }
    format!("{median} ({} to {})", write(spread.low), write(spread.high))
}

/// A number of things.
pub(super) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", Grouped(number))
}

/// How many failures, and of which kinds.
pub(super) fn failed(mode: ModeName, errors: &Errors) -> String {
    format!("{}: {}", count(errors.total, "error"), kinds(mode, errors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::measure::failures::FailureKind;
    use crate::load::{Endpoint, Expect, Mode, Plan};

    #[test]
    fn what_is_to_be_done_about_a_failure_is_said_when_the_warm_up_saw_it_too() {
        let plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        for (kind, hint) in [
            (FailureKind::NoPort, "local ports ran out"),
            (FailureKind::NoDescriptor, "descriptors ran out"),
            (FailureKind::ShortAnswer, "keepalive_requests"),
            (FailureKind::Reset, "keepalive_requests"),
        ] {
            for is_warm_up in [false, true] {
                let mut report = Report::before(&plan);
                report.expect = "http".to_owned();
                assert_eq!(notices(&[report.clone()]), Vec::<String>::new());
                if is_warm_up {
                    report.warmup_errors.count(kind);
                } else {
                    report.errors.count(kind);
                }
                let notices = notices(&[report]);
                assert!(
                    notices.len() == 1 && notices[0].contains(hint),
                    "{kind:?} {notices:?}"
                );
            }
        }
    }

    #[test]
    fn a_greeting_is_told_where_it_would_be_taken_for_an_answer() {
        let mut plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        plan.expect = Expect::Until(b"\n".to_vec());
        assert_eq!(notices(&[Report::before(&plan)]), Vec::<String>::new());
        plan.greeting = Some(b"220 hello\r\n".to_vec());
        let said = r#"the server sends "220 hello\r\n" before it is asked, and that is taken for the answer (until=\n): what is counted may be greetings; --await-greeting until=\n awaits it on each connection, and then asks"#;
        assert_eq!(notices(&[Report::before(&plan)]), [said]);
    }

    #[test]
    fn of_figures_that_tie_only_one_is_shown() {
        let spread = |values: [f64; 6]| apart(&Spread::of(values).unwrap(), rate);
        assert_eq!(spread([5.0; 6]), "5");
        assert_eq!(spread([5.0, 5.0, 5.0, 5.0, 5.0, 6.0]), "5 (5 to 6)");
    }
}

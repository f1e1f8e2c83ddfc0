//! What is said of a report in text, in tables and on a page: each thing once, in the same words.

use crate::bench::show::label;
use crate::load::measure::failures::Errors;
use crate::load::measure::figures::{Grouped, Micros};
use crate::load::plan::mode::ModeName;
use crate::load::run::generator::Generator;
use crate::load::run::report::{Hidden, Report};

/// How many failures of each kind: `3 refused, 2 timed out`.
pub(super) fn kinds(errors: &Errors) -> String {
    let kinds: Vec<_> = errors
        .by_kind()
        .map(|(count, kind)| format!("{} {kind}", Grouped(count)))
        .collect();
    kinds.join(", ")
}

/// The model, and what makes a request, or a line of a chat, begin in it.
pub(super) fn model(report: &Report) -> (&'static str, String) {
    let unit = unit(report.mode);
    match &report.schedule {
        Some(schedule) => (
            "open",
            format!(
                "{} {unit} a second, {} arrivals; latency counts from when each was meant to begin",
                label::rate(schedule.rate_per_s),
                schedule.arrivals
            ),
        ),
        None if report.mode == ModeName::Fanout => (
            "closed",
            format!(
                "{} in flight, the next when every member has one",
                Grouped(report.pipeline as u64)
            ),
        ),
        None => (
            "closed",
            "each request waits for the answer before it".to_owned(),
        ),
    }
}

/// What the closed model did not see of a stall.
pub(super) fn missed(hidden: &Hidden, mode: ModeName) -> String {
    format!(
        "some {} {} would have come meanwhile and are in no percentile; --rate shows them",
        Grouped(hidden.not_asked),
        unit(mode)
    )
}

/// A stall that the closed model hides, or that it may.
pub(super) fn stall(report: &Report) -> String {
    match &report.hidden {
        Some(hidden) => format!(
            ", which HIDES a stall of {}:\n             {}",
            Micros(hidden.stall_us),
            missed(hidden, report.mode)
        ),
        None if report.schedule.is_none() => {
            "; waiting behind a stall is only partly seen".to_owned()
        }
        None => String::new(),
    }
}

fn unit(mode: ModeName) -> &'static str {
    if mode == ModeName::Fanout {
        "lines"
    } else {
        "requests"
    }
}

/// Why the generator was the limit, and what that means; none if it was not.
pub(super) fn limit(generator: &Generator) -> Option<&'static str> {
    let has_time = generator.has_time();
    let others = generator.queued_share > generator.busy_share;
    generator.was_the_limit.then_some(match has_time {
        false if others => {
            "other processes used its processor: these figures describe the machine as much as the server"
        }
        false => "it had no processor time to spare: the server may do more",
        true if generator.is_crowded() => {
            "other processes used the rest of its only processor: the server may do more"
        }
        true => "it missed its schedule (\"sent late\"): these latencies are partly its own",
    })
}

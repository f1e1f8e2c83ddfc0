//! What a search for the highest rate tried and found: as a table for a terminal, and in sentences.

use std::fmt;

use crate::bench::show::label::rate;
use crate::bench::show::phrases::{busy, kinds};
use crate::bench::show::rows::{NOTHING, column};
use crate::bench::show::table::table;
use crate::bench::study::search::{Found, Probe};
use crate::load::measure::figures::Micros;
use crate::load::measure::histogram::Summary;

/// Its table is no wider than the formatter's width.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.probes.is_empty() {
            return write!(f, "  found      {}", result(self));
        }
        writeln!(f, "{}:", sought(self))?;
        let columns = PROBED.map(|(name, cell)| column(name, self.probes.iter().map(cell)));
        writeln!(f, "{}", table(&[5], &columns, f.width()))?;
        write!(f, "  found      {}", result(self))?;
        for notice in notices(self) {
            write!(f, "\n  notice     {notice}")?;
        }
        Ok(())
    }
}

/// What was to hold, and how it is found.
pub(super) fn sought(found: &Found) -> String {
    format!(
        "highest rate with {}, no errors, no backlog (a failed rate is retried once; the last that held is confirmed)",
        found.objectives.join(", ")
    )
}

/// What was found.
pub(super) fn result(found: &Found) -> String {
    if let Some(errors) = &found.unanswered {
        return format!(
            "nothing, since no answer came: {}",
            kinds(found.mode, errors)
        );
    }
    if found.interrupted {
        let held = found
            .held_per_s
            .map(|held| format!("{} /s held once", rate(held)));
        let failed = found
            .failed_per_s
            .map(|failed| format!("{} /s does not hold", rate(failed)));
        let known: Vec<_> = held.into_iter().chain(failed).collect();
        return match known.as_slice() {
            [] => "interrupted before any rate was known to hold or not".to_owned(),
            known => format!("interrupted: {}", known.join(", ")),
        };
    }
    let has_held = found.probes.iter().any(|probe| probe.broken.is_empty());
    let mut text = match found.rate_per_s {
        Some(found) => format!("{} /s holds", rate(found)),
        None if has_held => "no rate that held once holds again, so measure longer (-d)".to_owned(),
        None => format!(
            "no rate holds down to {} /s; a probe of a lower rate has too few requests to tell, so measure longer (-d)",
            rate(found.least_per_s)
        ),
    };
    if let Some(failed) = found.failed_per_s {
        text += &format!(", {} /s does not", rate(failed));
    }
    text
}

/// What may have been the limit where a rate failed, besides the server.
pub(super) fn notices(found: &Found) -> Vec<String> {
    let limit = found.generator_was_the_limit.then(|| {
        "the generator was the limit at the lowest rate that failed: the server may do more"
            .to_owned()
    });
    let failed = found.probes.iter().filter(|probe| {
        // The same rate may have held before.
        Some(probe.rate_per_s) == found.failed_per_s && !probe.broken.is_empty()
    });
    let mut crowded = failed.filter_map(|probe| probe.crowded);
    let crowded = crowded.next().map(|crowded| {
        format!(
            "at the lowest rate that failed {}",
            busy(&crowded, found.connections)
        )
    });
    limit.into_iter().chain(crowded).collect()
}

/// What is said of a probe, and how.
pub(super) type Probed = (&'static str, fn(&Probe) -> String);

pub(super) const PROBED: [Probed; 6] = [
    ("asked /s", |probe| rate(probe.rate_per_s)),
    ("answered /s", |probe| rate(probe.answered_per_s)),
    ("p50", |probe| within(probe, |of| of.p50)),
    ("p99", |probe| within(probe, |of| of.p99)),
    ("p99.9", |probe| within(probe, |of| of.p99_9)),
    ("", |probe| match probe.broken.as_slice() {
        [] => "holds".to_owned(),
        broken => format!("not: {}", broken.join(", ")),
    }),
];

/// 0 µs would be wrong where there was no answer.
fn within(probe: &Probe, point: fn(&Summary) -> f64) -> String {
    match probe.latency_us.count {
        0 => NOTHING.to_owned(),
        _ => Micros(point(&probe.latency_us)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::measure::failures::{Errors, FailureKind};
    use crate::load::plan::mode::ModeName;
    use crate::load::run::report::{Crowded, SCHEMA};

    fn probe(rate_per_s: f64, broken: &[&str]) -> Probe {
        Probe {
            rate_per_s,
            seed: None,
            answered_per_s: rate_per_s,
            latency_us: Summary::default(),
            broken: broken.iter().map(|one| (*one).to_owned()).collect(),
            asked: 900,
            backlog: 0.0,
            crowded: None,
            generator_was_the_limit: false,
        }
    }

    fn found(probes: Vec<Probe>) -> Found {
        Found {
            schema: SCHEMA,
            mode: ModeName::Echo,
            endpoint: "tcp://127.0.0.1:9000".to_owned(),
            connections: 50,
            objectives: vec!["p99<5ms".to_owned()],
            unanswered: None,
            interrupted: false,
            rate_per_s: None,
            held_per_s: None,
            failed_per_s: Some(900.0),
            least_per_s: 100.0,
            generator_was_the_limit: false,
            probes,
            report: None,
        }
    }

    #[test]
    fn a_rate_that_held_once_is_not_said_to_hold_and_not_said_to_fail_at_once() {
        let said = |first: &[&str]| {
            found(vec![probe(900.0, first), probe(900.0, &["no errors"])]).to_string()
        };
        let again = "found      no rate that held once holds again, so measure longer (-d), 900 /s does not";
        assert!(said(&[]).ends_with(again), "{}", said(&[]));
        let said = said(&["no errors"]);
        assert!(
            said.contains("found      no rate holds down to 100 /s"),
            "{said}"
        );
    }

    #[test]
    fn what_else_may_have_been_the_limit_is_said_of_the_lowest_rate_that_failed() {
        let crowded = |enough| {
            let mut blocked_us = Summary::default();
            (blocked_us.p50, blocked_us.max) = (2_000.0, 7_000.0);
            Some(Crowded {
                blocked_us,
                enough: Some(enough),
            })
        };
        let mut probes = vec![
            probe(1_800.0, &["no backlog"]),
            probe(900.0, &[]),
            probe(900.0, &["no backlog"]),
        ];
        (probes[0].crowded, probes[1].crowded) = (crowded(111), crowded(222));
        assert!(!found(probes.clone()).to_string().contains("notice"));
        probes[2].crowded = crowded(86);
        let said = found(probes).to_string();
        assert!(
            said.contains(
                "notice     at the lowest rate that failed all connections were busy (50)"
            ),
            "{said}"
        );
        assert!(
            said.contains("-c 86 would do") && !said.contains("222"),
            "{said}"
        );
    }

    #[test]
    fn a_server_that_nobody_has_is_not_one_of_no_rate() {
        let mut errors = Errors::default();
        (0..50).for_each(|_| errors.count(FailureKind::Refused));
        let mut nobody = found(Vec::new());
        (nobody.failed_per_s, nobody.unanswered) = (None, Some(errors));
        assert_eq!(
            nobody.to_string(),
            "  found      nothing, since no answer came: 50 refused"
        );
    }

    #[test]
    fn what_is_known_of_a_search_that_was_interrupted_is_said() {
        let mut found = Found {
            interrupted: true,
            held_per_s: Some(450.0),
            ..found(Vec::new())
        };
        let said = "interrupted: 450 /s held once, 900 /s does not hold";
        assert_eq!(result(&found), said);
        (found.held_per_s, found.failed_per_s) = (None, None);
        assert!(result(&found).starts_with("interrupted before any rate"));
    }
}

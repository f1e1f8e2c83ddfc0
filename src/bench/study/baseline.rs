//! An earlier result, and whether the present one differs from it by more than chance.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::bench::study::change::{Change, chance_of_a_figure};
use crate::bench::study::comparison::{Comparison, Contender};
use crate::bench::study::statistic::{ROUNDS_MAX, least_chance};
use crate::load::plan::Plan;
use crate::load::plan::mode::ModeName;
use crate::load::run::report::{Report, SCHEMA};
use crate::wire::Escaped;

/// An earlier comparison, read back from what `--json` printed.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline(Comparison);

/// Why a file is no baseline for this call.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// Not what `--json` prints.
    #[error("it is no result of `onepoll bench … --json`: {0}")]
    Format(#[from] serde_json::Error),
    /// Another version of the format, whose fields may mean something else.
    #[error("it has schema {0}, and this is schema {SCHEMA}: measure the baseline again")]
    Schema(u32),
    /// More than can be weighed.
    #[error("it has {0} rounds of one server, and more than {ROUNDS_MAX} are not weighed")]
    Rounds(usize),
    /// It knows nothing of what is measured now.
    #[error("it has no {contender}, but {there}")]
    Missing {
        /// The mode and the server that are measured now.
        contender: String,
        /// What the file has.
        there: String,
    },
    /// So few that no difference at all could be told from chance.
    #[error(
        "{before} rounds before and {now} now are too few to tell a difference from chance: at least 5 and 5 (--rounds 20 … --json, so that rounds that depend on each other can be taken together)"
    )]
    TooFew {
        /// Rounds in the file.
        before: usize,
        /// Rounds to come.
        now: usize,
    },
    /// It was measured in another way.
    #[error("its {contender} was measured with {what} {before}, and now it is {now}")]
    Setting {
        /// Which mode and server.
        contender: String,
        /// What differs.
        what: &'static str,
        /// As it was.
        before: String,
        /// As it is.
        now: String,
    },
}

/// What tells the two kinds of results apart.
#[derive(Debug, Deserialize)]
struct Head {
    schema: u32,
    contests: Option<IgnoredAny>,
}

/// Each thing that must be alike for two results to be comparable, by its name.
fn setting(report: &Report) -> [(&'static str, String); 10] {
    fn or_none(value: Option<impl ToString>) -> String {
        value.map_or_else(|| "none".to_owned(), |value| value.to_string())
    }
    let schedule = report.schedule.map(|schedule| {
        let (rate, arrivals) = (schedule.rate_per_s, schedule.arrivals);
        format!("{rate} requests a second, {arrivals}")
    });
    [
        ("the model", report.model.to_string()),
        ("the schedule", or_none(schedule)),
        (
            "as many connections as",
            report.connections.asked.to_string(),
        ),
        ("a pipeline of", report.pipeline.to_string()),
        ("bytes of a message:", report.size_bytes.to_string()),
        ("the answer", report.expect.clone()),
        ("close", or_none(report.close)),
        (
            "requests on a connection:",
            or_none(report.requests_per_connection),
        ),
        ("the digest", or_none(report.digest)),
        (
            "a transport that is",
            if report.tls { "TLS" } else { "plain" }.to_owned(),
        ),
    ]
}

impl Baseline {
    /// Reads what `--json` printed: of one run, or of rounds of them.
    pub fn parse(text: &str) -> Result<Self, BaselineError> {
        let head: Head = serde_json::from_str(text)?;
        if head.schema != SCHEMA {
            return Err(BaselineError::Schema(head.schema));
        }
        if head.contests.is_none() {
            let report: Report = serde_json::from_str(text)?;
            let name = report.endpoint.clone();
            return Ok(Self(Comparison::of_one(&name, report)));
        }
        let earlier: Comparison = serde_json::from_str(text)?;
        let rounds = earlier.contenders().map(|(_, one)| one.reports.len());
        match rounds.max() {
            Some(many) if many > ROUNDS_MAX => Err(BaselineError::Rounds(many)),
            _ => Ok(Self(earlier)),
        }
    }

    /// Whether it has what is about to be measured in so many rounds, by mode and name, and measured it so.
    pub fn has(
        &self,
        mode: ModeName,
        name: &str,
        plan: &Plan,
        now: usize,
    ) -> Result<(), BaselineError> {
        let contender = self.find(mode, name)?;
        let before = contender.reports.len();
        if least_chance(before, now) > chance_of_a_figure() {
            return Err(BaselineError::TooFew { before, now });
        }
        let present = setting(&Report::before(plan));
        let earlier = contender.reports.iter().flat_map(setting);
        for ((what, before), (_, now)) in earlier.zip(present.into_iter().cycle()) {
            if before != now {
                return Err(BaselineError::Setting {
                    contender: format!("{mode} of {name}"),
                    what,
                    before: Escaped(before.as_bytes()).to_string(),
                    now,
                });
            }
        }
        Ok(())
    }

    /// What has changed for each server; a difference of no more than `tolerance` (a share of 1) is none.
    pub fn changes(&self, now: &Comparison, tolerance: f64) -> Vec<Change> {
        let both = now.contenders().filter_map(|(mode, contender)| {
            let before = self.find(mode, &contender.name).ok()?;
            Some((mode, before, contender))
        });
        both.flat_map(|(mode, before, now)| Change::since(mode, before, now, tolerance))
            .collect()
    }

    /// The command line of each server's process, where it was watched: by name.
    pub fn commands(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.contenders().filter_map(|(_, one)| {
            let mut servers = one
                .reports
                .iter()
                .filter_map(|report| report.server.as_ref());
            let command = servers.find_map(|server| server.command.as_deref())?;
            Some((one.name.as_str(), command))
        })
    }

    fn find(&self, mode: ModeName, name: &str) -> Result<&Contender, BaselineError> {
        let mut all = self.0.contenders();
        let found = all.find(|(known, one)| *known == mode && one.name == name);
        found.map(|(_, one)| one).ok_or_else(|| {
            let all = self.0.contenders();
            let there: Vec<_> = all
                .map(|(mode, one)| format!("{mode} of {}", one.name))
                .collect();
            BaselineError::Missing {
                contender: format!("{mode} of {name}"),
                there: Escaped(there.join(", ").as_bytes()).to_string(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::study::comparison::Contest;
    use crate::load::plan::mode::Mode;
    use crate::load::plan::target::Endpoint;

    #[test]
    fn what_is_no_baseline_says_why() {
        let why = |text: &str| Baseline::parse(text).unwrap_err().to_string();
        assert!(why("x").contains("it is no result"), "{}", why("x"));
        assert!(why("{}").contains("schema"), "{}", why("{}"));
        assert!(why(r#"{"schema":1}"#).contains("it has schema 1"));
        let bare = format!(r#"{{"schema":{SCHEMA}}}"#);
        assert!(why(&bare).contains("missing field"), "{}", why(&bare));
    }

    #[test]
    fn as_many_rounds_as_it_takes_are_enough() {
        let plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        let has = |before: usize, now| {
            let one = ("it".to_owned(), vec![Report::before(&plan); before]);
            let earlier = Comparison::of(vec![Contest::of(ModeName::Echo, vec![one])]);
            Baseline(earlier).has(ModeName::Echo, "it", &plan, now)
        };
        // 2 of all orders are at most 1.25 %, a quarter of 5 %.
        assert!(has(5, 5).is_ok() && has(4, 6).is_ok() && has(2, 17).is_ok());
        for (before, now) in [(4, 5), (5, 4), (2, 16), (1, 100)] {
            let too_few = has(before, now);
            assert!(
                matches!(too_few, Err(BaselineError::TooFew { .. })),
                "{before} {now}"
            );
        }
    }
}

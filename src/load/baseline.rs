//! An earlier result, and whether the present one differs from it by more than chance.

use serde::{Deserialize, Serialize};

use super::comparison::{Comparison, Contender};
use super::figures::round;
use super::report::{Report, SCHEMA};
use super::statistic::{CONFIDENCE, Spread, chance};

/// What `--json` of an earlier call said, as far as it is needed.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    contests: Vec<EarlierContest>,
}

/// Why a file is no baseline for this call.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// Not what `--json` prints.
    #[error("it is no result of `onepoll bench … --json`: {0}")]
    Format(#[from] serde_json::Error),
    /// Of a version whose fields may mean something else.
    #[error("it has schema {0}, and this is schema {SCHEMA}: measure the baseline again")]
    Schema(u32),
    /// It knows nothing of what is measured now.
    #[error("it has no {mode} of {name}, but {there}")]
    Missing {
        /// What is measured now.
        mode: String,
        /// Of whom.
        name: String,
        /// What the file has.
        there: String,
    },
    /// It was measured in another way.
    #[error("its {mode} of {name} was measured with {what} {before}, and now it is {now}")]
    Setting {
        /// Which mode.
        mode: String,
        /// Of whom.
        name: String,
        /// What differs.
        what: &'static str,
        /// As it was.
        before: String,
        /// As it is.
        now: String,
    },
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Earlier {
    schema: u32,
    #[serde(default)]
    contests: Vec<EarlierContest>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct EarlierContest {
    mode: String,
    contenders: Vec<EarlierContender>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct EarlierContender {
    name: String,
    reports: Vec<EarlierReport>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct EarlierReport {
    mode: String,
    endpoint: String,
    #[serde(flatten)]
    setting: Setting,
    rate_per_s: f64,
    latency_us: EarlierLatency,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
struct EarlierLatency {
    p99: f64,
}

/// What must be alike for two results to be comparable.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Setting {
    model: String,
    schedule: Option<serde_json::Value>,
    connections: Asked,
    pipeline: u64,
    size_bytes: u64,
    expect: String,
    close: Option<String>,
    requests_per_connection: Option<u64>,
    digest: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
struct Asked {
    asked: u64,
}

impl Setting {
    fn of(report: &Report) -> Result<Self, serde_json::Error> {
        serde_json::from_value(serde_json::to_value(report)?)
    }

    /// Each thing that must be alike, by its name.
    fn parts(&self) -> [(&'static str, String); 9] {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
        [
            ("the model", self.model.clone()),
            (
                "the schedule",
                or_none(self.schedule.as_ref().map(ToString::to_string)),
            ),
            ("as many connections as", self.connections.asked.to_string()),
            ("a pipeline of", self.pipeline.to_string()),
            ("bytes of a message:", self.size_bytes.to_string()),
            ("the answer", self.expect.clone()),
            ("close", or_none(self.close.clone())),
            (
                "requests on a connection:",
                or_none(self.requests_per_connection.map(|count| count.to_string())),
            ),
            ("the digest", or_none(self.digest.clone())),
        ]
    }
}

/// How one server does beside its earlier self.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// In which mode.
    pub mode: &'static str,
    /// Which server.
    pub name: String,
    /// Of which figure: `rate` in the closed model; `p99` in the open one, where the rate is given.
    pub metric: &'static str,
    /// As it was.
    pub before: Spread,
    /// As it is.
    pub now: Spread,
    /// The median now by the median before.
    pub ratio: f64,
    /// How likely chance alone parts them so far.
    pub chance: f64,
    /// What follows.
    pub verdict: Verdict,
}

/// What a change amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// By more than chance, and by more than what is tolerated.
    Better,
    /// By more than chance, and by more than what is tolerated.
    Worse,
    /// Not shown to differ, or not by more than what is tolerated.
    Same,
    /// So few rounds that no difference at all could be told from chance.
    TooFew,
}

impl Baseline {
    /// Reads what `--json` printed: of one run, or of rounds of them.
    pub fn parse(text: &str) -> Result<Self, BaselineError> {
        let earlier: Earlier = serde_json::from_str(text)?;
        if earlier.schema != SCHEMA {
            return Err(BaselineError::Schema(earlier.schema));
        }
        if !earlier.contests.is_empty() {
            return Ok(Self {
                contests: earlier.contests,
            });
        }
        let report: EarlierReport = serde_json::from_str(text)?;
        Ok(Self {
            contests: vec![EarlierContest {
                mode: report.mode.clone(),
                contenders: vec![EarlierContender {
                    name: report.endpoint.clone(),
                    reports: vec![report],
                }],
            }],
        })
    }

    /// Whether it has what is about to be measured: by mode and name.
    pub fn has(&self, mode: &str, name: &str) -> Result<(), BaselineError> {
        self.find(mode, name).map(|_| ())
    }

    /// What has changed for each server; a difference of less than `tolerance` (a share of 1) is none.
    pub fn changes(&self, now: &Comparison, tolerance: f64) -> Result<Vec<Change>, BaselineError> {
        let mut changes = Vec::new();
        for contest in &now.contests {
            for contender in &contest.contenders {
                let before = self.find(contest.mode, &contender.name)?;
                changes.extend(before.change(contest.mode, contender, tolerance)?);
            }
        }
        Ok(changes)
    }

    fn find(&self, mode: &str, name: &str) -> Result<&EarlierContender, BaselineError> {
        let all = || {
            self.contests.iter().flat_map(|contest| {
                contest
                    .contenders
                    .iter()
                    .map(move |one| (&contest.mode, one))
            })
        };
        all()
            .find(|(known, contender)| *known == mode && contender.name == name)
            .map(|(_, contender)| contender)
            .ok_or_else(|| BaselineError::Missing {
                mode: mode.to_owned(),
                name: name.to_owned(),
                there: all()
                    .map(|(mode, contender)| format!("{mode} of {}", contender.name))
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }
}

impl EarlierContender {
    fn change(
        &self,
        mode: &'static str,
        now: &Contender,
        tolerance: f64,
    ) -> Result<Option<Change>, BaselineError> {
        let (Some(before), Some(present)) = (self.reports.first(), now.reports.first()) else {
            return Ok(None);
        };
        let setting = Setting::of(present)?;
        for ((what, before), (_, now_is)) in before.setting.parts().into_iter().zip(setting.parts())
        {
            if before != now_is {
                return Err(BaselineError::Setting {
                    mode: mode.to_owned(),
                    name: now.name.clone(),
                    what,
                    before,
                    now: now_is,
                });
            }
        }
        let is_open = setting.schedule.is_some();
        // Where the rate is given, how long it took says more.
        let figure = |rate: f64, p99: f64| if is_open { p99 } else { rate };
        let before = self.reports.iter();
        let earlier: Vec<f64> = before
            .map(|report| figure(report.rate_per_s, report.latency_us.p99))
            .collect();
        let present = now.reports.iter();
        let later: Vec<f64> = present
            .map(|report| figure(report.rate_per_s, report.latency_us.p99))
            .collect();
        let (Some(before), Some(is)) = (
            Spread::of(earlier.iter().copied()),
            Spread::of(later.iter().copied()),
        ) else {
            return Ok(None);
        };
        let ratio = if before.median > 0.0 {
            is.median / before.median
        } else {
            0.0
        };
        let chance = chance(&earlier, &later);
        Ok(Some(Change {
            mode,
            name: now.name.clone(),
            metric: if is_open { "p99" } else { "rate" },
            before,
            now: is,
            ratio: round(ratio, 4),
            chance: round(chance, 4),
            verdict: Verdict::of(
                ratio,
                chance,
                tolerance,
                (earlier.len(), later.len()),
                is_open,
            ),
        }))
    }
}

impl Verdict {
    fn of(
        ratio: f64,
        found: f64,
        tolerance: f64,
        (before, now): (usize, usize),
        less_is_better: bool,
    ) -> Self {
        // What complete separation would amount to.
        let apart = |count: usize, from: f64| vec![from; count];
        if chance(&apart(before, 0.0), &apart(now, 1.0)) > 1.0 - CONFIDENCE {
            return Self::TooFew;
        }
        let differs = found <= 1.0 - CONFIDENCE && (ratio - 1.0).abs() > tolerance;
        match (differs, (ratio > 1.0) == less_is_better) {
            (false, _) => Self::Same,
            (true, true) => Self::Worse,
            (true, false) => Self::Better,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_needs_rounds_and_a_difference() {
        let of = |ratio, chance, rounds, less| Verdict::of(ratio, chance, 0.05, rounds, less);
        assert_eq!(of(0.5, 0.01, (7, 7), false), Verdict::Worse);
        assert_eq!(of(1.5, 0.01, (7, 7), false), Verdict::Better);
        assert_eq!(of(1.5, 0.01, (7, 7), true), Verdict::Worse);
        assert_eq!(of(0.5, 0.01, (7, 7), true), Verdict::Better);
        assert_eq!(of(0.5, 0.06, (7, 7), false), Verdict::Same);
        assert_eq!(of(0.96, 0.01, (7, 7), false), Verdict::Same);
        assert_eq!(of(0.5, 0.1, (3, 3), false), Verdict::TooFew);
        assert_eq!(of(0.5, 0.1, (1, 9), false), Verdict::TooFew);
        assert_eq!(of(0.5, 0.02, (4, 4), false), Verdict::Worse);
    }

    #[test]
    fn what_is_no_baseline_says_why() {
        let why = |text: &str| Baseline::parse(text).unwrap_err().to_string();
        assert!(why("x").contains("it is no result"), "{}", why("x"));
        assert!(why("{}").contains("schema"), "{}", why("{}"));
        assert!(why(r#"{"schema":1}"#).contains("it has schema 1"));
        let bare = format!(r#"{{"schema":{SCHEMA}}}"#);
        assert!(why(&bare).contains("missing field"), "{}", why(&bare));
    }
}

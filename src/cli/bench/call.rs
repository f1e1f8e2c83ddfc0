//! From arguments to runs, and what contradicts itself in them.

use std::fs;
use std::path::Path;

use super::args::{Args, takes};
use super::conditions::Conditions;
use super::request::RequestArgs;
use super::target::NamedTarget;
use crate::bench::study::baseline::{Baseline, BaselineError};
use crate::bench::study::comparison::Entrant;
use crate::bench::study::objective::{Metric, Objective};
use crate::cli::Failure;
use crate::load::ModeName;

/// A call, whatever its mode.
pub(super) struct Call {
    modes: Vec<ModeName>,
    targets: Vec<NamedTarget>,
    /// The request, for targets whose URL does not say otherwise.
    request: RequestArgs,
    pub(super) conditions: Conditions,
}

/// A mode, and the servers to measure in it.
pub(super) type Entries = (ModeName, Vec<Entrant>);

impl Call {
    /// Of `args`, if they do not contradict themselves.
    pub(super) fn of(args: Args) -> Result<Self, Failure> {
        let (modes, common, request) = args.parts();
        for target in &common.targets {
            heeded(target, &modes)?;
        }
        let call = Self {
            modes,
            targets: common.targets,
            request,
            conditions: common.conditions,
        };
        call.check()?;
        Ok(call)
    }

    /// How often each server is measured.
    pub(super) fn rounds(&self) -> usize {
        self.conditions.rounds(self.targets.len())
    }

    /// Everything that is to be run, by mode.
    pub(super) fn entries(&self) -> Result<Vec<Entries>, Failure> {
        let mut contests = Vec::with_capacity(self.modes.len());
        for mode in &self.modes {
            let mut entries = Vec::with_capacity(self.targets.len());
            for target in &self.targets {
                let endpoint = match mode {
                    ModeName::Udp => target.endpoint.clone().over_udp(),
                    _ => target.endpoint.clone(),
                };
                let mut plan = target.asked(&self.request)?.plan(endpoint, *mode)?;
                self.conditions.apply(&mut plan)?;
                plan.check()
                    .map_err(|wrong| Failure::Usage(wrong.to_string()))?;
                entries.push(Entrant {
                    name: target.name.clone(),
                    plan,
                });
            }
            contests.push((*mode, entries));
        }
        Ok(contests)
    }

    /// The earlier result, if there is to be one: read before anything is measured.
    pub(super) fn baseline(&self, contests: &[Entries]) -> Result<Option<Baseline>, Failure> {
        let Some(path) = &self.conditions.baseline else {
            return Ok(None);
        };
        let text = fs::read_to_string(path)
            .map_err(|wrong| Failure::Usage(format!("--baseline {}: {wrong}", path.display())))?;
        let no_baseline = |wrong| self.no_baseline(&wrong);
        let rounds = self.rounds();
        let baseline = Baseline::parse(&text).map_err(no_baseline)?;
        for (mode, entries) in contests {
            for entry in entries {
                baseline
                    .has(*mode, &entry.name, &entry.plan, rounds)
                    .map_err(no_baseline)?;
            }
        }
        Ok(Some(baseline))
    }

    fn no_baseline(&self, wrong: &BaselineError) -> Failure {
        let path = self
            .conditions
            .baseline
            .as_deref()
            .unwrap_or(Path::new("?"));
        Failure::Usage(format!("--baseline {}: {wrong}", path.display()))
    }

    /// What contradicts itself.
    fn check(&self) -> Result<(), Failure> {
        let conditions = &self.conditions;
        conditions.check()?;
        if self.modes.contains(&ModeName::Hold) && conditions.count_requests() {
            let why = "`bench hold` sends no requests: it takes --connections and --duration, not --rate or --count";
            return Err(Failure::Usage(why.to_owned()));
        }
        if self.modes.contains(&ModeName::Hold) && conditions.baseline.is_some() {
            let why = "`bench hold` has no rate to compare with a --baseline";
            return Err(Failure::Usage(why.to_owned()));
        }
        for (at, target) in self.targets.iter().enumerate() {
            if self.targets[..at].iter().any(|one| one.name == target.name) {
                let why = format!(
                    "{} is given twice: name each, as in a=URL b=URL",
                    target.name
                );
                return Err(Failure::Usage(why));
            }
        }
        for (at, mode) in self.modes.iter().enumerate() {
            if self.modes[..at].contains(mode) {
                let why = format!("--mode names {} twice", mode);
                return Err(Failure::Usage(why));
            }
        }
        if let Some(said) = self.request.message.unheeded(&self.modes) {
            let names: Vec<_> = self.modes.iter().map(ModeName::to_string).collect();
            let why = format!("--{said} has no effect in `bench {}`", names.join(","));
            return Err(Failure::Usage(why));
        }
        let is_ratio = |objective: &Objective| objective.metric == Metric::Ratio;
        if conditions.find_rate.iter().any(is_ratio) {
            let why = "--find-rate measures one server, so there is no ratio";
            return Err(Failure::Usage(why.to_owned()));
        }
        if !conditions.find_rate.is_empty() && self.modes.len() * self.targets.len() > 1 {
            let why = "--find-rate takes one mode and one endpoint";
            return Err(Failure::Usage(why.to_owned()));
        }
        let is_lonely = self.targets.len() < 2 && conditions.baseline.is_none();
        if is_lonely && conditions.require.iter().any(is_ratio) {
            let why = "--require ratio… needs several endpoints, or a --baseline";
            return Err(Failure::Usage(why.to_owned()));
        }
        Ok(())
    }
}

/// Refuses what the URL of a target says and none of the modes heeds.
fn heeded(target: &NamedTarget, modes: &[ModeName]) -> Result<(), Failure> {
    for option in &target.said {
        if !modes.iter().any(|mode| takes(*mode, option)) {
            let names: Vec<_> = modes.iter().map(|mode| format!("`bench {mode}`")).collect();
            let why = format!(
                "{}: `{option}` has no effect in {}",
                target.name,
                names.join(" or ")
            );
            return Err(Failure::Usage(why));
        }
    }
    Ok(())
}

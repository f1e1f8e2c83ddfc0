//! From arguments to runs, and what contradicts itself in them.

use std::path::PathBuf;
use std::{fmt, fs};

use super::args::{Args, takes};
use super::conditions::Conditions;
use super::heed::why_unheeded;
use super::own_options;
use super::request::RequestArgs;
use super::rival::{Program, Rival};
use super::target::NamedTarget;
use crate::bench::study::baseline::Baseline;
use crate::bench::study::comparison::Entrant;
use crate::bench::study::objective::{Metric, Objective};
use crate::cli::Failure;
#[cfg(feature = "tls")]
use crate::cli::trust::IdentityArgs;
use crate::load::ModeName;

/// A call, whatever its mode: everything that is to be run, and how.
pub(super) struct Call {
    pub(super) contests: Vec<Entries>,
    /// How often each server is measured.
    pub(super) rounds: usize,
    /// The earlier result to compare with.
    pub(super) baseline: Option<Baseline>,
    /// The program to start and to ask in turn with the server.
    pub(super) program: Option<Program>,
    pub(super) conditions: Conditions,
}

/// A mode, and the servers to measure in it.
pub(super) type Entries = (ModeName, Vec<Entrant>);

impl Call {
    /// Of `args`, if they do not contradict themselves.
    pub(super) fn of(args: Args) -> Result<Self, Failure> {
        let said = args.said().to_vec();
        let (modes, common, request) = args.parts();
        let (mut targets, conditions) = (common.targets, common.conditions);
        let rival = conditions.against.as_deref().map(Rival::read).transpose()?;
        if rival.is_some() && targets.len() > 1 {
            return Err(Failure::usage(
                "--against takes one endpoint: several are compared without it",
            ));
        }
        let path = match rival {
            Some(Rival::Running(target)) => {
                // The first is the one that others are compared with.
                targets.insert(0, *target);
                None
            }
            Some(Rival::Program(path)) => Some(path),
            None => None,
        };
        own_options::give(&mut targets, &common.own_options)?;
        check_heeded(&modes, &said)?;
        check(&modes, &targets, &conditions)?;
        let contest = |mode: &ModeName| {
            let entries = targets.iter();
            let entries = entries.map(|target| entrant(*mode, target, &request, &conditions));
            Ok((*mode, entries.collect::<Result<_, _>>()?))
        };
        let contests = modes.iter().map(contest);
        let mut contests = contests.collect::<Result<Vec<Entries>, Failure>>()?;
        let seed = conditions.seed()?;
        let entries = contests.iter_mut().flat_map(|(_, entries)| entries);
        entries.for_each(|entry| entry.plan.seed = seed);
        #[cfg(feature = "tls")]
        secure(&mut contests, &targets, &request, &common.identity)?;
        let rounds = conditions.rounds(targets.len());
        let program = path.map(|path| against(path, &targets[0], &mut contests));
        Ok(Self {
            program: program.transpose()?,
            baseline: baseline(&conditions, &contests, rounds)?,
            contests,
            rounds,
            conditions,
        })
    }

    /// The one run, where there is nothing to compare it with.
    pub(super) fn only(&self) -> Option<&Entrant> {
        match self.contests.as_slice() {
            [(_, entries)] if self.rounds == 1 && !self.conditions.is_judged() => {
                entries.first().filter(|_| entries.len() == 1)
            }
            _ => None,
        }
    }
}

fn entrant(
    mode: ModeName,
    target: &NamedTarget,
    request: &RequestArgs,
    conditions: &Conditions,
) -> Result<Entrant, Failure> {
    let endpoint = match mode {
        ModeName::Udp => target.endpoint.clone().over_udp(),
        _ => target.endpoint.clone(),
    };
    let asked = target.asked(request)?;
    let mut plan = asked.plan(endpoint, mode)?;
    if mode == ModeName::Hold {
        plan.asks_at_end = target.answers() || asked.message.asks();
    }
    conditions.apply(&mut plan)?;
    plan.check().map_err(Failure::usage)?;
    Ok(Entrant {
        name: target.name.clone(),
        plan,
    })
}

/// Lets those entries speak TLS that are to. What is said of TLS must be about one of them.
#[cfg(feature = "tls")]
fn secure(
    contests: &mut [Entries],
    targets: &[NamedTarget],
    request: &RequestArgs,
    identity: &IdentityArgs,
) -> Result<(), Failure> {
    let shown = identity.identity()?;
    let mut is_needed = false;
    for (_, entries) in contests {
        for (entry, target) in entries.iter_mut().zip(targets) {
            let tls = target.asked(request)?.tls;
            entry.plan.tls = tls.client(shown.clone())?;
            if entry.plan.tls.is_none() {
                // What its own URL says is about it alone.
                target.asked(&RequestArgs::default())?.tls.check_needed()?;
                continue;
            }
            is_needed = true;
            entry.plan.check().map_err(Failure::usage)?;
        }
    }
    if is_needed {
        return Ok(());
    }
    request.tls.check_needed()?;
    identity.check_needed()
}

/// The program that is asked in turn with the server, for the same; where, is known when it runs.
fn against(
    path: PathBuf,
    target: &NamedTarget,
    contests: &mut [Entries],
) -> Result<Program, Failure> {
    let mut program = None;
    for (_, entries) in contests {
        let mut entry = entries[0].clone();
        if program.is_none() {
            program = Some(Program::like(path.clone(), target, &entry.plan)?);
        }
        entry.name = path.display().to_string();
        entries.insert(0, entry);
    }
    program.ok_or_else(|| Failure::usage("--against: there is nothing to measure"))
}

/// The earlier result, if there is to be one: read before anything is measured.
fn baseline(
    conditions: &Conditions,
    contests: &[Entries],
    rounds: usize,
) -> Result<Option<Baseline>, Failure> {
    let Some(path) = &conditions.baseline else {
        return Ok(None);
    };
    let is_none = |wrong: &dyn fmt::Display| {
        Failure::Usage(format!("--baseline {}: {wrong}", path.display()))
    };
    let text = fs::read_to_string(path).map_err(|wrong| is_none(&wrong))?;
    let baseline = Baseline::parse(&text).map_err(|wrong| is_none(&wrong))?;
    for (mode, entries) in contests {
        for entry in entries {
            let has = baseline.has(*mode, &entry.name, &entry.plan, rounds);
            has.map_err(|wrong| is_none(&wrong))?;
        }
    }
    Ok(Some(baseline))
}

/// What has no effect in any of `modes`.
fn check_heeded(modes: &[ModeName], said: &[String]) -> Result<(), Failure> {
    let of_requests = RequestArgs::names();
    for option in said {
        let why = match why_unheeded(modes, option) {
            Some(why) => format!(": {why}"),
            None if !of_requests.contains(option) => continue,
            None if modes.iter().any(|mode| takes(*mode, option)) => continue,
            None => String::new(),
        };
        let names = names(modes);
        return Err(Failure::Usage(format!(
            "--{option} has no effect in {names}{why}"
        )));
    }
    Ok(())
}

fn names(modes: &[ModeName]) -> String {
    let names: Vec<_> = modes.iter().map(|mode| format!("`bench {mode}`")).collect();
    names.join(" or ")
}

/// What contradicts itself.
fn check(
    modes: &[ModeName],
    targets: &[NamedTarget],
    conditions: &Conditions,
) -> Result<(), Failure> {
    conditions.check()?;
    let refuse = |why: String| Err(Failure::Usage(why));
    let names = names(modes);
    for (at, target) in targets.iter().enumerate() {
        let takes = |option: &&String| modes.iter().any(|mode| takes(*mode, option));
        if let Some(option) = target.said.iter().find(|option| !takes(option)) {
            return refuse(format!(
                "{}: `{option}` has no effect in {names}",
                target.name
            ));
        }
        if targets[..at].iter().any(|one| one.name == target.name) {
            let name = &target.name;
            return refuse(format!(
                "{name} is given twice: name each, as in a=URL b=URL"
            ));
        }
    }
    if let Some(mode) = (1..modes.len()).find(|at| modes[..*at].contains(&modes[*at])) {
        return refuse(format!("--mode names {} twice", modes[mode]));
    }
    let is_ratio = |objective: &Objective| objective.metric == Metric::Ratio;
    let is_hold = modes.contains(&ModeName::Hold);
    let is_alone = targets.len() < 2 && !conditions.is_judged();
    let contradictions = [
        (
            is_hold && conditions.count_requests(),
            "`bench hold` sends no requests: it takes --connections and --duration, not --rate or --count",
        ),
        (
            is_hold && conditions.is_judged(),
            "`bench hold` has no rate to compare, with a --baseline or --against another server",
        ),
        (
            conditions.find_rate.iter().any(is_ratio),
            "--find-rate measures one server, so there is no ratio",
        ),
        (
            !conditions.find_rate.is_empty() && modes.len() * targets.len() > 1,
            "--find-rate takes one mode and one endpoint",
        ),
        (
            is_alone && conditions.require.iter().any(is_ratio),
            "--require ratio… needs several endpoints, --against or a --baseline",
        ),
    ];
    match contradictions.into_iter().find(|(is_so, _)| *is_so) {
        Some((_, why)) => Err(Failure::usage(why)),
        None => Ok(()),
    }
}

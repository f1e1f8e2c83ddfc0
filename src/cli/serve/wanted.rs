//! What a reload wants, as far as it is the same for one process and for several: the configuration as it is now, with
//! all that it needs bound. Nothing that is served has changed by that, and what was bound goes with it.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::remark::remark;
use crate::cli::verdict::Verdict;
use crate::cli::{Configuration, Failure, Sources};
use crate::config::{Address, Lookups};
use crate::endpoint::{Attempt, Endpoint, Handed, Intent, Judged, Opening, Unserved, look_up_bus};
use crate::service::Bus;

/// What can be served from now on.
pub(super) struct Wanted {
    pub(super) configuration: Configuration,
    pub(super) opening: Opening,
    /// Where the bus is now, if there is one before and after.
    pub(super) bus: Option<Arc<Bus>>,
    verdict: Verdict,
    /// What the files and hosts are that it names.
    pub(super) record: Zeroizing<String>,
    /// What is configured otherwise now, and is taken up at start only.
    cannot_change: Vec<&'static str>,
}

impl Wanted {
    /// What these sources say, after what the helper has learnt, where `now` is in force. The sockets that are served are
    /// among `handed`, and `served` are their endpoints.
    pub(super) fn bind<'e>(
        (sources, now): (&Sources, &Configuration),
        nofile: u64,
        mut lookups: Lookups,
        mut handed: Handed,
        served: impl Iterator<Item = &'e Endpoint> + Clone,
    ) -> Result<Wanted, Vec<String>> {
        let mut configuration = sources.read(&mut lookups).map_err(Failure::into_problems)?;
        let cannot_change = what_cannot_change(now, &configuration);
        configuration.processes = now.processes;
        let comes = now.bus.is_none() && configuration.bus.is_some();
        // One that comes or goes does so at the next start.
        let both = now.bus.as_ref().zip(configuration.bus.as_ref());
        let both = both.map(|(has, wants)| wants.made_as(has));
        let bus = both.as_ref().map(|bus| look_up_bus(bus, &mut lookups));
        let bus = bus.transpose().map_err(|wrong| vec![wrong.to_string()])?;
        configuration.bus = both.or_else(|| now.bus.clone());
        let limits = configuration.limits_of_one();
        let judged = Judged::again(&configuration.endpoints, &limits, nofile, lookups);
        let judged = configuration.judge(judged);
        let record = judged.lookups().record();
        let opening = judged.bind(Intent::Reload, &mut handed);
        // Those that no endpoint took are ours twice.
        drop(handed);
        let verdict = Verdict::of(&configuration, &opening);
        if let Some(failure) = verdict.failure() {
            let mut problems = failure.into_problems();
            problems.extend(rivals(served, &opening.attempts));
            if comes {
                problems.push("a `[bus]` joins nobody before the next start of the server".into());
            }
            return Err(problems);
        }
        Ok(Wanted {
            configuration,
            opening,
            bus: bus.map(Arc::new),
            verdict,
            record,
            cannot_change,
        })
    }

    /// Says what the person who configured it should hear of endpoints that were not there before, and of what is as it
    /// was.
    pub(super) fn warn(&self, before: &Configuration) {
        let is_new = |attempt: &&Attempt| !before.endpoints.contains(&attempt.endpoint);
        self.opening.attempts.iter().filter(is_new).for_each(remark);
        for problem in &self.verdict.skipped {
            log::warn!("{problem}; skipped");
        }
        for what in &self.cannot_change {
            log::warn!(
                "{what} cannot change while the server runs: it stays as it was until the next start"
            );
        }
    }

    /// It is in force from now on, but for what cannot change.
    pub(super) fn replace(self, now: &mut Configuration) {
        let wanted = self.configuration;
        *now = Configuration {
            log: now.log.clone(),
            processes: now.processes,
            user: now.user.clone(),
            group: now.group.clone(),
            ..wanted
        };
    }
}

fn what_cannot_change(now: &Configuration, wanted: &Configuration) -> Vec<&'static str> {
    let (has, wants) = (&now.limits, &wanted.limits);
    let buses = || now.bus.as_ref().zip(wanted.bus.as_ref());
    [
        (now.log != wanted.log, "`[log]`"),
        (now.bus.is_some() != wanted.bus.is_some(), "`[bus]`"),
        (
            buses().is_some_and(|(has, wants)| has.replicas != wants.replicas),
            "`replicas` of `[bus]`",
        ),
        (
            buses().is_some_and(|(has, wants)| has.lease != wants.lease),
            "`lease` of `[bus]`",
        ),
        (now.processes != wanted.processes, "`processes`"),
        (now.user != wanted.user, "`user`"),
        (now.group != wanted.group, "`group`"),
        (has.frame != wants.frame, "limit `frame`"),
        (
            has.read_per_turn != wants.read_per_turn,
            "limit `read-per-turn`",
        ),
    ]
    .into_iter()
    .filter_map(|(differs, what)| differs.then_some(what))
    .collect()
}

/// Endpoints that are served and in the way of those that could not be bound.
fn rivals<'e>(
    served: impl Iterator<Item = &'e Endpoint> + Clone,
    attempts: &[Attempt],
) -> Vec<String> {
    let mut hints = Vec::new();
    let failed = attempts
        .iter()
        .filter(|attempt| matches!(attempt.unserved, Some(Unserved::Failed(_))));
    for attempt in failed {
        let served = served.clone();
        for rival in served.filter(|rival| has_same_port(rival, &attempt.endpoint)) {
            hints.push(format!(
                "`{rival}` has that port until it is gone: take it out in one reload, and put `{}` in with the next",
                attempt.endpoint
            ));
        }
    }
    hints
}

fn has_same_port(one: &Endpoint, other: &Endpoint) -> bool {
    match (one.address(), other.address()) {
        (Address::Tcp(one), Address::Tcp(other)) | (Address::Udp(one), Address::Udp(other)) => {
            one.port == other.port
        }
        _ => false,
    }
}

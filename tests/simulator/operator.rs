//! What an operator changes while a seed runs: listeners get other options or another service, retire for
//! others, and gates get other secrets.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use onepoll::reactor::{ListenerId, ListenerOptions, Secure, ServiceId, SourceRules};
use onepoll::service::Service;

use crate::gates::secrets;
use crate::kernel::{MILLI, SECOND};
use crate::link::Link;
use crate::occasions::Occasion;
use crate::overheard::Temper;
use crate::play::Play;
use crate::profile::Profile;
use crate::random::Random;
use crate::sealed::StandIn;
use crate::sources::Account;
use crate::successor::{Asked, Hands, TakesOver};

/// A listener as it is served.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) id: ListenerId,
    pub(crate) options: ListenerOptions,
    /// What it serves, if that may change.
    kind: Option<Kind>,
    is_retired: bool,
}

impl Served {
    pub(crate) fn new(id: ListenerId, options: ListenerOptions) -> Served {
        Served {
            id,
            options,
            kind: None,
            is_retired: false,
        }
    }
}

/// What a listener serves: another service of the same kind is as good to its clients.
#[derive(Clone)]
pub(crate) struct Kind {
    pub(crate) make: Rc<dyn Fn() -> Box<dyn Service>>,
    pub(crate) is_gated: bool,
    /// A broadcast, and its readers.
    pub(crate) is_tail: bool,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind")
            .field("is_gated", &self.is_gated)
            .finish_non_exhaustive()
    }
}

/// Options that a listener has by chance, and its account of sources.
pub(crate) fn any_options(
    random: &mut Random,
    profile: Profile,
    options: &mut ListenerOptions,
) -> Account {
    let is_idle = profile == Profile::Silence || random.once_in(4);
    // Now and then shorter than a turn is long.
    let least = random.pick(&[1, MILLI, MILLI, MILLI]);
    let idle = is_idle.then(|| least + random.size(2 * SECOND as usize) as u64);
    let (few, some) = match profile {
        Profile::Lack => (2, 4),
        _ => (8, 32),
    };
    let connections_max = random.once_in(few).then(|| random.some(3));
    options.idle = idle.map(Duration::from_nanos);
    options.connections_max = connections_max.unwrap_or(usize::MAX);
    options.only_uid = random.once_in(some).then(|| random.pick(&[0, 1000]));
    options.secure = random.once_in(3).then(|| stand_in(random));
    let (account, rules) = match random.once_in(some / 4) {
        true => Account::some(random),
        false => <(Account, SourceRules)>::default(),
    };
    options.sources = rules;
    account
}

/// How many connections there may be, in a world of few.
pub(crate) fn connections_max(random: &mut Random) -> usize {
    let is_crowded = random.once_in(4);
    if is_crowded { random.some(4) } else { 100 }
}

pub(crate) fn stand_in(random: &mut Random) -> Arc<dyn Secure> {
    let body = 1 + random.size(2000);
    Arc::new(StandIn { body })
}

/// Changes what is served, when it is due.
#[derive(Debug)]
pub(crate) struct Operator {
    random: Random,
    profile: Profile,
    /// How far another process is, if one takes the listeners over.
    takes_over: Option<TakesOver>,
    /// Nanoseconds that connections have then.
    drain: u64,
}

impl Operator {
    pub(crate) fn new(random: Random, profile: Profile, drain: Duration) -> Operator {
        Operator {
            random,
            profile,
            takes_over: None,
            drain: drain.as_nanos() as u64,
        }
    }

    /// Another process takes the listeners over: it is asked for that through a listener of its own.
    pub(crate) fn takes_over(&mut self, play: &mut Play) -> usize {
        let asked = Asked::default();
        let listener = play.open(Hands(asked.clone()));
        self.takes_over = Some(TakesOver {
            asked,
            has_sockets: None,
        });
        listener
    }

    /// Does what is due between two turns.
    pub(crate) fn goes_on(&mut self, play: &mut Play) {
        let due = play.os.net(|net| std::mem::take(&mut net.changes));
        for _ in 0..due {
            // As `serve` does: one that is on its way out is left alone.
            if play.reactor.is_stopping() {
                return;
            }
            match &mut self.takes_over {
                Some(takes_over) if !self.random.once_in(3) => {
                    takes_over.goes_on(play, &mut self.random, self.drain);
                }
                _ => self.change(play),
            }
        }
    }

    fn change(&mut self, play: &mut Play) {
        let open = |served: &Served| served.kind.is_some() && !served.is_retired;
        let all: Vec<usize> = (0..play.served.len())
            .filter(|&n| open(&play.served[n]))
            .collect();
        let in_use = play.os.net(|net| {
            let used = |&&n: &&usize| net.listeners[n].connections() > 0;
            all.iter().filter(used).copied().collect::<Vec<_>>()
        });
        let n = match in_use.is_empty() || self.random.once_in(4) {
            true => self.random.pick(&all),
            false => self.random.pick(&in_use),
        };
        match self.random.below(7) {
            0 | 1 => {
                let service = play.served[n].options.service;
                self.replace(play, n, service);
            }
            2 => {
                let service = self.another(play, n);
                self.replace(play, n, service);
            }
            3 => self.retire(play, n),
            4 => self.change_limits(play),
            _ => {
                let gated = |&n: &usize| play.served[n].kind.as_ref().is_some_and(|k| k.is_gated);
                let gated: Vec<usize> = all.iter().copied().filter(gated).collect();
                if !gated.is_empty() {
                    let n = match gated.contains(&n) {
                        true => n,
                        false => self.random.pick(&gated),
                    };
                    self.change_secrets(play, n);
                }
            }
        }
    }

    /// A service of the same kind, with nobody in it.
    fn another(&mut self, play: &mut Play, n: usize) -> ServiceId {
        let kind = play.served[n].kind.clone().expect("it is chosen by that");
        let random = Random::new(self.random.next());
        play.add_kind(&kind, Temper::default(), random)
    }

    fn replace(&mut self, play: &mut Play, n: usize, service: ServiceId) {
        let mut options = ListenerOptions::to(service);
        any_options(&mut self.random, self.profile, &mut options);
        let served = &play.served[n];
        let is_gated = served.kind.as_ref().is_some_and(|kind| kind.is_gated);
        let is_other = served.options.service != service;
        // Clients that wait to be accepted have begun to speak as it was.
        options.secure = served
            .options
            .secure
            .is_some()
            .then(|| stand_in(&mut self.random));
        let number = play.number_of(service);
        let random = &mut self.random;
        options.sources = play.os.net(|net| {
            let queue = &mut net.listeners[n];
            queue.take_options(&options);
            queue.service = number;
            queue.rest_may_end();
            let occasion = match (queue.connections() > 0, is_other, is_gated) {
                (false, ..) => Occasion::Replaced,
                (true, false, false) => Occasion::ReplacedInUse,
                (true, false, true) => Occasion::ReplacedInUseGated,
                (true, true, false) => Occasion::ServiceReplacedInUse,
                (true, true, true) => Occasion::ServiceReplacedInUseGated,
            };
            let rules = queue.sources.change(random);
            net.occasions.note(occasion);
            rules
        });
        let served = &mut play.served[n];
        served.options = options.clone();
        let replaced = play.reactor.replace(served.id, options);
        served.id = replaced.expect("watching a listener does not fail here");
    }

    /// Clients go to another listener from now on.
    fn retire(&mut self, play: &mut Play, n: usize) {
        let kind = play.served[n].kind.clone().expect("it is chosen by that");
        let service = match self.random.once_in(2) {
            true => self.another(play, n),
            false => play.served[n].options.service,
        };
        let mut account = Account::default();
        let other = play.listen(service, |options| {
            account = any_options(&mut self.random, self.profile, options);
        });
        play.serves_kind(other, kind.clone());
        play.served[n].is_retired = true;
        play.os.net(|net| {
            let (reads, is_gated) = (net.listeners[n].reads, kind.is_gated);
            let queue = &mut net.listeners[other];
            (queue.reads, queue.is_gated) = (reads, is_gated);
            queue.sources = account;
            if net.listeners[n].connections() > 0 {
                net.occasions.note(match kind.is_gated {
                    true => Occasion::RetiredInUseGated,
                    false => Occasion::RetiredInUse,
                });
                if kind.is_tail {
                    net.occasions.note(Occasion::ReadersRetired);
                }
            }
            net.retires(n, other);
        });
        play.reactor.retire(play.served[n].id);
        play.bound_accepts();
    }

    /// Connections that are here have the new ones, too.
    fn change_limits(&mut self, play: &mut Play) {
        let limits = self.profile.limits(&mut self.random);
        let connections_max = connections_max(&mut self.random);
        self.drain = limits.drain_timeout.as_nanos() as u64;
        play.os.net(|net| {
            net.occasions.note(match net.connections() > 0 {
                true => Occasion::LimitsChangedInUse,
                false => Occasion::LimitsChanged,
            });
        });
        play.change_limits(limits, connections_max);
    }

    /// As a reload does that finds other secrets, and nothing else.
    fn change_secrets(&mut self, play: &mut Play, n: usize) {
        let served = &play.served[n];
        let (id, options) = (served.id, served.options.clone());
        let number = play.number_of(options.service);
        let generation = play.os.net(|net| {
            let inside = |link: &&Link| link.service == number && link.is_inside && !link.closed;
            let is_inside = net.links.iter().find(inside).is_some();
            net.occasions.note(Occasion::SecretsAlone);
            if is_inside {
                net.occasions.note(Occasion::SecretsAloneInside);
            }
            let generation = &mut net.generations[number];
            *generation += 1;
            *generation
        });
        let (service, value) = play.reactor.service_of(id);
        assert!(value.replace_secrets(&secrets(generation)), "it is a gate");
        assert_eq!(service, options.service, "it stays");
        let replaced = play.reactor.replace(id, options);
        play.served[n].id = replaced.expect("watching a listener does not fail here");
        play.os.net(|net| net.listeners[n].rest_may_end());
    }
}

impl Play {
    /// What a listener serves may be replaced by more of this.
    pub(crate) fn serves_kind(&mut self, listener: usize, kind: Kind) {
        self.served[listener].kind = Some(kind);
    }

    /// Listeners that are served, and do not retire.
    pub(crate) fn listeners_open(&self) -> Vec<(usize, ListenerId)> {
        let all = self.served.iter().enumerate();
        let open = all.filter(|(_, served)| !served.is_retired);
        open.map(|(n, served)| (n, served.id)).collect()
    }

    /// Nobody is there, and nobody comes: broadcasts, which run by themselves, lose their listeners. Says
    /// whether there were some.
    pub(crate) fn retire_tails(&mut self) -> bool {
        let mut some = false;
        for served in &mut self.served {
            let is_tail = served.kind.as_ref().is_some_and(|kind| kind.is_tail);
            if is_tail && !std::mem::replace(&mut served.is_retired, true) {
                self.reactor.retire(served.id);
                some = true;
            }
        }
        some
    }
}

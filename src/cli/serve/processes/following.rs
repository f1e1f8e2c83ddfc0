//! SIGHUP: the supervisor reads the configuration again, binds what is new, and has its processes follow.
//!
//! A helper reads, as for one process (see `serve/reload.rs`). A configuration that is wrong, or that cannot be served,
//! changes nothing in any of them.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::AsFd as _;

use anyhow::Context as _;
use log::Level;

use super::channel::file_with;
use super::shared::Shared;
use super::supervising::{Following, Stage, Supervising};
use crate::cli::Failure;
use crate::cli::logging::announce;
use crate::cli::serve::reload::{Changes, begin, learn, number, tell_unchanged};
use crate::cli::serve::serving::Reading;
use crate::cli::serve::wanted::Wanted;
use crate::config::Lookups;
use crate::config::limits::PROCESS_START_TIMEOUT;
use crate::endpoint::Handed;
use crate::reactor::{Epoll, Helped, Reactor};
use crate::wire::{SocketDescription, ToProcess};

impl Supervising {
    /// Has a helper read the configuration.
    pub(super) fn begin_reload(&mut self, reactor: &mut Reactor<Epoll>) {
        if reactor.is_stopping() || !matches!(self.stage, Stage::Serves) {
            return log::info!("SIGHUP was ignored: the server is stopping, or does not serve yet");
        }
        let Self {
            sources,
            supervisor,
            reading,
            ..
        } = self;
        if let Err(problem) = begin(reactor, self.taker, sources, supervisor, reading) {
            self.finish_reload(reactor, Some(vec![problem]));
        }
    }

    /// A helper has read the configuration, or found out what is wrong with it.
    pub(super) fn end_reload(&mut self, reactor: &mut Reactor<Epoll>, helped: &Helped) {
        if reactor.is_stopping() {
            self.reading = Reading::Rests;
            return;
        }
        match learn(helped).and_then(|lookups| self.reload(reactor, lookups)) {
            Ok(()) => self.finish_following(reactor),
            Err(problems) => self.finish_reload(reactor, Some(problems)),
        }
    }

    /// Binds what is new, and has all processes follow.
    fn reload(
        &mut self,
        reactor: &mut Reactor<Epoll>,
        lookups: Lookups,
    ) -> Result<(), Vec<String>> {
        let wrong = |error: io::Error| vec![error.to_string()];
        let (handed, owners) = self.own_sockets().map_err(wrong)?;
        let served = self.shared.iter().map(|shared| &shared.endpoint);
        let from = (&self.sources, &self.configuration);
        let mut wanted = Wanted::bind(from, self.nofile, lookups, handed, served)?;
        let processes = self.configuration.processes;
        // Whatever can go wrong does so before anything changes.
        let record = file_with(wanted.record.as_bytes()).map_err(wrong)?;
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for bound in std::mem::take(&mut wanted.opening.bound) {
            if let Some(owner) = owners.get(&number(&bound.socket)) {
                old.push((*owner, bound));
                continue;
            }
            let beside = bound.beside(processes, &mut Handed::default());
            let beside = beside.map_err(wrong)?;
            let shared = Shared::of_bound(bound, beside, processes);
            let (shared, sockets) = shared.map_err(wrong)?;
            for bound in sockets {
                bound
                    .begin()
                    .with_context(|| format!("{}: cannot listen", bound.endpoint))
                    .map_err(|wrong| Failure::from(wrong).into_problems())?;
            }
            new.push(shared);
        }
        let mut before: Vec<Option<Shared>> = std::mem::take(&mut self.shared)
            .into_iter()
            .map(Some)
            .collect();
        for (owner, bound) in old {
            if let Some(mut shared) = before[owner].take() {
                shared.becomes(bound);
                self.shared.push(shared);
            }
        }
        for vanished in before.into_iter().flatten() {
            if let Some(file) = vanished.file {
                file.remove();
            }
        }
        let first_new = self.shared.len();
        self.shared.extend(new);
        for opened in &self.shared[first_new..] {
            announce(Level::Info, "listening", Some(&opened.endpoint.to_string()));
        }
        wanted.warn(&self.configuration);
        self.record = record;
        wanted.replace(&mut self.configuration);
        let mut left = BTreeSet::new();
        let places: Vec<SocketDescription> = self.shared[first_new..]
            .iter()
            .map(Shared::description)
            .collect();
        for n in 0..self.members.len() {
            if self.members[n].channel.is_none() {
                continue;
            }
            self.give(reactor, n, |shared| places.contains(&shared.description()));
            let record = self.record.try_clone().map_err(wrong)?;
            self.tell(reactor, n, &ToProcess::Reload, &[record.as_fd()]);
            left.insert(n);
        }
        let now = reactor.now();
        self.following = Some(Following {
            left,
            until: now.after(PROCESS_START_TIMEOUT),
            changes: Changes::default(),
        });
        // What was in the way of those that do not run may be gone.
        self.roster.hurry(now);
        Ok(())
    }

    /// One of the sockets of each endpoint, among which the endpoints of the new configuration find theirs; and the
    /// place in our list of each, by the number that the kernel gave it.
    fn own_sockets(&self) -> io::Result<(Handed, HashMap<u64, usize>)> {
        let (mut all, mut owners) = (Vec::new(), HashMap::new());
        for (n, shared) in self.shared.iter().enumerate() {
            if let Some(socket) = shared.of(0) {
                owners.insert(number(socket), n);
                all.push((n as u32, shared.description(), socket.try_clone()?));
            }
        }
        Ok((Handed::of(all), owners))
    }

    /// Whether all processes have followed; then that is the end of it.
    pub(super) fn finish_following(&mut self, reactor: &mut Reactor<Epoll>) {
        let is_done = |following: &Following| following.left.is_empty();
        if self.following.as_ref().is_some_and(is_done) {
            let changes = self.following.take().map(|following| following.changes);
            let Changes {
                opened,
                changed,
                vanished,
            } = changes.unwrap_or_default();
            log::info!(opened, changed, vanished; "reloaded the configuration");
            self.finish_reload(reactor, None);
        }
    }

    pub(super) fn finish_reload(
        &mut self,
        reactor: &mut Reactor<Epoll>,
        problems: Option<Vec<String>>,
    ) {
        let once_more = self.reading == Reading::ReadsOnceMore;
        self.reading = Reading::Rests;
        let status = self.status();
        match problems {
            None => {
                reactor.audit_reload(None);
                self.supervisor.ready(&status);
            }
            Some(problems) => tell_unchanged(reactor, &self.supervisor, &status, &problems),
        }
        if once_more {
            self.begin_reload(reactor);
        }
    }
}

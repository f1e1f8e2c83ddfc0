//! The servers of a bus: which of them is dialled, and when.

use std::sync::Arc;
use std::time::Duration;

use crate::service::{self, BusServer};

/// How long nobody dials after a connection that failed: the first time, and at most.
const BACKOFF: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// Where the bus is.
#[derive(Debug)]
pub(super) struct Servers {
    settings: Arc<service::Bus>,
    /// Which is dialled next.
    at: usize,
    /// The one that is dialled, or is connected to.
    using: Option<BusServer>,
    /// How often in a row that has failed.
    failures: u32,
    dice: u64,
}

impl Servers {
    /// Those of these settings, for the one who has this number: not all begin at the same server.
    pub(super) fn new(settings: Arc<service::Bus>, nonce: u64) -> Servers {
        Servers {
            at: nonce as usize % settings.servers.len().max(1),
            using: None,
            failures: 0,
            dice: nonce | 1,
            settings,
        }
    }

    /// The one that is dialled, or is connected to; before that, the one that is next.
    pub(super) fn current(&self) -> Option<&BusServer> {
        let servers = &self.settings.servers;
        let next = || servers.get(self.at % servers.len().max(1));
        self.using.as_ref().or_else(next)
    }

    /// The one that is dialled now.
    pub(super) fn take(&mut self) -> Option<&BusServer> {
        self.using = self.current().cloned();
        self.using.as_ref()
    }

    /// They are others from now on.
    pub(super) fn change(&mut self, settings: Arc<service::Bus>) {
        self.settings = settings;
        // What failed may have been mended.
        self.failures = 0;
        if let Some(place) = self.place() {
            self.at = place;
            self.using = self.settings.servers.get(place).cloned();
        }
    }

    /// Whether the one that is dialled, or is connected to, is one of them, if there is one.
    pub(super) fn is_listed(&self) -> bool {
        self.using.is_none() || self.place().is_some()
    }

    /// Where among them the one is that is used: the one at its address, through TLS or without it as before. Its name and
    /// the certificate that it has to have may be others: what it had to show it has shown.
    fn place(&self) -> Option<usize> {
        let using = self.using.as_ref()?;
        let is_same =
            |one: &BusServer| one.to == using.to && one.secure.is_some() == using.secure.is_some();
        let servers = &self.settings.servers;
        let is_called_so = |one: &BusServer| is_same(one) && one.name == using.name;
        let place = servers.iter().position(is_called_so);
        place.or_else(|| servers.iter().position(is_same))
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        self.current().map_or("", |server| &server.name)
    }

    /// Whether the last attempt failed, too: what is said of each would fill a log.
    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// It is good: what failed before counts no more.
    pub(super) fn hold(&mut self) {
        self.failures = 0;
    }

    /// Another one, after this time: each failure doubles it.
    pub(super) fn fail(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.go_on();
        let [least, most] = BACKOFF;
        let doubled = least.saturating_mul(1 << self.failures.min(10)).min(most);
        // Between half of it and all of it, or servers that lost a bus together would come back together.
        doubled / 2 + doubled.mul_f64(0.5 * self.roll())
    }

    /// Another one after one that was good: at once, but not all together.
    pub(super) fn leave(&mut self) -> Duration {
        self.hold();
        self.go_on();
        BACKOFF[0].mul_f64(self.roll())
    }

    fn go_on(&mut self) {
        self.using = None;
        self.at = self.at.wrapping_add(1);
    }

    /// A number from 0 to 1 that another server of ours does not have.
    fn roll(&mut self) -> f64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::service::BusLogin;

    fn servers(count: u16, nonce: u64) -> Servers {
        let one = |n| BusServer {
            name: format!("nats://{n}"),
            to: SocketAddr::from(([127, 0, 0, 1], n)),
            secure: None,
        };
        let settings = service::Bus {
            servers: (0..count).map(one).collect(),
            login: BusLogin::Nothing,
            replicas: 1,
            lease: Duration::from_secs(15),
            nonce: AtomicU64::new(0),
        };
        Servers::new(settings.into(), nonce)
    }

    #[test]
    fn each_failure_is_another_server_and_a_longer_wait() {
        let mut servers = servers(3, 7);
        assert!(!servers.has_failed());
        let mut names = Vec::new();
        for n in 1..=12 {
            names.push(servers.name().to_owned());
            let wait = servers.fail();
            let most = BACKOFF[1].min(BACKOFF[0] * (1 << n.min(10)));
            assert!((most / 2..=most).contains(&wait), "{n}: {wait:?}");
            assert!(servers.has_failed());
        }
        let round = ["nats://1", "nats://2", "nats://0"];
        assert_eq!(names, round.repeat(4));
        servers.hold();
        assert!(!servers.has_failed());
    }

    #[test]
    fn the_one_that_is_used_is_found_again_wherever_it_is_among_others() {
        let mut all = servers(3, 1);
        let using = all.take().unwrap().clone();
        assert_eq!(using.name, "nats://1");
        let listed = |count| servers(count, 0).settings;
        // It is the second of these, and the next one is the third.
        all.change(listed(4));
        assert!(all.is_listed());
        assert_eq!(all.name(), "nats://1");
        all.leave();
        assert_eq!(all.name(), "nats://2");
        // Gone from the list, it is used until it is left, and then never again.
        all.take();
        all.change(listed(2));
        assert!(!all.is_listed());
        assert_eq!(all.name(), "nats://2");
        all.leave();
        assert!(all.is_listed(), "none is used");
        for _ in 0..4 {
            assert!(["nats://0", "nats://1"].contains(&all.name()));
            all.take();
            all.fail();
        }
        assert!(all.has_failed());
        all.change(listed(3));
        assert!(!all.has_failed(), "what failed may have been mended");
    }

    #[test]
    fn after_one_that_was_good_the_next_is_dialled_at_once_by_each_at_another_time() {
        let waits: Vec<Duration> = (1..40)
            .step_by(2)
            .map(|nonce| {
                let mut servers = servers(2, nonce);
                servers.fail();
                let before = servers.name().to_owned();
                let wait = servers.leave();
                assert!(!servers.has_failed() && servers.name() != before);
                wait
            })
            .collect();
        assert!(waits.iter().all(|wait| *wait <= BACKOFF[0]));
        let differ = waits.windows(2).filter(|two| two[0] != two[1]).count();
        assert!(differ > 15, "{waits:?}");
    }
}

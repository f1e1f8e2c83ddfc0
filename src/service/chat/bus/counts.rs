//! What is counted of a bus, and how it is told.

use crate::wire::{Family, Kind};

/// What has happened so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) connections: u64,
    pub(super) failures: u64,
    pub(super) kept: u64,
    pub(super) lost: u64,
    errors: [u64; Refusal::ALL.len()],
}

/// How it is at this moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) is_up: bool,
    pub(super) servers: usize,
    pub(super) waiting_bytes: usize,
}

impl Counts {
    /// A server has complained of this.
    pub(super) fn refused(&mut self, text: &str) {
        let refusal = Refusal::of(text);
        let at = Refusal::ALL.iter().position(|one| *one == refusal);
        if let Some(count) = at.and_then(|at| self.errors.get_mut(at)) {
            *count += 1;
        }
    }

    /// Adds what was counted for these rooms, and how it is now.
    pub(super) fn add_to(&self, into: &mut Vec<Family>, rooms: &str, now: Now) {
        let rooms = ("rooms", rooms);
        let mut add =
            |name, kind, help, value| Family::add_to(into, (name, kind, help), &[rooms], value);
        let (gauge, counter) = (Kind::Gauge, Kind::Counter);
        add(
            "onepoll_bus_up",
            gauge,
            "Whether the bus is there.",
            now.is_up.into(),
        );
        add(
            "onepoll_bus_servers",
            gauge,
            "Other servers that share the rooms.",
            now.servers as u64,
        );
        add(
            "onepoll_bus_waiting_bytes",
            gauge,
            "What was said and is not kept by the bus yet.",
            now.waiting_bytes as u64,
        );
        add(
            "onepoll_bus_connections_total",
            counter,
            "Times that the bus was ready.",
            self.connections,
        );
        add(
            "onepoll_bus_failures_total",
            counter,
            "Connections to the bus that failed or ended.",
            self.failures,
        );
        add(
            "onepoll_bus_messages_total",
            counter,
            "Messages of rooms that came from the bus.",
            self.kept,
        );
        add(
            "onepoll_bus_lost_total",
            counter,
            "Messages of rooms that the bus did not keep.",
            self.lost,
        );
        for (refusal, &count) in Refusal::ALL.iter().zip(&self.errors) {
            let labels = [rooms, ("reason", refusal.name())];
            let family = (
                "onepoll_bus_errors_total",
                counter,
                "What the servers of the bus refused.",
            );
            Family::add_to(into, family, &labels, count);
        }
    }
}

/// What a server of NATS is displeased with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    SlowConsumer,
    Permissions,
    Authorization,
    Other,
}

impl Refusal {
    const ALL: [Refusal; 4] = [
        Refusal::SlowConsumer,
        Refusal::Permissions,
        Refusal::Authorization,
        Refusal::Other,
    ];

    fn of(text: &str) -> Refusal {
        let text = text.to_ascii_lowercase();
        match () {
            () if text.contains("slow consumer") => Refusal::SlowConsumer,
            () if text.contains("permissions violation") => Refusal::Permissions,
            () if text.contains("authorization") || text.contains("authentication") => {
                Refusal::Authorization
            }
            () => Refusal::Other,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Refusal::SlowConsumer => "slow-consumer",
            Refusal::Permissions => "permissions",
            Refusal::Authorization => "authorization",
            Refusal::Other => "other",
        }
    }
}

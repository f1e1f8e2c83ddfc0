use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use onepoll::reactor::{ClosedBy, Readiness, Source};
use onepoll::turn::ConnId;

use crate::play::Play;

/// Which events, and which ends, met connections in which state.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    met: BTreeMap<(&'static str, &'static str), u64>,
    before: Vec<(ConnId, &'static str)>,
    closed: ClosedBy,
}

const STATES: [&str; 10] = [
    "waiting",
    "in a frame",
    "queued",
    "paused, owed",
    "paused, held",
    "ended, answer due",
    "ended",
    "leaving",
    "lingering",
    "lingering, queued",
];

const EVENTS: [&str; 6] = [
    "readable",
    "writable",
    "read_closed",
    "hung_up",
    "urgent",
    "error",
];

const ENDS: [&str; 9] = [
    "done",
    "ended",
    "gone",
    "idle",
    "slow_frame",
    "too_slow",
    "refused",
    "stopping",
    "stuck",
];

impl Coverage {
    /// A world begins.
    pub(crate) fn begin(&mut self) {
        self.before.clear();
        self.closed = ClosedBy::default();
    }

    /// A turn has ended.
    pub(crate) fn look(&mut self, play: &Play) {
        let standing: BTreeMap<ConnId, &'static str> = self.before.drain(..).collect();
        play.os.net(|net| {
            for seen in &net.told {
                let Source::Connection(id) = seen.token.source() else {
                    continue;
                };
                if let Some(state) = standing.get(&id) {
                    for event in events(seen.readiness) {
                        *self.met.entry((state, event)).or_default() += 1;
                    }
                }
            }
        });
        self.before.extend(play.reactor.standings());
        let here: BTreeSet<ConnId> = self.before.iter().map(|(id, _)| *id).collect();
        let closed = play.counters().closed;
        let rose: Vec<&'static str> = ENDS
            .into_iter()
            .zip(numbers(&closed).into_iter().zip(numbers(&self.closed)))
            .filter(|(_, (now, then))| now > then)
            .map(|(end, _)| end)
            .collect();
        self.closed = closed;
        // Where two reasons rose in one turn, there is no telling which was whose.
        if let [end] = rose[..] {
            for state in standing
                .iter()
                .filter(|(id, _)| !here.contains(id))
                .map(|(_, state)| state)
            {
                *self.met.entry((state, end)).or_default() += 1;
            }
        }
    }
}

fn events(readiness: Readiness) -> impl Iterator<Item = &'static str> {
    let set = [
        readiness.readable,
        readiness.writable,
        readiness.read_closed,
        readiness.hung_up,
        readiness.urgent,
        readiness.error,
    ];
    EVENTS
        .into_iter()
        .zip(set)
        .filter(|(_, on)| *on)
        .map(|(event, _)| event)
}

fn numbers(by: &ClosedBy) -> [u64; 9] {
    [
        by.done,
        by.ended,
        by.gone,
        by.idle,
        by.slow_frame,
        by.too_slow,
        by.refused,
        by.stopping,
        by.stuck,
    ]
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for columns in [&EVENTS[..], &ENDS[..]] {
            write!(f, "\n{:18}", "")?;
            for column in columns {
                write!(f, "{column:>12}")?;
            }
            writeln!(f)?;
            for state in STATES {
                write!(f, "{state:18}")?;
                for column in columns {
                    match self.met.get(&(state, *column)) {
                        Some(times) => write!(f, "{times:12}")?,
                        None => write!(f, "{:>12}", "-")?,
                    }
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

use std::time::Duration;

use onepoll::config::Limits;

use crate::faults::Faults;
use crate::kernel::{MICRO, MILLI, SECOND};
use crate::random::Random;

/// What a world is about: left to chance alone, most states meet most events too rarely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Anything.
    Any,
    /// Members that say much to each other, and read little.
    Crowds,
    /// Long silence, and frames that do not end.
    Silence,
    /// The server stops, with commands that run and clients that wait to be accepted.
    Drains,
    /// Clients that leave while the loop works.
    Races,
    /// Too few descriptors, and listeners that let few in.
    Lack,
}

impl Profile {
    pub(crate) fn of(seed: u64) -> Profile {
        match seed % 10 {
            1 | 2 => Profile::Crowds,
            3 => Profile::Silence,
            4 | 5 => Profile::Drains,
            6..9 => Profile::Races,
            9 => Profile::Lack,
            _ => Profile::Any,
        }
    }

    /// After how long nothing goes wrong any more.
    pub(crate) fn calm_after(self, random: &mut Random) -> u64 {
        let at_most = match self {
            // Long enough for a frame that never ends.
            Profile::Silence => return 5 * SECOND + random.below(90 * SECOND),
            _ if random.once_in(64) => 60 * SECOND,
            _ => 3 * SECOND,
        };
        MILLI + random.size(at_most as usize) as u64
    }

    pub(crate) fn faults(self, random: &mut Random) -> Faults {
        let mut faults = if random.once_in(8) {
            Faults::default()
        } else {
            Faults::swarm(random)
        };
        faults.local = 64;
        match self {
            Profile::Races => {
                faults.meanwhile = random.pick(&[32, 192]);
                faults.few = random.pick(&[0, 128]);
                faults.spurious = random.pick(&[0, 64]);
                faults.write_again = random.pick(&[0, 128]);
                faults.write_short = random.pick(&[0, 128]);
                faults.local = 128;
            }
            Profile::Lack => {
                faults.no_descriptors = random.pick(&[0, 8, 64]);
                faults.accept_lack = random.pick(&[0, 8, 64]);
                faults.receive = random.pick(&[0, 32, 250]);
            }
            _ => {}
        }
        // A command that cannot be started has another answer; see faults_f.rs.
        faults.spawn = 0;
        faults
    }

    pub(crate) fn clients(self, random: &mut Random) -> usize {
        match self {
            Profile::Crowds => random.some(16),
            Profile::Lack | Profile::Drains => random.some(12),
            _ => random.some(8),
        }
    }

    /// When a client comes, in a world that is calm after this, and whose server stops then.
    pub(crate) fn comes(self, random: &mut Random, calm_after: u64, stop: Option<u64>) -> u64 {
        match (self, stop) {
            (Profile::Drains, Some(stop)) if random.once_in(2) => {
                stop.saturating_sub(random.below(50 * MICRO))
            }
            _ => random.size(calm_after as usize) as u64,
        }
    }

    /// When the server is told to stop, and told again.
    pub(crate) fn stops(self, random: &mut Random, calm_after: u64) -> [Option<u64>; 2] {
        let (first, second) = match self {
            Profile::Drains => (true, random.once_in(2)),
            Profile::Crowds => (random.once_in(2), random.once_in(2)),
            _ => (random.once_in(6), random.once_in(4)),
        };
        let at = random.below(calm_after);
        let again = match random.once_in(2) {
            true => at + random.below(30 * MICRO),
            false => random.below(calm_after),
        };
        [first.then_some(at), (first && second).then_some(again)]
    }

    /// Limits that small worlds reach.
    pub(crate) fn limits(self, random: &mut Random) -> Limits {
        let default = Limits::default();
        if self == Profile::Any && random.once_in(4) {
            return default;
        }
        let out_pause = 1 + random.size(1 << 16);
        let read_per_turn = 1 + random.size(1 << 16).max(16 << random.below(5));
        let chat_soft = 1 + random.size(1 << 16);
        let limits = Limits {
            accepts_per_turn: 1 + random.below(4) as u32,
            read_per_turn,
            frames_per_turn: 1 + random.size(64) as u32,
            deliveries_per_turn: 1 + random.size(1 << 10) as u32,
            datagrams_per_turn: 1 + random.below(8) as u32,
            timers_per_turn: 1 + random.below(4) as u32,
            out_pause,
            out_resume: 1 + random.index(out_pause),
            chat_soft,
            chat_soft_time: Duration::from_millis(1 + random.below(2000)),
            chat_hard: chat_soft + random.size(1 << 17),
            drain_timeout: Duration::from_millis(random.below(9000)),
            not_logged_in: match random.once_in(6) {
                true => random.some(3) as u32,
                false => default.not_logged_in,
            },
            buffers: match random.once_in(6) {
                true => 1 + random.size(1 << 16),
                false => default.buffers,
            },
            ..default
        };
        match self {
            Profile::Crowds => {
                let chat_soft = 1 + random.size(1 << 12);
                Limits {
                    deliveries_per_turn: 1 + random.size(16) as u32,
                    chat_soft,
                    chat_soft_time: Duration::from_millis(1 + random.below(2000)),
                    chat_hard: chat_soft + random.pick(&[1 << 10, 1 << 14, 1 << 18]),
                    ..limits
                }
            }
            Profile::Drains => Limits {
                drain_timeout: Duration::from_micros(random.size(4_000_000) as u64),
                ..limits
            },
            Profile::Races => {
                let out_pause = 1 + random.size(1 << 10);
                Limits {
                    out_pause,
                    out_resume: 1 + random.index(out_pause),
                    chat_soft: 1 + random.size(1 << 10),
                    ..limits
                }
            }
            _ => limits,
        }
    }
}

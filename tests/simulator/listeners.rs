use std::time::Duration;

use onepoll::config::{Limits, Settle};
use onepoll::service::command::CommandFraming;
use onepoll::service::{
    Chat, Command, Discard, Echo, Greeting, Upper, chat, command, greeting, upper,
};

use crate::clients::{Finale, Manners, Member, MemberProgress, Poster, Progress, Talker};
use crate::family::{outcome_of, steps_of};
use crate::kernel::{Client, MILLI, SECOND};
use crate::play::Play;
use crate::random::Random;
use crate::services::{Crowd, Lines, Produces, Runs};

/// Every service that a seed has, and its listener.
#[derive(Debug)]
pub(crate) struct Listeners {
    echo: usize,
    idle: Option<u64>,
    discard: usize,
    upper: usize,
    greeting: usize,
    lines: usize,
    crowd: usize,
    chat: usize,
    produces: usize,
    runs: usize,
    raw: usize,
    framed: usize,
    socket: usize,
}

/// How many listeners there are.
pub(crate) const LISTENERS: u64 = 11;

const GREETING: &str = "hello, and welcome; there is nothing more to hear";

impl Listeners {
    pub(crate) fn open(play: &mut Play, random: &mut Random, limits: &Limits) -> Listeners {
        let idle = random
            .once_in(4)
            .then(|| MILLI + random.size(2 * SECOND as usize) as u64);
        let command = |framing| command::Options {
            framing,
            // Clients here are slower than any settling time, and mean whole lines.
            settle: Settle::Never,
            ..command::Options::default()
        };
        let greeting = greeting::Options {
            greeting: vec![GREETING.into()],
            ..greeting::Options::default()
        };
        let chat = chat::Options {
            flood: random.once_in(2),
            history: random.below(4) as u32,
        };
        let one_at_a_time = random.once_in(8);
        Listeners {
            echo: play.open_with(Echo, |listener| {
                listener.idle = idle.map(Duration::from_nanos);
                if one_at_a_time {
                    listener.connections_max = 1;
                }
            }),
            idle,
            discard: play.open(Discard),
            upper: play.open(Upper::new(&upper::Options::default())),
            greeting: play.open(Greeting::new(&greeting)),
            lines: play.open(Lines),
            crowd: play.open(Crowd::default()),
            chat: play.open(Chat::new(&chat, limits.frame)),
            produces: play.open(Produces::default()),
            runs: play.open(Runs),
            raw: play.open(Command::new(&command(CommandFraming::Raw), limits)),
            framed: play.open(Command::new(&command(CommandFraming::I32), limits)),
            socket: play.answer(Echo),
        }
    }

    /// A client, and where it connects.
    pub(crate) fn client(&self, random: &mut Random, number: usize) -> Box<dyn Client> {
        match random.below(17) {
            0..=3 => Box::new(self.echoes(random)),
            4 => Box::new(self.discards(random)),
            5 => Box::new(self.uppers(random)),
            6 => Box::new(self.is_greeted(random)),
            7 | 8 => Box::new(self.speaks_lines(random)),
            9 => Box::new(self.runs(random)),
            10 => Box::new(self.commands(random, false)),
            11 => Box::new(self.commands(random, true)),
            12 => Box::new(member(random, self.crowd, number)),
            13 | 14 => Box::new(member(random, self.chat, number)),
            15 => Box::new(self.has_produced(random)),
            _ => Box::new(Poster {
                socket: self.socket,
                port: random.pick(&[7, 5000, 5001]),
                left: random.size(100),
            }),
        }
    }

    /// Says anything, and hears it again.
    fn echoes(&self, random: &mut Random) -> Talker {
        let says = anything(random);
        Talker {
            idle: self.idle,
            ..talker(random, self.echo, says.clone(), says)
        }
    }

    fn discards(&self, random: &mut Random) -> Talker {
        let says = anything(random);
        talker(random, self.discard, says, Vec::new())
    }

    fn uppers(&self, random: &mut Random) -> Talker {
        let says = anything(random);
        let hears = says.to_ascii_uppercase();
        talker(random, self.upper, says, hears)
    }

    /// Is greeted, whatever it says.
    fn is_greeted(&self, random: &mut Random) -> Talker {
        let says = anything(random);
        Talker {
            server_ends: true,
            may_miss: true,
            ..talker(random, self.greeting, says, GREETING.as_bytes().to_vec())
        }
    }

    /// Says lines, some of which ask for something.
    fn speaks_lines(&self, random: &mut Random) -> Talker {
        let mut says = Vec::new();
        for _ in 0..random.size(100) {
            match random.below(64) {
                0 => says.push(b'!'),
                1 => says.push(b'q'),
                2..6 => says.extend(std::iter::repeat_n(b'h', random.some(30))),
                _ => {
                    let letter = b'A' + random.below(26) as u8;
                    let max = if random.once_in(256) { 10_000 } else { 40 };
                    says.extend(std::iter::repeat_n(letter, random.size(max)));
                }
            }
            says.push(b'\n');
        }
        if random.once_in(2) {
            // The end may come at any byte.
            says.truncate(random.index(says.len() + 1));
        }
        let (hears, server_ends) = Lines::answers(&says);
        Talker {
            server_ends,
            framed: true,
            ..talker(random, self.lines, says, hears)
        }
    }

    /// Says a little, and hears much more.
    fn has_produced(&self, random: &mut Random) -> Talker {
        let says: Vec<u8> = (0..random.size(100)).map(|_| random.next() as u8).collect();
        let hears = Produces::answers(&says);
        talker(random, self.produces, says, hears)
    }

    fn runs(&self, random: &mut Random) -> Talker {
        let says = commands(random);
        let hears = Runs::answers(&says);
        Talker {
            framed: true,
            ..talker(random, self.runs, says, hears)
        }
    }

    /// Says lines that are commands, to the service itself.
    fn commands(&self, random: &mut Random, framed: bool) -> Talker {
        let says = commands(random);
        let mut hears = Vec::new();
        for line in says.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            let outcome = outcome_of(&steps_of(line));
            let all = [outcome.out, outcome.err].concat();
            if framed {
                hears.extend((all.len() as i32).to_le_bytes());
            }
            hears.extend(all);
        }
        let listener = if framed { self.framed } else { self.raw };
        Talker {
            framed: true,
            ..talker(random, listener, says, hears)
        }
    }
}

fn member(random: &mut Random, listener: usize, number: usize) -> Member {
    Member {
        listener,
        number,
        lines: random.size(30),
        manners: Manners::of(random, 1 << 14),
        progress: MemberProgress::default(),
    }
}

fn talker(random: &mut Random, listener: usize, says: Vec<u8>, hears: Vec<u8>) -> Talker {
    Talker {
        listener,
        server_ends: false,
        may_miss: false,
        finale: finale(random, says.len()),
        framed: false,
        idle: None,
        manners: Manners::of(random, says.len().max(hears.len())),
        progress: Progress::default(),
        says,
        hears,
    }
}

fn anything(random: &mut Random) -> Vec<u8> {
    let max = if random.once_in(32) { 1 << 17 } else { 1 << 12 };
    let (len, start) = (random.size(max), random.next() as u8);
    (0..len).map(|at| (at % 251) as u8 ^ start).collect()
}

fn commands(random: &mut Random) -> Vec<u8> {
    let mut says = Vec::new();
    for _ in 0..random.some(4) {
        says.extend(format!("command {}\n", random.below(1000)).bytes());
    }
    says
}

fn finale(random: &mut Random, says: usize) -> Finale {
    match random.below(8) {
        0 => Finale::Reset(random.index(says + 1)),
        1 => Finale::Close(random.index(says + 1)),
        2 => Finale::ShutReset,
        _ => Finale::Shut,
    }
}

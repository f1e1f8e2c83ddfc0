use std::rc::Rc;
use std::sync::LazyLock;

use onepoll::config::{Limits, Settle, Written};
use onepoll::reactor::ServiceId;
use onepoll::service::chat::Slow;
use onepoll::service::command::{CommandFraming, Restart};
use onepoll::service::{
    Chat, Command, Discard, Echo, Encoding, Greeting, Service, Tail, Upper, chat, command,
    greeting, upper,
};

use crate::clients::{Finale, Manners, Member, MemberProgress, Poster, Progress, Talker};
use crate::family::{outcome_of, steps_of};
use crate::gates::Login;
use crate::kernel::{Client, MILLI, SECOND};
use crate::operator::{Kind, any_options, stand_in};
use crate::overheard::{AtStop, Temper};
use crate::play::Play;
use crate::profile::Profile;
use crate::random::Random;
use crate::readers::{Reader, ReaderProgress, Script};
use crate::services::{Crowd, Lines, Produces, Runs};
use crate::sources::Account;

/// Every service that a seed has, and its listeners.
#[derive(Debug)]
pub(crate) struct Listeners {
    profile: Profile,
    /// All clients are of this kind.
    only: Option<u64>,
    /// Most of its clients guess the secret.
    guesses: bool,
    /// Its members do not read while they speak.
    is_deaf: bool,
    echo: [Door; 2],
    discard: Door,
    upper: Door,
    greeting: Door,
    lines: [Door; 2],
    crowd: [Door; 2],
    chat: [Door; 2],
    produces: Door,
    runs: Door,
    raw: Door,
    framed: Door,
    socket: usize,
    tail: Option<Broadcast>,
}

/// A broadcast, and where its readers go.
#[derive(Debug, Clone, Copy)]
struct Broadcast {
    door: Door,
    script: Script,
    restarts: bool,
}

/// A listener, and what its clients must expect.
#[derive(Debug, Clone, Copy)]
struct Door {
    listener: usize,
    /// The service ends connections when it likes.
    may_be_cut: bool,
    /// It stands behind a gate.
    is_gated: bool,
}

/// A service that was added, and how it behaves.
#[derive(Debug, Clone)]
struct Added {
    service: ServiceId,
    may_be_cut: bool,
    kind: Kind,
}

/// What a service uses for itself, so that nothing else may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Uses {
    /// And it has no more to do when the input ends.
    NothingAtTheEnd,
    Nothing,
    Timers,
    Commands,
    TimersAndCommands,
}

/// The kind of clients that read a broadcast.
const READS: u64 = 17;

const GREETING: &str = "hello, and welcome; there is nothing more to hear";

/// Opens what a seed has.
struct Opens<'a> {
    guesses: bool,
    /// Every listener has sessions.
    are_all_secure: bool,
    play: &'a mut Play,
    random: &'a mut Random,
    profile: Profile,
}

impl Opens<'_> {
    fn service(&mut self, uses: Uses, make: impl Fn() -> Box<dyn Service> + 'static) -> Added {
        let random = &mut *self.random;
        let often = if self.profile == Profile::Any { 8 } else { 3 };
        let has_timers = !matches!(uses, Uses::Timers | Uses::TimersAndCommands);
        let has_commands = !matches!(uses, Uses::Commands | Uses::TimersAndCommands);
        let temper = Temper {
            fidgets: has_timers && random.once_in(often),
            leaves: (has_timers && random.once_in(often))
                .then(|| random.size(SECOND as usize) as u64),
            is_late: uses == Uses::NothingAtTheEnd && random.once_in(2),
            spawns: has_commands && random.once_in(often),
            at_stop: random.pick(&[AtStop::Asks, AtStop::Asks, AtStop::Closes, AtStop::Stays]),
            random: Some(Random::new(random.next())),
        };
        let may_be_cut = temper.leaves.is_some();
        let is_gated = random.once_in(3) || self.guesses;
        let kind = Kind {
            make: Rc::new(make),
            is_gated,
            is_tail: false,
        };
        let random = Random::new(random.next());
        let service = self.play.add_kind(&kind, temper, random);
        Added {
            service,
            may_be_cut,
            kind,
        }
    }

    fn door(&mut self, added: Added) -> Door {
        let Added {
            service,
            may_be_cut,
            kind,
        } = added;
        let is_gated = kind.is_gated;
        let (random, profile) = (&mut *self.random, self.profile);
        let are_all_secure = self.are_all_secure;
        let mut account = Account::default();
        let listener = self.play.listen(service, |options| {
            account = any_options(random, profile, options);
            options.terms.options = any_encoding(random);
            if are_all_secure {
                options.secure = Some(stand_in(random));
            }
        });
        self.play.serves_kind(listener, kind);
        let os = &self.play.os;
        os.net(|net| {
            let queue = &mut net.listeners[listener];
            queue.is_gated = is_gated;
            queue.sources = account;
        });
        if may_be_cut {
            // It may end before it reads.
            os.net(|net| net.listeners[listener].reads = false);
        }
        Door {
            listener,
            may_be_cut,
            is_gated,
        }
    }

    /// A command whose output many read.
    fn tail(&mut self, limits: &Limits) -> Broadcast {
        let script = Script::some(self.random);
        let restarts = !self.random.once_in(3);
        let options = command::Options {
            restart: if restarts {
                Restart::Always
            } else {
                Restart::Never
            },
            history: Some(self.random.below(30) as u32),
            ..command::Options::default()
        };
        let limits = limits.clone();
        let make =
            move || -> Box<dyn Service> { Box::new(Tail::new(&script.line(), &options, &limits)) };
        let mut added = self.service(Uses::Nothing, make);
        added.kind.is_tail = true;
        let door = self.door(added);
        if !restarts {
            // When it is over, it ends connections before it reads.
            let os = &self.play.os;
            os.net(|net| net.listeners[door.listener].reads = false);
        }
        Broadcast {
            door,
            script,
            restarts,
        }
    }

    fn one(&mut self, uses: Uses, make: impl Fn() -> Box<dyn Service> + 'static) -> Door {
        let service = self.service(uses, make);
        self.door(service)
    }

    /// Two listeners of one service, each with options of its own.
    fn two(&mut self, uses: Uses, make: impl Fn() -> Box<dyn Service> + 'static) -> [Door; 2] {
        let service = self.service(uses, make);
        [self.door(service.clone()), self.door(service)]
    }
}

/// What members of a chat read and write, for those listeners that are of one.
fn any_encoding(random: &mut Random) -> Written {
    // Written once: a debug build takes long over it.
    static WRITTEN: LazyLock<[Written; 2]> = LazyLock::new(|| {
        [Encoding::Utf8, Encoding::Gbk].map(|encoding| {
            Written::of(&chat::Options {
                encoding,
                ..chat::Options::default()
            })
        })
    });
    random.pick(&[&WRITTEN[0], &WRITTEN[1]]).clone()
}

impl Listeners {
    pub(crate) fn open(
        play: &mut Play,
        random: &mut Random,
        profile: Profile,
        limits: &Limits,
        are_all_secure: bool,
    ) -> Listeners {
        let limits = limits.clone();
        let command = |framing| {
            let limits = limits.clone();
            let options = command::Options {
                framing,
                // Clients here are slower than any settling time, and mean whole lines.
                settle: Settle::Never,
                ..command::Options::default()
            };
            move || -> Box<dyn Service> { Box::new(Command::new(&options, &limits)) }
        };
        let greeting = greeting::Options {
            greeting: vec![GREETING.into()],
            ..greeting::Options::default()
        };
        let frame = limits.frame;
        let chat = chat::Options {
            flood: random.once_in(2),
            history: random.below(4) as u32,
            slow: if random.once_in(2) {
                Slow::DropOldest
            } else {
                Slow::Disconnect
            },
            ..chat::Options::default()
        };
        let guesses = play.os.net(|net| net.only_place.is_some());
        let mut opens = Opens {
            guesses,
            are_all_secure,
            play,
            random,
            profile,
        };
        let same = opens.random.once_in(6);
        let only = same.then(|| Listeners::kind(opens.random, profile));
        let greeting = opens.one(Uses::Nothing, move || Box::new(Greeting::new(&greeting)));
        let tail = (only == Some(READS) || opens.random.once_in(4)).then(|| opens.tail(&limits));
        // It ends before it reads.
        let os = &opens.play.os;
        os.net(|net| net.listeners[greeting.listener].reads = false);
        Listeners {
            profile,
            only,
            guesses,
            is_deaf: opens.random.once_in(2),
            echo: opens.two(Uses::NothingAtTheEnd, || Box::new(Echo)),
            discard: opens.one(Uses::NothingAtTheEnd, || Box::new(Discard)),
            upper: opens.one(Uses::NothingAtTheEnd, || {
                Box::new(Upper::new(&upper::Options::default()))
            }),
            lines: opens.two(Uses::Timers, || Box::new(Lines)),
            crowd: opens.two(Uses::Timers, || Box::new(Crowd::default())),
            chat: opens.two(Uses::TimersAndCommands, move || {
                Box::new(Chat::new(&chat, frame))
            }),
            produces: opens.one(Uses::Nothing, || Box::new(Produces::default())),
            runs: opens.one(Uses::Commands, || Box::new(Runs)),
            raw: opens.one(Uses::TimersAndCommands, command(CommandFraming::Raw)),
            framed: opens.one(Uses::TimersAndCommands, command(CommandFraming::I32)),
            socket: play.answer(Echo),
            greeting,
            tail,
        }
    }

    /// A client, and where it connects.
    pub(crate) fn client(&self, random: &mut Random, number: usize) -> Box<dyn Client> {
        match self
            .only
            .unwrap_or_else(|| Listeners::kind(random, self.profile))
        {
            0..=3 => Box::new(self.echoes(random)),
            4 => Box::new(self.discards(random)),
            5 => Box::new(self.uppers(random)),
            6 => Box::new(self.is_greeted(random)),
            7 | 8 => Box::new(self.speaks_lines(random)),
            9 => Box::new(self.runs(random)),
            10 => Box::new(self.commands(random, false)),
            11 => Box::new(self.commands(random, true)),
            12 => {
                let door = random.pick(&self.crowd);
                Box::new(Member {
                    last: random.pick(&[b"", b"half", b"!", b"!\n", b"Q\n"]),
                    finale: self.finale(random, 0),
                    ..self.member(random, door, number)
                })
            }
            13 | 14 => {
                let door = random.pick(&self.chat);
                Box::new(self.member(random, door, number))
            }
            15 => Box::new(self.has_produced(random)),
            READS if self.tail.is_some() => Box::new(self.reads(random)),
            _ => Box::new(Poster {
                socket: self.socket,
                port: random.pick(&[7, 5000, 5001]),
                left: random.size(100),
            }),
        }
    }

    /// What a client does, as a number.
    fn kind(random: &mut Random, profile: Profile) -> u64 {
        match profile {
            Profile::Crowds => random.pick(&[12, 12, 12, 12, 12, 13, READS]),
            Profile::Silence => random.pick(&[0, 5, 7, 7, 8, 9, 12, 13, 15, READS]),
            Profile::Races => random.pick(&[0, 1, 5, 7, 8, 9, 10, 12, 12, 13, 15, 15, 15, READS]),
            Profile::Drains => random.pick(&[0, 1, 5, 7, 8, 9, 10, 11, 12, 13, 15, 15, READS]),
            Profile::Lack if random.once_in(8) => 16,
            _ => random.below(READS + 1),
        }
    }

    /// Says anything, and hears it again.
    fn echoes(&self, random: &mut Random) -> Talker {
        let says = anything(random);
        let door = random.pick(&self.echo);
        self.talker(random, door, says.clone(), says)
    }

    fn discards(&self, random: &mut Random) -> Talker {
        let says = anything(random);
        self.talker(random, self.discard, says, Vec::new())
    }

    fn uppers(&self, random: &mut Random) -> Talker {
        let says = anything(random);
        let hears = says.to_ascii_uppercase();
        self.talker(random, self.upper, says, hears)
    }

    /// Is greeted, whatever it says.
    fn is_greeted(&self, random: &mut Random) -> Talker {
        let says = anything(random);
        Talker {
            server_ends: true,
            may_miss: true,
            ..self.talker(random, self.greeting, says, GREETING.as_bytes().to_vec())
        }
    }

    /// Says lines, some of which ask for something.
    fn speaks_lines(&self, random: &mut Random) -> Talker {
        let mut says = Vec::new();
        let often = if self.profile == Profile::Races {
            24
        } else {
            64
        };
        for _ in 0..random.size(100) {
            match random.below(often) {
                0 => says.push(b'!'),
                1 => says.push(b'q'),
                2 => says.push(b'Q'),
                3..5 => says.push(b'h'),
                5..7 => says.extend(std::iter::repeat_n(b'h', random.some(30))),
                _ => {
                    let letter = b'A' + random.below(16) as u8;
                    let max = if random.once_in(256) { 10_000 } else { 40 };
                    says.extend(std::iter::repeat_n(letter, random.size(max)));
                }
            }
            says.push(b'\n');
        }
        if random.once_in(2) {
            // The end may come at any byte.
            says.truncate(random.index(says.len() + 1));
        } else if random.once_in(4) {
            says.push(b'!');
        }
        let (hears, server_ends) = Lines::answers(&says);
        let door = random.pick(&self.lines);
        Talker {
            server_ends,
            // It may end without lingering.
            may_miss: server_ends,
            framed: true,
            ..self.talker(random, door, says, hears)
        }
    }

    /// Says a little, and hears much more.
    fn has_produced(&self, random: &mut Random) -> Talker {
        let says: Vec<u8> = (0..random.some(60)).map(|_| random.next() as u8).collect();
        let hears = Produces::answers(&says);
        self.talker(random, self.produces, says, hears)
    }

    fn runs(&self, random: &mut Random) -> Talker {
        let mut says = commands(random);
        if random.once_in(4) {
            says.truncate(random.index(says.len() + 1));
        }
        let (hears, server_ends) = Runs::answers(&says);
        Talker {
            server_ends,
            may_miss: server_ends,
            framed: true,
            ..self.talker(random, self.runs, says, hears)
        }
    }

    /// Says lines that are commands, to the service itself.
    fn commands(&self, random: &mut Random, framed: bool) -> Talker {
        let says = commands(random);
        let mut hears = Vec::new();
        for line in says.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            let outcome = outcome_of(&steps_of(line, false), b"");
            let all = [outcome.out, outcome.err].concat();
            if framed {
                hears.extend((all.len() as i32).to_le_bytes());
            }
            hears.extend(all);
        }
        let door = if framed { self.framed } else { self.raw };
        Talker {
            framed: true,
            ..self.talker(random, door, says, hears)
        }
    }

    /// Reads what the broadcast writes.
    fn reads(&self, random: &mut Random) -> Reader {
        let Broadcast {
            door,
            script,
            restarts,
        } = self.tail.expect("it is open");
        Reader {
            listener: door.listener,
            script,
            restarts,
            may_be_cut: door.may_be_cut,
            manners: self.manners(random, 1 << 12),
            login: door.is_gated.then(|| Login::of(random, self.guesses)),
            wants: 1 + random.size(200),
            shuts: random.once_in(2),
            resets: random.once_in(4),
            progress: ReaderProgress::default(),
        }
    }

    fn member(&self, random: &mut Random, door: Door, number: usize) -> Member {
        Member {
            listener: door.listener,
            number,
            lines: random.size(30),
            last: b"",
            finale: Finale::Shut,
            manners: self.manners(random, 1 << 14),
            login: door.is_gated.then(|| Login::of(random, self.guesses)),
            progress: MemberProgress::default(),
        }
    }

    fn talker(&self, random: &mut Random, door: Door, says: Vec<u8>, hears: Vec<u8>) -> Talker {
        Talker {
            listener: door.listener,
            server_ends: false,
            may_miss: false,
            may_be_cut: door.may_be_cut,
            finale: self.finale(random, says.len()),
            framed: false,
            manners: self.manners(random, says.len().max(hears.len())),
            login: door.is_gated.then(|| Login::of(random, self.guesses)),
            progress: Progress::default(),
            says,
            hears,
        }
    }

    fn manners(&self, random: &mut Random, says: usize) -> Manners {
        let manners = Manners::of(random, says);
        match self.profile {
            Profile::Crowds => Manners {
                read_max: 1 + random.size(1 << 12),
                nap: random.pick(&[0, 32, 128]),
                nap_max: random.pick(&[10 * MILLI, SECOND]),
                reads_late: self.is_deaf || manners.reads_late,
                ..manners
            },
            Profile::Races => Manners {
                // It steps mostly while the loop works.
                rest_max: random.pick(&[MILLI, 20 * MILLI]),
                read_max: 1 + random.size(1 << 10),
                is_hasty: random.once_in(2),
                ..manners
            },
            Profile::Silence => Manners {
                write_max: 1 + says / 16,
                reads_late: random.once_in(2),
                is_hasty: random.once_in(4),
                nap: random.pick(&[4, 32, 128]),
                nap_max: random.pick(&[3 * SECOND, 40 * SECOND, 55 * SECOND]),
                ..manners
            },
            _ => manners,
        }
    }

    fn finale(&self, random: &mut Random, says: usize) -> Finale {
        let of = if self.profile == Profile::Races { 5 } else { 8 };
        match random.below(of) {
            0 => Finale::Reset(random.index(says + 1)),
            1 => Finale::Close(random.index(says + 1)),
            2 => Finale::ShutReset,
            3 => Finale::ShutClose,
            _ => Finale::Shut,
        }
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

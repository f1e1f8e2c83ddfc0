use std::net::{Ipv4Addr, SocketAddr};

use crate::gates::{Answer, Login, Step};
use crate::kernel::{Client, Found, MICRO, MILLI, Net, SECOND};
use crate::random::Random;

/// A client that says something and knows what must be heard.
#[derive(Debug)]
pub(crate) struct Talker {
    pub(crate) listener: usize,
    pub(crate) says: Vec<u8>,
    /// What must come back for all of it.
    pub(crate) hears: Vec<u8>,
    /// The server ends when that was said, without waiting for our end.
    pub(crate) server_ends: bool,
    /// The server ends whatever we say, so that what we say may be answered by a reset, which may
    /// overtake what we should hear.
    pub(crate) may_miss: bool,
    /// The server ends when it likes.
    pub(crate) may_be_cut: bool,
    pub(crate) finale: Finale,
    /// A started frame must end within some time here.
    pub(crate) framed: bool,
    pub(crate) manners: Manners,
    /// How it answers the challenge that comes first, if one does.
    pub(crate) login: Option<Login>,
    pub(crate) progress: Progress,
}

/// How it goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// The most that is written, and read, at a time.
    pub(crate) write_max: usize,
    pub(crate) read_max: usize,
    /// The longest rest between two steps.
    pub(crate) rest_max: u64,
    /// How often it naps, and for how long at most.
    pub(crate) nap: u8,
    pub(crate) nap_max: u64,
    /// How often it sends an urgent byte.
    pub(crate) urge: u8,
    /// Does not read before it has written everything.
    pub(crate) reads_late: bool,
    /// Writes as much as fits, and ends its output with it.
    pub(crate) is_hasty: bool,
}

impl Manners {
    pub(crate) fn of(random: &mut Random, says: usize) -> Manners {
        let least = says / 64;
        Manners {
            write_max: 1 + least + random.size(1 << 16),
            read_max: 1 + least + random.size(1 << 16),
            rest_max: random.pick(&[5 * MICRO, 50 * MICRO, MILLI, 20 * MILLI]),
            nap: random.pick(&[0, 0, 4, 32]),
            nap_max: random.pick(&[10 * MILLI, 3 * SECOND, 15 * SECOND]),
            urge: random.pick(&[0, 0, 0, 8, 64]),
            reads_late: random.once_in(8),
            is_hasty: false,
        }
    }
}

/// What it does in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finale {
    /// Ends its output when everything is said, and listens to the end.
    Shut,
    /// Resets when so much is said.
    Reset(usize),
    /// Closes when so much is said, whatever may come.
    Close(usize),
    /// Ends its output, then resets.
    ShutReset,
    /// Ends its output, then closes, whatever may come.
    ShutClose,
}

/// How far it has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    link: Option<usize>,
    said: usize,
    heard: usize,
    shut: bool,
    home: bool,
    /// It was challenged, and what it says begins with its answer.
    is_challenged: bool,
}

impl Client for Talker {
    fn step(&mut self, net: &mut Net) -> Option<u64> {
        let Some(link) = self.progress.link else {
            let most = self.says.len().max(self.hears.len());
            self.progress.link = net.connect(self.listener, most);
            return match self.progress.link {
                Some(_) => Some(self.rest(net)),
                None => self.go_home(),
            };
        };
        if self.login.is_some() && !self.progress.is_challenged {
            return self.log_in(net, link);
        }
        let all_said = self.progress.said == self.says.len();
        let hasty = net.calm || self.manners.is_hasty;
        let speaks = !all_said && (hasty || net.random.once_in(2));
        if speaks {
            self.speak(net, link);
        }
        // Now and then the end comes with the last words.
        let says_no_more = self.progress.said == self.says.len();
        let all_said = all_said || says_no_more && (hasty || net.random.once_in(2));
        if all_said && !self.progress.shut && (hasty || net.random.once_in(4)) {
            match self.finale {
                Finale::Shut | Finale::ShutReset | Finale::ShutClose => {
                    net.client_shut(link);
                    self.progress.shut = true;
                }
                Finale::Reset(_) | Finale::Close(_) => {}
            }
        }
        match self.finale {
            Finale::Reset(at) if self.progress.said >= at => {
                net.client_reset(link);
                return self.go_home();
            }
            Finale::Close(at) if self.progress.said >= at => {
                self.hear_all(net, link);
                net.client_close(link);
                return self.go_home();
            }
            Finale::ShutReset if self.progress.shut && net.random.once_in(6) => {
                net.client_reset(link);
                return self.go_home();
            }
            Finale::ShutClose if self.progress.shut && net.random.once_in(6) => {
                self.hear_all(net, link);
                net.client_close(link);
                return self.go_home();
            }
            _ => {}
        }
        let listens =
            net.calm || !(self.manners.reads_late && self.progress.said < self.says.len());
        if listens && (net.calm || net.random.once_in(2)) && self.listen(net, link) {
            net.client_close(link);
            return self.go_home();
        }
        Some(self.rest(net))
    }

    fn is_home(&self) -> bool {
        self.progress.home
    }
}

impl Talker {
    /// Waits for the challenge, and puts the answer before what it has to say.
    fn log_in(&mut self, net: &mut Net, link: usize) -> Option<u64> {
        let login = self.login.as_mut().expect("it is to log in");
        match login.step(net, link) {
            Step::Waits => {}
            Step::Over => {
                assert!(
                    self.is_excused(net, link),
                    "not challenged: {}",
                    self.sketch(net, link)
                );
                net.client_close(link);
                return self.go_home();
            }
            Step::Says(proof) => {
                self.progress.is_challenged = true;
                match login.answer() {
                    Answer::Right(_) => {}
                    Answer::Wrong(_) | Answer::Old => {
                        self.hears.clear();
                        (self.server_ends, self.may_miss) = (true, true);
                    }
                    Answer::Half(_) => {
                        self.says.clear();
                        self.hears.clear();
                        self.server_ends = true;
                        if net.random.once_in(2) {
                            // Never ends by itself.
                            self.finale = Finale::Reset(usize::MAX);
                        }
                    }
                }
                self.says.splice(0..0, proof);
            }
        }
        Some(self.rest(net))
    }

    fn go_home(&mut self) -> Option<u64> {
        self.progress.home = true;
        None
    }

    fn rest(&self, net: &mut Net) -> u64 {
        if net.calm {
            return net.random.below(MILLI);
        }
        if net.random.chance(self.manners.nap) {
            net.random.below(self.manners.nap_max)
        } else {
            net.random.below(self.manners.rest_max)
        }
    }

    fn speak(&mut self, net: &mut Net, link: usize) {
        let most = if net.calm || self.manners.is_hasty {
            1 << 16
        } else {
            net.random.some(self.manners.write_max)
        };
        let said = self.progress.said;
        let stop_at = match self.finale {
            Finale::Reset(at) | Finale::Close(at) => at.min(self.says.len()),
            _ => self.says.len(),
        };
        let until = (said + most).min(stop_at).max(said);
        let piece = &self.says[said..until];
        self.progress.said += net.client_write(link, piece).unwrap_or(0);
        if net.random.chance(self.manners.urge) {
            net.client_urge(link);
        }
    }

    /// Takes what has come, now and then, so that the end is no reset.
    fn hear_all(&mut self, net: &mut Net, link: usize) {
        if net.random.once_in(2) {
            while !net.links[link].down.is_empty() && !self.listen(net, link) {}
        }
    }

    /// Reads once; true when it was the end.
    fn listen(&mut self, net: &mut Net, link: usize) -> bool {
        let most = if net.calm {
            1 << 16
        } else {
            net.random.some(self.manners.read_max)
        };
        match net.client_read(link, most) {
            Found::Nothing => false,
            // Refused when it connected, with a word of its own.
            Found::Bytes(_) if net.links[link].must_refuse => false,
            Found::Bytes(bytes) => {
                let from = self.progress.heard;
                let until = from + bytes.len();
                assert!(
                    self.hears.get(from..until) == Some(&bytes[..]),
                    "byte {from} and on: heard {:?} of {:?}; {}",
                    String::from_utf8_lossy(&bytes[..bytes.len().min(80)]),
                    String::from_utf8_lossy(&self.hears[from..self.hears.len().min(from + 80)]),
                    self.sketch(net, link),
                );
                self.progress.heard = until;
                false
            }
            Found::End => {
                let all = self.progress.heard == self.hears.len()
                    && (self.server_ends || self.progress.shut);
                assert!(
                    all || self.is_excused(net, link),
                    "ended after {} of {} bytes: {}",
                    self.progress.heard,
                    self.hears.len(),
                    self.sketch(net, link),
                );
                true
            }
            Found::Reset => {
                assert!(
                    self.is_excused(net, link),
                    "reset after {} of {} bytes: {}",
                    self.progress.heard,
                    self.hears.len(),
                    self.sketch(net, link),
                );
                true
            }
        }
    }

    fn sketch(&self, net: &Net, link: usize) -> String {
        let Talker {
            listener,
            finale,
            manners,
            progress,
            ..
        } = self;
        let idle = net.links[link].idle;
        let link = net.links[link].sketch();
        format!(
            "listener {listener} {finale:?} {manners:?} {progress:?} idle {idle:?} now {} {link}",
            net.now
        )
    }

    /// Whether the server had a reason to end that it may have.
    fn is_excused(&self, net: &Net, link: usize) -> bool {
        let is_outlived = self
            .login
            .as_ref()
            .is_some_and(|login| login.is_outlived(net, link));
        let link = &net.links[link];
        let times = link.times;
        let framed = self.framed || link.tunnel.is_some();
        let slow = framed && net.now.saturating_sub(times.accepted) >= 30 * SECOND;
        // A client that goes on speaking after the server's end gets a reset for it.
        let heard_all = self.progress.heard == self.hears.len();
        let spoke_on = self.server_ends && (heard_all || self.may_miss && self.progress.said > 0);
        link.excused
            || net.stop_sent
            || self.may_be_cut
            || net.may_evict
            || link.has_lingered()
            || link.was_stuck()
            || slow
            || link.was_idle()
            || spoke_on
            || link.must_refuse
            || link.was_late(self.login.is_some())
            || is_outlived
    }
}

/// One of a crowd: says numbered lines, and hears those of others whole and in order.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) listener: usize,
    pub(crate) number: usize,
    pub(crate) lines: usize,
    /// What it says in the end: half a line, or what makes no sense.
    pub(crate) last: &'static [u8],
    pub(crate) finale: Finale,
    pub(crate) manners: Manners,
    /// How it answers the challenge that comes first, if one does.
    pub(crate) login: Option<Login>,
    pub(crate) progress: MemberProgress,
}

/// How far it has come.
#[derive(Debug, Default)]
pub(crate) struct MemberProgress {
    link: Option<usize>,
    said: usize,
    /// What did not fit yet.
    pending: Vec<u8>,
    heard: Vec<u8>,
    /// By member: the number of the last line heard.
    last: Vec<usize>,
    /// Lines that it was told were dropped, and that it has not missed.
    dropped: usize,
    home: bool,
    shut: bool,
    /// It has said the last.
    ends: bool,
    /// It was challenged, and has begun with its answer.
    is_challenged: bool,
}

impl Client for Member {
    fn step(&mut self, net: &mut Net) -> Option<u64> {
        let progress = &mut self.progress;
        let Some(link) = progress.link else {
            progress.link = net.connect(self.listener, 1 << 14);
            progress.home = progress.link.is_none();
            return progress.link.map(|_| MICRO);
        };
        if let Some(login) = self.login.as_mut().filter(|_| !progress.is_challenged) {
            match login.step(net, link) {
                Step::Waits => {}
                Step::Over => {
                    net.client_close(link);
                    progress.home = true;
                    return None;
                }
                Step::Says(proof) => {
                    progress.is_challenged = true;
                    progress.pending = proof;
                    if !matches!(login.answer(), Answer::Right(_)) {
                        (self.lines, self.last) = (0, b"");
                    }
                }
            }
            return Some(net.random.below(MILLI));
        }
        if progress.pending.is_empty() && progress.said < self.lines && net.random.once_in(2) {
            progress.said += 1;
            let pad = net.random.size(2000);
            let line = format!("{} {} {}\n", self.number, progress.said, "x".repeat(pad));
            progress.pending = line.into_bytes();
        }
        let mut done = progress.said == self.lines && progress.pending.is_empty();
        let is_last = done && !progress.ends && (net.calm || net.random.once_in(16));
        if is_last {
            progress.ends = true;
            progress.pending = self.last.to_vec();
        }
        if (is_last || done) && net.random.once_in(2) {
            while let Found::Bytes(bytes) = net.client_read(link, 1 << 16) {
                progress.heard.extend_from_slice(&bytes);
            }
        }
        let most = net
            .random
            .some(self.manners.write_max)
            .min(progress.pending.len());
        if most > 0 {
            let n = net
                .client_write(link, &progress.pending[..most])
                .unwrap_or(most);
            progress.pending.drain(..n);
        }
        done = progress.pending.is_empty();
        if done && !progress.shut && progress.ends {
            match self.finale {
                Finale::Reset(_) => net.client_reset(link),
                Finale::Close(_) => net.client_close(link),
                _ => net.client_shut(link),
            }
            progress.shut = true;
            progress.home = matches!(self.finale, Finale::Reset(_) | Finale::Close(_));
            if progress.home {
                return None;
            }
        }
        let listens = net.calm || !(self.manners.reads_late && progress.said < self.lines);
        if listens && (net.calm || net.random.once_in(2)) {
            let most = if net.calm {
                1 << 16
            } else {
                net.random.some(self.manners.read_max)
            };
            match net.client_read(link, most) {
                Found::Bytes(bytes) => {
                    progress.heard.extend_from_slice(&bytes);
                    self.understand();
                }
                Found::Nothing => {}
                Found::End | Found::Reset => {
                    net.client_close(link);
                    self.progress.home = true;
                    return None;
                }
            }
        }
        Some(if net.calm {
            net.random.below(MILLI)
        } else if net.random.chance(self.manners.nap) {
            net.random.below(self.manners.nap_max)
        } else {
            net.random.below(self.manners.rest_max)
        })
    }

    fn is_home(&self) -> bool {
        self.progress.home
    }
}

impl Member {
    fn understand(&mut self) {
        let progress = &mut self.progress;
        let heard = std::mem::take(&mut progress.heard);
        for line in heard.split_inclusive(|&b| b == b'\n') {
            if !line.ends_with(b"\n") {
                progress.heard = line.to_vec();
                break;
            }
            let line = String::from_utf8_lossy(line);
            if let Some(lines) = line.strip_prefix("* lines dropped, since you did not read them: ")
            {
                let lines = lines.trim_end().parse::<usize>();
                progress.dropped += lines.expect("a whole line with a number");
                continue;
            }
            if line.starts_with("* ") {
                continue;
            }
            // The chat says which member it was, the crowd does not.
            let said = line
                .split_once(": ")
                .map_or(line.as_ref(), |(_, said)| said);
            let mut words = said.trim_end_matches('\n').split(' ');
            let mut number = || words.next().and_then(|word| word.parse::<usize>().ok());
            let (Some(member), Some(n)) = (number(), number()) else {
                panic!("heard half a line: {line:?}");
            };
            assert!(
                words
                    .next()
                    .is_some_and(|pad| pad.bytes().all(|b| b == b'x')),
                "{line:?}"
            );
            assert!(member != self.number, "heard itself");
            if progress.last.len() <= member {
                progress.last.resize(member + 1, 0);
            }
            if progress.last[member] != 0 {
                assert!(
                    n > progress.last[member],
                    "twice, or out of order: {line:?}"
                );
                let missing = n - progress.last[member] - 1;
                assert!(
                    missing <= progress.dropped,
                    "a gap without a reason: {line:?}"
                );
                progress.dropped -= missing;
            }
            progress.last[member] = n;
        }
    }
}

/// Sends datagrams.
#[derive(Debug)]
pub(crate) struct Poster {
    pub(crate) socket: usize,
    pub(crate) port: u16,
    pub(crate) left: usize,
}

impl Client for Poster {
    fn step(&mut self, net: &mut Net) -> Option<u64> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let len = net.random.size(2000);
        let bytes: Vec<u8> = (0..len).map(|_| net.random.next() as u8).collect();
        net.post(
            self.socket,
            &bytes,
            SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)),
        );
        Some(net.random.below(MILLI))
    }

    fn is_home(&self) -> bool {
        self.left == 0
    }
}

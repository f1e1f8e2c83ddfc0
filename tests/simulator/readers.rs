//! Readers of a broadcast: each hears whole lines, each stream of them in order and without a gap, from the
//! first that it hears until it goes, or does not keep up.

use onepoll::turn::Output;

use crate::clients::Manners;
use crate::family::{Step as Does, Steps};
use crate::gates::{Answer, Login, Step};
use crate::kernel::{Client, Found, MICRO, MILLI, Net, SECOND};
use crate::occasions::Occasion;
use crate::random::Random;

/// Command lines of broadcasts begin so.
const LINE: &str = "broadcast ";

/// What a broadcast writes each time that it runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script {
    number: u64,
    /// How many lines there are of standard output, and of standard error.
    lines: [usize; 2],
}

impl Script {
    pub(crate) fn some(random: &mut Random) -> Script {
        Script::of(random.below(1 << 32))
    }

    fn of(number: u64) -> Script {
        let mut random = Random::new(number);
        Script {
            number,
            lines: [random.some(20), random.below(5) as usize],
        }
    }

    pub(crate) fn line(self) -> String {
        format!("{LINE}{}", self.number)
    }

    /// What a command does, if it is one of these.
    pub(crate) fn steps(line: &[u8]) -> Option<Steps> {
        let line = std::str::from_utf8(line).ok()?;
        let Script { number, lines } = Script::of(line.strip_prefix(LINE)?.parse().ok()?);
        let mut random = Random::new(!number);
        let mut steps = Steps::new();
        for (output, lines) in [(Output::Out, lines[0]), (Output::Err, lines[1])] {
            let mut all = String::new();
            for n in 1..=lines {
                let max = if random.once_in(16) { 9_000 } else { 300 };
                all += &format!("{} {n} {}\n", name(output), "x".repeat(random.size(max)));
            }
            if random.once_in(2) {
                // It ends in the middle of a line.
                all.pop();
            }
            let mut rest = all.as_bytes();
            while !rest.is_empty() {
                let most = if random.once_in(4) { rest.len() } else { 600 };
                let piece = rest.split_off(..random.some(most).min(rest.len()));
                let says = Does::Say(output, piece.expect("it is within").to_vec());
                // Between those of the other output.
                let at = match output {
                    Output::Out => steps.len(),
                    Output::Err => random.index(steps.len() + 1),
                };
                let last_err = steps.iter().rposition(|(_, does)| is_of(does, Output::Err));
                let at = at.max(last_err.map_or(0, |last| last + 1));
                steps.insert(at, (random.pick(&[0, 1, MILLI, 20 * MILLI]), says));
            }
        }
        if random.once_in(4) {
            steps.push_back((0, random.pick(&[&Does::Escape, &Does::Fork]).clone()));
        }
        let code = random.below(256) as i32;
        let stays = random.pick(&[0, MILLI, 100 * MILLI, 5 * SECOND]);
        steps.push_back((stays, Does::Exit(code)));
        Some(steps)
    }
}

fn is_of(does: &Does, output: Output) -> bool {
    matches!(does, Does::Say(of, _) if *of == output)
}

fn name(output: Output) -> char {
    match output {
        Output::Out => 'o',
        Output::Err => 'e',
    }
}

/// Reads, now and then says something that nobody looks at, and goes.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) listener: usize,
    pub(crate) script: Script,
    /// The command is started again when it ends.
    pub(crate) restarts: bool,
    /// The service ends connections when it likes.
    pub(crate) may_be_cut: bool,
    pub(crate) manners: Manners,
    pub(crate) login: Option<Login>,
    /// How many lines it reads.
    pub(crate) wants: usize,
    /// It ends its output early, and reads on.
    pub(crate) shuts: bool,
    pub(crate) resets: bool,
    pub(crate) progress: ReaderProgress,
}

/// How far it has come.
#[derive(Debug, Default)]
pub(crate) struct ReaderProgress {
    link: Option<usize>,
    heard: Vec<u8>,
    lines: usize,
    /// The number of the last line of each stream; 0: none.
    last: [usize; 2],
    /// Its answer to the challenge, as much as has not left.
    proof: Option<Vec<u8>>,
    is_shut: bool,
    calm_steps: u32,
    is_home: bool,
}

impl Client for Reader {
    fn step(&mut self, net: &mut Net) -> Option<u64> {
        let Some(link) = self.progress.link else {
            self.progress.link = net.connect(self.listener, 64);
            return match self.progress.link {
                Some(_) => Some(MICRO),
                None => self.go_home(),
            };
        };
        if let Some(login) = self
            .login
            .as_mut()
            .filter(|_| self.progress.proof.is_none())
        {
            match login.step(net, link) {
                Step::Waits => {}
                Step::Over => {
                    net.client_close(link);
                    return self.go_home();
                }
                Step::Says(proof) => self.progress.proof = Some(proof),
            }
            return Some(net.random.below(MILLI));
        }
        self.speak(net, link);
        let listens = net.calm || !self.manners.reads_late || net.random.once_in(8);
        if listens && (net.calm || net.random.once_in(2)) && self.listen(net, link) {
            net.client_close(link);
            return self.go_home();
        }
        self.progress.calm_steps += u32::from(net.calm);
        if self.progress.lines >= self.wants || self.progress.calm_steps > 30 {
            match self.resets {
                true => net.client_reset(link),
                false => net.client_close(link),
            }
            return self.go_home();
        }
        Some(match net.calm {
            true => net.random.below(20 * MILLI),
            false if net.random.chance(self.manners.nap) => net.random.below(self.manners.nap_max),
            false => net.random.below(self.manners.rest_max),
        })
    }

    fn is_home(&self) -> bool {
        self.progress.is_home
    }
}

impl Reader {
    fn go_home(&mut self) -> Option<u64> {
        self.progress.is_home = true;
        None
    }

    /// Its proof first, then anything.
    fn speak(&mut self, net: &mut Net, link: usize) {
        if let Some(proof) = self
            .progress
            .proof
            .as_mut()
            .filter(|proof| !proof.is_empty())
        {
            let n = net.client_write(link, proof).unwrap_or(proof.len());
            proof.drain(..n);
            return;
        }
        if !self.is_let_in() || self.progress.is_shut {
            return;
        }
        if net.random.once_in(32) {
            net.client_write(link, b"is anybody there?\n");
        }
        if self.shuts && net.random.once_in(8) {
            net.client_shut(link);
            self.progress.is_shut = true;
        }
    }

    /// Whether it proves what is right, or need not.
    fn is_let_in(&self) -> bool {
        let login = self.login.as_ref();
        login.is_none_or(|login| matches!(login.answer(), Answer::Right(_)))
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
            Found::Bytes(_) if net.links[link].must_refuse => false,
            Found::Bytes(bytes) => {
                assert!(self.is_let_in(), "{bytes:?} without a proof");
                self.progress.heard.extend_from_slice(&bytes);
                self.understand(net);
                false
            }
            found => {
                self.ends(net, link, &found);
                true
            }
        }
    }

    fn understand(&mut self, net: &mut Net) {
        let heard = std::mem::take(&mut self.progress.heard);
        for line in heard.split_inclusive(|&byte| byte == b'\n') {
            let Some(whole) = line.strip_suffix(b"\n") else {
                self.progress.heard = line.to_vec();
                return;
            };
            let text = std::str::from_utf8(whole).expect("it is text");
            let mut words = text.split(' ');
            let which = match words.next() {
                Some("o") => 0,
                Some("e") => 1,
                _ => panic!("half a line, or two: {text:?}"),
            };
            let n: usize = words.next().and_then(|n| n.parse().ok()).expect("a number");
            let is_padded = words
                .next()
                .is_some_and(|pad| pad.bytes().all(|b| b == b'x'));
            assert!(is_padded && words.next().is_none(), "{text:?}");
            let (last, lines) = (self.progress.last[which], self.script.lines[which]);
            let again = last == lines && n == 1;
            let is_next = last == 0 || n == last + 1 || again && self.restarts;
            assert!(is_next && n <= lines, "{n} of {lines} after {last}");
            if again && last > 0 {
                net.occasions.note(Occasion::ReaderHeardAgain);
            }
            self.progress.last[which] = n;
            self.progress.lines += 1;
        }
    }

    /// The server has ended it, for which there is a reason.
    fn ends(&self, net: &mut Net, link: usize, found: &Found) {
        let has_all = (0..2).all(|which| {
            let (last, lines) = (self.progress.last[which], self.script.lines[which]);
            last == 0 || last == lines
        });
        let is_over = !self.restarts && has_all && self.progress.heard.is_empty();
        let link = &net.links[link];
        let is_behind = link.was_full;
        let is_else = is_over
            || !self.is_let_in()
            || self.login.is_some() && !link.is_inside
            || link.was_idle()
            || link.was_late(self.login.is_some())
            || link.was_stuck()
            || link.has_lingered()
            || link.excused
            || link.must_refuse
            || self.may_be_cut
            || net.stop_sent
            || net.may_evict;
        assert!(
            is_else || is_behind,
            "{found:?} after {:?} of {:?}: {}",
            self.progress.last,
            self.script.lines,
            link.sketch()
        );
        if !is_else {
            net.occasions.note(Occasion::ReaderLetGo);
        } else if is_over && self.progress.lines > 0 {
            net.occasions.note(Occasion::ReaderHeardTheEnd);
        }
    }
}

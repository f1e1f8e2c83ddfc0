//! People who come, speak, ask and go, and what must hold of what they heard.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::hazards::Hazard;
use super::nats::Nats;
use super::{ALONE, Due, Servers};
use crate::kernel::SECOND;
use crate::random::Random;

/// Names for which people contend.
pub(super) const NAMES: [&str; 4] = ["ann", "bob", "cid", "dora"];

const TOGETHER: &str = "* the bus is back: other servers hear you again";

/// Everybody, by number.
#[derive(Debug)]
pub(super) struct People {
    all: Vec<Person>,
    /// They only listen.
    pub(super) are_calm: bool,
}

/// What one person has said and heard, in all their connections.
#[derive(Debug, Default)]
struct Person {
    server: usize,
    /// In a room of its own, with some others.
    is_in_den: bool,
    /// Reads only now and then.
    is_slow: bool,
    wire: Option<usize>,
    name: String,
    /// How many lines were said in all, and in which session each of them.
    lines: u32,
    said_in: Vec<usize>,
    /// Lines that were passed on: a pong said so.
    accepted: BTreeSet<u32>,
    /// How many private lines.
    whispers: u32,
    /// Only people of the same server hear it.
    is_alone: bool,
    sessions: Vec<Session>,
    /// What was heard since a question at the end.
    answers: Vec<String>,
    /// Since when they have or want a name.
    asked: HashMap<String, u64>,
    /// What they heard and should not have.
    wrong: Option<String>,
}

#[derive(Debug, Default)]
struct Session {
    /// The last line of their own before it.
    own: u32,
    /// What everybody had said when it began to hear: of each, the next line must come.
    began: Option<Vec<u32>>,
    heard: Vec<(usize, u32)>,
    whispers: Vec<(usize, u32)>,
    was_alone: bool,
    /// What the guests of its server have in their names.
    tag: String,
    /// Some lines were dropped.
    misses: bool,
    lasted: bool,
}

/// What is known of all lines.
struct Kept {
    /// Where each is.
    places: HashMap<(usize, u32), (u64, usize)>,
    /// Those that were refused for good.
    lost: HashSet<(usize, u32)>,
}

impl Kept {
    fn of(nats: &Nats) -> Result<Kept, String> {
        let mut places = HashMap::new();
        for (n, (place, line)) in nats.order().enumerate() {
            if let Some(line) = line_of(line)
                && places.insert(line, (place, n)).is_some()
            {
                return Err(format!("I11: {line:?} was kept twice"));
            }
        }
        let lost = nats
            .lost
            .iter()
            .flat_map(|said| said.split(|byte| *byte == b'\n'));
        let lost = lost.filter_map(line_of).collect();
        Ok(Kept { places, lost })
    }
}

/// The line that somebody said, as all hear it: whose, and which.
fn line_of(heard: &[u8]) -> Option<(usize, u32)> {
    let heard = std::str::from_utf8(heard).ok()?;
    let (name, text) = heard.split_once(": ")?;
    (!name.contains([' ', '*', '['])).then(|| pair(text))?
}

fn pair(text: &str) -> Option<(usize, u32)> {
    let (who, line) = text.split_once('.')?;
    Some((who.parse().ok()?, line.parse().ok()?))
}

impl People {
    pub(super) fn new(servers: &mut Servers, random: &mut Random, count: usize) -> People {
        let crowd = 3 + random.index(5);
        let person = |n| Person {
            server: n % count,
            is_in_den: random.once_in(4),
            is_slow: random.once_in(6),
            ..Person::default()
        };
        let all: Vec<Person> = (0..crowd).map(person).collect();
        for n in 0..all.len() {
            let wait = random.below(SECOND);
            servers.world.borrow_mut().plan(wait, Due::Person(n));
        }
        People {
            all,
            are_calm: false,
        }
    }

    /// A person does something, and rests.
    pub(super) fn step(&mut self, servers: &mut Servers, n: usize, random: &mut Random) {
        self.listen_one(servers, n);
        if self.are_calm {
            // Whoever is slow must not be sent away by what is not read.
            servers.world.borrow_mut().plan(SECOND / 10, Due::Person(n));
            return;
        }
        match self.all[n].wire {
            None => self.come(servers, n, random),
            Some(wire) if random.once_in(25) => {
                servers.leaves(wire);
                self.all[n].wire = None;
            }
            Some(wire) => {
                self.speak(servers, n, wire, random);
                if random.once_in(3) {
                    self.ask(servers, n, wire, random);
                }
            }
        }
        let wait = random.below(2 * SECOND);
        servers.world.borrow_mut().plan(wait, Due::Person(n));
    }

    fn come(&mut self, servers: &mut Servers, n: usize, random: &mut Random) {
        let said: Vec<u32> = self.all.iter().map(|person| person.lines).collect();
        let person = &mut self.all[n];
        if random.once_in(4) {
            person.server = random.index(servers.loops.len());
        }
        if servers.loops[person.server].is_none() {
            return;
        }
        let wire = servers.dials(person.server);
        servers.world.borrow_mut().wires[wire].is_slow = person.is_slow;
        person.wire = Some(wire);
        person.is_alone = false;
        person.name.clear();
        person.asked.clear();
        let began = match person.is_in_den {
            true => {
                servers.says(wire, "/join den\n");
                None
            }
            false => Some(said),
        };
        person.sessions.push(Session {
            own: person.lines,
            began,
            ..Session::default()
        });
    }

    fn speak(&mut self, servers: &mut Servers, n: usize, wire: usize, random: &mut Random) {
        let person = &mut self.all[n];
        for _ in 0..random.some(3) {
            person.lines += 1;
            person.said_in.push(person.sessions.len());
            let line = person.lines;
            servers.says(wire, &format!("{n}.{line}\n"));
            if random.once_in(2) {
                servers.says(wire, &format!("/ping {n}.{line}\n"));
            }
        }
    }

    /// Asks for something else.
    fn ask(&mut self, servers: &mut Servers, n: usize, wire: usize, random: &mut Random) {
        let name = random.pick(&NAMES);
        let person = &mut self.all[n];
        let asked = match random.below(16) {
            0..=4 => {
                let now = servers.world.borrow().now;
                person.asked.entry(name.to_owned()).or_insert(now);
                format!("/nick {name}\n")
            }
            5 => format!("/nick p{n}-{}\n", person.lines),
            6..=8 => {
                person.whispers += 1;
                format!("/msg {name} {n}.{}\n", person.whispers)
            }
            9 => "/who\n".into(),
            10 => "/who den\n/rooms\n".into(),
            11 => format!("/topic {}\n", person.lines),
            12 => "/away tea\n".into(),
            13 => format!("/kick {name} out\n"),
            14 if random.once_in(2) => format!("/ban {name} out\n"),
            _ => format!("/unban {name}\n"),
        };
        servers.says(wire, &asked);
    }

    /// What everybody hears is written down.
    pub(super) fn listen(&mut self, servers: &mut Servers) {
        for n in 0..self.all.len() {
            self.listen_one(servers, n);
        }
    }

    fn listen_one(&mut self, servers: &mut Servers, n: usize) {
        let Some(wire) = self.all[n].wire else {
            return;
        };
        for heard in servers.hears(wire) {
            if servers.world.borrow().is_traced {
                eprintln!(
                    "{:10.6} {n} hears {heard}",
                    servers.world.borrow().now as f64 / 1e9
                );
            }
            let hazard = self.hear(n, &heard);
            self.hear_of_names(n, &heard, hazard, &servers.world.borrow().nats);
            if let Some(hazard) = hazard {
                servers.counts(hazard);
            }
        }
        if servers.world.borrow().wires[wire].is_closed {
            self.all[n].wire = None;
        }
    }

    /// What comes of a line, if it is more than that.
    fn hear(&mut self, n: usize, heard: &str) -> Option<Hazard> {
        let said: Vec<u32> = self.all.iter().map(|person| person.lines).collect();
        let person = &mut self.all[n];
        let this = person.sessions.len();
        let session = person.sessions.last_mut()?;
        if self.are_calm {
            person.answers.push(heard.to_owned());
        }
        if let Some(line) = line_of(heard.as_bytes()) {
            session.heard.push(line);
            return None;
        }
        if let Some((_, whisper)) = heard.split_once(" (private): ") {
            session.whispers.extend(pair(whisper));
            return Some(Hazard::Private);
        }
        let notice = heard.strip_prefix("* ")?;
        if let Some((_, line)) = notice.strip_prefix("pong ").and_then(pair) {
            if !person.is_alone {
                // All that was said before in this session has been passed on.
                let lines = session.own + 1..=line;
                let lines = lines.filter(|at| person.said_in[*at as usize - 1] == this);
                person.accepted.extend(lines);
            }
            return None;
        }
        if heard == ALONE {
            (person.is_alone, session.was_alone) = (true, true);
            return Some(Hazard::Alone);
        }
        if heard == TOGETHER {
            person.is_alone = false;
            return Some(Hazard::Together);
        }
        if notice.starts_with("you are in den ") {
            session.began = Some(said);
        }
        if let Some(name) = notice.strip_prefix("you are now ") {
            name.clone_into(&mut person.name);
            return (!name.starts_with("guest-")).then_some(Hazard::NameTaken);
        }
        if let Some((name, _)) = notice
            .strip_prefix("you are ")
            .and_then(|rest| rest.split_once(" in lobby ("))
        {
            name.clone_into(&mut person.name);
            name["guest-".len()..][..6].clone_into(&mut session.tag);
        }
        if let Some(name) = notice
            .strip_prefix("you are ")
            .filter(|rest| !rest.contains(' '))
        {
            name.clone_into(&mut person.name);
        }
        if notice.starts_with("lines dropped, ") {
            // That the bus is away, or back, may have been one of them.
            (session.misses, session.was_alone, person.is_alone) = (true, true, true);
            return Some(Hazard::LinesDropped);
        }
        let ends = [
            (" is somebody else's name", Hazard::NameRefused),
            (" is somebody else's by now", Hazard::NameLost),
            (": try again later", Hazard::NameUnsure),
            (" left (did not keep up)", Hazard::TooSlow),
            (" was removed", Hazard::RemovedAfar),
        ];
        let begins = [
            ("names cannot be taken while", Hazard::NameNotNow),
            ("lost, and heard by nobody else", Hazard::ToldLost),
            ("nobody is called ", Hazard::NobodyCalled),
            ("in ", Hazard::Who),
            ("you were removed", Hazard::Removed),
            ("you are banned", Hazard::Banned),
        ];
        let ends = ends.iter().find(|(text, _)| notice.ends_with(text));
        let begins = || begins.iter().find(|(text, _)| notice.starts_with(text));
        ends.or_else(begins).map(|(_, hazard)| *hazard)
    }

    /// A name is lost to somebody else only: on another server, which has written it meanwhile.
    fn hear_of_names(&mut self, n: usize, heard: &str, hazard: Option<Hazard>, nats: &Nats) {
        let person = &mut self.all[n];
        let tag = person.sessions.last().map(|session| session.tag.as_str());
        let Some(tag) = tag.filter(|tag| !tag.is_empty()) else {
            return;
        };
        let name = heard.split(' ').nth(1).unwrap_or_default();
        match hazard {
            Some(Hazard::NameTaken) => {
                // Those that they had before are given back.
                let since = person.asked.get(&person.name).copied().unwrap_or(0);
                person.asked.retain(|_, asked| *asked >= since);
            }
            Some(Hazard::NameRefused) if person.name != name => {
                person.asked.remove(name);
            }
            Some(Hazard::NameLost) => {
                let Some(asked) = person.asked.remove(name) else {
                    return;
                };
                let mut writers = nats.writers(name);
                let own = writers.find(|(at, server)| *at >= asked && server.starts_with(tag));
                if own.is_none() || writers.all(|(_, server)| server.starts_with(tag)) {
                    person.wrong = Some(format!("{n} lost {name}, which nobody else has taken"));
                }
            }
            _ => {}
        }
    }

    fn present(&self) -> impl Iterator<Item = (usize, &Person, usize)> {
        let all = self.all.iter().enumerate();
        all.filter_map(|(n, person)| Some((n, person, person.wire?)))
    }

    // The end.

    /// Everybody says one more line, which must be passed on.
    pub(super) fn say_last_words(&mut self, servers: &mut Servers) {
        for (n, person) in self.all.iter_mut().enumerate() {
            let Some(wire) = person.wire else {
                continue;
            };
            person.lines += 1;
            person.said_in.push(person.sessions.len());
            let line = person.lines;
            servers.says(wire, &format!("{n}.{line}\n/ping {n}.{line}\n"));
        }
    }

    pub(super) fn judge_last_words(&self) -> Result<(), String> {
        for (n, person, _) in self.present() {
            let line = person.lines;
            if !person.answers.contains(&format!("* pong {n}.{line}")) {
                return Err(format!("{n}.{line} was not passed on in the end"));
            }
        }
        Ok(())
    }

    pub(super) fn ask_who(&mut self, servers: &mut Servers) {
        for person in &mut self.all {
            person.answers.clear();
            if let Some(wire) = person.wire {
                // Who did not read may not know what they are called.
                servers.says(wire, "/nick\n/who\n");
            }
        }
    }

    /// Everybody is told the same, and that is true; nobody has the name of somebody else.
    pub(super) fn judge_names(&self) -> Result<(), String> {
        let mut rooms: BTreeMap<bool, BTreeSet<&str>> = BTreeMap::new();
        let mut names = BTreeSet::new();
        for (n, person, _) in self.present() {
            if !names.insert(person.name.to_ascii_lowercase()) {
                return Err(format!(
                    "{n} is called {}, and is not alone in it",
                    person.name
                ));
            }
            rooms
                .entry(person.is_in_den)
                .or_default()
                .insert(&person.name);
        }
        for (n, person, _) in self.present() {
            let room = if person.is_in_den {
                "* in den: "
            } else {
                "* in lobby: "
            };
            let mut told = person
                .answers
                .iter()
                .filter_map(|heard| heard.strip_prefix(room));
            let Some(told) = told.next() else {
                return Err(format!(
                    "{n} was not told who is there: {:?}",
                    person.answers
                ));
            };
            let told: Vec<&str> = told
                .split(", ")
                .map(|name| name.trim_end_matches(" (away)"))
                .collect();
            let mut sorted = told.clone();
            sorted.sort_unstable();
            let there: Vec<&str> = rooms[&person.is_in_den].iter().copied().collect();
            if sorted != there {
                return Err(format!(
                    "{n} was told {told:?} are there, and {there:?} are"
                ));
            }
        }
        Ok(())
    }

    /// Somebody asks for a name that nobody has. Whether there is somebody, and it is such a name.
    pub(super) fn ask_for(&mut self, servers: &mut Servers, name: &str) -> bool {
        let is_had = self
            .present()
            .any(|(_, person, _)| person.name.eq_ignore_ascii_case(name));
        // Not the same one for all: a lease is that of a server.
        let asks = self.present().last().map(|(n, _, wire)| (n, wire));
        let Some((n, wire)) = asks.filter(|_| !is_had) else {
            return false;
        };
        self.all[n].answers.clear();
        servers.says(wire, &format!("/unban {name}\n/nick {name}\n"));
        true
    }

    pub(super) fn judge_claim(&self, name: &str) -> Result<(), String> {
        let taken = format!("* you are now {name}");
        match self.present().last() {
            Some((n, person, _)) if !person.answers.contains(&taken) => Err(format!(
                "{n} cannot be called {name}, as nobody is: {:?}",
                person.answers
            )),
            _ => Ok(()),
        }
    }

    /// What must hold of what everybody heard of what this has kept. Says how many lines had to come somewhere.
    pub(super) fn judge(&mut self, nats: &Nats) -> Result<u64, String> {
        let kept = Kept::of(nats)?;
        if let Some(wrong) = self.all.iter().find_map(|person| person.wrong.clone()) {
            return Err(wrong);
        }
        for person in &mut self.all {
            let is_here = person.wire.is_some();
            if let Some(session) = person.sessions.last_mut() {
                session.lasted = is_here;
            }
        }
        let mut owed = 0;
        for (n, person) in self.all.iter().enumerate() {
            for session in &person.sessions {
                session.judge(n, &kept)?;
                // What was kept before its server had ever been on the bus is history there.
                let Some(begun) = nats.begun(&session.tag) else {
                    continue;
                };
                for (other, _) in self.all.iter().enumerate().filter(|(other, _)| *other != n) {
                    owed += self.judge_owed(n, (session, begun), other, &kept)?;
                }
            }
        }
        Ok(owed)
    }

    /// Whoever stays hears all that was passed on; whoever leaves, all up to what they heard last.
    fn judge_owed(
        &self,
        n: usize,
        (session, begun): (&Session, u64),
        other: usize,
        kept: &Kept,
    ) -> Result<u64, String> {
        let speaker = &self.all[other];
        let Some(began) = session.began.as_ref().map(|began| began[other]) else {
            return Ok(0);
        };
        if session.misses || self.all[n].is_in_den != speaker.is_in_den {
            return Ok(0);
        }
        let heard: HashSet<u32> = session
            .heard
            .iter()
            .filter(|(who, _)| *who == other)
            .map(|(_, line)| *line)
            .collect();
        // The last line of each of their sessions that was heard.
        let mut last: HashMap<usize, u32> = HashMap::new();
        for line in &heard {
            let until = last.entry(speaker.said_in[*line as usize - 1]).or_default();
            *until = (*until).max(*line);
        }
        let mut owed = 0;
        for line in speaker.accepted.range(began + 1..) {
            let until = last.get(&speaker.said_in[*line as usize - 1]);
            let is_owed =
                session.lasted || !session.was_alone && until.is_some_and(|until| line < until);
            let is_earlier = kept
                .places
                .get(&(other, *line))
                .is_some_and(|at| at.0 <= begun);
            if is_owed && !is_earlier && !kept.lost.contains(&(other, *line)) {
                owed += 1;
                if !heard.contains(line) {
                    return Err(format!(
                        "I11: {n} missed {other}.{line}, which was passed on"
                    ));
                }
            }
        }
        Ok(owed)
    }
}

impl Session {
    /// Once, in the order of all, and nothing of one's own.
    fn judge(&self, n: usize, kept: &Kept) -> Result<(), String> {
        for heard in [&self.heard, &self.whispers] {
            let mut once = HashSet::new();
            if let Some(line) = heard.iter().find(|line| !once.insert(**line)) {
                return Err(format!("I11: {n} heard {line:?} twice"));
            }
        }
        // Who has come back is another member, to whom what they said before may come late.
        let own = |line: &&(usize, u32)| line.0 == n && line.1 > self.own;
        if let Some(own) = self.heard.iter().find(own) {
            return Err(format!("I11: {n} heard their own {own:?}"));
        }
        // Who was alone for a while heard some lines earlier than others did.
        if self.was_alone {
            return Ok(());
        }
        let mut last = None;
        for line in &self.heard {
            let Some(place) = kept.places.get(line) else {
                return Err(format!("I11: {n} heard {line:?}, which was not kept"));
            };
            if last.is_some_and(|last| last > place) {
                return Err(format!("I11: {n} heard {line:?} too late"));
            }
            last = Some(place);
        }
        Ok(())
    }
}

//! A person behind an endpoint (T5), in seeds: people come, speak, half-close, hang up and vanish in any order, on
//! both sides, and each hears what a few lines of model say.

use onepoll::config::Written;
use onepoll::service::talk::Options;
use onepoll::service::{Talk, Terms};

use crate::overheard::Temper;
use crate::play::Play;
use crate::random::Random;

const SEEDS: u64 = 200;
const STEPS: usize = 60;

const ALONE: &str = "* nobody is here; what you say is kept until somebody is\n";

/// Who is there, and what each has to hear.
#[derive(Debug, Default)]
struct Model {
    person: Option<End>,
    call: Option<End>,
    /// What the peer said while nobody was here.
    kept: String,
    /// It was told that nobody is.
    is_alone: bool,
}

/// One end of the conversation.
#[derive(Debug)]
struct End {
    link: usize,
    /// What has come must be this: of names of peers and reasons only the mark.
    expects: String,
    /// It has ended its output.
    has_ended: bool,
}

impl End {
    fn new(link: usize) -> End {
        End {
            link,
            expects: String::new(),
            has_ended: false,
        }
    }

    fn hears(&mut self, line: &str) {
        self.expects.push_str(line);
    }
}

/// Names and reasons differ, their marks do not.
fn unnamed(heard: &[u8]) -> String {
    let lines = std::str::from_utf8(heard).unwrap().split_inclusive('\n');
    let unnamed = lines.map(|line| match line.as_bytes() {
        [b'+' | b'-', b' ', ..] => &line[..1],
        _ if line.starts_with("* ") && line.ends_with("says nothing more; `q` hangs up\n") => {
            "* ended\n"
        }
        _ => line,
    });
    unnamed.collect()
}

impl Model {
    fn person_comes(&mut self, link: usize) -> Option<&'static str> {
        if self.person.is_some() {
            return Some("! somebody is attached already\n");
        }
        let mut person = End::new(link);
        match &mut self.call {
            None => person.hears("* nobody has called yet\n"),
            Some(call) => {
                person.hears("+");
                person.hears(&std::mem::take(&mut self.kept));
                if std::mem::take(&mut self.is_alone) {
                    call.hears("* somebody is here now\n");
                }
            }
        }
        self.person = Some(person);
        None
    }

    fn peer_comes(&mut self, link: usize) -> Option<&'static str> {
        if self.call.is_some() {
            return Some("* busy: one peer at a time; call again later\n");
        }
        let mut call = End::new(link);
        match &mut self.person {
            Some(person) => person.hears("+"),
            None => {
                call.hears(ALONE);
                self.is_alone = true;
            }
        }
        self.call = Some(call);
        None
    }

    fn peer_says(&mut self, text: &str) {
        let line = format!("< {text}\n");
        match &mut self.person {
            Some(person) => person.hears(&line),
            None => self.kept.push_str(&line),
        }
    }

    /// The peer is none any more; gives it back.
    fn call_ends(&mut self) -> Option<End> {
        let call = self.call.take()?;
        self.kept.clear();
        self.is_alone = false;
        if let Some(person) = &mut self.person {
            person.hears("-");
        }
        Some(call)
    }

    fn person_leaves(&mut self) {
        self.person = None;
        if let Some(call) = &mut self.call {
            call.hears(ALONE);
            self.is_alone = true;
        }
    }
}

fn terms(is_person: bool) -> Terms {
    let options = Options {
        person: is_person,
        ..Options::default()
    };
    Terms {
        options: Written::of(&options),
        ..Terms::default()
    }
}

/// In pieces, with turns of the loop between them or without.
fn says(play: &mut Play, random: &mut Random, link: usize, text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let (now, later) = rest.split_at(random.some(rest.len()));
        play.say(link, now);
        if random.once_in(2) {
            play.run();
        }
        rest = later;
    }
    play.run();
}

#[track_caller]
fn check(play: &Play, end: Option<&mut End>, seed: u64) {
    if let Some(end) = end {
        let heard = unnamed(&play.hears(end.link));
        assert_eq!(heard, std::mem::take(&mut end.expects), "seed {seed}");
    }
}

#[test]
fn t5_seeds_of_people_who_come_speak_and_go() {
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let mut play = Play::directed();
        let talk = Talk::new(&Options::default(), 1 << 10);
        let service = play.add(talk, Temper::default());
        let peers = play.listen(service, |options| options.terms = terms(false));
        let person = play.listen(service, |options| options.terms = terms(true));
        let mut model = Model::default();
        for _ in 0..STEPS {
            match random.below(12) {
                0 | 1 => {
                    let link = play.dial(person);
                    play.run();
                    if let Some(refusal) = model.person_comes(link) {
                        assert_eq!(unnamed(&play.hears(link)), refusal, "seed {seed}");
                        play.reset(link);
                    }
                }
                2 | 3 => {
                    let link = play.dial(peers);
                    play.run();
                    if let Some(refusal) = model.peer_comes(link) {
                        assert_eq!(unnamed(&play.hears(link)), refusal, "seed {seed}");
                        play.reset(link);
                    }
                }
                4..=6 => {
                    let text = random.pick(&["hello", "", "q?", " q", "你好", "* hung up"]);
                    if let Some(link) = model
                        .call
                        .as_ref()
                        .filter(|end| !end.has_ended)
                        .map(|end| end.link)
                    {
                        says(&mut play, &mut random, link, &format!("{text}\n"));
                        model.peer_says(text);
                    }
                }
                7 | 8 => {
                    let text = random.pick(&["hi", "", "qq", "q q", "再见"]);
                    if let Some(link) = model
                        .person
                        .as_ref()
                        .filter(|end| !end.has_ended)
                        .map(|end| end.link)
                    {
                        says(&mut play, &mut random, link, &format!("{text}\r\n"));
                        match &mut model.call {
                            Some(call) => call.hears(&format!("{text}\n")),
                            None => model
                                .person
                                .as_mut()
                                .unwrap()
                                .hears("* nobody has called yet\n"),
                        }
                    }
                }
                // The person hangs up.
                9 => {
                    let can = model.person.as_ref().is_some_and(|end| !end.has_ended);
                    if can && let Some(mut call) = model.call_ends() {
                        let link = model.person.as_ref().unwrap().link;
                        says(&mut play, &mut random, link, "q\n");
                        call.hears("q\n");
                        check(&play, Some(&mut call), seed);
                        play.reset(call.link);
                    }
                }
                // The peer does, or vanishes.
                10 => {
                    if let Some(mut call) = model.call_ends() {
                        if !call.has_ended && random.once_in(2) {
                            says(&mut play, &mut random, call.link, "Q\n");
                        }
                        check(&play, Some(&mut call), seed);
                        play.reset(call.link);
                    }
                }
                // One of them ends its output, or the person vanishes.
                _ => match random.below(3) {
                    0 => {
                        if let Some(call) = model.call.as_mut().filter(|end| !end.has_ended) {
                            call.has_ended = true;
                            play.shut(call.link);
                            if let Some(person) = &mut model.person {
                                person.hears("* ended\n");
                            }
                        }
                    }
                    1 => {
                        if let Some(person) = model.person.as_mut().filter(|end| !end.has_ended) {
                            person.has_ended = true;
                            play.shut(person.link);
                        }
                    }
                    _ => {
                        if let Some(person) = &model.person {
                            let link = person.link;
                            check(&play, model.person.as_mut(), seed);
                            play.reset(link);
                            model.person_leaves();
                        }
                    }
                },
            }
            play.run();
            check(&play, model.person.as_mut(), seed);
            check(&play, model.call.as_mut(), seed);
        }
        for end in [model.person, model.call].into_iter().flatten() {
            play.reset(end.link);
        }
        play.run();
        assert!(play.is_empty(), "seed {seed}: {:?}", play.counters());
    }
}

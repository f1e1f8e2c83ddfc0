//! C5, rehearsed: what is said, granted, fed, signalled and ended, without a network.

use std::io;
use std::time::Duration;

use super::*;
use crate::config::limits::COMMAND_INPUT_BYTES_MAX;
use crate::service::rehearsal::Stage;
use crate::turn::{ConnId, Exit, Output, Usage};
use crate::wire::{
    CommandAnswer, CommandAnswers, CommandEnd, CommandErrorKind, CommandRequest, CommandSignal,
    Decode, Encode, RunCommand, STDIN_CREDIT_BYTES, StdinChunk, StreamedCommand, WhyEnded,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const CREDIT: usize = STDIN_CREDIT_BYTES as usize;
const WINDOW: usize = COMMAND_INPUT_BYTES_MAX as usize;

/// A stage with a command service, a client that speaks C5, and a command that does what the script says.
struct Play {
    stage: Stage<Command>,
    client: ConnId,
}

/// The number of the next command is not known to a script: every one is 0.
const STARTED: &str = "Started { id: 0 }";

impl Play {
    fn new() -> Play {
        Play::with(&Options::default())
    }

    fn with(options: &Options) -> Play {
        let mut stage = Stage::new(Command::new(options, &Limits::default()));
        let client = stage.enters();
        Play { stage, client }
    }

    fn says(&mut self, bytes: &[u8]) -> &mut Play {
        self.stage.says(self.client, bytes);
        self
    }

    fn asks(&mut self, request: CommandRequest<'_>) -> &mut Play {
        self.says(&encoded(&request))
    }

    fn run(&mut self, line: &str) -> &mut Play {
        self.says(&run(line))
    }

    /// The service asked for this command, and it starts.
    fn starts(&mut self, line: &str) -> &mut Play {
        self.asked_for(line).tell(ChildEvent::Started)
    }

    #[track_caller]
    fn asked_for(&mut self, line: &str) -> &mut Play {
        let job = self.stage.job(self.client).expect("a command is asked for");
        assert_eq!(String::from_utf8_lossy(&job.line), line);
        assert!(job.is_streamed && job.id > 0);
        self
    }

    fn runs_nothing(&mut self) -> &mut Play {
        assert_eq!(self.stage.job(self.client), None);
        self
    }

    fn tell(&mut self, event: ChildEvent<'_>) -> &mut Play {
        self.stage.cannot(self.client, event);
        self
    }

    fn writes(&mut self, which: Output, bytes: &[u8]) -> &mut Play {
        self.stage.writes(self.client, which, bytes);
        self
    }

    fn exits(&mut self, code: i32) -> &mut Play {
        self.stage.exits(self.client, Exit::Code(code));
        self
    }

    fn waits(&mut self, time: Duration) -> &mut Play {
        self.stage.waits(time);
        self
    }

    #[track_caller]
    fn is_killed(&mut self, severity: impl Into<Option<Severity>>) -> &mut Play {
        assert_eq!(self.stage.killed(self.client), severity.into());
        self
    }

    #[track_caller]
    fn is_fed(&mut self, bytes: usize, is_over: bool) -> &mut Play {
        let (fed, over) = self.stage.fed(self.client);
        assert_eq!((fed.len(), over), (bytes, is_over));
        self
    }

    /// What the client hears: data as text, and of everything else what it is.
    fn heard(&mut self) -> Vec<String> {
        let bytes = self.stage.hears(self.client);
        let (mut answers, mut at, mut heard) = (CommandAnswers::new(), 0, Vec::new());
        while let Some((answer, taken)) = answers.decode(&bytes[at..]).unwrap() {
            match answer {
                CommandAnswer::Part => {}
                CommandAnswer::Started { id } => {
                    assert!(id > 0);
                    heard.push(STARTED.to_owned());
                }
                CommandAnswer::Error(error) => {
                    assert!(!error.message.is_empty());
                    heard.push(format!("{} {:?}", error.kind, error.errno));
                }
                other => heard.push(format!("{other:?}")),
            }
            at += taken;
        }
        assert!(at == bytes.len() && answers.is_whole());
        heard
    }

    #[track_caller]
    fn hears(&mut self, expected: &[&str]) -> &mut Play {
        assert_eq!(self.heard(), expected);
        self
    }

    #[track_caller]
    fn ends(&mut self, expected: CommandEnd) -> &mut Play {
        let heard = self.heard();
        assert_eq!(
            heard.last(),
            Some(&format!("{:?}", CommandAnswer::End(expected)))
        );
        self
    }

    fn stays(&mut self) -> &mut Play {
        assert!(!self.stage.is_leaving(self.client));
        self
    }

    fn leaves(&mut self) -> &mut Play {
        assert!(self.stage.is_leaving(self.client));
        self
    }
}

fn encoded(request: &CommandRequest<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    request.encode(&mut out);
    out
}

fn run(line: &str) -> Vec<u8> {
    asked(line, |_| {})
}

fn fed(line: &str) -> Vec<u8> {
    asked(line, |run| run.has_input = true)
}

fn asked(line: &str, change: impl FnOnce(&mut RunCommand)) -> Vec<u8> {
    let mut run = RunCommand::new(StreamedCommand::Line(line.as_bytes().to_vec()));
    change(&mut run);
    encoded(&CommandRequest::Run(Box::new(run)))
}

fn input(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    StdinChunk(bytes).encode(&mut out);
    out
}

fn exit(code: i32) -> CommandEnd {
    CommandEnd {
        exit: Some(code),
        ..CommandEnd::default()
    }
}

#[test]
fn a_command_is_told_from_its_start_to_its_end() {
    let mut play = Play::new();
    play.run("make").starts("make").waits(2 * SECOND);
    play.writes(Output::Out, b"to out")
        .writes(Output::Err, b"to err");
    play.hears(&[
        STARTED,
        &format!("{:?}", CommandAnswer::Stdout(b"to out")),
        &format!("{:?}", CommandAnswer::Stderr(b"to err")),
    ]);
    play.tell(ChildEvent::Used(Usage {
        user: Some(3 * MS),
        system: Some(MS),
        peak: Some(1 << 20),
        is_cut: true,
    }));
    play.exits(7).ends(CommandEnd {
        wall: 2 * SECOND,
        user: Some(3 * MS),
        system: Some(MS),
        peak: Some(1 << 20),
        is_cut: true,
        stdout: 6,
        stderr: 6,
        ..exit(7)
    });
    play.stays().run("next").starts("next").hears(&[STARTED]);
}

#[test]
fn every_framing_understands_frames_beside_its_lines_however_they_come() {
    let framings = [
        CommandFraming::Raw,
        CommandFraming::Decimal,
        CommandFraming::I32,
        CommandFraming::Json,
        CommandFraming::Stream,
    ];
    for framing in framings {
        for settle in [Settle::Never, Settle::After(20 * MS)] {
            let options = Options {
                framing,
                settle,
                ..Options::default()
            };
            for request in [
                run("ls"),
                asked("ls", |run| run.directory = Some("/".repeat(200))),
            ] {
                for at in 0..=request.len() {
                    let mut play = Play::with(&options);
                    play.says(&request[..at])
                        .waits(19 * MS)
                        .says(&request[at..]);
                    play.starts("ls").hears(&[STARTED]);
                }
                let mut play = Play::with(&options);
                for byte in &request {
                    play.says(&[*byte]).waits(19 * MS);
                }
                play.starts("ls").hears(&[STARTED]);
            }
        }
    }
}

#[test]
fn a_line_that_is_short_is_still_a_line() {
    for (line, runs) in [
        (&b"ls"[..], "ls"),
        (b"x", "x"),
        (b"\nx", "x"),
        (b"\r\nx", "x"),
    ] {
        let mut stage = Stage::new(Command::new(&Options::default(), &Limits::default()));
        let client = stage.enters();
        stage.says(client, line);
        assert_eq!(stage.job(client), None);
        stage.waits(20 * MS);
        assert_eq!(stage.job(client).unwrap().line, runs.as_bytes());
    }
    // One that is whole needs no patience, and an empty one is none.
    let mut stage = Stage::new(Command::new(&Options::default(), &Limits::default()));
    let client = stage.enters();
    stage.says(client, b"\n");
    stage.waits(20 * MS);
    assert_eq!(
        (stage.unread(client), stage.wakes_in(client)),
        (Vec::new(), None)
    );
    stage.says(client, b"x\n");
    assert_eq!(stage.job(client).unwrap().line, b"x");
}

#[test]
fn input_is_passed_on_and_more_is_granted_as_it_is_taken() {
    let mut play = Play::new();
    play.says(&[fed("cat"), input(&[7; 1000])].concat())
        .asked_for("cat");
    // It waits for others: what has come waits with it.
    play.is_fed(0, false)
        .tell(ChildEvent::Started)
        .is_fed(1000, false);
    let credit = |bytes| format!("Credit({bytes})");
    play.hears(&[STARTED, &credit(WINDOW - CREDIT)]);
    play.says(&input(&vec![7; WINDOW - 1000]))
        .is_fed(WINDOW - 1000, false);
    play.tell(ChildEvent::Took(WINDOW / 4 - 1)).hears(&[]);
    play.tell(ChildEvent::Took(1)).hears(&[&credit(WINDOW / 4)]);
    play.says(&input(&vec![7; WINDOW / 4]))
        .is_fed(WINDOW / 4, false);
    play.asks(CommandRequest::StdinEnd).is_fed(0, true);
    play.tell(ChildEvent::Took(WINDOW)).hears(&[]);
    play.exits(0).ends(CommandEnd {
        stdin: (WINDOW / 4 + WINDOW) as u64,
        ..exit(0)
    });
}

#[test]
fn input_that_came_whole_before_the_start_ends_after_it() {
    let mut play = Play::new();
    play.says(
        &[
            fed("cat"),
            input(b"all"),
            encoded(&CommandRequest::StdinEnd),
        ]
        .concat(),
    );
    play.asked_for("cat")
        .is_fed(0, false)
        .tell(ChildEvent::Started)
        .is_fed(3, true);
    play.hears(&[STARTED]);
}

#[test]
fn fault_b4_more_input_than_was_granted_ends_the_connection_and_the_command() {
    let mut play = Play::new();
    play.says(&fed("cat"))
        .starts("cat")
        .says(&input(&vec![0; WINDOW]));
    play.stays().heard();
    play.says(&input(b"x"))
        .hears(&["protocol None"])
        .leaves()
        .is_killed(Severity::Force);
    play.exits(0).hears(&[]);
    for wrong in [
        [run("ls"), input(b"x")].concat(),
        [fed("ls"), encoded(&CommandRequest::StdinEnd), input(b"x")].concat(),
    ] {
        let mut play = Play::new();
        // Asked for in the same turn, it never begins.
        play.says(&wrong)
            .hears(&["protocol None"])
            .leaves()
            .runs_nothing();
    }
}

#[test]
fn a_client_that_reads_nothing_is_granted_nothing() {
    let mut play = Play::new();
    play.says(&fed("cat")).starts("cat").heard();
    play.says(&input(&vec![0; WINDOW]));
    play.writes(Output::Out, &vec![b'x'; 256 << 10]);
    play.tell(ChildEvent::Took(WINDOW));
    // It is told of what it may send when it has read.
    assert_eq!(play.heard().len(), 1);
    play.hears(&[]);
    play.stage.drains(play.client);
    play.hears(&[&format!("Credit({WINDOW})")]);
}

#[test]
fn a_command_that_closes_its_input_has_not_failed() {
    let mut play = Play::new();
    play.says(&fed("head")).starts("head").heard();
    play.tell(ChildEvent::InputClosed).hears(&["StdinClosed"]);
    play.says(&input(b"late"))
        .asks(CommandRequest::StdinEnd)
        .is_fed(0, false)
        .stays();
    play.exits(0).ends(exit(0));
    // One whose client has ended the input already is told nothing.
    let mut play = Play::new();
    play.says(&fed("head"))
        .starts("head")
        .asks(CommandRequest::StdinEnd)
        .heard();
    play.tell(ChildEvent::InputClosed).hears(&[]);
}

#[test]
fn signals_reach_a_command_that_runs_and_end_one_that_waits() {
    for signal in CommandSignal::ALL {
        let mut play = Play::new();
        play.run("ls")
            .starts("ls")
            .asks(CommandRequest::Signal(signal));
        assert_eq!(play.stage.signals(play.client), [signal]);
        play.is_killed(None).hears(&[STARTED]);
        let mut play = Play::new();
        play.run("ls")
            .asked_for("ls")
            .asks(CommandRequest::Signal(signal));
        play.is_killed(Severity::Force)
            .hears(&["cancelled None"])
            .stays();
        assert_eq!(play.stage.signals(play.client), []);
        play.run("next").starts("next");
    }
}

#[test]
fn what_comes_late_is_for_nobody() {
    let mut play = Play::new();
    play.run("one").starts("one").exits(0).heard();
    let late = [
        input(b"late"),
        encoded(&CommandRequest::StdinEnd),
        encoded(&CommandRequest::Cancel),
        encoded(&CommandRequest::Signal(CommandSignal::Kill)),
    ];
    play.says(&late.concat()).run("two").starts("two");
    play.is_killed(None).is_fed(0, false).hears(&[STARTED]);
    assert_eq!(play.stage.signals(play.client), []);
}

#[test]
fn fault_f2_cancel_asks_and_a_second_later_forces() {
    let mut play = Play::new();
    play.run("ls")
        .starts("ls")
        .asks(CommandRequest::Cancel)
        .is_killed(Severity::Ask);
    play.waits(SECOND - MS)
        .is_killed(None)
        .waits(MS)
        .is_killed(Severity::Force);
    play.stage.exits(play.client, Exit::Signal(9));
    play.ends(CommandEnd {
        exit: None,
        signal: Some(9),
        why: Some(WhyEnded::Cancel),
        wall: SECOND,
        ..CommandEnd::default()
    });
    // Asked twice, it is not waited for.
    play.run("ls")
        .starts("ls")
        .asks(CommandRequest::Cancel)
        .is_killed(Severity::Ask);
    play.asks(CommandRequest::Cancel).is_killed(Severity::Force);
}

#[test]
fn fault_f2_a_command_has_the_time_of_the_endpoint_or_of_the_request_whichever_is_less() {
    for (endpoint, request, due) in [
        (None, None, None),
        (Some(3), None, Some(3)),
        (None, Some(5), Some(5)),
        (Some(3), Some(5), Some(3)),
        (Some(3), Some(2), Some(2)),
    ] {
        let mut play = Play::with(&Options {
            timeout: endpoint.map(Duration::from_secs),
            ..Options::default()
        });
        play.says(&asked("ls", |run| {
            run.timeout = request.map(Duration::from_secs)
        }));
        // The time of one that waits does not pass.
        play.asked_for("ls")
            .waits(100 * SECOND)
            .tell(ChildEvent::Started);
        let Some(due) = due.map(Duration::from_secs) else {
            play.waits(1_000_000 * SECOND).is_killed(None);
            continue;
        };
        play.waits(due - MS)
            .is_killed(None)
            .waits(MS)
            .is_killed(Severity::Ask);
        play.exits(0).ends(CommandEnd {
            why: Some(WhyEnded::Timeout),
            wall: due,
            ..exit(0)
        });
    }
}

#[test]
fn a_run_that_comes_early_waits_and_so_does_what_is_behind_it() {
    let mut play = Play::new();
    let behind = [
        fed("two"),
        input(b"for two"),
        encoded(&CommandRequest::StdinEnd),
        run("three"),
    ];
    play.run("one")
        .starts("one")
        .says(&behind.concat()[..50])
        .says(&behind.concat()[50..]);
    play.runs_nothing().hears(&[STARTED]);
    play.exits(1)
        .asked_for("two")
        .tell(ChildEvent::Started)
        .is_fed(7, true)
        .runs_nothing();
    assert_eq!(play.heard().len(), 2);
    play.exits(2).starts("three").exits(3).ends(exit(3));
    play.runs_nothing().stays();
    assert_eq!(play.stage.unread(play.client), b"");
}

#[test]
fn what_is_behind_a_run_that_waits_is_bounded() {
    let mut play = Play::new();
    play.run("one").starts("one");
    let more = run("x").repeat(10_000);
    play.says(&more);
    assert!(!play.stage.unread(play.client).is_empty() || play.stage.is_held(play.client));
    for _ in 0..10_000 {
        play.exits(0).starts("x");
    }
    play.exits(0).runs_nothing().stays();
    assert!(!play.stage.is_held(play.client));
    assert_eq!(play.stage.unread(play.client), b"");
}

#[test]
fn nonsense_behind_a_run_that_waits_is_told_when_its_turn_comes() {
    let mut play = Play::new();
    play.run("one")
        .starts("one")
        .run("two")
        .says(b"\x02\0\0\0[]")
        .stays()
        .heard();
    play.exits(0);
    assert_eq!(play.heard().last().unwrap(), "protocol None");
    play.leaves().runs_nothing();
}

#[test]
fn fault_f9_a_client_that_ends_its_input_is_gone_and_its_command_with_it() {
    let mut play = Play::new();
    play.run("ls").starts("ls").heard();
    play.stage.ends(play.client);
    play.is_killed(Severity::Force).leaves();
    play.stage.exits(play.client, Exit::Signal(9));
    play.hears(&[]);
    // At every byte of a conversation.
    let talk = [fed("ls"), input(b"some"), run("two"), run("three")].concat();
    for at in (0..1).chain(4..talk.len()) {
        let mut play = Play::new();
        play.says(&talk[..at]);
        let has_begun = play.stage.job(play.client).is_some();
        play.stage.ends(play.client);
        play.leaves();
        if has_begun {
            play.is_killed(Severity::Force);
        }
        let left = play.client;
        play.stage.leaves(left);
        assert_eq!(play.stage.service.sessions.len(), 0);
    }
    // So little of a frame that it is a line: a shell takes it for a comment.
    for at in 1..4 {
        let mut play = Play::new();
        play.says(&talk[..at]);
        play.stage.ends(play.client);
        let line = play.stage.job(play.client).map(|job| job.line);
        assert!(line.is_none_or(|line| line.starts_with(b"#")), "{at}");
    }
}

#[test]
fn fault_f12_what_cannot_start_is_told_with_the_systems_number() {
    let mut play = Play::new();
    play.run("x").asked_for("x");
    play.tell(ChildEvent::Failed(io::Error::from_raw_os_error(7)));
    play.hears(&["cannot-start Some(7)"]);
    play.run("x").asked_for("x");
    play.tell(ChildEvent::Failed(io::ErrorKind::InvalidInput.into()));
    play.hears(&["cannot-start None"]).stays();
}

#[test]
fn fault_f13_a_nul_byte_is_refused_before_anything_is_started() {
    let mut play = Play::new();
    play.run("a\0b").runs_nothing().hears(&["refused None"]);
    play.run("ls").starts("ls");
    // Also one that had to wait.
    play.run("a\0b").run("pwd").heard();
    play.exits(0).starts("pwd");
    let heard = play.heard();
    assert_eq!(heard[1..], ["refused None", STARTED]);
}

#[test]
fn fault_f19_busy_is_told_and_the_next_is_tried() {
    let mut play = Play::new();
    play.run("ls")
        .run("pwd")
        .asked_for("ls")
        .tell(ChildEvent::Busy);
    play.hears(&["busy None"]).starts("pwd").stays();
}

#[test]
fn stopping_finishes_the_command_in_progress_and_starts_no_other() {
    let mut play = Play::new();
    play.run("one").run("two").starts("one");
    play.stage.stops();
    play.stays().is_killed(None).exits(0);
    assert_eq!(play.heard()[2..], ["stopping None"]);
    play.leaves().runs_nothing();
    let mut play = Play::new();
    play.run("one").asked_for("one");
    play.stage.stops();
    play.is_killed(Severity::Force)
        .hears(&["stopping None"])
        .leaves();
    let mut play = Play::new();
    play.run("one").starts("one").exits(0);
    play.stage.stops();
    play.leaves();
}

#[test]
fn every_kind_of_error_has_a_word_of_its_own() {
    let words = CommandErrorKind::ALL.map(CommandErrorKind::name);
    for (at, word) in words.iter().enumerate() {
        assert!(!words[..at].contains(word));
    }
}

//! The audit: who was let in, who was refused and why, and what ran; one line of JSON for each event.
//!
//! Knows events and a place to write to that does not wait. It does not know what is behind that place: a
//! pipe to a [writer](super::writer), or the log. What does not fit is counted, and said when there is room
//! again. The lines of a turn leave together, in writes that a pipe takes whole or not at all.
//!
//! No line holds a secret of an endpoint, since no event does. What a peer wrote is in it as printable ASCII
//! (fault C8).

use std::fmt::{self, Write as _};
use std::io;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Serialize;

use super::tally::place;
use crate::config::limits::{AUDIT_COMMAND_BYTES_MAX, AUDIT_LINES_PER_SECOND_MAX};
use crate::service::Peer;
use crate::turn::{ConnId, Exit, FileFate, FileNote, Moment};

/// A pipe takes a write of this size whole or not at all (PIPE_BUF, pipe(7)); no line is longer.
const WRITE_BYTES_MAX: usize = 4096;

/// An empty line, which no event is: the writer opens its file again.
pub(super) const REOPEN: &[u8] = b"\n";

/// A client, as a line names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who<'a> {
    pub(super) endpoint: &'a str,
    pub(super) connection: Option<ConnId>,
    /// None: the endpoint itself, whose command runs for its readers.
    pub(super) peer: Option<Peer>,
}

/// What is to be said of a command when it has ended. By then its client may be gone.
#[derive(Debug)]
pub(super) struct Audited {
    endpoint: String,
    connection: Option<ConnId>,
    peer: Option<Peer>,
    began: Moment,
    /// Bytes that it has written.
    pub(super) output: u64,
}

impl Audited {
    pub(super) fn new(who: Who<'_>, began: Moment) -> Audited {
        Audited {
            endpoint: who.endpoint.to_owned(),
            connection: who.connection,
            peer: who.peer,
            began,
            output: 0,
        }
    }

    pub(super) fn ended<'a>(&'a self, how: Result<Exit, &'a str>, now: Moment) -> AuditEvent<'a> {
        let who = Who {
            endpoint: &self.endpoint,
            connection: self.connection,
            peer: self.peer,
        };
        AuditEvent::CommandEnded(who, how, now.since(self.began), self.output)
    }
}

/// What happened.
#[derive(Debug, Clone, Copy)]
pub(super) enum AuditEvent<'a> {
    /// The server serves from now on.
    Start,
    /// A connection has proved that it may come in.
    Login(Who<'a>),
    /// A connection was closed for this reason, before any service heard of it.
    Refused(Who<'a>, &'static str),
    /// A command runs.
    CommandStarted(Who<'a>, &'a [u8]),
    /// A command did not run, for this reason.
    CommandRefused(Who<'a>, &'a [u8], &'a str),
    /// A command has ended: how, after how long, and how much it had written; or why how is not known, or why it
    /// never became the command.
    CommandEnded(Who<'a>, Result<Exit, &'a str>, Duration, u64),
    /// Something became of a file.
    File(Who<'a>, &'a FileNote),
    /// The configuration was read again; with what is wrong with it, if something is.
    Reload(Option<&'a str>),
    /// This process serves so many sockets from now on, and ours no longer.
    TakeOver(Peer, usize),
    /// The server stops.
    Stop,
}

impl AuditEvent<'_> {
    fn kind(&self) -> Kind {
        match self {
            AuditEvent::Login(_) => Kind::Login,
            AuditEvent::File(..) => Kind::File,
            AuditEvent::Refused(..) => Kind::Refused,
            AuditEvent::CommandStarted(..)
            | AuditEvent::CommandRefused(..)
            | AuditEvent::CommandEnded(..) => Kind::Command,
            AuditEvent::Start
            | AuditEvent::Reload(_)
            | AuditEvent::TakeOver(..)
            | AuditEvent::Stop => Kind::Server,
        }
    }
}

/// What lines are about; each kind has a share of its own, so that a flood of one hides no other.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Login,
    Refused,
    Command,
    File,
    Server,
}

const KINDS: usize = 5;

/// Makes lines of events, and passes them on.
pub(super) struct Audit {
    out: Box<dyn io::Write>,
    /// Lines of this turn, and how many they are.
    lines: Vec<u8>,
    count: u64,
    /// A writer is to open its file again.
    reopens: bool,
    /// Lines that did not fit, since a line told of some.
    lost: u64,
    /// Lines beyond the share of their kind, since a line told of some.
    left_out: u64,
    second: u32,
    shares: [u32; KINDS],
    wall: SystemTime,
    /// Which of several processes this is.
    process: Option<u32>,
    /// Lines that were passed on, and those that were not.
    pub(super) passed: u64,
    pub(super) missing: u64,
}

impl Audit {
    pub(super) fn new(out: Box<dyn io::Write>) -> Audit {
        Audit {
            out,
            lines: Vec::new(),
            count: 0,
            reopens: false,
            lost: 0,
            left_out: 0,
            second: 0,
            shares: [0; KINDS],
            wall: SystemTime::UNIX_EPOCH,
            process: None,
            passed: 0,
            missing: 0,
        }
    }

    /// From now on each line says that it is of this process.
    pub(super) fn of_process(mut self, process: Option<u32>) -> Audit {
        self.process = process;
        self
    }

    /// A turn has begun.
    pub(super) fn begin_turn(&mut self, now: Moment, wall: SystemTime) {
        self.wall = wall;
        if self.second != now.as_secs() {
            self.second = now.as_secs();
            self.shares = [0; KINDS];
            self.tell_left_out();
        }
    }

    /// Notes an event; it leaves at the end of the turn.
    pub(super) fn note(&mut self, event: &AuditEvent<'_>) {
        let share = &mut self.shares[event.kind() as usize];
        *share = share.saturating_add(1);
        if *share > AUDIT_LINES_PER_SECOND_MAX {
            self.left_out += 1;
            self.missing += 1;
            return;
        }
        self.push(&Line::of(event, self.wall).of_process(self.process).text());
        self.count += 1;
    }

    /// Asks a writer to open its file again when it has written what was noted before.
    pub(super) fn ask_to_reopen(&mut self) {
        self.reopens = true;
    }

    /// The server is at its end: what was left out is told now.
    pub(super) fn finish(&mut self) -> bool {
        self.tell_left_out();
        self.note(&AuditEvent::Stop);
        self.flush()
    }

    /// Passes the lines of a turn on, after how many were lost before, if some were. Says whether nothing is
    /// left to be passed on.
    pub(super) fn flush(&mut self) -> bool {
        if self.lost > 0 {
            let line = Line::missing(self.lost, "there was no room", self.wall)
                .of_process(self.process)
                .text();
            if self.out.write_all(line.as_bytes()).is_err() {
                self.lose();
                return false;
            }
            self.lost = 0;
        }
        if !self.lines.is_empty() {
            if self.out.write_all(&self.lines).is_err() {
                self.lose();
                return false;
            }
            self.passed += std::mem::take(&mut self.count);
            self.lines.clear();
        }
        if self.reopens && self.out.write_all(REOPEN).is_ok() {
            self.reopens = false;
        }
        !self.reopens
    }

    fn tell_left_out(&mut self) {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            let line = Line::missing(left_out, "there were too many", self.wall);
            self.push(&line.of_process(self.process).text());
        }
    }

    fn push(&mut self, line: &str) {
        if self.lines.len() + line.len() > WRITE_BYTES_MAX {
            self.flush();
        }
        self.lines.extend_from_slice(line.as_bytes());
    }

    /// There was no room for the lines of this turn.
    fn lose(&mut self) {
        let count = std::mem::take(&mut self.count);
        self.lost += count;
        self.missing += count;
        self.lines.clear();
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit")
            .field("passed", &self.passed)
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

/// A line; what an event does not have is not in it.
#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'a str>,
    /// Counts up over all connections of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets: Option<usize>,
}

impl<'a> Line<'a> {
    fn new(event: &'static str, wall: SystemTime) -> Line<'a> {
        // Beyond the year 9999 there is no date.
        let time = Timestamp::try_from(wall).map(|time| format!("{time:.3}"));
        Line {
            time: time.unwrap_or_default(),
            event,
            ..Line::default()
        }
    }

    fn of(event: &AuditEvent<'a>, wall: SystemTime) -> Line<'a> {
        let new = |name| Line::new(name, wall);
        match *event {
            AuditEvent::Start => Line {
                version: Some(env!("CARGO_PKG_VERSION")),
                server: Some(std::process::id()),
                ..new("start")
            },
            AuditEvent::Login(who) => new("login").about(who),
            AuditEvent::Refused(who, why) => Line {
                why: Some(why),
                ..new("refused").about(who)
            },
            AuditEvent::CommandStarted(who, line) => {
                new("command-started").about(who).running(line)
            }
            AuditEvent::CommandRefused(who, line, why) => Line {
                why: Some(why),
                ..new("command-refused").about(who).running(line)
            },
            AuditEvent::CommandEnded(who, how, took, output) => {
                let (code, signal) = match how {
                    Ok(Exit::Code(code)) => (Some(code), None),
                    Ok(Exit::Signal(signal)) => (None, Some(signal)),
                    Err(_) => (None, None),
                };
                Line {
                    why: how.err(),
                    exit: code,
                    signal,
                    output_bytes: Some(output),
                    ms: Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
                    ..new("command-ended").about(who)
                }
            }
            AuditEvent::File(who, note) => Line {
                file: Some(shown(&note.name)),
                bytes: Some(note.bytes),
                sha256: note.sha256.map(|sum| sum.to_string()),
                why: note.why.as_deref(),
                ..new(match note.fate {
                    FileFate::Stored => "file-stored",
                    FileFate::Refused => "file-refused",
                    FileFate::Sent => "file-sent",
                    FileFate::Unsent => "file-not-sent",
                })
                .about(who)
            },
            AuditEvent::TakeOver(peer, sockets) => Line {
                server: Some(std::process::id()),
                sockets: Some(sockets),
                ..new("take-over").by(peer)
            },
            AuditEvent::Reload(None) => new("reload"),
            AuditEvent::Reload(problem) => Line {
                why: problem,
                ..new("reload-failed")
            },
            AuditEvent::Stop => new("stop"),
        }
    }

    fn missing(lines: u64, why: &'static str, wall: SystemTime) -> Line<'static> {
        Line {
            lines: Some(lines),
            why: Some(why),
            ..Line::new("lost", wall)
        }
    }

    fn of_process(self, process: Option<u32>) -> Line<'a> {
        Line { process, ..self }
    }

    fn about(mut self, who: Who<'a>) -> Line<'a> {
        // Without its options: they are the operator's, and change.
        self.endpoint = Some(place(who.endpoint));
        self.connection = who.connection.map(|id| id.generation);
        match who.peer {
            Some(peer) => self.by(peer),
            None => self,
        }
    }

    fn by(mut self, peer: Peer) -> Line<'a> {
        match peer {
            Peer::Local { pid, uid } => (self.uid, self.pid) = (Some(uid), Some(pid)),
            Peer::V4(..) | Peer::V6(..) | Peer::Unknown => self.peer = Some(peer.to_string()),
        }
        self
    }

    fn running(mut self, line: &[u8]) -> Line<'a> {
        let shown = &line[..line.len().min(AUDIT_COMMAND_BYTES_MAX)];
        self.command = Some(String::from_utf8_lossy(shown).into_owned());
        self.command_bytes = Some(line.len());
        self
    }

    /// As one line of printable ASCII that a pipe takes whole.
    fn text(mut self) -> String {
        loop {
            let json = serde_json::to_string(&self).expect("it has no map, and its keys are text");
            let text = printable(&json);
            if text.len() < WRITE_BYTES_MAX {
                return text + "\n";
            }
            // What is longest is cut until it fits: half a line would be none.
            let half = |text: &str| text.floor_char_boundary(text.len() / 2);
            match (&mut self.command, &mut self.why, &mut self.endpoint) {
                (Some(text), ..) if text.len() > 64 => text.truncate(half(text)),
                (_, Some(text), _) if text.len() > 64 => *text = &text[..half(text)],
                (.., Some(text)) => *text = &text[..half(text)],
                _ => return format!("{{\"event\":\"{}\"}}\n", self.event),
            }
        }
    }
}

/// As much of a name as fits; one that is served has no more, unless it has directories.
fn shown(name: &str) -> String {
    name[..name.floor_char_boundary(AUDIT_COMMAND_BYTES_MAX)].to_owned()
}

/// The same JSON in printable ASCII: outside of strings it is that anyway.
fn printable(json: &str) -> String {
    let mut text = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if matches!(c, ' '..='~') {
            text.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string does not fail.
            let _ = write!(text, "\\u{unit:04x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use serde_json::Value;

    use super::*;

    /// A pipe of so many writes, and what has gone into it.
    #[derive(Debug, Clone, Default)]
    struct Pipe(Rc<RefCell<(usize, Vec<u8>)>>);

    impl io::Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert!(bytes.len() <= WRITE_BYTES_MAX, "a pipe could take half");
            let (room, all) = &mut *self.0.borrow_mut();
            if *room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            *room -= 1;
            all.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Pipe {
        fn with_room(writes: usize) -> (Audit, Pipe) {
            let pipe = Pipe::default();
            pipe.0.borrow_mut().0 = writes;
            (Audit::new(Box::new(pipe.clone())), pipe)
        }

        fn makes_room(&self, writes: usize) {
            self.0.borrow_mut().0 = writes;
        }

        fn lines(&self) -> Vec<Value> {
            let text = String::from_utf8(std::mem::take(&mut self.0.borrow_mut().1)).unwrap();
            assert!(text.bytes().all(|b| b == b'\n' || matches!(b, b' '..=b'~')));
            let parse = |line| serde_json::from_str(line).unwrap();
            text.lines().map(parse).collect()
        }
    }

    fn who(endpoint: &str) -> Who<'_> {
        Who {
            endpoint,
            connection: Some(ConnId {
                slot: 3,
                generation: 7,
            }),
            peer: Some(Peer::V4([192, 0, 2, 7].into(), 80)),
        }
    }

    const NASTY: [&str; 6] = [
        "a\nb\r",
        "\u{1b}[2J\u{7f}\u{9b}1m",
        "\"\\",
        "\u{202e}x\u{200b}",
        "你好🦀",
        "\0",
    ];

    #[test]
    fn fault_c8_a_line_is_printable_ascii_and_says_all_the_same() {
        let (mut audit, pipe) = Pipe::with_room(usize::MAX);
        for text in NASTY {
            audit.note(&AuditEvent::CommandStarted(who("command"), text.as_bytes()));
            audit.note(&AuditEvent::Reload(Some(text)));
        }
        audit.flush();
        let lines = pipe.lines();
        assert_eq!(lines.len(), 2 * NASTY.len());
        for (pair, text) in lines.chunks(2).zip(NASTY) {
            assert_eq!(pair[0]["command"], *text);
            assert_eq!(pair[1]["why"], *text);
        }
    }

    #[test]
    fn a_line_fits_into_a_write_however_long_the_command_is() {
        for text in [&b"x"[..], b"\xff", "🦀".as_bytes(), b"\x01"] {
            let (mut audit, pipe) = Pipe::with_room(usize::MAX);
            let command = text.repeat(70_000 / text.len());
            let endpoint = "e".repeat(5000);
            audit.note(&AuditEvent::CommandStarted(who(&endpoint), &command));
            audit.flush();
            let line = &pipe.lines()[0];
            assert_eq!(line["command_bytes"], command.len());
            assert!(line["command"].as_str().unwrap().len() >= 32, "{line}");
        }
    }

    #[test]
    fn fault_c12_what_does_not_fit_is_counted_and_said_when_there_is_room() {
        let (mut audit, pipe) = Pipe::with_room(1);
        let refuse = |audit: &mut Audit, times| {
            for _ in 0..times {
                audit.note(&AuditEvent::Refused(who("e"), "full"));
            }
        };
        refuse(&mut audit, 2);
        assert!(audit.flush());
        for _ in 0..3 {
            refuse(&mut audit, 5);
            assert!(!audit.flush());
        }
        assert_eq!((audit.passed, audit.missing), (2, 15));
        assert_eq!(pipe.lines().len(), 2);
        pipe.makes_room(2);
        refuse(&mut audit, 1);
        assert!(audit.flush());
        let lines = pipe.lines();
        assert_eq!(
            (&lines[0]["event"], &lines[0]["lines"]),
            (&"lost".into(), &15.into())
        );
        assert_eq!(lines[1]["event"], "refused");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn fault_c13_a_flood_of_one_kind_hides_no_other() {
        let (mut audit, pipe) = Pipe::with_room(usize::MAX);
        let flood = 100 * u64::from(AUDIT_LINES_PER_SECOND_MAX);
        for _ in 0..flood {
            audit.note(&AuditEvent::Refused(who("e"), "full"));
        }
        audit.note(&AuditEvent::Reload(None));
        audit.begin_turn(
            Moment::START.after(Duration::from_secs(1)),
            SystemTime::UNIX_EPOCH,
        );
        audit.note(&AuditEvent::Refused(who("e"), "full"));
        audit.flush();
        let lines = pipe.lines();
        let events = |name: &str| lines.iter().filter(|line| line["event"] == name).count();
        let refused = AUDIT_LINES_PER_SECOND_MAX as usize + 1;
        assert_eq!(
            (events("refused"), events("reload"), events("lost")),
            (refused, 1, 1)
        );
        let lost = lines.iter().find(|line| line["event"] == "lost").unwrap();
        assert_eq!(lost["lines"], flood - u64::from(AUDIT_LINES_PER_SECOND_MAX));
    }

    #[test]
    fn a_writer_is_asked_to_reopen_behind_what_was_noted_and_as_long_as_there_is_no_room() {
        let (mut audit, pipe) = Pipe::with_room(1);
        audit.ask_to_reopen();
        audit.note(&AuditEvent::Start);
        assert!(!audit.flush());
        let text = std::mem::take(&mut pipe.0.borrow_mut().1);
        assert!(text.ends_with(b"}\n") && !text.ends_with(b"\n\n"));
        pipe.makes_room(1);
        assert!(audit.flush());
        assert_eq!(pipe.0.borrow().1, REOPEN);
    }

    #[test]
    fn each_event_has_its_own_keys() {
        let (mut audit, pipe) = Pipe::with_room(usize::MAX);
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_190_309_250);
        audit.begin_turn(Moment::START, wall);
        let process = Peer::Local { pid: 5, uid: 1000 };
        let local = Who {
            peer: Some(process),
            connection: None,
            ..who("command+unix:///a")
        };
        let took = Duration::from_millis(1500);
        for event in [
            AuditEvent::Login(who("echo://h:1?open=true")),
            AuditEvent::CommandStarted(who("echo://h:1"), b"ls"),
            AuditEvent::Refused(local, "other_user"),
            AuditEvent::CommandEnded(who("c"), Ok(Exit::Code(3)), took, 9),
            AuditEvent::CommandEnded(who("c"), Ok(Exit::Signal(9)), took, 9),
            AuditEvent::CommandEnded(who("c"), Err("the server stopped"), took, 9),
            AuditEvent::TakeOver(process, 3),
            AuditEvent::Stop,
        ] {
            audit.note(&event);
        }
        audit.flush();
        let text = String::from_utf8(pipe.0.borrow().1.clone()).unwrap();
        let time = r#"{"time":"2024-02-29T07:05:09.250Z","event":"#;
        let c = r#""endpoint":"c","connection":7,"peer":"192.0.2.7:80""#;
        let expected = [
            r#""login","endpoint":"echo://h:1","connection":7,"peer":"192.0.2.7:80"}"#.to_owned(),
            r#""command-started","endpoint":"echo://h:1","connection":7,"peer":"192.0.2.7:80","command":"ls","command_bytes":2}"#.to_owned(),
            r#""refused","endpoint":"command+unix:///a","uid":1000,"pid":5,"why":"other_user"}"#
                .to_owned(),
            format!(r#""command-ended",{c},"exit":3,"output_bytes":9,"ms":1500}}"#),
            format!(r#""command-ended",{c},"signal":9,"output_bytes":9,"ms":1500}}"#),
            format!(
                r#""command-ended",{c},"why":"the server stopped","output_bytes":9,"ms":1500}}"#
            ),
            format!(
                r#""take-over","uid":1000,"pid":5,"server":{},"sockets":3}}"#,
                std::process::id()
            ),
            r#""stop"}"#.to_owned(),
        ];
        for (line, expected) in text.lines().zip(&expected) {
            assert_eq!(line, format!("{time}{expected}"));
        }
        assert_eq!(text.lines().count(), expected.len());
    }
}

//! What has met connections in which state: a table that the run makes of itself.

use std::fmt;

use onepoll::reactor::{Look, Readiness, Source, State, Token};
use onepoll::turn::{Closed, ConnId, Moment};

use crate::impossible::{is_directed, why_never};
use crate::kernel::Deed;
use crate::occasions::Occasions;
use crate::overheard::Said;
use crate::partings::Partings;
use crate::play::Play;

/// How often what has met a connection that stood, when the turn began, in which state.
#[derive(Debug)]
pub(crate) struct Coverage {
    met: [[u64; MEETINGS.len()]; ROWS.len()],
    before: Vec<Stood>,
    said: Vec<(ConnId, Said)>,
    pub(crate) occasions: Occasions,
    pub(crate) partings: Partings,
}

/// How a connection stood at the end of the last turn.
#[derive(Debug, Clone, Copy)]
struct Stood {
    look: Look,
    /// The last state before it was closed.
    lived: Row,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    /// Accepted in this very turn.
    New,
    In(State),
}

/// Every row, in order.
const ROWS: [Row; 15] = [
    Row::New,
    Row::In(State::LoggingIn),
    Row::In(State::Handshaking),
    Row::In(State::Waiting),
    Row::In(State::InFrame),
    Row::In(State::Queued),
    Row::In(State::Behind),
    Row::In(State::PausedOwed),
    Row::In(State::PausedHeld),
    Row::In(State::AnswerDue),
    Row::In(State::Leaving),
    Row::In(State::Ended),
    Row::In(State::Lingering),
    Row::In(State::LingeringQueued),
    Row::In(State::Dead),
];

impl Row {
    fn index(self) -> usize {
        match self {
            Row::New => 0,
            Row::In(State::Connecting) => unreachable!("no service of the table dials"),
            Row::In(State::LoggingIn) => 1,
            Row::In(State::Handshaking) => 2,
            Row::In(State::Waiting) => 3,
            Row::In(State::InFrame) => 4,
            Row::In(State::Queued) => 5,
            Row::In(State::Behind) => 6,
            Row::In(State::PausedOwed) => 7,
            Row::In(State::PausedHeld) => 8,
            Row::In(State::AnswerDue) => 9,
            Row::In(State::Leaving) => 10,
            Row::In(State::Ended) => 11,
            Row::In(State::Lingering) => 12,
            Row::In(State::LingeringQueued) => 13,
            Row::In(State::Dead) => 14,
        }
    }

    fn name(self) -> String {
        match self {
            Row::New => "New".into(),
            Row::In(state) => format!("{state:?}"),
        }
    }
}

/// A column: something that happened to a connection, or why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
pub(crate) enum Meeting {
    // The poll tells.
    Readable, Writable, ReadClosed, HungUp, Urgent, Error,
    // A call ends so.
    ReadSome, ReadNothing, ReadEnd, ReadFailed,
    WroteAll, WroteSome, WroteNothing, WriteFailed, ShutdownFailed,
    // A moment comes: the loop's deadline, the service's timer, the signal, the end of the drain.
    Deadline, Wake, Stopping, Abandoned,
    // The service is told, or asks.
    Eof, Drained, Child, Closes, Refuses, Holds, Resumes,
    // It ends, for this reason.
    Done, Ended, Gone, Idle, SlowFrame, TooSlow, Refused, WrongProof, LoginTimeout, Stopped, Stuck,
    Cut, Insecure, Evicted,
}

use Meeting as M;

/// Every column, in order.
#[rustfmt::skip]
const MEETINGS: [Meeting; 40] = [
    M::Readable, M::Writable, M::ReadClosed, M::HungUp, M::Urgent, M::Error,
    M::ReadSome, M::ReadNothing, M::ReadEnd, M::ReadFailed,
    M::WroteAll, M::WroteSome, M::WroteNothing, M::WriteFailed, M::ShutdownFailed,
    M::Deadline, M::Wake, M::Stopping, M::Abandoned,
    M::Eof, M::Drained, M::Child, M::Closes, M::Refuses, M::Holds, M::Resumes,
    M::Done, M::Ended, M::Gone, M::Idle, M::SlowFrame, M::TooSlow, M::Refused,
    M::WrongProof, M::LoginTimeout, M::Stopped, M::Stuck,
    M::Cut, M::Insecure, M::Evicted,
];

impl Default for Coverage {
    fn default() -> Coverage {
        Coverage {
            met: [[0; MEETINGS.len()]; ROWS.len()],
            before: Vec::new(),
            said: Vec::new(),
            occasions: Occasions::default(),
            partings: Partings::default(),
        }
    }
}

impl Coverage {
    /// A world begins.
    pub(crate) fn begin(&mut self) {
        self.before.clear();
    }

    /// What another run met is met.
    pub(crate) fn add(&mut self, other: &Coverage) {
        self.occasions.add(&other.occasions);
        self.partings.add(&other.partings);
        for (mine, theirs) in self.met.iter_mut().zip(&other.met) {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        }
    }

    /// A turn has ended.
    pub(crate) fn look(&mut self, play: &Play) {
        let now = play.os.net(|net| {
            for seen in &net.told {
                if let Source::Connection(id) = seen.token.source()
                    && let Some(row) = self.stood(id)
                {
                    for (is, meeting) in events(seen.readiness) {
                        self.met[row.index()][meeting as usize] += u64::from(is);
                    }
                }
            }
            for (token, deed) in &net.deeds {
                if let Some(row) = self.called(*token) {
                    self.count(row, deed_of(*deed));
                }
            }
            net.woke
        });
        for k in 0..self.before.len() {
            let Stood { look, .. } = self.before[k];
            if look.due <= Moment::from_nanos(now) {
                self.count(Row::In(look.state), M::Deadline);
            }
        }
        play.heard.take(&mut self.said);
        for k in 0..self.said.len() {
            let (id, said) = self.said[k];
            let stood = self.before.iter().find(|stood| stood.look.id == id);
            let (row, lived) = stood.map_or((Row::New, Row::New), |stood| {
                (Row::In(stood.look.state), stood.lived)
            });
            match said {
                Said::Closed(why) => self.count(lived, reason(why)),
                said => self.count(row, saying(said)),
            }
        }
        self.said.clear();
        self.remember(play);
    }

    /// The loop has given up what was left.
    pub(crate) fn abandoned(&mut self, play: &Play) {
        for k in 0..self.before.len() {
            self.count(Row::In(self.before[k].look.state), M::Abandoned);
        }
        play.os.net(|net| {
            net.told.clear();
            net.deeds.clear();
        });
        self.look(play);
    }

    /// How often this met a connection that stood so.
    pub(crate) fn times(&self, row: Row, meeting: Meeting) -> u64 {
        self.met[row.index()][meeting as usize]
    }

    /// How many pairs can be, and how many were; what is missing, and what should not be.
    pub(crate) fn judge(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for (row, meeting) in pairs() {
            let times = self.times(row, meeting);
            let name = format!("{} x {meeting:?}", row.name());
            match why_never(row, meeting) {
                Some(why) if times > 0 => verdict.wrong.push(format!("{name} {times}: {why}")),
                Some(_) => {}
                None if is_directed(row, meeting) => verdict.directed += 1,
                None => {
                    verdict.possible += 1;
                    verdict.visited += usize::from(times > 0);
                    verdict.rarest.push((times, name));
                }
            }
        }
        verdict.rarest.sort();
        verdict
    }

    /// How connections stand when the turn is over, or was, and something changed after it.
    pub(crate) fn remember(&mut self, play: &Play) {
        let were = std::mem::take(&mut self.before);
        self.before.extend(play.reactor.looks().map(|look| {
            let lived = match look.state {
                State::Dead => were
                    .iter()
                    .find(|stood| stood.look.id == look.id)
                    .map_or(Row::New, |stood| stood.lived),
                state => Row::In(state),
            };
            Stood { look, lived }
        }));
    }

    fn count(&mut self, row: Row, meeting: Meeting) {
        self.met[row.index()][meeting as usize] += 1;
    }

    fn stood(&self, id: ConnId) -> Option<Row> {
        let stood = self.before.iter().find(|stood| stood.look.id == id)?;
        Some(Row::In(stood.look.state))
    }

    /// How the connection stood that a call was about.
    fn called(&self, token: Option<Token>) -> Option<Row> {
        match token.map(Token::source) {
            None => Some(Row::New),
            Some(Source::Connection(id)) => self.stood(id),
            Some(_) => None,
        }
    }
}

fn pairs() -> impl Iterator<Item = (Row, Meeting)> {
    let pairs = |row| MEETINGS.into_iter().map(move |meeting| (row, meeting));
    ROWS.into_iter().flat_map(pairs)
}

/// What the table says.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) possible: usize,
    pub(crate) visited: usize,
    /// Pairs that a script of its own shows.
    pub(crate) directed: usize,
    /// Pairs that are said to be impossible, and were visited.
    pub(crate) wrong: Vec<String>,
    /// Pairs that are possible, the rarest first.
    pub(crate) rarest: Vec<(u64, String)>,
}

fn events(readiness: Readiness) -> [(bool, Meeting); 6] {
    [
        (readiness.readable, M::Readable),
        (readiness.writable, M::Writable),
        (readiness.read_closed, M::ReadClosed),
        (readiness.hung_up, M::HungUp),
        (readiness.urgent, M::Urgent),
        (readiness.error, M::Error),
    ]
}

fn deed_of(deed: Deed) -> Meeting {
    match deed {
        Deed::ReadSome => M::ReadSome,
        Deed::ReadNothing => M::ReadNothing,
        Deed::ReadEnd => M::ReadEnd,
        Deed::ReadFailed => M::ReadFailed,
        Deed::WroteAll => M::WroteAll,
        Deed::WroteSome => M::WroteSome,
        Deed::WroteNothing => M::WroteNothing,
        Deed::WriteFailed => M::WriteFailed,
        Deed::ShutdownFailed => M::ShutdownFailed,
    }
}

fn saying(said: Said) -> Meeting {
    match said {
        Said::Eof => M::Eof,
        Said::Wake => M::Wake,
        Said::Drained => M::Drained,
        Said::Child => M::Child,
        Said::Stopping => M::Stopping,
        Said::Closes => M::Closes,
        Said::Refuses => M::Refuses,
        Said::Holds => M::Holds,
        Said::Resumes => M::Resumes,
        Said::Closed(why) => reason(why),
    }
}

fn reason(why: Closed) -> Meeting {
    match why {
        Closed::Done => M::Done,
        Closed::Ended => M::Ended,
        Closed::Gone(_) => M::Gone,
        Closed::Idle => M::Idle,
        Closed::SlowFrame => M::SlowFrame,
        Closed::TooSlow => M::TooSlow,
        Closed::Evicted => M::Evicted,
        Closed::Refused => M::Refused,
        Closed::WrongProof => M::WrongProof,
        Closed::LoginTimeout => M::LoginTimeout,
        Closed::Stopping => M::Stopped,
        Closed::Stuck => M::Stuck,
        Closed::Cut => M::Cut,
        Closed::Insecure => M::Insecure,
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:15}", "")?;
        for row in ROWS {
            write!(f, "{:>16}", row.name())?;
        }
        writeln!(f)?;
        for meeting in MEETINGS {
            write!(f, "{:15}", format!("{meeting:?}"))?;
            for row in ROWS {
                let times = self.times(row, meeting);
                match why_never(row, meeting) {
                    Some(_) if times == 0 => write!(f, "{:>16}", "-")?,
                    _ => write!(f, "{times:16}")?,
                }
            }
            writeln!(f)?;
        }
        let verdict = self.judge();
        writeln!(
            f,
            "{} of {} possible pairs were visited; {} more have a script",
            verdict.visited, verdict.possible, verdict.directed
        )?;
        let rare = verdict.rarest.iter().take_while(|(times, _)| *times < 20);
        let rare: Vec<String> = rare
            .map(|(times, name)| format!("{name} {times}"))
            .collect();
        writeln!(f, "fewer than 20 times: {}", rare.join(", "))
    }
}

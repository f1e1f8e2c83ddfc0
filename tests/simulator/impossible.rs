//! Which pairs of the table cannot be, and why.

use onepoll::reactor::State;

use crate::coverage::{Meeting, Row};

/// Why this never meets a connection that stands so; `None`: it may.
pub(crate) fn why_never(row: Row, meeting: Meeting) -> Option<&'static str> {
    use Meeting as M;
    if row == Row::In(State::Handshaking) {
        return in_its_handshake(meeting);
    }
    if row == Row::In(State::LoggingIn) {
        return while_it_logs_in(meeting);
    }
    match meeting {
        M::WrongProof => freed(row)
            .or(never(row == Row::New, "it is challenged first"))
            .or(has_logged_in(row))
            .or(never(
                matches!(row, Row::In(State::Leaving | State::Ended)),
                "one that has its challenge is owed nothing",
            )),
        M::LoginTimeout => freed(row)
            .or(never(row == Row::New, "its deadline is set in this turn"))
            .or(has_logged_in(row))
            .or(never(
                row == Row::In(State::Ended),
                "the reason is that the peer has ended",
            )),
        M::Cut => freed(row)
            .or(never(row == Row::New, "a handshake takes more than a turn"))
            .or(unread(row).filter(|_| row != Row::In(State::Leaving)))
            .or(lingers(row, "its peer has ended, so it need not linger")),
        M::Insecure => freed(row)
            .or(never(row == Row::New, "its service does not know of it"))
            .or(unread(row)),
        M::Readable | M::Writable | M::ReadClosed | M::HungUp | M::Urgent | M::Error => never(
            row == Row::New,
            "the poll watches it from the end of its first turn",
        ),
        M::ReadSome | M::ReadNothing | M::ReadEnd | M::ReadFailed => unread(row),
        M::WroteAll | M::WroteSome | M::WroteNothing | M::WriteFailed => {
            closed(row).or(lingers(row, "its side has ended"))
        }
        M::ShutdownFailed => closed(row).or(lingers(row, "its side has ended")),
        M::Deadline => match row {
            Row::New => Some("its deadline is set in this turn"),
            Row::In(State::PausedHeld | State::AnswerDue) => {
                Some("while its service is busy with it, a peer has nothing to say")
            }
            _ => None,
        },
        M::Wake => closed(row).or(lingers(row, "its timer was cancelled")),
        M::Stopping | M::Child => closed(row),
        M::Abandoned => never(row == Row::New, "the loop gives up between turns"),
        M::Eof => unread(row).or(lingers(row, "its service is given no input")),
        M::Refuses | M::Holds => unread(row).or(lingers(row, "its service is given no input")),
        M::Drained => closed(row).or(leaves(row, "its service has no more to say")),
        M::Closes => closed(row).or(leaves(row, "it leaves already")),
        M::Resumes => closed(row).or(ended(row, "the end is told to a service that takes input")),
        M::Done => freed(row).or(ended(row, "the reason is that the peer has ended")),
        M::Ended => freed(row).or(parts(row, "its end is not read")),
        M::Gone => freed(row).or(lingers(row, "it has a reason already")),
        M::Idle | M::SlowFrame => freed(row).or(never(
            lingers(row, "").is_none(),
            "what is said to it leaves first, and it lingers",
        )),
        M::TooSlow => freed(row)
            .or(leaves(row, "its deadline is on progress"))
            .or(never(
                row == Row::In(State::Ended),
                "its deadline is on progress",
            ))
            .or(never(
                row == Row::In(State::PausedOwed),
                "a service pauses its peers, or disconnects them",
            )),
        M::Evicted => freed(row).or(lingers(row, "it has a reason already")),
        M::Refused => freed(row)
            .or(parts(row, "its service is given no input"))
            .or(never(
                row == Row::In(State::AnswerDue),
                "its service is given no input",
            )),
        M::Stopped => freed(row)
            .or(never(row == Row::New, "the loop gives up between turns"))
            .or(lingers(row, "it has a reason already")),
        M::Stuck => freed(row).or(never(
            !matches!(row, Row::In(State::Leaving | State::Ended)),
            "only one that leaves is",
        )),
    }
}

/// The same of one that has not logged in when the turn begins. It may do so in that turn, and then its
/// service is told all that came behind the proof.
fn while_it_logs_in(meeting: Meeting) -> Option<&'static str> {
    use Meeting as M;
    match meeting {
        M::Idle | M::SlowFrame | M::Stuck => Some("its deadline is that of the login"),
        M::Refused => Some("its end is not read in this turn, so it lingers"),
        M::Abandoned | M::Stopped => Some("it is asked to finish first, and has nothing to finish"),
        _ => None,
    }
}

fn has_logged_in(row: Row) -> Option<&'static str> {
    let rows = [
        State::Waiting,
        State::InFrame,
        State::Behind,
        State::PausedOwed,
        State::PausedHeld,
        State::AnswerDue,
    ];
    never(rows.map(Row::In).contains(&row), "it has logged in")
}

/// The same of one whose handshake goes on when the turn begins. In that turn its service may be told
/// of it, and say or end something.
fn in_its_handshake(meeting: Meeting) -> Option<&'static str> {
    use Meeting as M;
    match meeting {
        M::Eof | M::Ended | M::Refuses | M::Holds | M::Resumes | M::Child | M::Refused => {
            Some("its service is given no input in this turn")
        }
        M::Idle | M::SlowFrame | M::Stuck => Some("its deadline is that of the handshake"),
        M::Cut => Some("in this turn it was read once, and the handshake was not over"),
        M::Insecure | M::Stopped | M::LoginTimeout => Some("its service does not know of it"),
        M::WrongProof => Some("it is challenged first"),
        _ => None,
    }
}

/// Pairs that are too rare for seeds, each shown by a script of its own (`rare.rs`).
pub(crate) fn is_directed(row: Row, meeting: Meeting) -> bool {
    use Meeting as M;
    match row {
        Row::In(State::Dead) => true,
        Row::In(State::LingeringQueued) => {
            matches!(
                meeting,
                M::Deadline | M::Stopping | M::Resumes | M::SlowFrame
            )
        }
        Row::In(State::Leaving) => meeting == M::Evicted,
        Row::In(State::PausedOwed) => {
            matches!(meeting, M::ShutdownFailed | M::Done | M::Resumes) || is_read_now(meeting)
        }
        Row::In(State::Behind) => {
            matches!(meeting, M::Done | M::Refused | M::Cut | M::Insecure)
        }
        Row::In(State::PausedHeld) => meeting == M::TooSlow || is_read_now(meeting),
        Row::In(State::AnswerDue) => {
            matches!(meeting, M::ShutdownFailed | M::Evicted | M::TooSlow)
        }
        Row::In(State::Ended) => matches!(meeting, M::ShutdownFailed | M::Evicted),
        Row::In(State::InFrame) => {
            matches!(meeting, M::ShutdownFailed | M::Cut | M::Insecure)
        }
        Row::In(State::Waiting) => meeting == M::Insecure,
        Row::In(State::Queued) => matches!(meeting, M::Insecure | M::LoginTimeout),
        Row::In(State::LoggingIn) => meeting == M::Insecure,
        Row::In(State::Handshaking) => {
            matches!(meeting, M::Drained | M::ShutdownFailed | M::Gone)
        }
        Row::In(State::Lingering) => {
            matches!(meeting, M::LoginTimeout | M::SlowFrame | M::Insecure)
        }
        _ => false,
    }
}

/// What comes of reading one that was paused, which is read in the turn in which its pause ends if it has kept a
/// place on the ready queue (`place.rs`).
fn is_read_now(meeting: Meeting) -> bool {
    use Meeting as M;
    matches!(
        meeting,
        M::ReadSome
            | M::ReadNothing
            | M::ReadEnd
            | M::ReadFailed
            | M::Eof
            | M::Holds
            | M::Refuses
            | M::Ended
            | M::Refused
            | M::Cut
            | M::Insecure
    )
}

fn never(is: bool, why: &'static str) -> Option<&'static str> {
    is.then_some(why)
}

fn lingers(row: Row, why: &'static str) -> Option<&'static str> {
    let lingers = [State::Lingering, State::LingeringQueued].map(Row::In);
    never(lingers.contains(&row), why)
}

fn ended(row: Row, why: &'static str) -> Option<&'static str> {
    never(
        [State::AnswerDue, State::Ended].map(Row::In).contains(&row),
        why,
    )
}

fn leaves(row: Row, why: &'static str) -> Option<&'static str> {
    let leaves = [State::Leaving, State::Ended].map(Row::In);
    never(leaves.contains(&row), why).or(lingers(row, why))
}

fn parts(row: Row, why: &'static str) -> Option<&'static str> {
    never(row == Row::In(State::Leaving), why)
}

fn closed(row: Row) -> Option<&'static str> {
    never(row == Row::In(State::Dead), "it is closed")
}

/// Reasons stand in the row of the last state before the end.
fn freed(row: Row) -> Option<&'static str> {
    never(row == Row::In(State::Dead), "it has a reason already")
}

fn unread(row: Row) -> Option<&'static str> {
    closed(row)
        .or(parts(row, "what it still says is not wanted"))
        .or(ended(row, "nothing follows the end"))
}

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::deadline::RequestDeadline;
use super::{ClientError, TextStream};
use crate::config::Settle;
use crate::wire::{
    BURST_BYTES_MAX, Decode, DecodeSettled, Encode, LINE_BYTES_MAX, TalkMessage, TalkMessages,
    WireError, hangs_up,
};

/// A conversation with whoever is at the other end of a connection (T5). Nothing in it waits once there is a
/// connection: the caller polls [its socket](AsFd), for reading [while more may come](TalkStream::is_heard), for
/// writing while [something is queued](TalkStream::wants_to_send), and no longer than [so long](TalkStream::patience).
#[derive(Debug)]
pub struct TalkStream {
    stream: TextStream,
    /// How much of what has come was taken, and is still there.
    taken: usize,
    form: TalkForm,
    messages: TalkMessages,
    /// Since when no more came of a message that is not complete.
    silence: Option<RequestDeadline>,
    /// It was said already that a line has no end.
    has_complained: bool,
    hearing: Hearing,
    /// We have hung up, and wait for so long that the peer does, too.
    farewell: Option<RequestDeadline>,
    /// The connection broke then.
    has_broken: bool,
}

/// How long a peer is given to hang up when we have: until then it is heard, or the kernel's reset would destroy our
/// last words on their way.
const FAREWELL: Duration = Duration::from_secs(2);

/// After how much silence it is said that a line has no end.
const UNFINISHED_AFTER: Duration = Duration::from_millis(300);

/// How messages are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TalkForm {
    /// Each is a line.
    Lines,
    /// What is said has nothing appended, and what comes is a burst that is over after so much silence.
    Bare(Settle),
}

/// What the peer says and does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TalkNews<'b> {
    /// This, without its end.
    Said(&'b [u8]),
    /// `q` or `Q` alone: it hangs up, and expects us to.
    HungUp,
    /// So many bytes have come of a line, and nothing for a while: it may be meant for a message. Said once.
    Unfinished(usize),
    /// It will say nothing more; it may still hear.
    Ended,
}

/// Whether more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hearing {
    Open,
    /// No, and what came is not all handed on.
    Ending,
    Ended,
}

impl TalkStream {
    /// Talks over this connection.
    pub fn new(stream: TextStream, form: TalkForm) -> TalkStream {
        TalkStream {
            stream,
            taken: 0,
            form,
            messages: match form {
                TalkForm::Lines => TalkMessages::lines(LINE_BYTES_MAX),
                TalkForm::Bare(_) => TalkMessages::bursts(BURST_BYTES_MAX),
            },
            silence: None,
            has_complained: false,
            hearing: Hearing::Open,
            farewell: None,
            has_broken: false,
        }
    }

    /// The other end, as it was called, or as it called.
    pub fn peer(&self) -> &str {
        self.stream.address()
    }

    /// Queues what a person said, without its end. Of nothing, a peer that takes bursts is told nothing.
    pub fn say(&mut self, text: &[u8]) -> Result<(), ClientError> {
        if !self.is_open() {
            return Ok(());
        }
        let mut message = Vec::with_capacity(text.len() + 1);
        let is_bare = self.form != TalkForm::Lines;
        TalkMessage { text, is_bare }.encode(&mut message);
        self.stream.queue(&message).map(drop)
    }

    /// Nothing more will be said: the peer sees the end of its input behind what is queued.
    pub fn end_input(&mut self) {
        self.stream.end_saying();
    }

    /// Hangs up: nothing more will be said, and the peer has two seconds to end it, too.
    pub fn hang_up(&mut self) {
        self.end_input();
        self.farewell
            .get_or_insert_with(|| RequestDeadline::after(FAREWELL));
    }

    /// Whether more may be said.
    pub fn is_open(&self) -> bool {
        self.stream.is_open()
    }

    /// Whether both sides have ended, or the peer had time enough to.
    pub fn is_over(&self) -> bool {
        let is_late = |farewell: RequestDeadline| farewell.left().is_none();
        self.has_broken
            || self.hearing == Hearing::Ended && self.stream.has_ended_saying()
            || self.farewell.is_some_and(is_late)
    }

    /// Takes what has come, without waiting; says whether there may be more.
    pub fn receive(&mut self) -> bool {
        if self.hearing != Hearing::Open {
            return false;
        }
        let had = self.stream.unread().len();
        let may_have_more = self.stream.receive();
        if self.stream.unread().len() > had {
            self.silence = self.settle().map(RequestDeadline::after);
        }
        may_have_more
    }

    /// The next of what came; none: receive more, or wait for silence.
    ///
    /// # Errors
    ///
    /// What broke the connection, when all that came before was handed on, unless we have hung up; or a message is
    /// too long.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator's items cannot borrow from it"
    )]
    pub fn next(&mut self) -> Result<Option<TalkNews<'_>>, ClientError> {
        loop {
            let at = self.taken;
            let unread = &self.stream.unread()[at..];
            let has_settled = self.silence.is_some_and(|silence| silence.left().is_none());
            let frame = match self.hearing {
                Hearing::Open if has_settled => self.messages.settled(unread),
                Hearing::Open => self.messages.decode(unread),
                Hearing::Ending | Hearing::Ended => self.messages.decode_eof(unread),
            };
            let message = match frame {
                Ok(frame) => frame.map(|(message, taken)| (message.len(), taken)),
                Err(cause) => return Err(self.wire(cause)),
            };
            if let Some((len, taken)) = message {
                self.taken += taken;
                let message = &self.stream.unread()[at..at + len];
                return Ok(Some(if hangs_up(message) {
                    TalkNews::HungUp
                } else {
                    TalkNews::Said(message)
                }));
            }
            if self.hearing == Hearing::Ending {
                self.hearing = Hearing::Ended;
                return Ok(Some(TalkNews::Ended));
            }
            self.stream.consume(std::mem::take(&mut self.taken));
            match self.stream.end() {
                // What is left of a message is one, too.
                Some(ClientError::HungUp { .. }) if self.hearing == Hearing::Open => {
                    self.hearing = Hearing::Ending;
                }
                Some(_) if self.farewell.is_some() => {
                    self.has_broken = true;
                    return Ok(None);
                }
                Some(error) => return Err(error),
                None => return Ok(self.note_silence(has_settled)),
            }
        }
    }

    /// There is no message in what is left of what came.
    fn note_silence(&mut self, has_settled: bool) -> Option<TalkNews<'static>> {
        let unfinished = self.stream.unread().len();
        if unfinished == 0 || has_settled {
            self.silence = None;
        }
        if unfinished == 0 || !has_settled || std::mem::replace(&mut self.has_complained, true) {
            return None;
        }
        Some(TalkNews::Unfinished(unfinished))
    }

    /// How long nothing has to be done, if nothing comes; none: for ever.
    pub fn patience(&self) -> Option<Duration> {
        let silence = self.silence.filter(|_| self.hearing == Hearing::Open);
        let both = [silence, self.farewell].into_iter().flatten();
        both.map(|until| until.left().unwrap_or_default()).min()
    }

    /// Whether more may come.
    pub fn is_heard(&self) -> bool {
        self.hearing == Hearing::Open
    }

    /// Whether something waits for room in the socket.
    pub fn wants_to_send(&self) -> bool {
        self.stream.wants_to_send()
    }

    /// How much waits for it.
    pub fn queued(&self) -> usize {
        self.stream.queued()
    }

    /// Offers the socket what is queued. That it failed shows when all that came was handed on.
    pub fn send(&mut self) {
        self.stream.send();
    }

    /// How much silence is waited for.
    fn settle(&self) -> Option<Duration> {
        match self.form {
            TalkForm::Bare(Settle::After(settle)) => Some(settle),
            TalkForm::Bare(Settle::Never) => None,
            TalkForm::Lines => (!self.has_complained).then_some(UNFINISHED_AFTER),
        }
    }

    fn wire(&self, cause: WireError) -> ClientError {
        ClientError::Wire {
            address: self.peer().to_owned(),
            cause,
        }
    }
}

impl AsFd for TalkStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair(form: TalkForm) -> (TalkStream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let stream = TextStream::accepted(ours.into(), "them".into()).unwrap();
        (TalkStream::new(stream, form), theirs)
    }

    /// What there is to be heard, a line each; the end is a dot, and a hang-up a bar.
    fn hears(talk: &mut TalkStream) -> Vec<String> {
        let mut heard = Vec::new();
        while talk.receive() {}
        loop {
            match talk.next().unwrap() {
                Some(TalkNews::Said(said)) => heard.push(String::from_utf8_lossy(said).into()),
                Some(TalkNews::HungUp) => heard.push("|".into()),
                Some(TalkNews::Ended) => heard.push(".".into()),
                Some(TalkNews::Unfinished(_)) => {}
                None => return heard,
            }
        }
    }

    #[test]
    fn t5_lines_are_the_same_under_a_thousand_segmentations() {
        let said = "one\r\n\n二 q\n q\nqq\r\r\nq".as_bytes();
        let expected = ["one", "", "二 q", " q", "qq\r", "|", "."];
        for segmentation in 0..1000_u32 {
            let (mut talk, mut theirs) = pair(TalkForm::Lines);
            let (mut rest, mut heard, mut seed) = (said, Vec::new(), segmentation);
            while !rest.is_empty() {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (now, later) = rest.split_at(1 + (seed >> 8) as usize % rest.len());
                theirs.write_all(now).unwrap();
                rest = later;
                heard.extend(hears(&mut talk));
            }
            theirs.shutdown(Shutdown::Write).unwrap();
            heard.extend(hears(&mut talk));
            assert_eq!(heard, expected, "{segmentation}");
        }
    }

    #[test]
    fn t5_a_burst_settles_and_what_one_read_returned_is_one_with_no_time_at_all() {
        let (mut talk, mut theirs) = pair(TalkForm::Bare(Settle::Never));
        theirs.write_all(b"no end").unwrap();
        assert!(hears(&mut talk).is_empty() && talk.patience().is_none());
        theirs.write_all(b"\n").unwrap();
        assert_eq!(hears(&mut talk), ["no end"]);
        theirs.write_all(b"q").unwrap();
        theirs.shutdown(Shutdown::Write).unwrap();
        assert_eq!(hears(&mut talk), ["|", "."]);

        let (mut talk, mut theirs) = pair(TalkForm::Bare(Settle::After(Duration::ZERO)));
        theirs.write_all(b"hello\nq").unwrap();
        assert_eq!(hears(&mut talk), ["hello\nq"]);
        theirs.write_all(b"q").unwrap();
        assert_eq!(hears(&mut talk), ["|"]);

        let hour = Duration::from_secs(3600);
        let (mut talk, mut theirs) = pair(TalkForm::Bare(Settle::After(hour)));
        theirs.write_all(b"hel").unwrap();
        assert!(hears(&mut talk).is_empty());
        assert!(talk.patience().is_some_and(|left| left <= hour));
        theirs.write_all(b"lo\n").unwrap();
        assert_eq!(hears(&mut talk), ["hello"]);
        assert_eq!(talk.patience(), None);
    }

    #[test]
    fn after_a_hang_up_nothing_more_is_said_and_a_reset_is_no_failure() {
        let (mut talk, mut theirs) = pair(TalkForm::Lines);
        talk.say(b"q").unwrap();
        talk.hang_up();
        talk.say(b"one more").unwrap();
        talk.send();
        assert!(!talk.is_over() && talk.patience().is_some());
        let mut heard = String::new();
        theirs.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "q\n");
        theirs.write_all(b"wait\n").unwrap();
        assert_eq!(hears(&mut talk), ["wait"]);
        drop(theirs);
        assert_eq!(hears(&mut talk), ["."]);
        assert!(talk.is_over());
    }
}

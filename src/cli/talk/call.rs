use std::os::fd::AsFd as _;

use rustix::event::PollFlags;

use super::said::show;
use crate::cli::Failure;
use crate::cli::conversation::{Conversation, Typed};
use crate::client::{TalkNews, TalkStream};
use crate::wire::{AttachedNews, hangs_up};

/// What is said waits in memory up to so much: more is typed, or read, when it has left.
const QUEUED_BYTES_MAX: usize = 256 * 1024;

/// How a conversation ends that does not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Somebody hung up, or both have said all.
    Over,
    /// Somebody at our terminal wants no more.
    NothingMore,
    /// This signal came.
    Signal(u8),
    /// What was said last did not arrive.
    Unheard,
}

/// One conversation over a connection.
#[derive(Debug)]
pub(super) struct Call<'c> {
    stream: TalkStream,
    conversation: &'c mut Conversation,
    other: Other,
    /// We leave the server when what was said has left: it hears it all the same, and waits for nothing.
    is_leaving: bool,
}

/// What is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    /// The peer.
    Peer,
    /// The server behind whose endpoints we are the person: it says by marks what a peer does.
    Server {
        /// Whether to wait for the next peer when one has gone.
        keep_open: bool,
    },
}

impl<'c> Call<'c> {
    pub(super) fn new(
        stream: TalkStream,
        other: Other,
        conversation: &'c mut Conversation,
    ) -> Call<'c> {
        Call {
            stream,
            conversation,
            other,
            is_leaving: false,
        }
    }

    /// Goes on until it is over.
    pub(super) fn run(mut self) -> Result<Ending, Failure> {
        let mut ending = Ending::Over;
        loop {
            while let Some(typed) = self.typed()? {
                if let Some(wanted) = self.heed(typed)? {
                    ending = wanted;
                }
            }
            self.hear()?;
            self.stream.send();
            let is_over = self.stream.is_over() || self.is_leaving && !self.stream.wants_to_send();
            if is_over || matches!(ending, Ending::Signal(_)) {
                return Ok(ending);
            }
            let mut flags = PollFlags::empty();
            flags.set(
                PollFlags::IN,
                self.stream.is_heard() && self.conversation.has_room(),
            );
            flags.set(PollFlags::OUT, self.stream.wants_to_send());
            let patience = self.stream.patience();
            let is_wanted = self.has_room_to_say();
            self.conversation
                .wait(is_wanted, &[(self.stream.as_fd(), flags)], patience)?;
        }
    }

    /// The next that the person did, as far as it can be dealt with: a signal always.
    fn typed(&mut self) -> Result<Option<Typed>, Failure> {
        if self.has_room_to_say() {
            self.conversation.next()
        } else {
            Ok(self.conversation.next_signal())
        }
    }

    fn has_room_to_say(&self) -> bool {
        self.stream.is_open() && self.stream.queued() < QUEUED_BYTES_MAX
    }

    /// Does what the person wants; says how the conversation is to end, if that was it.
    fn heed(&mut self, typed: Typed) -> Result<Option<Ending>, Failure> {
        match typed {
            Typed::Line(line) => {
                self.stream.say(&line).map_err(anyhow::Error::new)?;
                // The server hangs up on a peer, and not on us.
                if hangs_up(&line) && self.other == Other::Peer {
                    self.stream.hang_up();
                }
                Ok(None)
            }
            Typed::End if self.conversation.is_plain() => {
                self.stream.end_input();
                Ok(None)
            }
            Typed::End => {
                match self.other {
                    Other::Peer => self.stream.hang_up(),
                    Other::Server { .. } => self.is_leaving = true,
                }
                Ok(Some(Ending::NothingMore))
            }
            Typed::Signal(number) => Ok(Some(Ending::Signal(number))),
            Typed::Failed(why) => Err(anyhow::Error::msg(why).into()),
        }
    }

    /// Shows what has come, as long as there is room for it.
    fn hear(&mut self) -> Result<(), Failure> {
        let peer = self.stream.peer().to_owned();
        while self.conversation.has_room() {
            let is_open = self.stream.is_open();
            match self.stream.next().map_err(anyhow::Error::new)? {
                Some(TalkNews::Said(said)) => match self.other {
                    Other::Peer => show(self.conversation, "<", false, said)?,
                    Other::Server { keep_open } => {
                        self.is_leaving |= show_news(self.conversation, said)? && !keep_open;
                    }
                },
                Some(TalkNews::HungUp) => {
                    self.conversation.remark(&format!("{peer} hung up"))?;
                    self.stream.hang_up();
                }
                Some(TalkNews::Unfinished(bytes)) => self.conversation.remark(&format!(
                    "{peer} has sent {bytes} bytes without an end of line, which are not shown before there is one; --bare shows such"
                ))?,
                Some(TalkNews::Ended) if self.other != Other::Peer && !self.is_leaving => {
                    return Err(anyhow::anyhow!("{peer}: the server hung up").into());
                }
                Some(TalkNews::Ended) if is_open => {
                    self.conversation
                        .remark(&format!("{peer} says nothing more; `q` hangs up"))?;
                }
                Some(TalkNews::Ended) => {}
                None => {
                    if !self.stream.receive() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Shows what a server says; whether a conversation is over.
fn show_news(conversation: &mut Conversation, line: &[u8]) -> Result<bool, Failure> {
    match AttachedNews::of(line) {
        Some(AttachedNews::Called(peer)) => conversation.remark(&format!("{peer} is here"))?,
        Some(AttachedNews::Said(said)) => show(conversation, "<", false, said)?,
        Some(AttachedNews::Notice(sentence)) => conversation.remark(sentence)?,
        Some(AttachedNews::Over(sentence)) => {
            conversation.remark(sentence)?;
            return Ok(true);
        }
        Some(AttachedNews::Refused(reason)) => {
            return Err(anyhow::anyhow!("the server refuses: {reason}").into());
        }
        None => {
            return Err(anyhow::anyhow!(
                "what is attached to is no socket of a server's `talk` endpoint"
            )
            .into());
        }
    }
    Ok(false)
}

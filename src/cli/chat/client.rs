use std::os::fd::AsFd;
use std::process::ExitCode;

use memchr::memchr;
use rustix::event::PollFlags;

use super::heard::{is_said, look};
use crate::cli::conversation::{Conversation, Typed};
use crate::cli::{Failure, Outcome, SIGNALLED};
use crate::client::{ClientError, TextStream};

/// How much may wait for the socket.
const QUEUED_BYTES_MAX: usize = 64 * 1024;

/// Somebody in a chat.
#[derive(Debug)]
pub(super) struct Client {
    stream: TextStream,
    conversation: Conversation,
    /// The terminal's bell rings when this name is said.
    bell: Option<String>,
    /// Nothing more is said: the server is to close.
    is_leaving: bool,
}

impl Client {
    pub(super) fn new(
        stream: TextStream,
        conversation: Conversation,
        nick: Option<String>,
        room: Option<String>,
        has_bell: bool,
    ) -> Client {
        let mut client = Client {
            stream,
            conversation,
            bell: nick.clone().filter(|_| has_bell),
            is_leaving: false,
        };
        for line in nick
            .map(|nick| format!("/nick {nick}"))
            .into_iter()
            .chain(room.map(|room| format!("/join {room}")))
        {
            client.say(line.as_bytes());
        }
        client
    }

    pub(super) fn run(mut self) -> Outcome {
        let code = self.take_part();
        self.conversation.end()?;
        code
    }

    fn take_part(&mut self) -> Outcome {
        if !self.conversation.is_plain() {
            self.conversation
                .remark("connected; Ctrl-D leaves, Tab completes")?;
        }
        loop {
            if let Some(code) = self.type_on()? {
                return Ok(code);
            }
            self.stream.send();
            let may_have_more = self.hear()?;
            if !may_have_more && let Some(end) = self.stream.end() {
                return self.ended(end);
            }
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, self.conversation.has_room());
            flags.set(PollFlags::OUT, self.stream.wants_to_send());
            let is_wanted = self.stream.queued() < QUEUED_BYTES_MAX;
            self.conversation
                .wait(is_wanted, &[(self.stream.as_fd(), flags)], None)?;
        }
    }

    /// Sends what was typed.
    fn type_on(&mut self) -> Result<Option<ExitCode>, Failure> {
        while self.stream.queued() < QUEUED_BYTES_MAX {
            match self.conversation.next()? {
                None => break,
                Some(Typed::Line(line)) => self.say(&line),
                Some(Typed::End) => {
                    self.is_leaving = true;
                    self.stream.end_saying();
                }
                Some(Typed::Signal(number)) => {
                    return Ok(Some(ExitCode::from(SIGNALLED + number)));
                }
                Some(Typed::Failed(why)) => return Err(anyhow::Error::msg(why).into()),
            }
        }
        Ok(None)
    }

    fn say(&mut self, line: &[u8]) {
        let line = [line, b"\n"].concat();
        // That it failed shows when all was heard that came before.
        let _ = self.stream.queue(&line);
    }

    /// Shows what has come; says whether there may be more.
    fn hear(&mut self) -> Result<bool, Failure> {
        while self.conversation.has_room() {
            let unread = self.stream.unread();
            let Some(end) = memchr(b'\n', unread) else {
                if self.stream.receive() {
                    continue;
                }
                return Ok(false);
            };
            let line = &unread[..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.conversation.show(line, look(line))?;
            if self.bell.as_deref().is_some_and(|name| is_said(name, line)) {
                self.conversation.ring()?;
            }
            self.stream.consume(end + 1);
        }
        Ok(true)
    }

    fn ended(&mut self, end: ClientError) -> Outcome {
        if self.is_leaving && matches!(end, ClientError::HungUp { .. }) {
            return Ok(ExitCode::SUCCESS);
        }
        Err(Failure::Run(end.into()))
    }
}

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use crate::reactor::{HandedOver, Os, Readiness, Received, Seen, Signal, Spawned, Token, Woke};
use crate::service::Peer;
use crate::turn::{Exit, Job, Moment, Severity, Usage};
use crate::wire::CommandSignal;

/// The world under the loop, every part of which a test has in its hand: nothing happens by itself,
/// and the clock stands until the loop waits. Events are edges, as epoll's are.
#[derive(Debug, Default)]
pub(super) struct Hand {
    pub(super) now: Moment,
    /// No wait is longer than to here.
    pub(super) horizon: Moment,
    /// What a clock on the wall shows, since the Unix epoch.
    pub(super) wall: Duration,
    seen: Vec<Seen>,
    pub(super) listeners: Vec<Queue>,
    pub(super) wires: Vec<Wire>,
    pub(super) sockets: Vec<Mailbox>,
    pub(super) commands: Vec<Shell>,
    /// What was read from commands and not written to a client; and how much that has been at most.
    unwritten: usize,
    pub(super) unwritten_max: usize,
    signals: Vec<Signal>,
    /// What the next dial fails with at once.
    pub(super) no_dial: Option<Errno>,
}

/// A listener.
#[derive(Debug, Default)]
pub(super) struct Queue {
    token: Option<Token>,
    waiting: VecDeque<(usize, Peer)>,
    /// What `accept` fails with before it succeeds.
    pub(super) errors: VecDeque<Errno>,
    /// How often it was asked.
    pub(super) accepts: usize,
    pub(super) is_closed: bool,
}

/// A connection, from the client's side.
#[derive(Debug)]
pub(super) struct Wire {
    token: Option<Token>,
    said: VecDeque<u8>,
    has_ended: bool,
    has_gone: bool,
    is_reset: bool,
    pub(super) heard: Vec<u8>,
    /// Descriptors that came beside it: whether of a listener, and which.
    pub(super) sockets: Vec<(bool, usize)>,
    /// How much more the socket takes.
    room: usize,
    pub(super) is_shut: bool,
    pub(super) is_closed: bool,
    /// Where the loop has dialled, and what came of it so far.
    pub(super) dialled: Option<(SocketAddr, Result<bool, Errno>)>,
}

/// A datagram socket.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    token: Option<Token>,
    letters: VecDeque<Result<(Vec<u8>, SocketAddr), Errno>>,
    /// How often it was asked for one.
    pub(super) receives: usize,
    pub(super) sent: Vec<(Vec<u8>, SocketAddr)>,
    pub(super) is_closed: bool,
}

/// A command that was started.
#[derive(Debug)]
pub(super) struct Shell {
    pub(super) tokens: [Option<Token>; 3],
    pub(super) line: String,
    pipes: [VecDeque<u8>; 2],
    pub(super) input: Option<Input>,
    pub(super) signals: Vec<CommandSignal>,
    /// What is read from them when they are empty.
    pub(super) when_empty: WhenEmpty,
    exit: Option<Exit>,
    pub(super) killed: Vec<Severity>,
    pub(super) is_reaped: bool,
}

/// The standard input of a command.
#[derive(Debug, Default)]
pub(super) struct Input {
    token: Option<Token>,
    /// How much more it takes.
    room: usize,
    pub(super) taken: Vec<u8>,
    /// What a write to it fails with.
    fails: Option<Errno>,
}

/// What is read from the pipe of a command when all that it printed was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenEmpty {
    /// Its end, if the command has exited.
    Ends,
    /// Nothing: a process that left the group holds it open.
    Stays,
    /// More: that process writes for ever.
    Fills,
    Fails(Errno),
}

impl Hand {
    fn starts(&mut self, line: String) -> io::Result<Spawned<Hand>> {
        self.commands.push(Shell {
            tokens: [None; 3],
            line,
            pipes: Default::default(),
            input: None,
            signals: Vec::new(),
            when_empty: WhenEmpty::Ends,
            exit: None,
            killed: Vec::new(),
            is_reaped: false,
        });
        let process = self.commands.len() - 1;
        Ok(Spawned {
            out: (process, 0),
            err: (process, 1),
            input: None,
            process,
        })
    }

    pub(super) fn listener(&mut self) -> usize {
        self.listeners.push(Queue::default());
        self.listeners.len() - 1
    }

    pub(super) fn socket(&mut self) -> usize {
        self.sockets.push(Mailbox::default());
        self.sockets.len() - 1
    }

    pub(super) fn dials(&mut self, listener: usize, peer: Peer) -> usize {
        let wire = self.wire(usize::MAX);
        let queue = &mut self.listeners[listener];
        queue.waiting.push_back((wire, peer));
        let token = queue.token;
        self.tells(token, READABLE);
        wire
    }

    /// What the loop has dialled is answered, or refused.
    pub(super) fn decides(&mut self, wire: usize, answer: Result<(), Errno>) {
        let dialled = self.wires[wire].dialled.as_mut().unwrap();
        dialled.1 = answer.map(|()| true);
        let readiness = Readiness {
            error: answer.is_err(),
            ..WRITABLE
        };
        self.wires[wire].room = usize::MAX;
        self.tells(self.wires[wire].token, readiness);
    }

    fn wire(&mut self, room: usize) -> usize {
        self.wires.push(Wire {
            token: None,
            said: VecDeque::new(),
            has_ended: false,
            has_gone: false,
            is_reset: false,
            heard: Vec::new(),
            sockets: Vec::new(),
            room,
            is_shut: false,
            is_closed: false,
            dialled: None,
        });
        self.wires.len() - 1
    }

    pub(super) fn says(&mut self, wire: usize, bytes: &[u8]) {
        self.wires[wire].said.extend(bytes);
        self.tells(self.wires[wire].token, READABLE);
    }

    pub(super) fn ends(&mut self, wire: usize) {
        self.wires[wire].has_ended = true;
        let readiness = Readiness {
            read_closed: true,
            ..READABLE
        };
        self.tells(self.wires[wire].token, readiness);
    }

    pub(super) fn resets(&mut self, wire: usize) {
        self.wires[wire].is_reset = true;
        let readiness = Readiness {
            writable: true,
            read_closed: true,
            hung_up: true,
            error: true,
            ..READABLE
        };
        self.tells(self.wires[wire].token, readiness);
    }

    /// The client's process ends with these last words, and the poll has not seen it yet.
    pub(super) fn goes(&mut self, wire: usize, last: &[u8]) {
        let wire = &mut self.wires[wire];
        wire.said.extend(last);
        (wire.has_ended, wire.has_gone) = (true, true);
    }

    /// The client's process ends: what it said can be read, and it reads nothing more.
    pub(super) fn hangs_up(&mut self, wire: usize) {
        self.goes(wire, b"");
        let readiness = Readiness {
            writable: true,
            read_closed: true,
            hung_up: true,
            ..READABLE
        };
        self.tells(self.wires[wire].token, readiness);
    }

    /// From now on the socket takes so many bytes, and then no more.
    pub(super) fn takes(&mut self, wire: usize, room: usize) {
        let was_full = self.wires[wire].room == 0;
        self.wires[wire].room = room;
        if was_full && room > 0 {
            self.tells(self.wires[wire].token, WRITABLE);
        }
    }

    /// An event that means nothing.
    pub(super) fn stirs(&mut self, wire: usize) {
        let readiness = Readiness {
            writable: true,
            ..READABLE
        };
        self.tells(self.wires[wire].token, readiness);
    }

    pub(super) fn writes_to(
        &mut self,
        socket: usize,
        letter: Result<&[u8], Errno>,
        from: SocketAddr,
    ) {
        let letter = letter.map(|bytes| (bytes.to_vec(), from));
        self.sockets[socket].letters.push_back(letter);
        self.tells(self.sockets[socket].token, READABLE);
    }

    pub(super) fn prints(&mut self, command: usize, bytes: &[u8]) {
        self.commands[command].pipes[0].extend(bytes);
        self.tells(self.commands[command].tokens[0], READABLE);
    }

    /// A command writes to its standard error.
    pub(super) fn complains(&mut self, command: usize, bytes: &[u8]) {
        self.commands[command].pipes[1].extend(bytes);
        self.tells(self.commands[command].tokens[1], READABLE);
    }

    /// A command reads so much of its input.
    pub(super) fn reads(&mut self, command: usize, bytes: usize) {
        let command = &mut self.commands[command];
        let input = command.input.as_mut().unwrap();
        input.room += bytes;
        let token = input.token;
        self.tells(token, WRITABLE);
    }

    /// A command closes its input.
    pub(super) fn is_deaf(&mut self, command: usize) {
        let command = &mut self.commands[command];
        let input = command.input.as_mut().unwrap();
        input.fails = Some(Errno::PIPE);
        let token = input.token;
        let readiness = Readiness {
            writable: true,
            error: true,
            ..NOTHING
        };
        self.tells(token, readiness);
    }

    pub(super) fn exits(&mut self, command: usize, exit: Exit) {
        self.commands[command].exit = Some(exit);
        let tokens = self.commands[command].tokens;
        tokens
            .into_iter()
            .for_each(|token| self.tells(token, READABLE));
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        self.signals.push(signal);
        self.tells(Some(Token::of(crate::reactor::Source::Signals)), READABLE);
    }

    /// Whether the loop will see something when it looks next.
    pub(super) fn has_seen(&self) -> bool {
        !self.seen.is_empty()
    }

    fn tells(&mut self, token: Option<Token>, readiness: Readiness) {
        self.seen
            .extend(token.map(|token| Seen { token, readiness }));
    }
}

const NOTHING: Readiness = Readiness {
    readable: false,
    writable: false,
    read_closed: false,
    hung_up: false,
    urgent: false,
    error: false,
};

const READABLE: Readiness = Readiness {
    readable: true,
    ..NOTHING
};

const WRITABLE: Readiness = Readiness {
    writable: true,
    ..NOTHING
};

impl Os for Hand {
    type Listener = usize;
    type Stream = usize;
    type Datagram = usize;
    /// A command, and which of its outputs.
    type Pipe = (usize, usize);
    type Process = usize;

    fn wait(&mut self, seen: &mut Vec<Seen>, until: Option<Moment>) -> io::Result<Woke> {
        let asleep = self.now;
        if self.seen.is_empty() {
            let until = until.unwrap_or(Moment::NEVER).min(self.horizon);
            self.now = self.now.max(until);
        }
        seen.append(&mut self.seen);
        Ok(Woke {
            asleep,
            awake: self.now,
        })
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.wall
    }

    fn watch_listener(&mut self, listener: &usize, token: Token) -> io::Result<()> {
        self.listeners[*listener].token = Some(token);
        Ok(())
    }

    fn rewatch_listener(&mut self, listener: &usize, token: Token) -> io::Result<()> {
        self.listeners[*listener].token = Some(token);
        Ok(())
    }

    fn watch_datagram(&mut self, socket: &usize, token: Token) -> io::Result<()> {
        self.sockets[*socket].token = Some(token);
        Ok(())
    }

    fn watch(&mut self, wire: &usize, token: Token) -> io::Result<()> {
        let Wire {
            said,
            has_ended,
            room,
            ..
        } = &self.wires[*wire];
        let readiness = Readiness {
            readable: !said.is_empty() || *has_ended,
            read_closed: *has_ended,
            writable: *room > 0,
            ..NOTHING
        };
        self.wires[*wire].token = Some(token);
        self.tells(Some(token), readiness);
        Ok(())
    }

    fn watch_pipe(&mut self, (command, which): &(usize, usize), token: Token) -> io::Result<()> {
        self.commands[*command].tokens[*which] = Some(token);
        Ok(())
    }

    fn watch_input(&mut self, (command, _): &(usize, usize), token: Token) -> io::Result<()> {
        let input = self.commands[*command].input.as_mut().unwrap();
        input.token = Some(token);
        Ok(())
    }

    fn watch_process(&mut self, command: &usize, token: Token) -> io::Result<()> {
        self.commands[*command].tokens[2] = Some(token);
        Ok(())
    }

    fn accept(&mut self, listener: &usize) -> io::Result<(usize, Peer)> {
        let queue = &mut self.listeners[*listener];
        queue.accepts += 1;
        if let Some(error) = queue.errors.pop_front() {
            return Err(error.into());
        }
        queue
            .waiting
            .pop_front()
            .ok_or(io::ErrorKind::WouldBlock.into())
    }

    fn connect(&mut self, to: SocketAddr) -> io::Result<usize> {
        if let Some(error) = self.no_dial.take() {
            return Err(error.into());
        }
        let wire = self.wire(0);
        self.wires[wire].dialled = Some((to, Ok(false)));
        Ok(wire)
    }

    fn is_connected(&mut self, wire: &usize) -> io::Result<bool> {
        let (_, answer) = self.wires[*wire].dialled.unwrap();
        answer.map_err(io::Error::from)
    }

    fn has_pending(&mut self, listener: &usize) -> bool {
        !self.listeners[*listener].waiting.is_empty()
    }

    fn close_listener(&mut self, listener: usize) {
        self.listeners[listener].is_closed = true;
    }

    fn read(&mut self, wire: &usize, into: &mut [u8]) -> io::Result<usize> {
        let wire = &mut self.wires[*wire];
        if wire.said.is_empty() {
            return match (wire.is_reset, wire.has_ended) {
                (true, _) => Err(io::ErrorKind::ConnectionReset.into()),
                (_, true) => Ok(0),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        io::Read::read(&mut wire.said, into)
    }

    fn write(&mut self, wire: &usize, bytes: &[u8]) -> io::Result<usize> {
        let wire = &mut self.wires[*wire];
        if wire.is_reset || wire.has_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let n = bytes.len().min(wire.room);
        wire.room -= if wire.room == usize::MAX { 0 } else { n };
        wire.heard.extend_from_slice(&bytes[..n]);
        self.unwritten = self.unwritten.saturating_sub(n);
        Ok(n)
    }

    fn write_vectored(&mut self, wire: &usize, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        self.write(wire, &bytes)
    }

    fn shutdown(&mut self, wire: &usize) -> io::Result<()> {
        self.wires[*wire].is_shut = true;
        Ok(())
    }

    fn close(&mut self, wire: usize) {
        let wire = &mut self.wires[wire];
        (wire.token, wire.is_closed) = (None, true);
    }

    fn send_sockets(
        &mut self,
        wire: &usize,
        bytes: &[u8],
        sockets: &[HandedOver<'_, Hand>],
    ) -> io::Result<usize> {
        let n = self.write(wire, bytes)?;
        self.wires[*wire]
            .sockets
            .extend(sockets.iter().map(|socket| match socket {
                HandedOver::Listener(listener) => (true, **listener),
                HandedOver::Datagram(socket) => (false, **socket),
                HandedOver::Kept(_) => unreachable!("a supervisor has a kernel below it"),
            }));
        Ok(n)
    }

    fn receive(&mut self, socket: &mut usize, into: &mut [u8]) -> io::Result<Received> {
        let mailbox = &mut self.sockets[*socket];
        mailbox.receives += 1;
        let letter = mailbox.letters.pop_front();
        let (bytes, from) = letter.ok_or(io::Error::from(io::ErrorKind::WouldBlock))??;
        into[..bytes.len()].copy_from_slice(&bytes);
        Ok(Received {
            n: bytes.len(),
            from,
            asked: None,
        })
    }

    fn send(
        &mut self,
        socket: &mut usize,
        bytes: &[u8],
        to: SocketAddr,
        _asked: Option<IpAddr>,
    ) -> io::Result<()> {
        self.sockets[*socket].sent.push((bytes.to_vec(), to));
        Ok(())
    }

    fn close_datagram(&mut self, socket: usize) {
        self.sockets[socket].is_closed = true;
    }

    fn spawn(&mut self, job: &Job) -> io::Result<Spawned<Hand>> {
        let mut spawned = self.starts(String::from_utf8_lossy(&job.line).into_owned())?;
        if job.has_input {
            spawned.input = Some((spawned.process, 3));
            self.commands[spawned.process].input = Some(Input::default());
        }
        Ok(spawned)
    }

    fn spawn_helper(&mut self, arguments: &[OsString]) -> io::Result<Spawned<Hand>> {
        let words: Vec<String> = arguments
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        self.starts(words.join(" "))
    }

    fn spawn_writer(&mut self) -> io::Result<Spawned<Hand>> {
        self.starts("(the writer)".to_owned())
    }

    fn read_pipe(
        &mut self,
        (command, which): &(usize, usize),
        into: &mut [u8],
    ) -> io::Result<usize> {
        let command = &mut self.commands[*command];
        let pipe = &mut command.pipes[*which];
        if pipe.is_empty() {
            match command.when_empty {
                WhenEmpty::Ends if command.exit.is_some() => return Ok(0),
                WhenEmpty::Ends | WhenEmpty::Stays => {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                WhenEmpty::Fills => pipe.resize(into.len(), b'x'),
                WhenEmpty::Fails(error) => return Err(error.into()),
            }
        }
        let n = io::Read::read(pipe, into)?;
        self.unwritten += n;
        self.unwritten_max = self.unwritten_max.max(self.unwritten);
        Ok(n)
    }

    fn write_pipe(&mut self, (command, _): &(usize, usize), bytes: &[u8]) -> io::Result<usize> {
        let input = self.commands[*command].input.as_mut().unwrap();
        if let Some(error) = input.fails {
            return Err(error.into());
        }
        let n = bytes.len().min(input.room);
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        input.room -= n;
        input.taken.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn signal(&mut self, command: &usize, signal: CommandSignal) {
        let command = &mut self.commands[*command];
        assert!(!command.is_reaped, "a number that may be another's by now");
        command.signals.push(signal);
    }

    fn kill(&mut self, command: &usize, severity: Severity) {
        self.commands[*command].killed.push(severity);
    }

    fn ended(&mut self, command: &usize) -> io::Result<Option<Exit>> {
        Ok(self.commands[*command].exit)
    }

    fn reap(&mut self, command: usize) -> Usage {
        self.commands[command].is_reaped = true;
        Usage::default()
    }

    fn signals(&mut self, into: &mut Vec<Signal>) {
        into.append(&mut self.signals);
    }
}

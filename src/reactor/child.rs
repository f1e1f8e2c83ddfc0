//! Commands: how they are started, read and ended.
//!
//! A command's path, from the client that asked for it and back:
//!
//! ```text
//! 1  service/command/mod.rs   a client's line becomes a `Job`, and `Turn::spawn` asks for it
//! 2  turn/effect.rs           it waits in the outbox as an `Effect::Spawn` until the service's turn ends
//! 3  reactor/mod.rs           `carry_out` hands it to `Reactor::spawn`, here: it starts, waits, or is refused
//! 4  reactor/epoll.rs         `Os::spawn` has spawn.rs start `/bin/sh -c`, or a program, with two pipes (three: it is fed, see feed.rs), and
//!                             opens a pidfd; the poll watches all of them
//! 5  reactor/mod.rs           the poll sees a pipe or the pidfd: `dispatch_child` and `serve_children`, here, read it
//! 6  turn/child.rs            what it wrote and how it ended come back as `ChildEvent`s to `Service::child`
//! 7  service/command/answer.rs  the output, streamed or collected (execution.rs), is framed and sent, as any answer is; in C5,
//!                             all of it is streamed (streaming.rs)
//! ```
//!
//! Knows jobs, children and their pipes. Does not know what a command is to a client: a *command* is
//! what a client asks for, a *job* what its service asks of the loop, a *child* the process that runs.

use std::collections::VecDeque;
use std::io;

use slab::Slab;

use super::Reactor;
use super::audit::{AuditEvent, Audited, Who};
use super::connection::Connection;
use super::feed::Feed;
use super::helper::{Helper, Owner};
use super::listener::{Listener, listener_of};
use super::os::{Os, Readiness, Spawned};
use super::token::{GENERATION_MAX, Source, Token};
use super::trace::TraceEvent;
use crate::turn::{ARENA_BYTES_MAX, ChildEvent, ConnId, Exit, Job, Output, Severity, Usage};
use crate::wire::{CommandSignal, Escaped};

/// What is read from a pipe after the command's exit, at most: the most that a pipe can hold
/// unless root allowed more (`fs.pipe-max-size`), so all that the command wrote is among it. A
/// grandchild that left the group and writes on would else be listened to for ever.
pub(super) const LEFT_IN_PIPE_BYTES_MAX: usize = 1 << 20;

/// The commands that run, and those that wait for one of them to end.
#[derive(Debug)]
pub(super) struct Children<O: Os> {
    pub(super) running: Slab<Child<O>>,
    waiting: VecDeque<(ConnId, Box<Job>)>,
    generation: u32,
    /// One read's worth of output.
    output: Vec<u8>,
    /// What the helper has written so far; none: none runs.
    pub(super) helper: Option<Helper>,
}

/// One command.
///
/// Exit is not the end of its output (what it wrote is still in the pipe, and a grandchild may
/// hold the other end for ever), and the end of its output is not exit. So: it ends when it has
/// exited *and* each pipe was read dry once after that.
///
/// ```text
/// Running ──the poll says so──> Told ──it has exited──> Over(exit) ──pipes are dry──> reaped
///                                 └─ after TERM, pipes open ──> Cleaning(exit) ──KILL──^
/// ```
#[derive(Debug)]
pub(super) struct Child<O: Os> {
    pub(super) owner: Owner,
    generation: u32,
    process: O::Process,
    out: Pipe<O::Pipe>,
    err: Pipe<O::Pipe>,
    /// None: it has no input, or takes no more.
    pub(super) input: Option<Feed<O::Pipe>>,
    /// Whether both its outputs wait for room, or only the standard one.
    is_streamed: bool,
    /// Whether what a process wrote that outlives it was not read to its end.
    is_cut: bool,
    end: End,
    /// It does work of the server's own for its connection, and is no command.
    is_errand: bool,
    /// Its group was asked to end, and not forced to.
    asked: bool,
    /// What the audit says when it has ended, if there is an audit.
    audited: Option<Box<Audited>>,
}

/// How far a command has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It has not.
    Running,
    /// The poll said that it has; how it ended was not asked yet.
    Told,
    /// The leader of the group has exited, and other processes of it that were asked to end may still
    /// remove a temporary file: until its output is at its end, or the grace that the service gives.
    Cleaning(Exit),
    /// It has exited, and its group is killed.
    Over(Exit),
}

impl<O: Os> Child<O> {
    fn is_over(&self) -> bool {
        matches!(self.end, End::Over(_))
    }

    /// Whether everything that it wrote was told.
    fn is_dry(&self) -> bool {
        self.out.end.is_none() && self.err.end.is_none()
    }

    /// Whether one of its outputs waits while its connection is owed too much.
    fn waits_for_room(&self, which: Output) -> bool {
        which == Output::Out || self.is_streamed
    }

    /// Kills what is left of the group. Only then is the leader reaped, or its number, and with it
    /// the group's, could already be another process's.
    fn finish(&mut self, os: &mut O, exit: Exit) {
        os.kill(&self.process, Severity::Force);
        self.end = End::Over(exit);
        self.input = None;
        // What was written before the end is in the pipes: look once more.
        self.out.ready = true;
        self.err.ready = true;
    }
}

#[derive(Debug)]
struct Pipe<P> {
    /// `None` when nothing more will come through it.
    end: Option<P>,
    /// There may be something to read: remembered until a read says otherwise.
    ready: bool,
    /// More room was asked for.
    is_wide: bool,
    /// How much was read since the command's exit.
    since_exit: usize,
}

impl<P> Pipe<P> {
    /// A pipe that is watched: what is in it already, the poll tells of as of everything else.
    fn new(end: P) -> Pipe<P> {
        Pipe {
            end: Some(end),
            ready: false,
            is_wide: false,
            since_exit: 0,
        }
    }

    fn wants(&self) -> bool {
        self.ready && self.end.is_some()
    }
}

impl<O: Os> Children<O> {
    /// None yet; `read` bytes of output are told at a time.
    pub(super) fn new(read: usize) -> Children<O> {
        Children {
            running: Slab::new(),
            waiting: VecDeque::new(),
            generation: 0,
            output: vec![0; read],
            helper: None,
        }
    }

    /// How many commands run and how many wait. What the loop runs for itself is none.
    pub(super) fn count(&self) -> (usize, usize) {
        let is_command = |child: &Child<O>| matches!(child.owner, Owner::Connection(_));
        let running = self.running.iter().filter(|(_, child)| is_command(child));
        (running.count(), self.waiting.len())
    }

    /// For the invariants: whether a connection has one that runs or waits.
    pub(super) fn has(&self, owner: ConnId) -> bool {
        self.running
            .iter()
            .any(|(_, child)| child.owner == Owner::Connection(owner))
            || self.waiting.iter().any(|(waiting, _)| *waiting == owner)
    }

    /// What the audit will say of this child.
    pub(super) fn audit(&mut self, slot: usize, audited: Audited) {
        self.running[slot].audited = Some(Box::new(audited));
    }

    fn get(&mut self, id: ConnId) -> Option<&mut Child<O>> {
        self.running
            .get_mut(id.slot as usize)
            .filter(|child| child.generation == id.generation)
    }
}

impl<O: Os> Reactor<O> {
    pub(super) fn dispatch_child(&mut self, source: Source) {
        match source {
            Source::ChildOut(id) => {
                if let Some(child) = self.children.get(id) {
                    child.out.ready = true;
                }
            }
            Source::ChildErr(id) => {
                if let Some(child) = self.children.get(id) {
                    child.err.ready = true;
                }
            }
            Source::ChildExit(id) => {
                if let Some(child) = self.children.get(id)
                    && child.end == End::Running
                {
                    child.end = End::Told;
                }
            }
            _ => unreachable!("the caller asks about children only"),
        }
    }

    pub(super) fn dispatch_input(&mut self, id: ConnId, readiness: Readiness) {
        if let Some(feed) = self.children.get(id).and_then(|child| child.input.as_mut()) {
            feed.seen(readiness.error);
        }
    }

    /// Whether a child has news that its connection has room for.
    #[inline]
    pub(super) fn has_child_news(&self) -> bool {
        // Nearly every loop has none, and asks once a turn.
        !self.children.running.is_empty() && self.some_child_has_news()
    }

    fn some_child_has_news(&self) -> bool {
        self.children.running.iter().any(|(_, child)| {
            let has_room = |which| !child.waits_for_room(which) || self.has_room(child);
            child.end == End::Told
                || (child.out.wants() && has_room(Output::Out))
                || (child.err.wants() && has_room(Output::Err))
                || (child.is_over() && child.is_dry())
                || child.input.as_ref().is_some_and(Feed::wants)
        })
    }

    /// Whether a command's connection keeps up with what it writes. If not, the command waits in
    /// its pipe, and flushing what it is owed is what wakes it.
    ///
    /// What is left in the pipe of one that has exited is taken at once: it is bounded, and else a
    /// peer that does not read would keep one of the few places for commands as long as it likes.
    fn has_room(&self, child: &Child<O>) -> bool {
        let Owner::Connection(owner) = child.owner else {
            return true;
        };
        child.is_over()
            || !self.is_live(owner)
            || self.outbox.owed(owner.slot) < self.limits.out_pause
    }

    /// Whether one command more may run.
    fn has_place(&self) -> bool {
        let (commands, _) = self.children.count();
        commands < self.limits.commands as usize
    }

    /// Runs a command for a connection now or when there is room, or says that there is none.
    pub(super) fn spawn(&mut self, owner: ConnId, job: Box<Job>) {
        if self.has_place() {
            self.start(owner, &job);
        } else if self.children.waiting.len() < self.limits.commands_queued as usize {
            self.children.waiting.push_back((owner, job));
        } else {
            self.recorder.busy();
            if job.errand.is_none() {
                self.audit_refused(owner, &job, "busy");
            }
            self.ask_service(owner, |service, turn| service.child(turn, ChildEvent::Busy));
        }
    }

    fn start(&mut self, owner: ConnId, job: &Job) {
        let spawned = self.os.spawn(job);
        match spawned.and_then(|spawned| self.watch_child(Owner::Connection(owner), spawned)) {
            Ok(slot) => {
                self.children.running[slot].is_streamed = job.is_streamed;
                self.children.running[slot].is_errand = job.errand.is_some();
                if job.errand.is_none() {
                    self.recorder.spawned(owner);
                    self.audit_started(owner, job, slot);
                }
                self.ask_service(owner, |service, turn| {
                    service.child(turn, ChildEvent::Started)
                });
            }
            Err(error) => {
                self.recorder.spawn_failed(&error);
                if job.errand.is_none() {
                    self.audit_refused(owner, job, &error.to_string());
                }
                self.ask_service(owner, |service, turn| {
                    service.child(turn, ChildEvent::Failed(error));
                });
            }
        }
    }

    #[cold]
    fn audit_refused(&mut self, owner: ConnId, job: &Job, why: &str) {
        if let Some(who) = who(&self.conns, &self.listeners, owner) {
            let event = AuditEvent::CommandRefused(who, &job.line, why);
            self.recorder.note(|| event);
        }
    }

    fn audit_started(&mut self, owner: ConnId, job: &Job, slot: usize) {
        if self.recorder.audits()
            && let Some(who) = who(&self.conns, &self.listeners, owner)
        {
            self.recorder
                .note(|| AuditEvent::CommandStarted(who, &job.line));
            let audited = Audited::new(who, self.now);
            self.children.running[slot].audited = Some(Box::new(audited));
        }
    }

    /// Watches a child that was started; says where it is.
    pub(super) fn watch_child(&mut self, owner: Owner, spawned: Spawned<O>) -> io::Result<usize> {
        let Spawned {
            out,
            err,
            input,
            process,
        } = spawned;
        let children = &mut self.children;
        children.generation = children.generation % GENERATION_MAX + 1;
        let entry = children.running.vacant_entry();
        let key = entry.key();
        let slot = u32::try_from(key).expect("commands are limited far below that");
        let id = ConnId {
            slot,
            generation: children.generation,
        };
        let watched = self
            .os
            .watch_pipe(&out, Token::of(Source::ChildOut(id)))
            .and_then(|()| self.os.watch_pipe(&err, Token::of(Source::ChildErr(id))))
            .and_then(|()| match &input {
                None => Ok(()),
                Some(input) => {
                    let token = Token::of(Source::ChildIn(id));
                    self.os.watch_input(input, token)
                }
            })
            .and_then(|()| {
                self.os
                    .watch_process(&process, Token::of(Source::ChildExit(id)))
            });
        if let Err(error) = watched {
            // It runs already, and without the poll nothing would be known of it: it must not go on.
            self.os.kill(&process, Severity::Force);
            self.os.reap(process);
            return Err(error);
        }
        entry.insert(Child {
            owner,
            generation: id.generation,
            process,
            out: Pipe::new(out),
            err: Pipe::new(err),
            input: input.map(Feed::new),
            is_streamed: false,
            is_cut: false,
            end: End::Running,
            is_errand: false,
            asked: false,
            audited: None,
        });
        Ok(key)
    }

    /// Ends a connection's command: that which runs, or that which waits.
    #[inline]
    pub(super) fn kill(&mut self, owner: ConnId, severity: Severity) {
        // Asked for each connection that ends, and nearly none has one.
        let children = &mut self.children;
        if !children.waiting.is_empty() {
            children.waiting.retain(|(waiting, _)| *waiting != owner);
        }
        if !children.running.is_empty() {
            self.kill_of(Owner::Connection(owner), severity);
        }
    }

    pub(super) fn kill_of(&mut self, owner: Owner, severity: Severity) {
        for (_, child) in &mut self.children.running {
            if child.owner != owner || child.is_over() {
                continue;
            }
            child.asked = severity == Severity::Ask;
            match child.end {
                End::Cleaning(exit) if !child.asked => child.finish(&mut self.os, exit),
                _ => self.os.kill(&child.process, severity),
            }
        }
    }

    /// Sends a signal to a connection's command. One that has ended, and is not reaped yet, still has its
    /// number; the number of one that was reaped is not known here any more.
    pub(super) fn signal(&mut self, owner: ConnId, signal: CommandSignal) {
        for (_, child) in &self.children.running {
            if child.owner == Owner::Connection(owner) && !child.is_over() {
                self.os.signal(&child.process, signal);
            }
        }
    }

    /// Passes on what commands write and how they end, and what they are fed; one budget each.
    #[inline]
    pub(super) fn serve_children(&mut self) {
        if !self.children.running.is_empty() || !self.children.waiting.is_empty() {
            self.serve_some_children();
        }
    }

    #[inline(never)]
    fn serve_some_children(&mut self) {
        let slots: Vec<usize> = self.children.running.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.learn_exit(slot);
            self.write_input(slot);
            self.read_output(slot, Output::Out);
            self.read_output(slot, Output::Err);
            self.report_end(slot);
            if self.outbox.arena_bytes() > ARENA_BYTES_MAX || self.may_be_over_budget() {
                self.flush_dirty();
                self.keep_to_budget();
            }
        }
        while self.has_place() {
            let Some((owner, job)) = self.children.waiting.pop_front() else {
                break;
            };
            if self.is_live(owner) {
                self.start(owner, &job);
            }
        }
    }

    /// The leader of the group has ended: so does the rest of it.
    fn learn_exit(&mut self, slot: usize) {
        let child = &mut self.children.running[slot];
        if child.end != End::Told {
            return;
        }
        match self.os.ended(&child.process) {
            Ok(Some(exit)) if child.asked && !child.is_dry() => child.end = End::Cleaning(exit),
            Ok(Some(exit)) => child.finish(&mut self.os, exit),
            Ok(None) => child.end = End::Running,
            Err(error) => {
                // There is no way to learn how it ended or will end, so it must not go on.
                self.recorder.spawn_failed(&error);
                child.finish(&mut self.os, Exit::Signal(0));
            }
        }
    }

    /// Reads once from one of its outputs.
    fn read_output(&mut self, slot: usize, which: Output) {
        let child = &self.children.running[slot];
        let room = !child.waits_for_room(which) || self.has_room(child);
        let child = &mut self.children.running[slot];
        let owner = child.owner;
        let exited = child.is_over();
        let pipe = match which {
            Output::Out => &mut child.out,
            Output::Err => &mut child.err,
        };
        let Some(end) = pipe.end.as_ref().filter(|_| pipe.ready && room) else {
            return;
        };
        match self.os.read_pipe(end, &mut self.children.output) {
            Ok(0) => pipe.end = None,
            Ok(n) => {
                if !pipe.is_wide && n >= self.children.output.len() / 2 {
                    // It fills faster than it is read.
                    pipe.is_wide = true;
                    self.os.widen(end);
                }
                if exited {
                    pipe.since_exit += n;
                    if pipe.since_exit >= LEFT_IN_PIPE_BYTES_MAX {
                        pipe.end = None;
                        child.is_cut = true;
                    }
                }
                if let Some(audited) = &mut child.audited {
                    audited.output += n as u64;
                }
                let mut output = std::mem::take(&mut self.children.output);
                match owner {
                    Owner::Connection(owner) => {
                        self.recorder
                            .trace(|| TraceEvent::Heard(owner, which, &output[..n]));
                        self.ask_service(owner, |service, turn| {
                            service.child(turn, ChildEvent::Wrote(which, &output[..n]));
                        });
                    }
                    Owner::Broadcast(number) => {
                        self.broadcast_has_news(number, ChildEvent::Wrote(which, &output[..n]));
                    }
                    Owner::Errand(id) if which == Output::Out => {
                        self.errand_wrote(id, &output[..n])
                    }
                    Owner::Errand(_) => complain(&output[..n]),
                    Owner::Loop => self.helper_wrote(which, &mut output[..n]),
                    Owner::Writer => self.writer_wrote(&output[..n]),
                    Owner::Keeper => self.keeper_wrote(&output[..n]),
                    Owner::Scribe(_) => self.scribe_wrote(&output[..n]),
                }
                self.children.output = output;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                pipe.ready = false;
                // A grandchild may hold the other end; it is not waited for.
                if exited {
                    pipe.end = None;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => pipe.end = None,
        }
    }

    /// Says how it ended, when everything it wrote has been told.
    fn report_end(&mut self, slot: usize) {
        let child = &mut self.children.running[slot];
        let (End::Cleaning(exit) | End::Over(exit)) = child.end else {
            return;
        };
        if !child.is_dry() {
            return;
        }
        if !child.is_over() {
            child.finish(&mut self.os, exit);
        }
        let child = self.children.running.remove(slot);
        let refusal = self.os.refusal(&child.process);
        let usage = Usage {
            is_cut: child.is_cut,
            ..self.os.reap(child.process)
        };
        let owner = child.owner;
        match owner {
            Owner::Connection(_) if child.is_errand => {}
            Owner::Connection(_) | Owner::Broadcast(_) => self.recorder.reaped(),
            Owner::Errand(id) => return self.errand_ended(id, exit),
            Owner::Loop => return self.helper_ended(exit),
            Owner::Writer => return self.writer_ended(exit),
            Owner::Keeper => return self.keeper_ended(exit),
            Owner::Scribe(number) => return self.scribe_ended(number, exit),
        }
        if let Some(audited) = &child.audited {
            let now = self.now;
            let why = refusal
                .as_ref()
                .map(|error| format!("cannot start: {error}"));
            let how = why.as_deref().map_or(Ok(exit), Err);
            self.recorder.note(|| audited.ended(how, now));
        }
        if let Some(error) = refusal {
            self.recorder.spawn_failed(&error);
            return self.tell_service(owner, ChildEvent::Failed(error));
        }
        if child.is_streamed {
            self.tell_service(owner, ChildEvent::Used(usage));
        }
        self.tell_service(owner, ChildEvent::Ended(exit));
    }

    /// Tells a service of a command of its own or of a connection of it.
    fn tell_service(&mut self, owner: Owner, event: ChildEvent<'_>) {
        match owner {
            Owner::Connection(owner) => {
                self.ask_service(owner, |service, turn| service.child(turn, event));
            }
            Owner::Broadcast(number) => self.broadcast_has_news(number, event),
            Owner::Errand(_) | Owner::Loop | Owner::Writer | Owner::Keeper | Owner::Scribe(_) => {}
        }
    }

    /// Nothing outlives the server, but for the writer of the audit, which is waited for, the keeper, which looks for
    /// what commands left behind and ends then, and what works on files: it comes to an end by itself, and a file that
    /// has arrived is stored, and what was said is written down.
    pub(super) fn kill_all(&mut self) {
        self.children.waiting.clear();
        self.children.helper = None;
        let running = self.children.running.iter();
        let is_left = |owner: Owner| {
            matches!(
                owner,
                Owner::Writer | Owner::Keeper | Owner::Errand(_) | Owner::Scribe(_)
            )
        };
        let others = running.filter(|(_, child)| !is_left(child.owner));
        let slots: Vec<usize> = others.map(|(slot, _)| slot).collect();
        for slot in slots {
            let child = self.children.running.remove(slot);
            self.os.kill(&child.process, Severity::Force);
            self.os.reap(child.process);
            if let Some(audited) = &child.audited {
                let now = self.now;
                self.recorder
                    .note(|| audited.ended(Err("the server stopped"), now));
            }
        }
    }
}

/// What a child of ours says that works on files.
fn complain(words: &[u8]) {
    log::warn!(
        "a child that works on files says: {}",
        Escaped(words.trim_ascii_end())
    );
}

/// A connection, as the audit names it.
pub(super) fn who<'a, L, S>(
    conns: &Slab<Connection<S>>,
    listeners: &'a [Listener<L>],
    id: ConnId,
) -> Option<Who<'a>> {
    let conn = conns.get(id.slot as usize).filter(|conn| conn.is(id))?;
    Some(Who {
        endpoint: &listener_of(listeners, conn).options.name,
        connection: Some(id),
        peer: Some(conn.peer),
    })
}

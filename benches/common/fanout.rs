//! One member that speaks, and many that count what they hear.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use onepoll::load::measure::clock::Stopwatch;
use onepoll::load::measure::cpu::CpuTime;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use super::udp::Seen;

/// A bench that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
const LINE_BYTES: usize = 64;
/// How the speaker finds out what is put before its lines, and that all are here.
const FIRST: &[u8] = b"first\n";
const READ_BYTES: usize = 256 * 1024;
const EVENTS_MAX: usize = 512;

/// A speaker and its listeners, all of them in the room.
#[derive(Debug)]
pub(crate) struct Crowd {
    speaker: TcpStream,
    members: Vec<Member>,
    epoll: std::os::fd::OwnedFd,
    said: Vec<u8>,
    /// What members hear, over and over, as much as one read takes from any place of a line.
    heard: Vec<u8>,
    /// The length of one line of that.
    line: usize,
    buf: Vec<u8>,
}

#[derive(Debug)]
struct Member {
    stream: TcpStream,
    /// Bytes of the line that it is in the middle of.
    at: usize,
}

impl Crowd {
    /// All connect; comes back when each has heard the first line.
    pub(crate) fn enter(to: SocketAddr, members: usize) -> io::Result<Crowd> {
        let connect = || {
            let stream = TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok::<_, io::Error>(stream)
        };
        let streams: Vec<_> = (0..members).map(|_| connect()).collect::<Result<_, _>>()?;
        // Comes last, so its first line is read when all were accepted.
        let mut speaker = connect()?;
        speaker.write_all(FIRST)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let (mut members, mut prefix) = (Vec::new(), Vec::new());
        for (at, mut stream) in streams.into_iter().enumerate() {
            prefix = prefix_of_first(&mut stream)?;
            stream.set_nonblocking(true)?;
            let data = EventData::new_u64(at as u64);
            epoll::add(&epoll, &stream, data, EventFlags::IN | EventFlags::ET)?;
            members.push(Member { stream, at: 0 });
        }
        let said = [vec![b'x'; LINE_BYTES - 1], vec![b'\n']].concat();
        let line = [&prefix[..], &said[..]].concat();
        Ok(Crowd {
            speaker,
            members,
            epoll,
            heard: line.repeat(READ_BYTES / line.len() + 2),
            line: line.len(),
            said,
            buf: vec![0; READ_BYTES],
        })
    }

    /// Keeps up to `window` lines in flight for this long; returns when all of them have arrived.
    /// An answer is a line that one member heard.
    pub(crate) fn speak(&mut self, window: usize, time: Duration) -> io::Result<Seen> {
        let (watch, cpu) = (Stopwatch::start(), CpuTime::now());
        let until = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let said = self.said.repeat(window);
        let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
        // Bytes that members have yet to hear.
        let (mut missing, mut heard) = (0, 0);
        let per_line = self.line * self.members.len();
        while missing > 0 || watch.nanos() < until {
            let room = window - usize::div_ceil(missing, per_line);
            // Half a window at a time: a speaker that waits for each line to be heard measures itself.
            if room * 2 >= window && watch.nanos() < until {
                self.speaker.write_all(&said[..room * LINE_BYTES])?;
                missing += room * per_line;
            }
            events.clear();
            if epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&patience))? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            for event in &events {
                let n = self.hear(event.data.u64() as usize)?;
                heard += n;
                missing = missing.checked_sub(n).ok_or(io::ErrorKind::InvalidData)?;
            }
        }
        let cpu = CpuTime::now().since(cpu);
        Ok(Seen {
            answers: (heard / self.line) as u64,
            wrong: 0,
            nanos: watch.nanos(),
            busy: cpu.used + cpu.queued,
        })
    }

    /// All that a member has heard; an error if that was not what was said.
    fn hear(&mut self, member: usize) -> io::Result<usize> {
        let member = &mut self.members[member];
        let mut heard = 0;
        loop {
            let n = match member.stream.read(&mut self.buf) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(heard),
                Err(error) => return Err(error),
            };
            if self.buf[..n] != self.heard[member.at..member.at + n] {
                return Err(io::Error::other("a member heard something else"));
            }
            member.at = (member.at + n) % self.line;
            heard += n;
            if n < READ_BYTES {
                return Ok(heard);
            }
        }
    }
}

/// Reads up to the first line, over whatever newcomers are told; returns what stands before it.
fn prefix_of_first(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut heard = Vec::new();
    let mut buf = [0; 4096];
    while !heard.ends_with(FIRST) {
        match stream.read(&mut buf)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => heard.extend_from_slice(&buf[..n]),
        }
    }
    heard.truncate(heard.len() - FIRST.len());
    let begins = memchr::memrchr(b'\n', &heard).map_or(0, |newline| newline + 1);
    Ok(heard.split_off(begins))
}

//! The limits of the server: their names, their defaults, and why they are that.
//!
//! Knows no connection; counting is for the code that has them. What one format or one service limits (a line, a
//! header, a room) stands there. A constant is what nobody needs to change, a field of [`Limits`]
//! what a `[limits]` table may. Sizes are bytes. Limits of what is not built yet (penalties per source,
//! the budget of all buffers together) are absent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{ConfigError, Trouble};
use super::text::{format_size, with};

/// A burst is over when nothing came for this long: longer than a segment takes on a local
/// network, shorter than a person notices.
pub const SETTLE: Duration = Duration::from_millis(20);

/// Descriptors kept back from connections for what the process itself holds: standard streams, the
/// poll, signals, logs, files in passing. Redis keeps 32; we also read `/proc` and configuration.
pub const RESERVED_DESCRIPTORS: u64 = 64;

/// Descriptors kept back per command at once: our ends of three pipes, and a pidfd. What a spawn opens in passing is
/// among the others that are kept back.
pub const DESCRIPTORS_PER_COMMAND: u64 = 4;

/// Connections where the descriptor limit would allow more (a container's may be 2³⁰) and none
/// were asked for: Linux' own default ceiling for one process, `fs.nr_open`.
pub const CONNECTIONS_MAX_BY_DEFAULT: u64 = 1 << 20;

/// Sources that are remembered at once, for rates of connections, and for penalties: each is some 100 bytes, and
/// to fill the table takes as many addresses. OpenSSH's `PerSourcePenalties` has as many places.
pub const SOURCES_MAX: usize = 65_536;

/// What a wrong proof costs its source: as `authfail` in OpenSSH's `PerSourcePenalties` (9.8).
pub const PENALTY_WRONG_PROOF: Duration = Duration::from_secs(5);

/// What a connection costs its source that has not logged in by the deadline: OpenSSH's `grace-exceeded`.
pub const PENALTY_LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The sum at which a source is not let in any more, until it has run down: OpenSSH's `min`. Three wrong proofs at
/// once; people who mistype do so more slowly.
pub const PENALTY_BITES: Duration = Duration::from_secs(15);

/// The longest that it can become: OpenSSH's `max`.
pub const PENALTY_MAX: Duration = Duration::from_secs(600);

/// How long listeners rest after `EMFILE` unless a descriptor becomes free before: haproxy's
/// 100 ms; polling at memcached's 10 ms costs CPU, nginx' 500 ms costs patience.
pub const EMFILE_RETRY: Duration = Duration::from_millis(100);

/// How long a TCP connection may hear nothing from its peer before the first keepalive probe. Half
/// of the 4 min after which the least patient of the usual load balancers forget a connection, so
/// that they see a probe before that; an idle connection costs two packets in that time. The
/// kernel's 2 h are the least that RFC 1122 allows where no application chose.
pub const KEEPALIVE: Duration = Duration::from_secs(120);

/// How many probes, a third of that time apart, stay without an answer before the connection ends:
/// after twice the time, as in Redis.
pub const KEEPALIVE_PROBES: u32 = 3;

/// The longest that `keepalive` can be: the kernel's `MAX_TCP_KEEPIDLE`, some nine hours.
pub const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);

/// The longest that `user-timeout` can be: the kernel counts milliseconds in an `int`.
pub const USER_TIMEOUT_MAX: Duration = Duration::from_millis(2_147_483_647);

/// Bytes kept of a connection that has not logged in, beyond what it has to answer with: a gate takes a
/// proof as soon as that is whole, so it keeps less. Redis: 16 KB for each of 10 arguments, 1 MB in all.
pub const LOGIN_BYTES_MAX: usize = 4096;

/// Secrets of one endpoint: the current one and the one before it are two, and each costs a login a digest.
pub const SECRETS_MAX: usize = 16;

/// A command whose start took this long is logged: until it is another program, the loop stands.
pub const SPAWN_WARN: Duration = Duration::from_millis(20);

/// Between TERM and KILL for a command that must end: enough to remove a temporary file.
pub const COMMAND_KILL_GRACE: Duration = Duration::from_secs(1);

/// How much standard input of one command is on its way from its client to its pipe, at most: four times what a pipe
/// holds unless told otherwise, so that neither end waits for the other.
pub const COMMAND_INPUT_BYTES_MAX: u64 = 256 * 1024;

/// What a pipe of a command holds that much goes through, if the system allows as much: with the usual 64 KiB each end
/// wakes the other four times as often, which took a third of the processor time of all.
pub const COMMAND_PIPE_BYTES: usize = 256 * 1024;

/// The most that `max-output` can ask for: what an `i32` length announces.
pub const COMMAND_OUTPUT_BYTES_MAX: usize = i32::MAX as usize;

/// The most lines of history that a room keeps, and of these no more than [64
/// KiB](crate::service::HISTORY_BYTES_MAX) in all.
pub const CHAT_HISTORY_LINES_MAX: u32 = 1024;

/// So much of what a peer of `talk` says is kept while nobody is attached, marks and all: as much as one message may
/// have, or some thousand short ones.
pub const TALK_KEPT_BYTES_MAX: usize = 64 * 1024;

/// A longer line of the command of a `tail` is told in pieces, and shown to no reader who comes later.
pub const TAIL_LINE_BYTES_MAX: usize = 64 * 1024;

/// The most earlier lines of it that a new reader can be shown.
pub const TAIL_HISTORY_LINES_MAX: u32 = 1024;

/// How long an upload that was cut off can be resumed, for endpoints that do not say: a day.
pub const FILE_KEEP_PARTIAL: Duration = Duration::from_secs(24 * 60 * 60);

/// What came of an upload is kept if it is at least as much: less is sent again sooner than it is asked for.
pub const FILE_KEPT_BYTES_MIN: u64 = 64 * 1024;

/// Files that one endpoint has open at once, for uploads and downloads: each is a descriptor, and they are in the reserve.
/// What is asked for beyond waits.
pub const FILES_OPEN_MAX: usize = 256;

/// Descriptors that an endpoint has besides for files: root, staging directory, lock, our ends of its children, and, while
/// one is started, a copy of each file that it gets (`FILES_PER_BATCH_MAX`).
pub const DESCRIPTORS_OF_FILES: usize = 128;

/// Of these, the uploads of one connection that have come and wait to be on the disk; it is not read beyond. Two
/// batches, so that one comes while a child syncs the other.
pub const FILES_PENDING_PER_CONNECTION_MAX: usize = 192;

/// Uploads of one source that are under way at once (fault G16); loopback and Unix sockets are exempt.
pub const UPLOADS_PER_SOURCE_MAX: usize = 32;

/// Children at once that sync files of one endpoint: a disk does not become faster by more.
pub const FILE_CHILDREN_MAX: usize = 4;

/// Files that one child syncs with `sync=batch`: each is a descriptor that it inherits, and what a child costs
/// is shared by as many.
pub const FILES_PER_BATCH_MAX: usize = 96;

/// An upload of at least this is digested while it comes, by a child that reads behind the loop: what has come would else
/// be read all over again before it is acknowledged. A child is not worth it for less.
pub const FILE_FOLLOWED_BYTES_MIN: u64 = 8 << 20;

/// How much of it comes before that child is told that there is more: it wakes for each.
pub const FILE_NEWS_BYTES: u64 = 1 << 20;

/// Digests of files that were sent, which an endpoint knows so that the next download is not digested again.
pub const FILE_DIGESTS_KNOWN_MAX: usize = 1024;

/// How long it knows one: whoever writes through a mapping may change a file and not its times (mmap(2)). A client drops
/// what has another digest, and so does nothing wrong, but it would never get that file.
pub const FILE_DIGEST_KNOWN: Duration = Duration::from_secs(60);

/// The times of a file tell what it is from what it was if they are older than this: no file system's clock ticks more
/// rarely.
pub const FILE_TIMES_SETTLED: Duration = Duration::from_secs(2);

/// Above this, room is reserved and a file digested by a child, since that takes longer than a turn should.
pub const FILE_AT_ONCE_BYTES_MAX: u64 = 256 * 1024;

/// A child that works on files has this much time, and …
pub const FILE_CHILD_GRACE: Duration = Duration::from_secs(120);

/// … a second more for each so many bytes: the slowest disks write as fast.
pub const FILE_CHILD_BYTES_PER_SECOND_MIN: u64 = 4 << 20;

/// An upload that is refused is read on and dropped if no more of it follows; beyond, the connection ends.
pub const FILE_DROPPED_BYTES_MAX: u64 = 1 << 20;

/// How old the count of what is beneath a root may be where an upload would be refused for it.
pub const FILE_COUNT_AGE_MAX: Duration = Duration::from_secs(1);

/// A started frame, or TLS record, must end within this much time, and …
pub const PROGRESS_GRACE: Duration = Duration::from_secs(30);

/// … one second more for each so many bytes of its length: Apache's `mod_reqtimeout` has a minimum
/// rate too, since a fixed deadline punishes a slow line and spares a slow attacker.
pub const PROGRESS_BYTES_PER_SECOND_MIN: u64 = 1024;

/// How long a refused peer's unread input is still discarded, so that the reason reaches it.
pub const LINGER: Duration = Duration::from_secs(2);

/// How much of that input is discarded at most.
pub const LINGER_BYTES_MAX: u32 = 1 << 20;

/// How long a connection that is leaving may go without taking a byte of what it is owed: a
/// deadline on progress, since an absolute one cut off slow readers of an echo.
pub const LEAVING: Duration = Duration::from_secs(10);

/// How long a helper, this program once more, may take to read the configuration and resolve its names: a
/// resolver asks its three servers twice for five seconds each (resolv.conf(5)).
pub const HELPER_TIMEOUT: Duration = Duration::from_secs(30);

/// The most that a helper may write: a configuration of a mebibyte, and what a thousand endpoints read from
/// their files.
pub const HELPER_BYTES_MAX: usize = 16 << 20;

/// What is kept of what a helper complains of.
pub const HELPER_COMPLAINT_BYTES_MAX: usize = 4096;
/// How long a server waits for the process that takes its sockets over to say that it is ready, and that process
/// for each answer: it has read its configuration before it asks, and only binds what is new.
pub const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections to the control socket at once. Descriptors for them are in the reserve, so that a server can be
/// taken over though it has as many connections as it may.
pub const CONTROL_CONNECTIONS_MAX: usize = 4;

/// The most processes that serve together: more than most machines have processors, and their sockets fit one take-over.
pub const PROCESSES_MAX: u32 = 64;

/// How long a process may take from its start until it could serve: it reads no file and resolves no name for that.
pub const PROCESS_START_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the processes of a server may go on after their `drain-timeout`, before they are killed.
pub const PROCESS_END_GRACE: Duration = Duration::from_secs(2);

/// How long the figures of other processes are waited for.
pub const FIGURES_TIMEOUT: Duration = Duration::from_secs(1);

/// How many messages may wait for a process that does not read them, before it is killed and replaced.
pub const PROCESS_MESSAGES_MAX: usize = 1024;

/// How much of `buffers` may be in use, in percent, before connections are closed: what one write may add
/// beyond that fits into the rest.
pub const BUFFERS_HIGH_PERCENT: usize = 90;

/// How much of `buffers` is in use, in percent, when no more are closed: below the other, so that looking for the
/// largest is paid for by what is freed.
pub const BUFFERS_LOW_PERCENT: usize = 87;

/// A datagram's buffer: above the 65507 bytes that UDP can carry, so that none is cut in silence.
pub const DATAGRAM_BYTES_MAX: usize = 65_536;

/// Answers per second to one network of datagram sources (an IPv4 /24, an IPv6 /64) off loopback: more
/// than people and programs that wait for their answers ask for, and few enough that two servers set
/// talking, or a victim whose address was forged, come to no harm. Ports do not count: one host has all
/// of them.
pub const DATAGRAM_ANSWERS_PER_SECOND_MAX: u32 = 1000;

/// Answers per second to all sources off loopback together: a flood with forged sources from everywhere
/// leaves by one line, and 20,000 answers of 576 bytes fill 92 Mbit/s.
pub const DATAGRAM_ANSWERS_PER_SECOND_IN_ALL_MAX: u32 = 20_000;

/// A datagram socket whose reads failed this often in a row rests as long as a listener after `EMFILE`:
/// news of answers that could not be delivered (ICMP) comes one by one, and what goes on failing would
/// keep the loop awake.
pub const DATAGRAM_FAILURES_IN_A_ROW_MAX: u32 = 16;

/// Places for connections, timers and events that stay allocated when the connections have gone: a
/// thousand that come again find them.
pub const KEPT_PLACES: usize = 1024;

/// Bytes that each of the loop's shared buffers keeps when it comes to rest.
pub const KEPT_BYTES: usize = 64 << 10;

/// The most that `read-per-turn` can ask for. Two buffers of that size are there from the start, and
/// the first byte waits until one is zeroed; the kernel's own receive buffers end at 6 MiB.
pub const READ_PER_TURN_BYTES_MAX: usize = 4 << 20;

/// Lines of the audit that one second may bring of each kind (let in, refused, commands, the server itself); the
/// rest are counted. Many for people and programs that log in, and few for a flood of refusals, which else
/// would fill a disk: 1000 lines are some 200 KB.
pub const AUDIT_LINES_PER_SECOND_MAX: u32 = 1000;

/// As much of a command is in the audit. Escaped it can be six times as long, and a line must fit into one
/// write to a pipe, 4096 bytes.
pub const AUDIT_COMMAND_BYTES_MAX: usize = 512;

/// The pipe to the writer of the audit: the most that Linux gives a user, `fs.pipe-max-size`; five thousand
/// lines while a disk stalls.
pub const AUDIT_PIPE_BYTES: usize = 1 << 20;

/// How long the end of the server is put off so that the last lines of the audit are written.
pub const AUDIT_END: Duration = Duration::from_secs(2);

/// What is on its way to the keeper of commands, if the system allows as much: some ten thousand commands.
pub const KEEPER_PIPE_BYTES: usize = 1 << 20;

/// How long after a writer of the audit, or the keeper of commands, has ended another is started …
pub const ATTENDANT_RETRY: Duration = Duration::from_millis(100);

/// … which doubles each time, up to this.
pub const ATTENDANT_RETRY_MAX: Duration = Duration::from_secs(60);

/// What a user may set in `[limits]`; the defaults are the table's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// Connections in all. Absent: what the descriptor limit leaves after the reserve; Redis has
    /// 10,000, memcached 1,024, and both refuse people on machines that could serve them.
    pub connections: Option<u32>,
    /// Connections at once that have not logged in, of all endpoints that ask for it (512): each costs a
    /// descriptor and its buffers in the kernel, and anybody can make one. OpenSSH refuses from 10 to 100 of
    /// them, dropbear has 30.
    pub not_logged_in: u32,
    /// How long a connection has to log in, from when it was accepted (10s); what it sends puts nothing off.
    /// OpenSSH has 120 s, haproxy's manual advises 5.
    #[serde(with = "with::some_time")]
    pub login_timeout: Duration,
    /// Connections accepted per listener and turn (64): a flood of them leaves the others their
    /// turn; lighttpd takes 100.
    pub accepts_per_turn: u32,
    /// Bytes read per connection and turn (64K): what one read into the shared buffer takes.
    #[serde(with = "with::size")]
    pub read_per_turn: usize,
    /// Frames served per connection and turn (256): 64K of the shortest frames would be thousands;
    /// memcached serves 20, but a budget of 32 cost chat 38 %.
    pub frames_per_turn: u32,
    /// Deliveries per listener and turn (2,000,000): a line in a room of 8,000 is as many, and 8,000 members who
    /// all say one stopped everybody else for six seconds. The rest of the listener's connections wait for
    /// the next turn, when those of other listeners have been served. A turn ends with a send to each member,
    /// which costs far more than a delivery: with 250,000, 8,000 lines took 60 s and not 6, and others waited as
    /// long for each turn.
    pub deliveries_per_turn: u32,
    /// Datagrams taken per socket and turn (64): streams beside a flood keep their turn.
    pub datagrams_per_turn: u32,
    /// Timers that go off per turn (256): 20,000 deadlines in one millisecond do not stop the loop.
    pub timers_per_turn: u32,
    /// Unsent bytes at which echo's input, or a raw command's pipe, is no longer read (256K):
    /// a client that asks faster than it reads waits for itself.
    #[serde(with = "with::size")]
    pub out_pause: usize,
    /// Unsent bytes at which it is read again (64K): far enough below to not flap.
    #[serde(with = "with::size")]
    pub out_resume: usize,
    /// Unsent bytes a chat member may have for `chat-soft-time` (1M): a pause in reading.
    #[serde(with = "with::size")]
    pub chat_soft: usize,
    /// How long (10s); Redis allows its subscribers 8M for 60 s.
    #[serde(with = "with::some_time")]
    pub chat_soft_time: Duration,
    /// Unsent bytes above which a chat member is let go at once (4M); Redis: 32M.
    #[serde(with = "with::size")]
    pub chat_hard: usize,
    /// The longest line or frame of chat and command (64K); beanstalkd: 65,535.
    #[serde(with = "with::size")]
    pub frame: usize,
    /// Memory of all buffers together (256M): input that is not understood yet, output that sockets have not
    /// taken, records of TLS, commands that wait, output of commands that is collected, earlier lines of rooms.
    /// Above 90 %, rooms forget those lines; then connections that have not logged in are closed, then those
    /// with the largest buffers. Redis evicts clients in the same order of size (`maxmemory-clients`). A room of
    /// 300 members, none of whom reads, would have 1.2 GB when 12 MB were said in it.
    #[serde(with = "with::size")]
    pub buffers: usize,
    /// Commands at once (16): they are processes; xinetd's `instances` is the same idea.
    pub commands: u32,
    /// Commands that wait for their turn (64); beyond, the answer is "busy".
    pub commands_queued: u32,
    /// Wall time of a command (60s), for endpoints that do not say.
    #[serde(with = "with::some_time")]
    pub command_timeout: Duration,
    /// Collected output of a command (1M), for endpoints that do not say.
    #[serde(with = "with::size")]
    pub command_output: usize,
    /// How long connections may finish after SIGTERM (8s): below the 10 s after which container
    /// runtimes kill. 0: not at all.
    #[serde(with = "with::duration")]
    pub drain_timeout: Duration,
    /// A turn that takes this long is logged (100ms).
    #[serde(with = "with::some_time")]
    pub turn_warn: Duration,
    /// A turn that took this long ends the process (`off`: never), so that a supervisor starts
    /// another. Off unless asked for: a process that was suspended has taken long too.
    #[serde(with = "with::some_time_or_off")]
    pub turn_abort: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            not_logged_in: 512,
            login_timeout: Duration::from_secs(10),
            accepts_per_turn: 64,
            read_per_turn: 64 << 10,
            frames_per_turn: 256,
            deliveries_per_turn: 2_000_000,
            datagrams_per_turn: 64,
            timers_per_turn: 256,
            out_pause: 256 << 10,
            out_resume: 64 << 10,
            chat_soft: 1 << 20,
            chat_soft_time: Duration::from_secs(10),
            chat_hard: 4 << 20,
            frame: 64 << 10,
            buffers: 256 << 20,
            commands: 16,
            commands_queued: 64,
            command_timeout: Duration::from_secs(60),
            command_output: 1 << 20,
            drain_timeout: Duration::from_secs(8),
            turn_warn: Duration::from_millis(100),
            turn_abort: None,
        }
    }
}

impl Limits {
    /// What each of so many processes has of them: an equal part, rounded up, of what is a number of things in the whole
    /// server, and everything else as it is.
    pub fn share_of(&self, processes: u32) -> Limits {
        let part = |all: u32| all.div_ceil(processes.max(1));
        Limits {
            connections: self.connections.map(part),
            not_logged_in: part(self.not_logged_in),
            buffers: self.buffers.div_ceil(processes.max(1) as usize),
            commands: part(self.commands),
            commands_queued: part(self.commands_queued),
            ..self.clone()
        }
    }

    /// Whether they make sense together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check()
            .map_err(|trouble| limits_error(trouble.problem))
    }

    pub(crate) fn check(&self) -> Result<(), Trouble> {
        let sizes = [
            ("read-per-turn", self.read_per_turn),
            ("out-resume", self.out_resume),
            ("frame", self.frame),
            ("buffers", self.buffers),
            ("command-output", self.command_output),
        ];
        let counts = [
            ("connections", self.connections.unwrap_or(1)),
            ("not-logged-in", self.not_logged_in),
            ("accepts-per-turn", self.accepts_per_turn),
            ("frames-per-turn", self.frames_per_turn),
            ("deliveries-per-turn", self.deliveries_per_turn),
            ("datagrams-per-turn", self.datagrams_per_turn),
            ("timers-per-turn", self.timers_per_turn),
            ("commands", self.commands),
        ];
        let counts = counts.map(|(name, count)| (name, count as usize));
        if let Some((name, _)) = sizes
            .into_iter()
            .chain(counts)
            .find(|(_, value)| *value == 0)
        {
            return Err(Trouble::of(
                name,
                format!("limit `{name}`: 0 would stop everything"),
            ));
        }
        let below = |low: (&str, usize), high: (&str, usize)| {
            if low.1 <= high.1 {
                Ok(())
            } else {
                Err(Trouble::of(
                    low.0,
                    format!(
                        "limit `{}` of {} is above `{}` of {}",
                        low.0, low.1, high.0, high.1
                    ),
                ))
            }
        };
        below(
            ("out-resume", self.out_resume),
            ("out-pause", self.out_pause),
        )?;
        below(("chat-soft", self.chat_soft), ("chat-hard", self.chat_hard))?;
        // A line that fits the frame limit must fit a member's queue, or it would drop the room.
        below(("frame", self.frame), ("chat-soft", self.chat_soft))?;
        if self.read_per_turn > READ_PER_TURN_BYTES_MAX {
            return Err(Trouble::of(
                "read-per-turn",
                format!(
                    "limit `read-per-turn` of {} is above {}: a buffer of that size is there from the start",
                    format_size(self.read_per_turn as u64),
                    format_size(READ_PER_TURN_BYTES_MAX as u64)
                ),
            ));
        }
        below(
            ("command-output", self.command_output),
            ("largest i32", COMMAND_OUTPUT_BYTES_MAX),
        )?;
        // What one connection may have must fit what all may have.
        for (name, bytes) in [
            ("frame", self.frame),
            ("read-per-turn", self.read_per_turn),
            ("out-pause", self.out_pause),
            ("chat-hard", self.chat_hard),
            ("command-output", self.command_output),
        ] {
            below((name, bytes), ("buffers", self.buffers))?;
        }
        if self.turn_abort.is_some_and(|abort| abort < self.turn_warn) {
            return Err(Trouble::of(
                "turn-abort",
                "limit `turn-abort` is below `turn-warn`",
            ));
        }
        Ok(())
    }

    /// Descriptors that are not for connections: 64, 4 per command at once, 1 per listener.
    pub fn reserve(&self, listeners: usize) -> u64 {
        let listeners = u64::try_from(listeners).unwrap_or(u64::MAX);
        (RESERVED_DESCRIPTORS + DESCRIPTORS_PER_COMMAND * u64::from(self.commands))
            .saturating_add(listeners)
    }

    /// How many connections a descriptor limit of `nofile` allows beside `listeners`.
    ///
    /// A number that was asked for and does not fit is an error, never cut in silence.
    pub fn capacity(
        &self,
        nofile: u64,
        listeners: usize,
        files: usize,
    ) -> Result<u32, ConfigError> {
        let reserve = self.reserve(listeners) + files as u64;
        let left = nofile.saturating_sub(reserve);
        let sums = format!(
            "the descriptor limit of {nofile} less a reserve of {reserve} ({RESERVED_DESCRIPTORS} + \
             {DESCRIPTORS_PER_COMMAND} × {} commands + {listeners} listeners{})",
            self.commands,
            match files {
                0 => String::new(),
                files => format!(" + {files} files"),
            }
        );
        match self.connections {
            _ if left == 0 => Err(limits_error(format!(
                "{sums} leaves no connection; raise it (`ulimit -n`) or lower `commands`"
            ))),
            Some(asked) if u64::from(asked) > left => Err(limits_error(format!(
                "`connections` of {asked} is more than the {left} that {sums} leaves; raise it (`ulimit -n`) or ask for less"
            ))),
            Some(asked) => Ok(asked),
            None => Ok(u32::try_from(left.min(CONNECTIONS_MAX_BY_DEFAULT)).unwrap_or(u32::MAX)),
        }
    }
}

fn limits_error(problem: String) -> ConfigError {
    ConfigError {
        place: "limits".into(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_an_equal_part_of_what_is_counted_in_the_whole_server() {
        let all = Limits {
            connections: Some(1001),
            ..Limits::default()
        };
        let one = all.share_of(2);
        assert_eq!(one.connections, Some(501));
        assert_eq!((one.not_logged_in, one.buffers), (256, 128 << 20));
        assert_eq!((one.commands, one.commands_queued), (8, 32));
        assert_eq!(one.frame, all.frame);
        assert_eq!(all.share_of(1), all);
        let many = Limits::default().share_of(64);
        assert_eq!((many.connections, many.commands), (None, 1));
    }

    #[test]
    fn the_defaults_make_sense_together() {
        assert_eq!(Limits::default().validate(), Ok(()));
    }

    #[test]
    fn the_default_total_is_what_the_descriptor_limit_leaves() {
        let limits = Limits::default();
        assert_eq!(limits.reserve(6), 64 + 4 * 16 + 6);
        assert_eq!(limits.capacity(1024, 6, 0), Ok(1024 - 134));
        assert_eq!(limits.capacity(u64::MAX, 6, 0), Ok(1 << 20));
        assert_eq!(limits.capacity(135, 6, 0), Ok(1));
    }

    #[test]
    fn a_total_that_does_not_fit_is_refused_at_start() {
        let asking = |connections| Limits {
            connections: Some(connections),
            ..Limits::default()
        };
        assert_eq!(asking(890).capacity(1024, 6, 0), Ok(890));
        let wrong = asking(891).capacity(1024, 6, 0).unwrap_err().to_string();
        for piece in [
            "891",
            "890",
            "1024",
            "134",
            "16 commands",
            "6 listeners",
            "ulimit -n",
        ] {
            assert!(wrong.contains(piece), "{wrong}");
        }
        assert!(Limits::default().capacity(134, 6, 0).is_err());
        assert!(Limits::default().capacity(u64::MAX, usize::MAX, 0).is_err());
        assert!(Limits::default().capacity(0, 0, 0).is_err());
        let wrong = Limits::default()
            .capacity(400, 6, 288)
            .unwrap_err()
            .to_string();
        assert!(wrong.contains("6 listeners + 288 files"), "{wrong}");
    }

    #[test]
    fn limits_that_contradict_each_other_are_refused() {
        let wrong = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            limits.validate().unwrap_err().to_string()
        };
        assert!(wrong(|l| l.out_resume = l.out_pause + 1).contains("`out-resume`"));
        assert!(wrong(|l| l.chat_soft = l.chat_hard + 1).contains("`chat-hard`"));
        assert!(wrong(|l| l.frame = l.chat_soft + 1).contains("`frame`"));
        assert!(wrong(|l| l.accepts_per_turn = 0).contains("`accepts-per-turn`: 0"));
        assert!(wrong(|l| l.connections = Some(0)).contains("`connections`: 0"));
        assert!(wrong(|l| l.command_output = usize::MAX).contains("largest i32"));
        assert!(wrong(|l| l.buffers = 1 << 20).contains("`chat-hard`"));
        assert!(wrong(|l| l.buffers = 0).contains("`buffers`: 0"));
        assert!(wrong(|l| l.read_per_turn = (4 << 20) + 1).contains("above 4M"));
        assert!(wrong(|l| l.turn_abort = Some(Duration::from_millis(1))).contains("turn-abort"));
    }
}

//! What a run is to do.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rustix::process::geteuid;
use serde::Serialize;

use crate::config::{
    Transport, UNIX_PATH_BYTES_MAX, check_private_socket, command_sockets, nearest,
};
use crate::load::LoadError;
use crate::load::expect::{Expect, Framing};
use crate::load::fanout;
use crate::load::measure::process::Usage;
use crate::load::message::NUMBER_BYTES;
use crate::load::schedule::Arrivals;
use crate::load::source::SOURCES_MAX;
use crate::load::udp;
use crate::wire::HmacKey;

/// Everything a run is told.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server, as it was given.
    pub endpoint: Endpoint,
    /// Its address, if it was looked up already.
    pub target: Option<TargetAddress>,
    /// What one request is.
    pub mode: Mode,
    /// What makes a request begin.
    pub model: Model,
    /// How many connections are open at once; in the open model of [`Mode::Conn`], at the most. In
    /// [`Mode::Fanout`] how many members receive; one more sends.
    pub connections: usize,
    /// How many requests a connection has in flight; 1 in [`Mode::Conn`]. In [`Mode::Fanout`] how many
    /// lines are in flight: sent, and not yet received by every member.
    pub pipeline: usize,
    /// How many requests a connection of [`Mode::Conn`] makes, one after the other, before it is
    /// closed; 1 in the other modes, whose connections stay. What is counted, timed and limited by
    /// the timeout is the connection, with all of them.
    pub requests_per_connection: usize,
    /// How many bytes a message has; a line of [`Mode::Fanout`], its end not counted.
    pub size: usize,
    /// The message itself, `size` bytes; none for one that differs from its neighbours.
    pub text: Option<Vec<u8>>,
    /// What every connection of [`Mode::Fanout`] sends first, to be let in.
    pub hello: Vec<u8>,
    /// What counts as the answer.
    pub expect: Expect,
    /// What each connection proves itself with before it asks, to a server that begins with a
    /// challenge; the time that takes counts into being connected.
    pub hmac_key: Option<HmacKey>,
    /// When it is enough.
    pub amount: Amount,
    /// How long to ask before anything is counted.
    pub warmup: Duration,
    /// How long one request may take in all, from dialling or sending to the last byte.
    pub timeout: Duration,
    /// How long to poll before sleeping; zero sleeps at once.
    pub spin: Duration,
    /// Local addresses to dial from, in turn; none leaves the choice to the kernel.
    pub sources: Vec<SocketAddr>,
    /// The server's processes, if they are to be watched.
    pub pids: Vec<u32>,
}

/// What one request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Connect, send a message, await the whole of it back, as often as
    /// [`Plan::requests_per_connection`] says, close.
    Conn {
        /// Which side closes, and how.
        close: Close,
    },
    /// Send a message on a connection that stays, await the whole of it back.
    Echo,
    /// Send a command line on a connection that stays, await its output.
    Exec,
    /// Connect and say nothing: how many connections are held, and at what price.
    Hold,
    /// A datagram each; `pipeline` of them in flight.
    Udp,
    /// One member of a chat sends, all others receive: a request is a line, which is answered when every
    /// member has it.
    Fanout {
        /// Whether what the server puts before a line may differ from line to line, as a time does;
        /// else it must be what it was before the first.
        any_prefix: bool,
    },
}

impl Mode {
    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Conn { .. } => "conn",
            Mode::Echo => "echo",
            Mode::Exec => "exec",
            Mode::Hold => "hold",
            Mode::Udp => "udp",
            Mode::Fanout { .. } => "fanout",
        }
    }

    /// Whether connections outlive a request.
    pub fn keeps(self) -> bool {
        !matches!(self, Mode::Conn { .. })
    }
}

/// What makes a request begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Model {
    /// The answer to the request before it: a stalled server gets fewer requests, and the waiting of those
    /// that would have come meanwhile is not seen.
    Closed,
    /// Its time: latency counts from when it was meant to begin, whatever kept it.
    Open {
        /// How many a second.
        rate: f64,
        /// How regularly.
        arrivals: Arrivals,
    },
}

impl Model {
    /// As it is called in reports.
    pub fn name(self) -> &'static str {
        match self {
            Model::Closed => "closed",
            Model::Open { .. } => "open",
        }
    }
}

/// Which side ends a connection, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Close {
    /// The client resets it: no `TIME_WAIT` anywhere, so ports last. On a Unix socket, which knows no
    /// reset, a plain close.
    ClientRst,
    /// The client closes: its port then waits a minute in `TIME_WAIT`.
    ClientFin,
    /// The server closes after its answer, and the client waits for that.
    Server,
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Close::ClientRst => "client-rst",
            Close::ClientFin => "client-fin",
            Close::Server => "server",
        })
    }
}

/// When it is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// After this long.
    For(Duration),
    /// After this many requests.
    Count(u64),
}

/// What a run would need and cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A number below what makes sense or above its limit.
    #[error("{what} must be between {min} and {max}, not {given}")]
    Bounds {
        /// Which number.
        what: &'static str,
        /// The least that makes sense.
        min: u64,
        /// The limit.
        max: u64,
        /// What was asked for.
        given: u64,
    },
    /// Several answers, of which the first is to end its connection.
    #[error("--expect eof: the first answer ends its connection, so --requests must be 1, not {0}")]
    AfterTheEnd(usize),
    /// An answer that this mode cannot await.
    #[error("--expect {0} does not go with `bench {1}`")]
    Expect(String, &'static str),
    /// A secret, and nothing that a challenge could come on.
    #[error("--secret-file: a challenge comes on a connection, and `bench udp` has none")]
    HmacKey,
    /// No rate that could be kept.
    #[error("the rate must be above 0 and at most {RATE_MAX} a second, not {0}")]
    Rate(String),
    /// Not an endpoint.
    #[error(
        "{0:?} is no endpoint: write tcp://HOST:PORT, HOST:PORT, echo://HOST:PORT, http://HOST/PATH, unix:///PATH or echo+unix:///PATH"
    )]
    Endpoint(String),
    /// A path that no Unix socket can have.
    #[error(
        "the path of {0} bytes is longer than the {UNIX_PATH_BYTES_MAX} that a Unix socket's address holds; a relative path may be shorter"
    )]
    Path(usize),
    /// Nothing that is known.
    #[error("there is no {0}://{1}")]
    Scheme(String, String),
    /// Something that is spoken through TLS.
    #[error("{0:?}: bench does not speak TLS; ask the server behind it, over http:// or tcp://")]
    Tls(String),
    /// A transport that this mode does not speak yet.
    #[error("{0:?}: bench speaks TCP, Unix stream sockets and UDP")]
    Transport(String),
    /// Datagrams for a mode of streams, or the other way round.
    #[error("`bench {0}` cannot ask {1}")]
    Mode(&'static str, String),
    /// No such process, or no permission to read it.
    #[error("--pid {0}: there is no such process, or not one we may look at")]
    Pid(u32),
    /// A local address where there can be none, or of the other family.
    #[error("--source {} cannot be used with {}", .0.ip(), .1)]
    Source(SocketAddr, String),
}

/// Sixteen times as many as a local address has ports: with that many sources.
pub const CONNECTIONS_MAX: usize = 1 << 20;
/// A message that fits twice into what the kernel buffers would measure memory, not a server.
pub const SIZE_BYTES_MAX: usize = 16 << 20;
/// All that one connection may have in flight: it is one slice in memory.
pub const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;
/// The start times of all that is in flight, some 1 GiB at the most.
pub const IN_FLIGHT_MAX: usize = 1 << 26;
/// The ring of start times of one connection.
pub const PIPELINE_MAX: usize = 1 << 16;
/// What one connection can ask in about an hour.
pub const REQUESTS_MAX: usize = 1_000_000_000;

/// Ten times what one thread can send.
pub const RATE_MAX: f64 = 1e7;

impl Plan {
    /// A run with the defaults of the command line: one second after 200 ms, 64 bytes, 50 at once.
    pub fn new(endpoint: Endpoint, mode: Mode) -> Self {
        Self {
            endpoint,
            target: None,
            mode,
            model: Model::Closed,
            connections: 50,
            pipeline: 1,
            requests_per_connection: 1,
            size: 64,
            text: None,
            hello: Vec::new(),
            expect: Expect::Echo,
            hmac_key: None,
            amount: Amount::For(Duration::from_secs(1)),
            warmup: Duration::from_millis(200),
            timeout: Duration::from_secs(5),
            spin: Duration::ZERO,
            sources: Vec::new(),
            pids: Vec::new(),
        }
    }

    /// Looks up the server, once for all runs of this plan.
    pub fn look_up(&mut self) -> Result<TargetAddress, LoadError> {
        let target = self.looked_up()?;
        self.target = Some(target.clone());
        Ok(target)
    }

    /// The address of the server, looked up now if it was not yet.
    pub(crate) fn looked_up(&self) -> Result<TargetAddress, LoadError> {
        match &self.target {
            Some(target) => Ok(target.clone()),
            None => self.endpoint.resolve(self.timeout),
        }
    }

    /// Whether it can be carried out as far as that is known beforehand.
    pub fn check(&self) -> Result<(), PlanError> {
        bounds(
            "the number of connections",
            self.connections,
            CONNECTIONS_MAX,
        )?;
        bounds("the pipeline's depth", self.pipeline, PIPELINE_MAX)?;
        bounds("the size of a message", self.size, SIZE_BYTES_MAX)?;
        bounds(
            "the bytes in flight of a connection",
            self.pipeline.saturating_mul(self.size),
            IN_FLIGHT_BYTES_MAX,
        )?;
        bounds(
            "all that is in flight",
            self.connections.saturating_mul(self.pipeline),
            IN_FLIGHT_MAX,
        )?;
        bounds("the size of a hello", self.hello.len() + 1, SIZE_BYTES_MAX)?;
        if let Some(text) = &self.text {
            bounds("the size of a message", text.len(), SIZE_BYTES_MAX)?;
            debug_assert_eq!(text.len(), self.size, "a text has its own size");
        }
        if matches!(self.mode, Mode::Conn { .. } | Mode::Hold) {
            bounds("the pipeline's depth in this mode", self.pipeline, 1)?;
        }
        let requests = self.requests_per_connection;
        if self.mode.keeps() {
            bounds("the requests of a connection in this mode", requests, 1)?;
        }
        bounds("the requests of a connection", requests, REQUESTS_MAX)?;
        if self.expect == Expect::Eof && requests > 1 {
            return Err(PlanError::AfterTheEnd(requests));
        }
        if (self.mode == Mode::Udp) != matches!(self.endpoint, Endpoint::Udp(_)) {
            let endpoint = self.endpoint.to_string();
            return Err(PlanError::Mode(self.mode.name(), endpoint));
        }
        if self.mode == Mode::Udp {
            bounds("the size of a datagram", self.size, udp::SIZE_BYTES_MAX)?;
            bounds("the window", self.pipeline, udp::WINDOW_MAX)?;
            if self.hmac_key.is_some() {
                return Err(PlanError::HmacKey);
            }
        }
        if matches!(self.mode, Mode::Fanout { .. }) {
            if self.size < NUMBER_BYTES {
                return Err(PlanError::Bounds {
                    what: "the size of a line",
                    min: NUMBER_BYTES as u64,
                    max: SIZE_BYTES_MAX as u64,
                    given: self.size as u64,
                });
            }
            bounds("the lines in flight", self.pipeline, fanout::WINDOW_MAX)?;
        }
        if let Some(pid) = self.pids.iter().find(|pid| Usage::of(&[**pid]).is_none()) {
            return Err(PlanError::Pid(*pid));
        }
        match &self.expect {
            Expect::Exact(bytes) => bounds("the size of an answer", bytes.len(), SIZE_BYTES_MAX)?,
            Expect::Bytes(bytes) => bounds("the size of an answer", *bytes, SIZE_BYTES_MAX)?,
            Expect::Until(bytes) => bounds("the size of a delimiter", bytes.len(), SIZE_BYTES_MAX)?,
            Expect::Echo | Expect::Eof | Expect::Http | Expect::Framed(_) => {}
        }
        let fits = match (&self.expect, self.mode) {
            (Expect::Eof, mode) => !mode.keeps(),
            (Expect::Framed(Framing::Decimal), mode) => mode == Mode::Exec,
            (_, Mode::Udp | Mode::Fanout { .. }) => {
                self.expect == Expect::Echo && self.text.is_none()
            }
            _ => true,
        };
        if !fits {
            let expect = self.expect.to_string();
            return Err(PlanError::Expect(expect, self.mode.name()));
        }
        if self.expect == Expect::Framed(Framing::Decimal) {
            // Another request behind it would be taken for the acknowledgement.
            bounds(
                "the pipeline's depth where lengths are acknowledged",
                self.pipeline,
                1,
            )?;
        }
        if let Expect::Exact(bytes) = &self.expect {
            bounds(
                "the bytes of answers in flight of a connection",
                self.pipeline.saturating_mul(bytes.len()),
                IN_FLIGHT_BYTES_MAX,
            )?;
        }
        if let Model::Open { rate, .. } = self.model
            && !(rate > 0.0 && rate <= RATE_MAX)
        {
            return Err(PlanError::Rate(rate.to_string()));
        }
        if self.amount == Amount::For(Duration::ZERO) {
            return Err(PlanError::Bounds {
                what: "the time to measure in nanoseconds",
                min: 1,
                max: u64::MAX,
                given: 0,
            });
        }
        if self.timeout.is_zero() {
            return Err(PlanError::Bounds {
                what: "the timeout in milliseconds",
                min: 1,
                max: u64::MAX,
                given: 0,
            });
        }
        if let (Endpoint::Unix(_), Some(source)) = (&self.endpoint, self.sources.first()) {
            return Err(PlanError::Source(*source, self.endpoint.to_string()));
        }
        let sources = self.sources.len().max(1);
        bounds("the number of local addresses", sources, SOURCES_MAX)?;
        if self.mode == Mode::Udp {
            bounds("the number of local addresses of one socket", sources, 1)?;
        }
        Ok(())
    }

    /// Whether all sources are of the family of `target`, which is not known before.
    pub(crate) fn check_sources(&self, target: &TargetAddress) -> Result<(), PlanError> {
        let (TargetAddress::Tcp(address) | TargetAddress::Udp(address)) = target else {
            return Ok(());
        };
        match self
            .sources
            .iter()
            .find(|source| source.is_ipv4() != address.is_ipv4())
        {
            None => Ok(()),
            Some(source) => {
                let endpoint = format!("{}, which is {}", self.endpoint, address.ip());
                Err(PlanError::Source(*source, endpoint))
            }
        }
    }
}

fn bounds(what: &'static str, given: usize, max: usize) -> Result<(), PlanError> {
    if (1..=max).contains(&given) {
        return Ok(());
    }
    let wide = |n| u64::try_from(n).unwrap_or(u64::MAX);
    Err(PlanError::Bounds {
        what,
        min: 1,
        max: wide(max),
        given: wide(given),
    })
}

/// A server, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A host and a port over TCP.
    Tcp(String),
    /// A Unix stream socket.
    Unix(PathBuf),
    /// A host and a port over UDP.
    Udp(String),
}

impl Endpoint {
    /// Where only a host and a port were given, or a service, datagrams are meant.
    #[must_use]
    pub fn over_udp(self) -> Self {
        match self {
            Self::Tcp(address) => Self::Udp(address),
            other => other,
        }
    }
}

/// Without any service: a transport and an address, or `http://`.
impl FromStr for Endpoint {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        Self::of_service(text, &[])
    }
}

impl Endpoint {
    /// Reads a URL, whose scheme may also be one of these services: each has a name, and a transport
    /// that goes without saying.
    pub fn of_service(text: &str, services: &[(&str, Transport)]) -> Result<Self, PlanError> {
        let malformed = || PlanError::Endpoint(text.to_owned());
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        // A service or a transport, or both: only the transport matters here.
        let (name, transport) = match scheme.split_once('+') {
            Some((service, transport)) => (service, Some(transport)),
            None => (scheme, None),
        };
        let schemes: Vec<(&str, Transport)> = [&SCHEMES, services].concat();
        let usual = schemes.iter().find(|(known, _)| *known == name);
        let Some((_, usual)) = usual else {
            return Err(PlanError::Scheme(name.to_owned(), meant(name, &schemes)));
        };
        let transport = transport.unwrap_or(usual.name());
        // The options of a URL of `serve` have no meaning for a client.
        let address = rest.split_once('?').map_or(rest, |(address, _)| address);
        let with_port;
        let address = match scheme {
            "https" => return Err(PlanError::Tls(text.to_owned())),
            // The path is part of the request, which the caller writes; the port may be left out.
            "http" => {
                let host = address.split('/').next().unwrap_or_default();
                let has_port = host
                    .rsplit_once(':')
                    .is_some_and(|(_, port)| !port.ends_with(']'));
                with_port = if has_port {
                    host.to_owned()
                } else {
                    format!("{host}:80")
                };
                &with_port
            }
            _ => address,
        };
        match transport {
            "tcp" | "udp" => {
                let address = address.strip_suffix('/').unwrap_or(address);
                let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
                let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
                match port.parse::<u16>() {
                    Ok(port) if port > 0 && !host.is_empty() && !host.contains('/') && !bare_v6 => {
                        Ok(match transport {
                            "udp" => Self::Udp(address.to_owned()),
                            _ => Self::Tcp(address.to_owned()),
                        })
                    }
                    _ => Err(malformed()),
                }
            }
            "unix" if address.is_empty() => Err(malformed()),
            "unix" if address.len() > UNIX_PATH_BYTES_MAX => Err(PlanError::Path(address.len())),
            "unix" => Ok(Self::Unix(PathBuf::from(address))),
            _ => Err(PlanError::Transport(text.to_owned())),
        }
    }
}

/// What may stand before `://` besides services.
const SCHEMES: [(&str, Transport); 6] = [
    ("tcp", Transport::Tcp),
    ("udp", Transport::Udp),
    ("unix", Transport::Unix),
    ("http", Transport::Tcp),
    ("https", Transport::Tcp),
    ("fd", Transport::Fd),
];

/// Of these, what is known and cannot be asked: a list of schemes leaves them out.
const UNSPOKEN: [&str; 2] = ["https", "fd"];

/// What was probably meant by an unknown scheme.
fn meant(name: &str, schemes: &[(&str, Transport)]) -> String {
    let known: Vec<&str> = schemes.iter().map(|(name, _)| *name).collect();
    match nearest(name, &known) {
        Some(near) => format!(": perhaps `{near}` was meant"),
        None => {
            let spoken = known.into_iter().filter(|name| !UNSPOKEN.contains(name));
            let spoken: Vec<_> = spoken.collect();
            format!(": write one of {}", spoken.join(", "))
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => write!(f, "tcp://{address}"),
            Endpoint::Udp(address) => write!(f, "udp://{address}"),
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// A server, as the kernel addresses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetAddress {
    /// An address over TCP.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
    /// An address over UDP.
    Udp(SocketAddr),
}

impl Endpoint {
    /// Looks the host up. Of several addresses the first is meant at which somebody listens, as with every
    /// client of ours: that costs the server one connection that says nothing, or one empty datagram. A
    /// single address is not tried.
    fn resolve(&self, timeout: Duration) -> Result<TargetAddress, LoadError> {
        let host = match self {
            Endpoint::Unix(path) => {
                // What another user may have put where our own server should be is not asked.
                if command_sockets().contains(path)
                    && let Err(wrong) = check_private_socket(path, geteuid().as_raw())
                    && wrong.kind() != ErrorKind::NotFound
                {
                    return Err(LoadError::Untrusted(wrong));
                }
                return Ok(TargetAddress::Unix(path.clone()));
            }
            Endpoint::Tcp(host) | Endpoint::Udp(host) => host,
        };
        let failed = |cause| LoadError::Resolve {
            endpoint: self.to_string(),
            cause,
        };
        let addresses: Vec<_> = host.to_socket_addrs().map_err(failed)?.collect();
        let none = || failed(io::Error::new(ErrorKind::NotFound, "no address"));
        let first = *addresses.first().ok_or_else(none)?;
        let is_udp = matches!(self, Endpoint::Udp(_));
        let answers = |address: &SocketAddr| {
            if is_udp {
                takes_datagrams(*address, timeout)
            } else {
                TcpStream::connect_timeout(address, timeout).is_ok()
            }
        };
        let chosen = match addresses.len() {
            1 => first,
            _ => addresses.into_iter().find(answers).unwrap_or(first),
        };
        Ok(if is_udp {
            TargetAddress::Udp(chosen)
        } else {
            TargetAddress::Tcp(chosen)
        })
    }
}

/// Whether nothing says that nobody listens there. Silence is no such thing: a datagram may be lost, and
/// some services never answer.
fn takes_datagrams(address: SocketAddr, timeout: Duration) -> bool {
    /// As long as a client waits for its first answer.
    const SILENCE: Duration = Duration::from_millis(250);
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let asked = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.set_read_timeout(Some(timeout.clamp(Duration::from_millis(1), SILENCE)))?;
        socket.connect(address)?;
        socket.send(&[])?;
        socket.recv(&mut [0])
    });
    match asked {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_as_they_are_typed() {
        let services = [
            ("echo", Transport::Tcp),
            ("upper", Transport::Tcp),
            ("chat", Transport::Tcp),
            ("time", Transport::Udp),
        ];
        let read = |text: &str| Endpoint::of_service(text, &services);
        let tcp = |address: &str| Ok(Endpoint::Tcp(address.to_owned()));
        let unix = |path: &str| Ok(Endpoint::Unix(PathBuf::from(path)));
        for (text, meant) in [
            ("tcp://127.0.0.1:9000", tcp("127.0.0.1:9000")),
            ("127.0.0.1:9000", tcp("127.0.0.1:9000")),
            ("localhost:9000", tcp("localhost:9000")),
            ("echo://127.0.0.1:9000", tcp("127.0.0.1:9000")),
            ("echo+tcp://[::1]:9000/", tcp("[::1]:9000")),
            (
                "upper://127.0.0.1:9999?once=true&strip=true",
                tcp("127.0.0.1:9999"),
            ),
            ("http://127.0.0.1:8080/a/b:c?pid=1", tcp("127.0.0.1:8080")),
            ("http://localhost", tcp("localhost:80")),
            ("http://[::1]/", tcp("[::1]:80")),
            ("unix:///run/echo.sock", unix("/run/echo.sock")),
            ("echo+unix:///run/echo.sock", unix("/run/echo.sock")),
        ] {
            assert_eq!(read(text), meant, "{text}");
        }
        for text in [
            "",
            "host",
            "host:",
            ":9000",
            "host:0",
            "host:65536",
            "host:x",
            "::1:9000",
            "http://",
            "http://host:x/",
            "unix://",
            "/run/x:1",
        ] {
            assert_eq!(
                read(text),
                Err(PlanError::Endpoint(text.to_owned())),
                "{text}"
            );
        }
        for text in [
            "echo+udp://[::1]:9000",
            "udp://[::1]:9000",
            "time://[::1]:9000",
        ] {
            let udp = Endpoint::Udp("[::1]:9000".to_owned());
            assert_eq!(read(text), Ok(udp), "{text}");
        }
        for text in ["echo+unixgram:///x", "chat+fd://3"] {
            assert_eq!(
                read(text),
                Err(PlanError::Transport(text.to_owned())),
                "{text}"
            );
        }
        for text in ["gopher://h:1", "tmie://h:1"] {
            let Err(PlanError::Scheme(_, meant)) = read(text) else {
                panic!("{text} was understood");
            };
            assert!(meant.contains("time"), "{meant}");
        }
        // Nobody said which services there are.
        assert!("echo://h:1".parse::<Endpoint>().is_err());
    }

    #[test]
    fn a_plan_says_which_number_is_wrong() {
        let mut plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo);
        assert_eq!(plan.check(), Ok(()));
        plan.size = 0;
        assert!(
            plan.check()
                .unwrap_err()
                .to_string()
                .starts_with("the size of a message must be between 1 and")
        );
        plan.size = SIZE_BYTES_MAX;
        plan.pipeline = 1000;
        assert!(plan.check().unwrap_err().to_string().contains("in flight"));
        plan.pipeline = 1;
        plan.sources = vec!["127.0.0.2:0".parse().unwrap()];
        assert!(plan.check().unwrap_err().to_string().contains("--source"));
    }
}

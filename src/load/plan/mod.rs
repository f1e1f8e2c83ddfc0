//! What a run is told.
//!
//! - [`Plan`], and whether it can be carried out. [`mode`]: what a request is, and what makes it begin.
//! - [`target`]: the server. [`source`]: local addresses. [`expect`]: what counts as an answer.
//! - [`limits`]: every bound. [`error`]: why a run cannot be made.

pub mod error;
pub mod expect;
pub mod limits;
pub mod mode;
pub mod source;
pub mod target;

use std::net::SocketAddr;
use std::time::Duration;

use self::error::{LoadError, PlanError};
use self::expect::Expect;
use self::limits::{
    CONNECTIONS_MAX, DATAGRAM_BYTES_MAX, DATAGRAMS_MAX, GREETING_BYTES_MAX, IN_FLIGHT_BYTES_MAX,
    IN_FLIGHT_MAX, NUMBER_BYTES, PIPELINE_MAX, RATE_MAX, REQUESTS_MAX, SIZE_BYTES_MAX, SOURCES_MAX,
};
use self::mode::{Amount, Mode, Model};
use self::target::{Endpoint, Located, TargetAddress};
use crate::load::measure::process::Usage;
#[cfg(feature = "tls")]
use crate::tls::{ClientTls, server_name};
use crate::wire::{CommandFraming, HmacKey};

/// Everything a run is told.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server, as it was given.
    pub endpoint: Endpoint,
    /// Its address, if it was looked up already.
    pub target: Option<Located>,
    /// What one request is.
    pub mode: Mode,
    /// What makes a request begin.
    pub model: Model,
    /// How many connections are open at once; in the open model of [`Mode::Conn`], at the most. In
    /// [`Mode::Fanout`] how many members receive; one more sends.
    pub connections: usize,
    /// How many bytes a message has that differs from its neighbours; a line of [`Mode::Fanout`], its end
    /// not counted.
    pub size: usize,
    /// The message itself, whatever `size` is; none for one that differs from its neighbours.
    pub text: Option<Vec<u8>>,
    /// What counts as the answer.
    pub expect: Expect,
    /// What the server sends before it is asked, if that is known, and could be taken for an answer.
    pub greeting: Option<Vec<u8>>,
    /// What each connection awaits before it asks, from a server that speaks first; the time that takes counts into
    /// being connected.
    pub await_greeting: Option<Expect>,
    /// In [`Mode::Exec`]: what every output must be; none for any.
    pub output: Option<Vec<u8>>,
    /// In [`Mode::Exec`]: the exit code that every command must end with, where the framing tells it.
    pub exit: i32,
    /// In [`Mode::Hold`]: whether each connection sends the message at the end, so that it is known which the service
    /// still answers.
    pub asks_at_end: bool,
    /// What each connection proves itself with before it asks, to a server that begins with a
    /// challenge; the time that takes counts into being connected.
    pub hmac_key: Option<HmacKey>,
    /// What begins the TLS session of each connection, where it is to have one: with a whole handshake, whose
    /// time counts into being connected.
    #[cfg(feature = "tls")]
    pub tls: Option<ClientTls>,
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
    /// What is random in the open model, the times of requests, is that of this number: the same in each run of it.
    pub seed: u64,
}

impl Plan {
    /// A run with the defaults of the command line: one second after 200 ms, 64 bytes, 50 connections or
    /// 100 members.
    pub fn new(endpoint: Endpoint, mode: Mode) -> Self {
        Self {
            endpoint,
            target: None,
            connections: match mode {
                Mode::Fanout { .. } => 100,
                _ => 50,
            },
            mode,
            model: Model::Closed,
            size: 64,
            text: None,
            expect: Expect::Echo,
            greeting: None,
            await_greeting: None,
            output: None,
            exit: 0,
            asks_at_end: false,
            hmac_key: None,
            #[cfg(feature = "tls")]
            tls: None,
            amount: Amount::For(Duration::from_secs(1)),
            warmup: Duration::from_millis(200),
            timeout: Duration::from_secs(5),
            spin: Duration::ZERO,
            sources: Vec::new(),
            pids: Vec::new(),
            seed: 0,
        }
    }

    /// The same with another seed: so many after its own.
    pub(crate) fn with_seed_after(&self, count: usize) -> Self {
        Self {
            seed: self.seed.wrapping_add(count as u64),
            ..self.clone()
        }
    }

    /// Looks up the server, once for all runs of this plan.
    pub fn look_up(&mut self) -> Result<TargetAddress, LoadError> {
        let target = self.looked_up()?;
        let address = target.address.clone();
        self.target = Some(target);
        Ok(address)
    }

    /// The address of the server, looked up now if it was not yet.
    pub(crate) fn looked_up(&self) -> Result<Located, LoadError> {
        match &self.target {
            Some(target) => Ok(target.clone()),
            None => self.endpoint.resolve(self.timeout),
        }
    }

    /// Whether connections have a TLS session.
    pub(crate) fn is_secured(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// How many bytes a message has, whichever it is.
    pub(crate) fn message_bytes(&self) -> usize {
        self.text.as_ref().map_or(self.size, Vec::len)
    }

    /// Whether it can be carried out as far as that is known beforehand.
    pub fn check(&self) -> Result<(), PlanError> {
        let depth = self.mode.depth();
        bounds(
            "the number of connections",
            self.connections,
            CONNECTIONS_MAX,
        )?;
        bounds("the pipeline's depth", depth, PIPELINE_MAX)?;
        let size = self.message_bytes();
        bounds("the size of a message", size, SIZE_BYTES_MAX)?;
        bounds(
            "the bytes in flight of a connection",
            depth.saturating_mul(size),
            IN_FLIGHT_BYTES_MAX,
        )?;
        bounds(
            "all that is in flight",
            self.connections.saturating_mul(depth),
            IN_FLIGHT_MAX,
        )?;
        self.check_mode()?;
        if let Some(pid) = self.pids.iter().find(|pid| Usage::of(&[**pid]).is_none()) {
            return Err(PlanError::Pid(*pid));
        }
        self.check_greeting()?;
        self.check_answer()?;
        #[cfg(feature = "tls")]
        if self.is_secured() {
            server_name(&self.endpoint.server()).map_err(PlanError::ServerName)?;
        }
        if let Model::Open { rate, .. } = self.model
            && !(rate > 0.0 && rate <= RATE_MAX)
        {
            return Err(PlanError::Rate(rate.to_string()));
        }
        if let Amount::For(time) = self.amount {
            lasts("the time to measure (--duration)", time)?;
        }
        lasts("the time for a request (--timeout)", self.timeout)?;
        if let (Endpoint::Unix(_), Some(source)) = (&self.endpoint, self.sources.first()) {
            return Err(PlanError::Source(*source, self.endpoint.to_string()));
        }
        let sources = self.sources.len().max(1);
        bounds("the number of local addresses", sources, SOURCES_MAX)?;
        if let Mode::Udp { .. } = self.mode {
            bounds("the number of local addresses of one socket", sources, 1)?;
        }
        Ok(())
    }

    /// What holds in one mode only.
    fn check_mode(&self) -> Result<(), PlanError> {
        let is_udp = matches!(self.mode, Mode::Udp { .. });
        if is_udp != matches!(self.endpoint, Endpoint::Udp(_)) {
            let endpoint = self.endpoint.to_string();
            return Err(PlanError::Mode(self.mode.name(), endpoint));
        }
        match &self.mode {
            Mode::Conn { requests, .. } => {
                bounds("the requests of a connection", *requests, REQUESTS_MAX)?;
                match self.expect {
                    Expect::Eof if *requests > 1 => Err(PlanError::AfterTheEnd(*requests)),
                    _ => Ok(()),
                }
            }
            Mode::Udp { window } => {
                bounds("the size of a datagram", self.size, DATAGRAM_BYTES_MAX)?;
                bounds("the window", *window, DATAGRAMS_MAX)?;
                if self.is_secured() {
                    return Err(PlanError::NoStream);
                }
                match self.hmac_key {
                    Some(_) => Err(PlanError::HmacKey),
                    None => Ok(()),
                }
            }
            Mode::Fanout { hello, .. } => {
                let what = "the size of a line";
                between(what, self.size, NUMBER_BYTES, SIZE_BYTES_MAX)?;
                bounds("the size of a hello", hello.len() + 1, SIZE_BYTES_MAX)
            }
            Mode::Echo { .. } | Mode::Exec | Mode::Hold => Ok(()),
        }
    }

    /// Whether a greeting has an end, and a connection to come on.
    fn check_greeting(&self) -> Result<(), PlanError> {
        let bytes = match &self.await_greeting {
            None => return Ok(()),
            Some(Expect::Exact(bytes) | Expect::Until(bytes)) => bytes.len(),
            Some(Expect::Bytes(bytes)) => *bytes,
            Some(other) => return Err(PlanError::Greeting(other.to_string())),
        };
        match self.mode {
            Mode::Conn { .. } | Mode::Echo { .. } | Mode::Exec => {
                bounds("the size of a greeting", bytes, GREETING_BYTES_MAX)
            }
            Mode::Hold | Mode::Udp { .. } | Mode::Fanout { .. } => {
                Err(PlanError::NoGreeting(self.mode.name()))
            }
        }
    }

    /// Whether the mode can await the answer.
    fn check_answer(&self) -> Result<(), PlanError> {
        match &self.expect {
            Expect::Exact(bytes) => {
                bounds("the size of an answer", bytes.len(), SIZE_BYTES_MAX)?;
                bounds(
                    "the bytes of answers in flight of a connection",
                    self.mode.depth().saturating_mul(bytes.len()),
                    IN_FLIGHT_BYTES_MAX,
                )?;
            }
            Expect::Bytes(bytes) => bounds("the size of an answer", *bytes, SIZE_BYTES_MAX)?,
            Expect::Until(bytes) => bounds("the size of a delimiter", bytes.len(), SIZE_BYTES_MAX)?,
            Expect::Echo | Expect::Eof | Expect::Http | Expect::Framed(_) => {}
        }
        let fits = match (&self.expect, &self.mode) {
            (Expect::Eof, mode) => !mode.keeps(),
            (Expect::Framed(CommandFraming::Raw), _) => false,
            (Expect::Framed(CommandFraming::Decimal), mode) => *mode == Mode::Exec,
            (expect, Mode::Udp { .. } | Mode::Fanout { .. }) => {
                *expect == Expect::Echo && self.text.is_none()
            }
            _ => true,
        };
        if fits {
            return Ok(());
        }
        let expect = self.expect.to_string();
        Err(PlanError::Expect(expect, self.mode.name()))
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
    between(what, given, 1, max)
}

fn lasts(what: &'static str, time: Duration) -> Result<(), PlanError> {
    let is_counted = u64::try_from(time.as_nanos()).is_ok_and(|nanos| nanos > 0);
    is_counted.then_some(()).ok_or(PlanError::Time(what))
}

fn between(what: &'static str, given: usize, min: usize, max: usize) -> Result<(), PlanError> {
    if (min..=max).contains(&given) {
        return Ok(());
    }
    Err(PlanError::Bounds {
        what,
        min,
        max,
        given,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_which_number_is_wrong() {
        let mut plan = Plan::new(Endpoint::Unix("/x".into()), Mode::Echo { depth: 1 });
        assert_eq!(plan.check(), Ok(()));
        plan.size = 0;
        assert!(
            plan.check()
                .unwrap_err()
                .to_string()
                .starts_with("the size of a message must be between 1 and")
        );
        plan.size = SIZE_BYTES_MAX;
        plan.mode = Mode::Echo { depth: 1000 };
        assert!(plan.check().unwrap_err().to_string().contains("in flight"));
        plan.mode = Mode::Echo { depth: 1 };
        plan.sources = vec!["127.0.0.2:0".parse().unwrap()];
        assert!(plan.check().unwrap_err().to_string().contains("--source"));
    }
}

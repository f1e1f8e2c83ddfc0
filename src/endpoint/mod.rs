//! One endpoint: which service, where, and with which options.
//!
//! Knows no socket and resolves no name. An endpoint is written as a URL,
//! `SERVICE[+TRANSPORT]://ADDRESS[?OPTION=VALUE&…]`, or as an `[[endpoint]]` table of a file; both
//! become the same [`Written`], and those are read by the service's row. Values in a URL are
//! percent-encoded (a `+` is a `+`, not a blank), and so is the address; in a file nothing is.

mod activation;
mod bind;
mod bus;
mod bus_tls;
mod common;
mod control;
mod default;
mod dir_lock;
mod exposure;
#[cfg(feature = "cli")]
mod file;
mod handed;
mod inherited;
mod opening;
mod plan;
mod secret_file;
mod socket_file;
#[cfg(test)]
mod tests;
mod tls;
mod unserved;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::config::{
    Address, ConfigError, Host, HostPort, Limits, Lookups, PercentEncoded, Policy, Transport,
    Trouble, UnixAddress, Written, is_private_socket, keys_of, meant, one_of, percent_decode,
    quoted, random_bytes,
};
use crate::service::{
    ChallengeSource, Class, Datagrams, Gate, Half, Row, SERVICES, Schema, Secrets, Service, Set,
    Setting, Several, Terms,
};
use crate::wire::Secret;

pub use bind::{Bound, Rest};
pub use bus::look_up_bus;
pub use common::{Auth, Common, TlsMin};
pub use control::{Control, bind_control, take_control};
pub use default::default_endpoints;
pub use exposure::{Exposure, Reach, Reached, Refusal, exposure};
#[cfg(feature = "cli")]
pub use file::{ConfigFile, Log, LogFormat, LogLevel};
pub use handed::Handed;
pub use opening::{Attempt, Judged, Opening};
pub use secret_file::{SecretFileError, make_secret, make_token, read_secret};
use secret_file::{look_up_private, look_up_secret};
pub use socket_file::{Intent, SocketFile};
pub use unserved::Unserved;

/// What is served where. There is none that is not valid by itself.
///
/// ```
/// use onepoll::endpoint::Endpoint;
///
/// let endpoint: Endpoint = "upper+tcp://127.0.0.1:9999?settle=20ms&once=on".parse()?;
/// assert_eq!(endpoint.row().name, "upper");
/// // As it is written by us: without what goes without saying.
/// assert_eq!(endpoint.to_string(), "upper://127.0.0.1:9999?once=true");
///
/// let wrong = "ehco://127.0.0.1:9000".parse::<Endpoint>().unwrap_err();
/// assert!(wrong.to_string().contains("perhaps `echo` was meant"));
/// # Ok::<(), onepoll::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    row: &'static Row,
    /// The service's own, without those that are at their defaults.
    options: Written,
    class: Class,
    address: Address,
    common: Common,
}

impl Endpoint {
    /// The service.
    pub fn row(&self) -> &'static Row {
        self.row
    }

    /// Where it listens; this decides the transport.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Service, transport and address, such as `echo+tcp://127.0.0.1:0`: by it another server finds a socket whose
    /// own address does not tell what it is for.
    pub fn place(&self) -> String {
        let (name, address) = (self.row.name, &self.address);
        format!("{name}+{}://{address}", address.transport())
    }

    /// The options that do not depend on the service.
    pub fn common(&self) -> &Common {
        &self.common
    }

    /// Whether several processes may serve it.
    pub fn several(&self) -> Several {
        let schema = self.row.schema(self.address.transport());
        // What was read once is read again.
        let several = schema.and_then(|schema| schema.several(&self.options).ok());
        several.unwrap_or(Several::Yes)
    }

    /// Which commands it runs, if its service runs any, and within what.
    pub fn policy(&self) -> Option<Policy> {
        let schema = self.row.schema(self.address.transport())?;
        // What was read once is read again.
        schema.policy(&self.options).ok().flatten()
    }

    /// What clients may do, where it says so in words.
    pub fn allows(&self) -> Option<String> {
        let schema = self.row.schema(self.address.transport())?;
        schema.allows(&self.options).ok().flatten()
    }

    /// Whether what it needs besides a socket is there.
    pub(crate) fn probe(&self) -> Result<(), String> {
        match self.row.schema(self.address.transport()) {
            Some(schema) => schema.probe(&self.options).map_err(|wrong| wrong.problem),
            None => Ok(()),
        }
    }

    /// How many descriptors it needs besides those of its connections.
    pub(crate) fn descriptors(&self) -> usize {
        let schema = self.row.schema(self.address.transport());
        schema.map_or(0, |schema| schema.descriptors(&self.options).unwrap_or(0))
    }

    /// The options that are not at their defaults, as names and values; a repeated one repeats.
    pub fn options(&self) -> Vec<(String, String)> {
        let written = self.written();
        let pairs = written.pairs().map(|(name, value)| (name.into(), value));
        pairs.collect()
    }

    /// Whether this is the same service with the same options of its own, but those that are about the
    /// connections of one listener: its connections may share a value.
    pub fn is_same_service(&self, other: &Endpoint) -> bool {
        self.row == other.row && self.options_of_value() == other.options_of_value()
    }

    /// What a value of the service is made from.
    fn options_of_value(&self) -> Written {
        let mut options = self.options.clone();
        if let Some(schema) = self.row.schema(self.address.transport()) {
            options.take(schema.of_listener());
        }
        options
    }

    /// The endpoints with which it shares a value, if it does with some.
    pub fn set(&self) -> Option<Set> {
        let schema = self.row.schema(self.address.transport())?;
        if self.has_both_halves() {
            let (Address::Tcp(at) | Address::Udp(at)) = &self.address else {
                return None;
            };
            return Some(Set {
                service: self.row.name,
                name: at.to_string(),
                options: self.options_of_value(),
            });
        }
        // What was read once is read again.
        schema.set(self.row.name, &self.options).ok().flatten()
    }

    /// Whether its datagrams and its connections, at one address, are served by one value.
    fn has_both_halves(&self) -> bool {
        let schema = self.row.schema(self.address.transport());
        schema.is_some_and(|schema| schema.has_both_halves(&self.options) == Ok(true))
    }

    /// The endpoint of the connections at the same address, which comes with one of datagrams.
    pub(crate) fn twin(&self) -> Option<Endpoint> {
        let Address::Udp(at) = &self.address else {
            return None;
        };
        self.has_both_halves()
            .then(|| self.clone().at(Address::Tcp(at.clone())))
    }

    /// What is wrong with it beside the others: one name of a set means one thing.
    pub(crate) fn agrees_with<'e>(
        &self,
        others: impl IntoIterator<Item = &'e Endpoint>,
    ) -> Result<(), ConfigError> {
        let Some(set) = self.set() else {
            return Ok(());
        };
        for other in others {
            let differs = other.set().filter(|other| other.is_named_as(&set));
            if let Some(option) = differs.and_then(|other| set.contradiction(&other)) {
                let problem = format!(
                    "it shares `{}` with `{other}`, which has another `{option}`: all endpoints of one set say the same",
                    set.name
                );
                return Err(ConfigError::at(self, problem));
            }
        }
        Ok(())
    }

    /// What the connections of a listener of it have for themselves; these are its secrets, and the content of the
    /// file that it reads.
    pub fn terms(&self, secrets: Option<Secrets>, file: Option<Arc<[u8]>>) -> Terms {
        Terms {
            options: self.options.clone(),
            secrets,
            file,
        }
    }

    /// The content of the file that its service reads, as it is looked up; none, if it reads none.
    pub fn file(&self, lookups: &mut Lookups) -> Result<Option<Arc<[u8]>>, ConfigError> {
        let Some(schema) = self.row.schema(self.address.transport()) else {
            return Ok(None);
        };
        let Ok(Some(file)) = schema.file(&self.options) else {
            return Ok(None);
        };
        let wrong =
            |problem: String| ConfigError::at(self, Trouble::with(file.option, problem).problem);
        let content = look_up_private(&file.path, file.bytes_max, file.made_by, lookups)
            .map_err(|error| wrong(error.to_string()))?;
        schema
            .check_file(&content.bytes)
            .map_err(|problem| wrong(format!("{}: {problem}", file.path.display())))?;
        Ok(Some(Arc::from(&content.bytes[..])))
    }

    fn written(&self) -> Written {
        let mut all = self.options.clone();
        for (name, values) in Written::of(&self.common).iter() {
            for value in values {
                all.push(name, value.clone());
            }
        }
        all
    }

    /// The same with another address of the same transport: a port that the system chose.
    fn at(mut self, address: Address) -> Self {
        self.address = address;
        self
    }

    /// The same at another address, with its options judged as those `over` this transport.
    fn over(&self, over: Transport, address: Address) -> Result<Self, Trouble> {
        Self::read(self.row, address, over, self.written())
    }

    /// The secrets that its connections have to prove one of, as their files are looked up; none, if it
    /// asks for none.
    pub fn secrets(&self, lookups: &mut Lookups) -> Result<Option<Secrets>, ConfigError> {
        let read = |file: &PathBuf| look_up_secret(file, lookups);
        let secrets: Result<Vec<Secret>, _> = self.common.secret_file.iter().map(read).collect();
        let secrets = secrets.map_err(|wrong| {
            let trouble = Trouble::with("secret-file", wrong.to_string());
            ConfigError::at(self, trouble.problem)
        })?;
        Ok(Secrets::new(
            &secrets,
            self.common.digest,
            self.common.proof,
        ))
    }

    /// Makes what serves its connections: behind a gate, if it asks for a secret, or shares the value with
    /// endpoints that may.
    ///
    /// `secrets` are those that [`Endpoint::secrets`] has read; without them there is no service that
    /// should have a gate.
    pub fn service(
        &self,
        setting: &Setting<'_>,
        secrets: Option<Secrets>,
    ) -> Result<Box<dyn Service>, ConfigError> {
        let service = self.make(self.row.stream, setting)?;
        let challenges = || -> ChallengeSource { Box::new(random_bytes) };
        match secrets {
            None if self.common.asks_for_secret() => Err(ConfigError::at(
                self,
                "its secrets were not read, so it cannot be served",
            )),
            // Other endpoints of the set may ask for secrets, now or later.
            _ if self.set().is_some() => Ok(Box::new(Gate::by_listener(service, challenges()))),
            Some(secrets) => Ok(Box::new(Gate::new(service, secrets, challenges()))),
            None => Ok(service),
        }
    }

    /// Makes what answers its datagrams.
    pub fn datagrams(&self, setting: &Setting<'_>) -> Result<Box<dyn Datagrams>, ConfigError> {
        self.make(self.row.datagrams, setting)
    }

    fn make<S: ?Sized>(
        &self,
        half: Option<&'static dyn Half<S>>,
        setting: &Setting<'_>,
    ) -> Result<Box<S>, ConfigError> {
        half.ok_or_else(|| not_over(self.row, self.address.transport()))
            .and_then(|half| half.build(&self.options, setting))
            .map_err(|trouble| ConfigError::at(self, trouble.problem))
    }

    /// Whether it is at a private socket of the default table of this process' user.
    pub fn is_private(&self) -> bool {
        matches!(&self.address, Address::Unix(UnixAddress::Path(path)) if is_private_socket(path))
    }

    /// The endpoint that goes with this one, if one does.
    fn companion(&self) -> Option<Endpoint> {
        let schema = self.row.schema(self.address.transport())?;
        let companion = schema.companion(&self.options).ok().flatten()?;
        let at = Address::Unix(UnixAddress::Path(companion.path));
        // What its service has written is right.
        Endpoint::read(self.row, at, Transport::Unix, companion.options).ok()
    }

    /// Whether its options fit the limits of the server.
    pub(crate) fn fits(&self, limits: &Limits) -> Result<(), ConfigError> {
        let transport = self.address.transport();
        let schema = self.row.schema(transport);
        schema
            .ok_or_else(|| not_over(self.row, transport))
            .and_then(|schema| schema.fits(&self.options, limits))
            .map_err(|trouble| ConfigError::at(self, trouble.problem))
    }

    /// Both ways of writing an endpoint meet here.
    ///
    /// `scheme` is `SERVICE` or `SERVICE+TRANSPORT`; `transport` is a file's own key for it.
    fn build(
        scheme: &str,
        transport: Option<&str>,
        address: &str,
        options: Written,
    ) -> Result<Self, Trouble> {
        let (name, in_scheme) = match scheme.split_once('+') {
            Some((name, transport)) => (name, Some(transport)),
            None => (scheme, None),
        };
        let row = find(name)?;
        let transport = match (in_scheme, transport) {
            (Some(_), Some(_)) => {
                return Err(Trouble::of(
                    "transport",
                    format!(
                        "the transport is given twice, the service being {}",
                        quoted(scheme)
                    ),
                ));
            }
            (Some(written), None) => read_transport(row, written, "service")?,
            (None, Some(written)) => read_transport(row, written, "transport")?,
            (None, None) => row.usual,
        };
        let address = Address::parse(transport, address).or_else(|problem| {
            let port = row.schema(transport).and_then(Schema::port);
            // A path and a descriptor have none.
            let with = port.filter(|_| matches!(transport, Transport::Tcp | Transport::Udp));
            let with =
                with.and_then(|port| Address::parse(transport, &format!("{address}:{port}")).ok());
            with.ok_or_else(|| Trouble::of("address", problem))
        })?;
        Self::read(row, address, transport, options)
    }

    /// An endpoint of this service at this address, with options that are judged as `over` this
    /// transport.
    fn read(
        row: &'static Row,
        address: Address,
        over: Transport,
        mut options: Written,
    ) -> Result<Self, Trouble> {
        let schema = row.schema(over).ok_or_else(|| not_over(row, over))?;
        for (option, _) in options.iter() {
            known(row, over, option)?;
        }
        let common: Common = options.take(keys_of::<Common>()).read()?;
        let (options, class) = schema.read(&options)?;
        common.check()?;
        if let (Address::Udp(at), Ok(true)) = (&address, schema.has_both_halves(&options))
            && at.port == 0
        {
            let problem = "it is served over TCP on the same port, too: write a port that is not 0";
            return Err(Trouble::of("address", problem));
        }
        Ok(Self {
            row,
            options,
            class,
            address,
            common,
        })
    }
}

/// Adds the endpoints that go with some of these: one for all that share its service.
pub fn add_companions(endpoints: &mut Vec<Endpoint>) {
    let asked: Vec<Endpoint> = endpoints.clone();
    for companion in asked.iter().filter_map(Endpoint::companion) {
        if !endpoints
            .iter()
            .any(|other| other.place() == companion.place())
        {
            endpoints.push(companion);
        }
    }
}

fn place(at: SocketAddr) -> HostPort {
    HostPort {
        host: Host::Ip(at.ip()),
        port: at.port(),
    }
}

fn find(name: &str) -> Result<&'static Row, Trouble> {
    let row = SERVICES.iter().copied().find(|row| row.name == name);
    row.ok_or_else(|| {
        let known: Vec<&str> = SERVICES.iter().map(|row| row.name).collect();
        Trouble::of(
            "service",
            format!(
                "there is no service {}{} (known: {})",
                quoted(name),
                meant(name, &known),
                known.join(", ")
            ),
        )
    })
}

fn names(transports: &[Transport]) -> String {
    let names: Vec<&str> = transports.iter().map(|over| over.name()).collect();
    names.join(", ")
}

fn not_over(row: &Row, transport: Transport) -> Trouble {
    Trouble::of(
        "transport",
        format!(
            "`{}` is not served over {transport} (it is over: {})",
            row.name,
            names(&row.transports())
        ),
    )
}

/// `option` is where a file has the name.
fn read_transport(row: &Row, name: &str, option: &str) -> Result<Transport, Trouble> {
    let problem = match Transport::ALL.into_iter().find(|t| t.name() == name) {
        Some(transport) if row.schema(transport).is_some() => return Ok(transport),
        Some(transport) => not_over(row, transport).problem,
        None => {
            let known = Transport::ALL.map(Transport::name);
            format!(
                "there is no transport {}{} (known: {})",
                quoted(name),
                meant(name, &known),
                known.join(", ")
            )
        }
    };
    Err(Trouble::of(option, problem))
}

/// Whether this service takes this option over this transport; else which services take it, and which
/// options there are.
fn known(row: &Row, over: Transport, option: &str) -> Result<(), Trouble> {
    let wrong = |problem: String| Err(Trouble::with(option, problem));
    let common = keys_of::<Common>();
    if common.contains(&option) {
        return match Common::applies(option, over, row) {
            Ok(()) => Ok(()),
            Err(problem) => wrong(problem),
        };
    }
    let keys = row.keys(over);
    if keys.contains(&option) {
        return Ok(());
    }
    let elsewhere: Vec<&str> = row
        .transports()
        .into_iter()
        .filter(|other| *other != Transport::Fd && row.keys(*other).contains(&option))
        .map(Transport::name)
        .collect();
    if !elsewhere.is_empty() {
        return wrong(format!(
            "`{}` takes it over {}, not over {over}",
            row.name,
            one_of(&elsewhere)
        ));
    }
    let takes = |row: &&&Row| {
        let mut over = Transport::ALL.into_iter();
        over.any(|over| row.keys(over).contains(&option))
    };
    let takers: Vec<&str> = SERVICES.iter().filter(takes).map(|row| row.name).collect();
    let common = common.iter();
    let common = common.filter(|option| Common::applies(option, over, row).is_ok());
    let all: Vec<&str> = keys.iter().chain(common).copied().collect();
    if takers.is_empty() {
        Err(Trouble::unknown(
            &format!("`{}`", row.name),
            "option",
            option,
            &all,
        ))
    } else {
        Err(Trouble::of(
            option,
            format!(
                "option `{option}` belongs to {}, not to `{}` (which takes: {})",
                one_of(&takers),
                row.name,
                all.join(", ")
            ),
        ))
    }
}

impl FromStr for Endpoint {
    type Err = ConfigError;

    fn from_str(url: &str) -> Result<Self, ConfigError> {
        parse_url(url).map_err(|trouble| ConfigError {
            place: format!("endpoint {}", quoted(url)),
            problem: trouble.problem,
        })
    }
}

fn parse_url(url: &str) -> Result<Endpoint, Trouble> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| {
        Trouble::new("an endpoint is written SERVICE://ADDRESS, such as echo://127.0.0.1:9000")
    })?;
    let (address, query) = match rest.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (rest, None),
    };
    let mut options = Written::default();
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            Trouble::new(format!(
                "{} is not an option; write OPTION=VALUE",
                quoted(pair)
            ))
        })?;
        let decode = |part: &str| percent_decode(part).map_err(Trouble::new);
        options.push(&decode(name)?, decode(value)?.as_str().into());
    }
    let address = percent_decode(address).map_err(Trouble::new)?;
    Endpoint::build(scheme, None, &address, options)
}

/// The canonical URL: default transport and default values left out, options in a fixed order.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row.name)?;
        let transport = self.address.transport();
        if self.row.usual != transport {
            write!(f, "+{transport}")?;
        }
        write!(f, "://{}", self.address)?;
        for (n, (name, value)) in self.options().iter().enumerate() {
            let sign = if n == 0 { '?' } else { '&' };
            write!(f, "{sign}{name}={}", PercentEncoded(value))?;
        }
        Ok(())
    }
}

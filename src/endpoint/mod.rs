//! One endpoint: which service, where, and with which options.
//!
//! Knows no socket and resolves no name. An endpoint is written as a URL,
//! `SERVICE[+TRANSPORT]://ADDRESS[?OPTION=VALUE&…]`, or as an `[[endpoint]]` table of a file; both
//! become the same [`Options`], and those the same structs. Values in a URL are percent-encoded
//! (a `+` is a `+`, not a blank), and so is the address; in a file nothing is.

use std::fmt;
use std::str::FromStr;

use crate::config::limits::{CHAT_HISTORY_LINES_MAX, COMMAND_OUTPUT_BYTES_MAX};
use crate::config::{
    Address, ConfigError, Options, PercentEncoded, Transport, Trouble, Value, keys_of, meant,
    one_of, percent_decode, quoted, written,
};
use crate::service::command::CommandFraming;
use crate::service::{chat, command, greeting, upper};

mod common;
mod default;
mod exposure;
#[cfg(feature = "cli")]
mod file;
mod plan;

pub use common::{Auth, Common};
pub use default::default_endpoints;
pub use exposure::{Exposure, Reach, Reached, Refusal, exposure};
#[cfg(feature = "cli")]
pub use file::{ConfigFile, Log, LogFormat, LogLevel};
pub use plan::{PlanError, Planned, check_together, plan, resolve};

/// What is served where.
///
/// ```
/// use onepoll::endpoint::{Endpoint, ServiceKind};
///
/// let endpoint: Endpoint = "upper://127.0.0.1:9999?once=true&settle=5ms".parse()?;
/// assert!(matches!(&endpoint.service, ServiceKind::Upper(upper) if upper.once));
/// assert_eq!(endpoint.to_string(), "upper://127.0.0.1:9999?once=true&settle=5ms");
///
/// let wrong = "ehco://127.0.0.1:9000".parse::<Endpoint>().unwrap_err();
/// assert!(wrong.to_string().contains("perhaps `echo` was meant"));
/// # Ok::<(), onepoll::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The service and its own options.
    pub service: ServiceKind,
    /// Where it listens; this decides the transport.
    pub address: Address,
    /// The options that do not depend on the service.
    pub common: Common,
}

/// A service and the options that only it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceKind {
    /// The same bytes back (T1, U1).
    Echo,
    /// Nothing back (T0).
    Discard,
    /// ASCII letters in upper case (T2, T3, U1).
    Upper(upper::Options),
    /// A greeting, and perhaps a reply (T4).
    Greeting(greeting::Options),
    /// A room of people (T6).
    Chat(chat::Options),
    /// A shell for remote commands (C1 to C4).
    Command(command::Options),
    /// The local time, formatted (U2).
    Time,
}

/// Names that are spoken for and do nothing yet: an option (with one value, or any), and why.
const OPTIONS_NOT_BUILT: [(&str, Option<&str>); 4] = [
    ("secret-file", None),
    ("digest", None),
    ("auth", Some("hmac")),
    ("framing", Some("stream")),
];
const SERVICES_NOT_BUILT: [&str; 3] = ["file", "talk", "ipmsg"];
const TRANSPORTS_NOT_BUILT: [&str; 1] = ["unixgram"];

/// The services, in the order in which messages list them.
const SERVICES: [&str; 7] = [
    "echo", "discard", "upper", "greeting", "chat", "command", "time",
];

/// Options that mean something only where there are connections.
const STREAM_ONLY: [&str; 8] = [
    "idle-timeout",
    "max-connections",
    "auth",
    "secret-file",
    "digest",
    "once",
    "strip",
    "settle",
];

impl ServiceKind {
    /// The name in a URL.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Discard => "discard",
            Self::Upper(_) => "upper",
            Self::Greeting(_) => "greeting",
            Self::Chat(_) => "chat",
            Self::Command(_) => "command",
            Self::Time => "time",
        }
    }

    /// The transports it can be served over; the first is the default.
    pub fn transports(&self) -> &'static [Transport] {
        transports(self.name())
    }

    fn read(name: &str, options: &Options) -> Result<Self, Trouble> {
        Ok(match name {
            "echo" => Self::Echo,
            "discard" => Self::Discard,
            "upper" => Self::Upper(options.read()?),
            "greeting" => Self::Greeting(options.read()?),
            "chat" => Self::Chat(options.read()?),
            "command" => Self::Command(options.read()?),
            "time" => Self::Time,
            _ => return Err(unknown_service(name)),
        })
    }

    /// Its options that are not at their defaults.
    fn written(&self) -> Vec<(String, String)> {
        match self {
            Self::Echo | Self::Discard | Self::Time => Vec::new(),
            Self::Upper(options) => written(options),
            Self::Greeting(options) => written(options),
            Self::Chat(options) => written(options),
            Self::Command(options) => written(options),
        }
    }
}

fn transports(service: &str) -> &'static [Transport] {
    use Transport::{Fd, Tcp, Udp, Unix};
    match service {
        "echo" | "upper" => &[Tcp, Udp, Unix, Fd],
        "time" => &[Udp, Fd],
        _ => &[Tcp, Unix, Fd],
    }
}

fn keys(service: &str) -> &'static [&'static str] {
    match service {
        "upper" => keys_of::<upper::Options>(),
        "greeting" => keys_of::<greeting::Options>(),
        "chat" => keys_of::<chat::Options>(),
        "command" => keys_of::<command::Options>(),
        _ => &[],
    }
}

fn unknown_service(name: &str) -> Trouble {
    let problem = if SERVICES_NOT_BUILT.contains(&name) {
        format!(
            "service `{name}` is known, and not built yet (built: {})",
            SERVICES.join(", ")
        )
    } else {
        format!(
            "there is no service {}{} (known: {})",
            quoted(name),
            meant(name, &SERVICES),
            SERVICES.join(", ")
        )
    };
    Trouble::of("service", problem)
}

impl Endpoint {
    /// A service at an address, every common option at its default.
    pub fn new(service: ServiceKind, address: Address) -> Self {
        Self {
            service,
            address,
            common: Common::default(),
        }
    }

    /// The options that are not at their defaults, as names and values; a repeated one repeats.
    pub fn options(&self) -> Vec<(String, String)> {
        let mut pairs = self.service.written();
        pairs.extend(written(&self.common));
        pairs
    }

    /// Both ways of writing an endpoint meet here.
    ///
    /// `scheme` is `SERVICE` or `SERVICE+TRANSPORT`; `transport` is a file's own key for it.
    pub(super) fn build(
        scheme: &str,
        transport: Option<&str>,
        address: &str,
        mut options: Options,
    ) -> Result<Self, Trouble> {
        let (name, in_scheme) = match scheme.split_once('+') {
            Some((name, transport)) => (name, Some(transport)),
            None => (scheme, None),
        };
        if !SERVICES.contains(&name) {
            return Err(unknown_service(name));
        }
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
            (Some(written), None) => read_transport(name, written, "service")?,
            (None, Some(written)) => read_transport(name, written, "transport")?,
            (None, None) => transports(name).first().copied().unwrap_or(Transport::Tcp),
        };
        let address = Address::parse(transport, address)
            .map_err(|problem| Trouble::of("address", problem))?;
        for (option, values) in options.iter() {
            known(name, transport, option, values)?;
        }
        let common = options.take(keys_of::<Common>());
        let endpoint = Self {
            service: ServiceKind::read(name, &options)?,
            address,
            common: common.read()?,
        };
        endpoint.check()?;
        Ok(endpoint)
    }

    /// What no single option can be wrong about alone. Also for endpoints that code put together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let transport = self.address.transport();
        let fits = if self.service.transports().contains(&transport) {
            self.check()
        } else {
            Err(not_over(self.service.name(), transport.name()))
        };
        fits.map_err(|trouble| ConfigError::at(self, trouble.problem))
    }

    fn check(&self) -> Result<(), Trouble> {
        let trouble = |option: &str, problem: &str| {
            Err(Trouble::of(option, format!("option `{option}`: {problem}")))
        };
        match &self.service {
            ServiceKind::Upper(upper) if upper.strip && !upper.once => trouble(
                "strip",
                "it needs `once=true`, for without it there is no end that could be stripped",
            ),
            ServiceKind::Command(command)
                if command.ack.is_some() && command.framing != CommandFraming::Decimal =>
            {
                trouble("ack", "only `framing=decimal` waits for an acknowledgement")
            }
            ServiceKind::Command(command) if command.ack.as_deref() == Some("") => {
                trouble("ack", "an empty acknowledgement cannot be sent")
            }
            ServiceKind::Command(command)
                if command
                    .max_output
                    .is_some_and(|max| max > COMMAND_OUTPUT_BYTES_MAX) =>
            {
                trouble(
                    "max-output",
                    &format!(
                        "it is above {COMMAND_OUTPUT_BYTES_MAX}, the largest length that an i32 announces"
                    ),
                )
            }
            ServiceKind::Chat(chat) if chat.history > CHAT_HISTORY_LINES_MAX => trouble(
                "history",
                &format!("it is above {CHAT_HISTORY_LINES_MAX} lines, which are kept in memory"),
            ),
            _ if self.common.max_connections == Some(0) => trouble(
                "max-connections",
                "an endpoint that takes 0 connections serves nobody",
            ),
            _ => Ok(()),
        }
    }
}

fn not_over(service: &str, transport: &str) -> Trouble {
    let over: Vec<&str> = transports(service).iter().map(|t| t.name()).collect();
    Trouble::of(
        "transport",
        format!(
            "`{service}` is not served over {transport} (it is over: {})",
            over.join(", ")
        ),
    )
}

/// `option` is where a file has the name.
fn read_transport(service: &str, name: &str, option: &str) -> Result<Transport, Trouble> {
    let trouble = match Transport::ALL.into_iter().find(|t| t.name() == name) {
        Some(transport) if transports(service).contains(&transport) => return Ok(transport),
        Some(transport) => not_over(service, transport.name()).problem,
        None if TRANSPORTS_NOT_BUILT.contains(&name) => {
            format!("transport `{name}` is known, and not built yet")
        }
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
    Err(Trouble::of(option, trouble))
}

/// Whether this service takes this option here; else whose it is, and which there are.
fn known(
    service: &str,
    transport: Transport,
    option: &str,
    values: &[Value],
) -> Result<(), Trouble> {
    let of = |problem: String| Err(Trouble::of(option, problem));
    let common = keys_of::<Common>();
    for (name, value) in OPTIONS_NOT_BUILT {
        let fits = match value {
            None => true,
            Some(value) => values.contains(&Value::Text(value.into())),
        };
        // `greeting` has a framing too, and never had one called `stream`.
        let has = name != "framing" || service == "command";
        if name == option && fits && has {
            let what = value.map_or_else(String::new, |value| format!("={value}"));
            return of(format!("option `{name}{what}` is known, and not built yet"));
        }
    }
    let datagrams = transport == Transport::Udp || service == "time";
    if datagrams
        && STREAM_ONLY.contains(&option)
        && (common.contains(&option) || keys(service).contains(&option))
    {
        return of(format!(
            "option `{option}`: datagrams have no connection that it could concern"
        ));
    }
    if option == "open" && transport == Transport::Unix {
        return of("option `open`: it is about addresses off loopback; a Unix socket has `mode` and `any-user`".into());
    }
    if option == "mode" && transport != Transport::Unix {
        return of(format!(
            "option `mode`: only a Unix socket that we make has a file, and this is {transport}"
        ));
    }
    if option == "any-user" && !matches!(transport, Transport::Unix | Transport::Fd) {
        return of(format!(
            "option `any-user`: only a Unix socket knows its peer's user, and this is {transport}"
        ));
    }
    if keys(service).contains(&option) || common.contains(&option) {
        return Ok(());
    }
    let whose: Vec<&str> = SERVICES
        .into_iter()
        .filter(|other| keys(other).contains(&option))
        .collect();
    let all: Vec<&str> = keys(service).iter().chain(common).copied().collect();
    if whose.is_empty() {
        Err(Trouble::unknown(
            &format!("`{service}`"),
            "option",
            option,
            &all,
        ))
    } else {
        of(format!(
            "option `{option}` belongs to {}, not to `{service}` (which takes: {})",
            one_of(&whose),
            all.join(", ")
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
    let mut options = Options::default();
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
        f.write_str(self.service.name())?;
        let transport = self.address.transport();
        if self.service.transports().first() != Some(&transport) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::config::{Host, HostPort, Settle, UnixAddress};
    use crate::service::command::{CommandOutput, Encoding};
    use crate::service::greeting::GreetingFraming;
    use proptest::prelude::*;

    fn endpoint(url: &str) -> Endpoint {
        url.parse().unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    fn refusal(url: &str) -> String {
        match url.parse::<Endpoint>() {
            Ok(endpoint) => panic!("{url} was taken for {endpoint}"),
            Err(wrong) => wrong.to_string(),
        }
    }

    fn tcp(host: &str, port: u16) -> Address {
        let host = host
            .parse()
            .map_or_else(|_| Host::Name(host.into()), Host::Ip);
        Address::Tcp(HostPort { host, port })
    }

    #[test]
    fn the_examples_of_the_manual_are_understood() {
        assert_eq!(
            endpoint("echo://127.0.0.1:9000"),
            Endpoint::new(ServiceKind::Echo, tcp("127.0.0.1", 9000))
        );
        assert_eq!(
            endpoint("echo+udp://[::1]:9000").address,
            Address::Udp(HostPort {
                host: Host::Ip([0, 0, 0, 0, 0, 0, 0, 1].into()),
                port: 9000
            })
        );
        assert_eq!(
            endpoint("echo+unix:///run/onepoll/echo.sock").address,
            Address::Unix(UnixAddress::Path("/run/onepoll/echo.sock".into()))
        );
        assert_eq!(
            endpoint("greeting://127.0.0.1:8898?greeting=hello&reply=hi").service,
            ServiceKind::Greeting(greeting::Options {
                greeting: vec!["hello".into()],
                reply: Some("hi".into()),
                ..greeting::Options::default()
            })
        );
        assert_eq!(
            endpoint("upper://127.0.0.1:9999?once=true&strip=true").service,
            ServiceKind::Upper(upper::Options {
                once: true,
                strip: true,
                ..upper::Options::default()
            })
        );
        assert_eq!(endpoint("chat+fd://3").address, Address::Fd(3));
        assert_eq!(
            endpoint("time://localhost:0").address.transport(),
            Transport::Udp
        );
        assert_eq!(
            endpoint("echo+unix://@hidden").address,
            Address::Unix(UnixAddress::Abstract("hidden".into()))
        );
    }

    #[test]
    fn every_option_is_read() {
        let all = endpoint(
            "command://localhost:0?framing=decimal&ack=recv_ready&output=stderr-or-stdout\
             &encoding=gbk&settle=never&timeout=1m30s&max-output=64K&idle-timeout=5s\
             &max-connections=7&open=on&auth=none",
        );
        assert_eq!(
            all.service,
            ServiceKind::Command(command::Options {
                framing: CommandFraming::Decimal,
                ack: Some("recv_ready".into()),
                output: CommandOutput::StderrOrStdout,
                encoding: Encoding::Gbk,
                settle: Settle::Never,
                timeout: Some(Duration::from_secs(90)),
                max_output: Some(65536),
            })
        );
        assert_eq!(
            all.common,
            Common {
                idle_timeout: Some(Duration::from_secs(5)),
                max_connections: Some(7),
                open: true,
                auth: Some(Auth::None),
                mode: None,
                any_user: false,
            }
        );
        let chat =
            endpoint("chat+unix:///a?flood=on&history=50&mode=0660&any-user=true&idle-timeout=off");
        assert_eq!(
            chat.service,
            ServiceKind::Chat(chat::Options {
                flood: true,
                history: 50
            })
        );
        assert_eq!(chat.common.mode, Some(0o660));
        assert!(chat.common.any_user);
        let greeting = endpoint(
            "greeting://h:1?greeting=a%20b%26&greeting=%E4%BD%A0&framing=i32&wait=true&settle=0&reply=",
        );
        assert_eq!(
            greeting.service,
            ServiceKind::Greeting(greeting::Options {
                greeting: vec!["a b&".into(), "你".into()],
                framing: GreetingFraming::I32,
                reply: Some(String::new()),
                wait: true,
                settle: Settle::After(Duration::ZERO),
            })
        );
    }

    /// What is wrong, and a piece of the sentence that must say so.
    const REFUSALS: [(&str, &str); 70] = [
        ("", "SERVICE://ADDRESS"),
        ("127.0.0.1:9000", "SERVICE://ADDRESS"),
        ("echo:127.0.0.1:9000", "SERVICE://ADDRESS"),
        (
            "ehco://127.0.0.1:1",
            "perhaps `echo` was meant (known: echo, discard,",
        ),
        (
            "gopher://127.0.0.1:70",
            "there is no service `gopher` (known:",
        ),
        ("://127.0.0.1:70", "there is no service"),
        (
            "file://127.0.0.1:1?root=/srv",
            "`file` is known, and not built yet",
        ),
        ("talk://127.0.0.1:1", "not built yet"),
        ("ipmsg://127.0.0.1:1", "not built yet"),
        (
            "echo+upd://127.0.0.1:1",
            "no transport `upd`, perhaps `udp` was meant",
        ),
        (
            "echo+unixgram:///a",
            "transport `unixgram` is known, and not built yet",
        ),
        (
            "chat+udp://127.0.0.1:1",
            "`chat` is not served over udp (it is over: tcp, unix, fd)",
        ),
        (
            "time+tcp://127.0.0.1:1",
            "`time` is not served over tcp (it is over: udp, fd)",
        ),
        ("echo+://127.0.0.1:1", "there is no transport ``"),
        ("echo://", "the address is missing; write HOST:PORT"),
        ("echo://?open=true", "the address is missing"),
        ("echo+unix://", "the address is missing; write a path"),
        ("echo://127.0.0.1", "has no port"),
        ("echo://127.0.0.1:", "has no port"),
        ("echo://[::1]", "has no port"),
        ("echo://:9000", "has no host"),
        (
            "echo://127.0.0.1:65536",
            "`65536` is not a port from 0 to 65535",
        ),
        ("echo://127.0.0.1:-1", "is not a port"),
        ("echo://127.0.0.1:+1", "is not a port"),
        ("echo://127.0.0.1:http", "is not a port"),
        ("echo://127.0.0.1:9000/", "`9000/` is not a port"),
        ("echo://::1:9000", "stands in brackets"),
        ("echo://[::1:9000", "`[` without its `]`"),
        ("echo://[127.0.0.1]:9000", "is not an IPv6 address"),
        (
            "echo://256.1.1.1:9000",
            "neither an address nor a host name",
        ),
        ("echo://127.1:9000", "neither an address nor a host name"),
        ("echo://me@host:9000", "neither an address nor a host name"),
        ("echo://a b:9000", "neither an address nor a host name"),
        ("echo+unix://run/echo.sock", "three slashes"),
        ("echo+unix:///run/", "names a directory"),
        ("echo+unix:///a%00b", "no NUL byte"),
        ("echo+unix://@", "lacks the name"),
        ("chat+fd://three", "is not the number of a descriptor"),
        ("chat+fd://-1", "is not the number of a descriptor"),
        ("chat+fd://1", "is where results or messages are printed"),
        ("echo://127.0.0.1:1?", "write OPTION=VALUE"),
        (
            "echo://127.0.0.1:1?open",
            "`open` is not an option; write OPTION=VALUE",
        ),
        ("echo://127.0.0.1:1?open=true&", "write OPTION=VALUE"),
        (
            "echo://127.0.0.1:1?opne=true",
            "has no option `opne`, perhaps `open` was meant",
        ),
        (
            "echo://127.0.0.1:1?colour=red",
            "`echo` has no option `colour` (known: idle-timeout,",
        ),
        (
            "echo://127.0.0.1:1?once=true",
            "`once` belongs to upper, not to `echo`",
        ),
        (
            "upper://127.0.0.1:1?framing=raw",
            "belongs to greeting or command, not to `upper`",
        ),
        (
            "upper://127.0.0.1:1?strip=true",
            "option `strip`: it needs `once=true`",
        ),
        (
            "upper+udp://127.0.0.1:1?once=true",
            "datagrams have no connection",
        ),
        (
            "time://127.0.0.1:1?idle-timeout=5s",
            "datagrams have no connection",
        ),
        (
            "time+fd://3?max-connections=5",
            "datagrams have no connection",
        ),
        (
            "echo://127.0.0.1:1?open=true&open=true",
            "option `open`: given 2 times",
        ),
        (
            "greeting://127.0.0.1:1?reply=a&reply=b",
            "option `reply`: given 2 times",
        ),
        (
            "echo://127.0.0.1:1?open=yes",
            "`yes` is neither true (or on) nor false (or off)",
        ),
        (
            "echo://127.0.0.1:1?idle-timeout=60",
            "option `idle-timeout`: `60` is not a duration",
        ),
        ("echo://127.0.0.1:1?idle-timeout=0", "`off` for none"),
        (
            "echo://127.0.0.1:1?max-connections=-1",
            "is not a whole number up to 4294967295",
        ),
        ("echo://127.0.0.1:1?max-connections=0", "serves nobody"),
        ("echo://127.0.0.1:1?mode=0600", "only a Unix socket"),
        ("echo://127.0.0.1:1?any-user=true", "only a Unix socket"),
        ("echo+unix:///a?open=true", "has `mode` and `any-user`"),
        ("echo+unix:///a?mode=0888", "is not a file mode in octal"),
        (
            "command://127.0.0.1:1?framing=stream",
            "option `framing=stream` is known, and not built yet",
        ),
        (
            "command://127.0.0.1:1?framing=i23",
            "`i23` is not raw, decimal, i32 or json, perhaps `i32` was meant",
        ),
        (
            "command://127.0.0.1:1?auth=hmac",
            "option `auth=hmac` is known, and not built yet",
        ),
        (
            "echo://127.0.0.1:1?secret-file=/a",
            "option `secret-file` is known, and not built yet",
        ),
        ("command://127.0.0.1:1?ack=x", "only `framing=decimal`"),
        ("command://127.0.0.1:1?max-output=2G", "above 2147483647"),
        ("chat://127.0.0.1:1?history=1025", "above 1024 lines"),
        (
            "greeting://127.0.0.1:1?greeting=%zz",
            "`%` that no two hexadecimal digits follow",
        ),
    ];

    #[test]
    fn each_refusal_says_where_what_and_what_would_be_right() {
        for (url, piece) in REFUSALS {
            let said = refusal(url);
            assert!(
                said.contains(piece),
                "{url}\n  said: {said}\n  not:  {piece}"
            );
            assert!(said.starts_with(&format!("endpoint `{url}`: ")), "{said}");
            assert!(!said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn a_unix_path_may_fill_its_address_and_no_more() {
        let path = |len: usize| format!("echo+unix:///{}", "x".repeat(len - 1));
        assert!(path(107).parse::<Endpoint>().is_ok());
        assert!(refusal(&path(108)).contains("longer than the 107"));
    }

    #[test]
    fn control_characters_of_an_endpoint_do_not_reach_the_terminal() {
        let said = refusal("ech\u{1b}[31mo://127.0.0.1:1?\n");
        assert!(!said.chars().any(char::is_control), "{said:?}");
        assert!(refusal(&"x".repeat(1 << 20)).len() < 2000);
        for value in [
            "echo://127.0.0.1:1?idle-timeout=%1b[2J",
            "command+unix:///a?max-output=%1b[2J",
            "echo+unix:///a?mode=%1b[2J",
            "echo://127.0.0.1:1?open=%1b[2J",
            "command+unix:///a?framing=%1b[2J",
            "echo://127.0.0.1%1b[2J:1",
            "echo+unix://%1b[2J",
            "echo+fd://%1b[2J",
        ] {
            let said = refusal(value);
            assert!(!said.chars().any(char::is_control), "{said:?}");
        }
    }

    #[test]
    fn what_code_puts_together_is_validated_too() {
        let time = Endpoint::new(ServiceKind::Time, tcp("127.0.0.1", 1));
        assert!(time.validate().is_err());
        assert_eq!(endpoint("echo://h:1").validate(), Ok(()));
    }

    #[test]
    fn a_canonical_url_leaves_out_what_goes_without_saying() {
        for (written, canonical) in [
            (
                "echo+tcp://127.0.0.1:9000?open=false",
                "echo://127.0.0.1:9000",
            ),
            ("time+udp://[0::1]:0009", "time://[::1]:9"),
            (
                "command://h:1?timeout=60000ms&framing=json",
                "command://h:1?timeout=1m",
            ),
            (
                "upper://h:1?settle=0s&once=on",
                "upper://h:1?once=true&settle=0",
            ),
            ("chat://h:1?flood=true", "chat://h:1?flood=on"),
            ("echo+unix://./a%20b", "echo+unix://./a%20b"),
            ("echo://[fe80::1%25eth0]:7", "echo://[fe80::1%25eth0]:7"),
        ] {
            assert_eq!(endpoint(written).to_string(), canonical);
        }
    }

    fn a_service() -> impl Strategy<Value = ServiceKind> {
        let settle = prop_oneof![
            Just(Settle::Never),
            any::<u64>().prop_map(|nanos| Settle::After(Duration::from_nanos(nanos))),
        ];
        let some_time = || proptest::option::of((1..u64::MAX).prop_map(Duration::from_nanos));
        prop_oneof![
            Just(ServiceKind::Echo),
            Just(ServiceKind::Discard),
            Just(ServiceKind::Time),
            (any::<bool>(), any::<bool>(), settle.clone()).prop_map(|(once, strip, settle)| {
                ServiceKind::Upper(upper::Options {
                    once,
                    strip: strip && once,
                    settle,
                })
            }),
            (
                proptest::collection::vec(".*", 0..3),
                prop_oneof![Just(GreetingFraming::Raw), Just(GreetingFraming::I32)],
                proptest::option::of(".*"),
                any::<bool>(),
                settle.clone(),
            )
                .prop_map(|(greeting, framing, reply, wait, settle)| {
                    ServiceKind::Greeting(greeting::Options {
                        greeting,
                        framing,
                        reply,
                        wait,
                        settle,
                    })
                }),
            (any::<bool>(), 0..=CHAT_HISTORY_LINES_MAX)
                .prop_map(|(flood, history)| ServiceKind::Chat(chat::Options { flood, history })),
            (
                proptest::option::of(".+"),
                any::<bool>(),
                settle,
                some_time(),
                proptest::option::of(0..=COMMAND_OUTPUT_BYTES_MAX),
            )
                .prop_map(|(ack, gbk, settle, timeout, max_output)| {
                    ServiceKind::Command(command::Options {
                        framing: match ack {
                            Some(_) => CommandFraming::Decimal,
                            None => CommandFraming::Raw,
                        },
                        ack,
                        output: CommandOutput::StderrOrStdout,
                        encoding: if gbk { Encoding::Gbk } else { Encoding::Utf8 },
                        settle,
                        timeout,
                        max_output,
                    })
                }),
        ]
    }

    fn an_endpoint() -> impl Strategy<Value = Endpoint> {
        let host = prop_oneof![
            any::<std::net::IpAddr>().prop_map(Host::Ip),
            "[a-z][a-z0-9-]{0,9}(\\.[a-z]{2})?".prop_map(Host::Name),
            Just(Host::Name("fe80::1%eth0".into())),
        ];
        let unix = prop_oneof![
            "/[^\u{0}/]{1,20}x".prop_map(|path| UnixAddress::Path(path.into())),
            "[^\u{0}]{1,20}".prop_map(UnixAddress::Abstract),
        ];
        let unix = unix.prop_filter("a directory", |at| !at.to_string().ends_with(['/', '.']));
        (
            a_service(),
            host,
            unix,
            any::<u16>(),
            0..4usize,
            any::<(bool, bool)>(),
            1..u32::MAX,
        )
            .prop_map(
                |(service, host, unix, port, transport, (flag, other), number)| {
                    let datagrams = matches!(service, ServiceKind::Time);
                    let at = HostPort { host, port };
                    let address = match transport {
                        0 if datagrams => Address::Udp(at),
                        0 => Address::Tcp(at),
                        1 if matches!(service, ServiceKind::Echo) || datagrams => Address::Udp(at),
                        2 if !datagrams => Address::Unix(unix),
                        _ => Address::Fd(i32::from(port) + 3),
                    };
                    let stream = !matches!(address, Address::Udp(_)) && !datagrams;
                    let is_unix = matches!(address, Address::Unix(_));
                    let common = Common {
                        idle_timeout: (stream && flag).then(|| Duration::from_nanos(number.into())),
                        max_connections: (stream && other).then_some(number),
                        open: !is_unix && flag,
                        auth: (stream && flag).then_some(Auth::None),
                        mode: (is_unix && other).then_some(number & 0o777),
                        any_user: is_unix && flag,
                    };
                    Endpoint {
                        service,
                        address,
                        common,
                    }
                },
            )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn display_and_parse_are_inverse(endpoint in an_endpoint()) {
            let url = endpoint.to_string();
            prop_assert_eq!(endpoint.validate(), Ok(()), "{}", url);
            prop_assert_eq!(url.parse::<Endpoint>(), Ok(endpoint), "{}", url);
        }

        #[test]
        fn any_text_is_an_endpoint_or_one_sentence(
            text in "(echo|upper|time|command)?(\\+(tcp|unix|fd))?(://)?.{0,30}(\\?.{0,30})?",
        ) {
            match text.parse::<Endpoint>() {
                Ok(endpoint) => prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint)),
                Err(wrong) => prop_assert!(!wrong.to_string().contains('\n')),
            }
        }
    }
}

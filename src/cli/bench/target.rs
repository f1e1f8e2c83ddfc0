//! A server to be asked, as it is typed: `[NAME=]URL[?OPTION=VALUE&…]`.

use std::str::FromStr;

use super::request::RequestArgs;
use crate::cli::Failure;
use crate::config::{ServerUrl, nearest, percent_decode};
use crate::endpoint;
use crate::load::plan::target::SCHEMES;
use crate::load::{Endpoint, PlanError};
use crate::service::SERVICES;
use crate::wire::Escaped;

/// A server, and its name in the result.
#[derive(Debug, Clone)]
pub(super) struct NamedTarget {
    pub(super) name: String,
    pub(super) endpoint: Endpoint,
    /// The options for it alone, as flags.
    options: Vec<String>,
    /// The request of an `http://` URL, as it would be typed for --payload.
    http: Option<String>,
    /// The options that its URL has for us.
    pub(super) said: Vec<String>,
}

impl FromStr for NamedTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // It is printed on terminals, in tables, and beside what others are called.
        let shown = Escaped(text.as_bytes()).to_string();
        if shown.replace(r"\\", r"\") != text {
            return Err(format!(
                "{shown} has characters that a terminal would act on"
            ));
        }
        let (name, url) = match text.split_once('=') {
            // A name is a word: no `=` of a query and none of a path.
            Some((name, url)) if !name.is_empty() && !name.contains([':', '/', '?']) => {
                (Some(name), url)
            }
            _ => (None, text),
        };
        let endpoint = endpoint(url)?;
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let known = RequestArgs::names();
        let (mut options, mut said, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("{pair:?} in {url} is no option: write OPTION=VALUE"))?;
            if known.iter().any(|known| known == name) {
                options.push(format!("--{name}={}", percent_decode(value)?));
                said.push(name.to_owned());
            } else {
                rest.push(pair);
            }
        }
        // What `serve` says of TLS means something only beside this.
        let is_of_tls = |pair: &&str| {
            ["cert=", "key=", "client-ca=", "tls-min="]
                .iter()
                .any(|name| pair.starts_with(name))
        };
        if said.iter().any(|option| option == "tls") && rest.iter().any(is_of_tls) {
            rest.push("tls=true");
        }
        // Other options are those of `serve`: its URLs work here too.
        if !rest.is_empty()
            && let Err(wrong) =
                format!("{address}?{}", rest.join("&")).parse::<endpoint::Endpoint>()
        {
            let known: Vec<_> = known.iter().map(String::as_str).collect();
            let unknown = rest[0].split('=').next().unwrap_or_default();
            return Err(match nearest(unknown, &known) {
                Some(near) => {
                    format!("`bench` has no option `{unknown}`: perhaps `{near}` was meant")
                }
                None => format!("{wrong}; and `bench` knows {}", known.join(", ")),
            });
        }
        RequestArgs::default().with(&options)?;
        Ok(Self {
            http: address.strip_prefix("http://").map(request),
            name: name.map_or_else(|| endpoint.to_string(), str::to_owned),
            endpoint,
            options,
            said,
        })
    }
}

impl NamedTarget {
    /// What is asked of it: what its URL says, and `flags` where that says nothing.
    pub(super) fn asked(&self, flags: &RequestArgs) -> Result<RequestArgs, Failure> {
        let mut asked = flags.with(&self.options).map_err(Failure::Usage)?;
        if let Some(request) = &self.http {
            let message = &mut asked.message;
            // A size for all is one for those that take any bytes.
            if !self.said.iter().any(|option| option == "size") {
                message.payload.get_or_insert_with(|| request.clone());
            }
            message.expect.get_or_insert_with(|| "http".to_owned());
        }
        Ok(asked)
    }
}

/// The server at `url`, whose scheme may also be a service.
fn endpoint(url: &str) -> Result<Endpoint, String> {
    let parts = ServerUrl::of(url);
    let read = match SERVICES.iter().find(|row| row.name == parts.scheme) {
        Some(row) => Endpoint::at(&parts, row.usual),
        None => url.parse(),
    };
    read.map_err(|wrong| {
        let PlanError::Scheme(scheme) = wrong else {
            return wrong.to_string();
        };
        let services = SERVICES.iter().map(|row| row.name);
        let known: Vec<_> = SCHEMES.into_iter().chain(services).collect();
        let meant = match nearest(&scheme, &known) {
            Some(near) => format!("perhaps `{near}` was meant"),
            None => format!("write one of {}", known.join(", ")),
        };
        format!("there is no {scheme}://: {meant}")
    })
}

/// GET, for what stands behind `http://`. A query of its own is written with `%3F`, since what stands behind
/// a bare `?` is for us.
fn request(address: &str) -> String {
    let (host, path) = address.split_once('/').unwrap_or((address, ""));
    let path = path
        .replace("%3F", "?")
        .replace("%3f", "?")
        .replace('\\', r"\\");
    format!(r"GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn target(text: &str) -> NamedTarget {
        text.parse()
            .unwrap_or_else(|wrong| panic!("{text}: {wrong}"))
    }

    #[test]
    fn a_name_is_before_the_url_and_options_behind_it() {
        let one = target("nginx=http://127.0.0.1:8081?payload=GET%20/%0D%0A&expect=238&pid=1,2");
        assert_eq!(one.name, "nginx");
        assert_eq!(one.endpoint, "tcp://127.0.0.1:8081".parse().unwrap());
        let asked = |one: &NamedTarget| one.asked(&RequestArgs::default()).unwrap().message;
        assert_eq!(asked(&one).payload.as_deref(), Some("GET /\r\n"));
        assert_eq!(asked(&one).expect.as_deref(), Some("238"));
        assert_eq!(asked(&one).pid, [1, 2]);
        assert_eq!(one.said, ["payload", "expect", "pid"]);
        let one = target("echo://127.0.0.1:9000?max-connections=5&expect=until=x");
        assert_eq!(one.name, "tcp://127.0.0.1:9000");
        assert_eq!(asked(&one).expect.as_deref(), Some("until=x"));
        assert_eq!(target("127.0.0.1:9000").said, [""; 0]);
        assert_eq!(target("x=unix:///a=b").name, "x");
        assert_eq!(target("unix:///a=b").name, "unix:///a=b");
    }

    #[test]
    fn an_http_url_is_a_request() {
        let asked = |text: &str, flags: &[&str]| {
            let message = target(text)
                .asked(&RequestArgs::try_parse_from(flags).unwrap())
                .unwrap()
                .message;
            (
                message.payload.unwrap_or_default(),
                message.expect.unwrap_or_default(),
            )
        };
        let get = |path: &str| format!(r"GET /{path} HTTP/1.1\r\nHost: h:1\r\n\r\n");
        let http = "http".to_owned();
        assert_eq!(asked("http://h:1", &[]), (get(""), http.clone()));
        assert_eq!(
            asked("http://h:1/a/b%3Fc=d?pid=1", &["--size=9"]),
            (get("a/b?c=d"), http.clone())
        );
        assert_eq!(
            asked("http://h:1/", &["--payload=x"]),
            ("x".to_owned(), http.clone())
        );
        assert_eq!(
            asked("http://h:1/?payload=y", &["--payload=x"]),
            ("y".to_owned(), http)
        );
        assert_eq!(
            asked("http://h:1/", &["--expect=9"]),
            (get(""), "9".to_owned())
        );
        assert_eq!(asked("tcp://h:1", &[]), (String::new(), String::new()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            (
                "http://127.0.0.1:1?payloat=x",
                "perhaps `payload` was meant",
            ),
            ("http://127.0.0.1:1?zebra=1", "`bench` knows size, payload"),
            ("echo://127.0.0.1:1?size", "write OPTION=VALUE"),
            ("echo://127.0.0.1:1?size=x", "'x' for '--size <BYTES>'"),
            ("echo://127.0.0.1:1?payload=%G0", "%25"),
            ("n=", "is no endpoint"),
            (
                "a\x1b[2Jb=127.0.0.1:1",
                r"a\x1b[2Jb=127.0.0.1:1 has characters",
            ),
            ("a\u{202e}b=127.0.0.1:1", "a terminal would act on"),
            (
                "https://127.0.0.1",
                "write http://HOST:PORT/PATH and say --tls",
            ),
            (
                "tmie://h:1",
                "there is no tmie://: perhaps `time` was meant",
            ),
            ("gopher://h:1", "write one of tcp, udp, unix, http, echo"),
        ] {
            let wrong = text.parse::<NamedTarget>().unwrap_err();
            assert!(wrong.contains(why), "{text}: {wrong}");
        }
    }
}

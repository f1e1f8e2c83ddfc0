//! A server to be asked, as it is typed: `[NAME=]URL[?OPTION=VALUE&…]`; all of an `http://` URL is the server's.

use std::str::FromStr;

use super::conditions::Conditions;
use super::http_url::HttpUrl;
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
    /// As it was typed, without a name and without options for us.
    pub(super) url: String,
    /// The same with the options of `serve`.
    pub(super) served: String,
    pub(super) endpoint: Endpoint,
    /// The options for it alone, as flags.
    options: Vec<String>,
    /// What an `http://` URL asks for.
    http: Option<HttpUrl>,
    /// Whether its URL says that it sends back what it receives.
    is_echo: bool,
    /// The names of its options.
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
        let http = HttpUrl::of(url)?;
        let endpoint = endpoint(url)?;
        // What stands behind a `?` is ours, but in a URL of HTTP.
        let (address, query) = match (&http, url.split_once('?')) {
            (None, Some(parts)) => parts,
            _ => (url, ""),
        };
        let usual = http.as_ref().map(ToString::to_string);
        let usual = usual.unwrap_or_else(|| endpoint.to_string());
        let mut target = Self {
            name: name.map_or(usual, str::to_owned),
            url: address.to_owned(),
            served: address.to_owned(),
            endpoint,
            is_echo: ["echo", "upper"].contains(&ServerUrl::of(url).scheme),
            options: Vec::new(),
            http,
            said: Vec::new(),
        };
        target.give_query(query)?;
        Ok(target)
    }
}

impl NamedTarget {
    /// The names of all options that one server may have.
    pub(super) fn options() -> Vec<String> {
        RequestArgs::names()
    }

    /// One more option for it alone.
    pub(super) fn give(&mut self, option: &str, value: &str) -> Result<(), String> {
        if !Self::options().iter().any(|known| known == option) {
            return Err(unknown(option).unwrap_or_else(|| no_option(option)));
        }
        if self.said.iter().any(|said| said == option) {
            return Err(format!("`{option}` is said twice"));
        }
        self.options.push(format!("--{option}={value}"));
        self.said.push(option.to_owned());
        RequestArgs::default().with(&self.options).map(drop)
    }

    /// The options of its URL: ours, and those of `serve`, whose URLs work here too.
    fn give_query(&mut self, query: &str) -> Result<(), String> {
        let known = Self::options();
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                let url = &self.url;
                format!("{pair:?} in {url}?{query} is no option: write OPTION=VALUE")
            })?;
            if known.iter().any(|known| known == name) {
                self.give(name, &percent_decode(value)?)?;
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
        if self.said.iter().any(|option| option == "tls") && rest.iter().any(is_of_tls) {
            rest.push("tls=true");
        }
        let Some(first) = rest.first() else {
            return Ok(());
        };
        let option = first.split('=').next().unwrap_or_default();
        // Without a service there is nothing of `serve`.
        let scheme = ServerUrl::of(&self.url).scheme;
        if SERVICES.iter().all(|row| row.name != scheme) {
            return Err(unknown(option).unwrap_or_else(|| no_option(option)));
        }
        let served = format!("{}?{}", self.url, rest.join("&"));
        let Err(wrong) = served.parse::<endpoint::Endpoint>() else {
            self.served = served;
            return Ok(());
        };
        Err(unknown(option)
            .unwrap_or_else(|| format!("{wrong}; and `bench` knows {}", known.join(", "))))
    }

    /// Whether it is known what it answers to, if nothing else was said.
    pub(super) fn answers(&self) -> bool {
        self.is_echo || self.http.is_some()
    }

    /// What is asked of it: what is said of it alone, and `flags` where that says nothing.
    pub(super) fn asked(&self, flags: &RequestArgs) -> Result<RequestArgs, Failure> {
        let mut asked = flags.with(&self.options).map_err(Failure::Usage)?;
        if let Some(http) = &self.http {
            let message = &mut asked.message;
            // A size for all is one for those that take any bytes.
            if !self.said.iter().any(|option| option == "size") {
                message.payload.get_or_insert_with(|| http.request());
            }
            message.expect.get_or_insert_with(|| "http".to_owned());
        }
        Ok(asked)
    }
}

fn no_option(option: &str) -> String {
    let known = NamedTarget::options().join(", ");
    format!("there is no option `{option}`: write one of {known}")
}

/// Of an option that no server may have alone: what was meant, if that can be guessed.
fn unknown(option: &str) -> Option<String> {
    if Conditions::names().iter().any(|name| name == option) {
        return Some(format!(
            "`{option}` is the same for all servers: say it as --{option}"
        ));
    }
    let known = NamedTarget::options();
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    let near = nearest(option, &known)?;
    Some(format!(
        "`bench` has no option `{option}`: perhaps `{near}` was meant"
    ))
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
        let one = target("old=echo://127.0.0.1:8081?payload=GET%20/%0D%0A&expect=238&pid=1,2");
        assert_eq!(one.name, "old");
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
    fn an_http_url_is_a_request_and_none_of_it_is_for_us() {
        let asked = |text: &str, flags: &[&str]| {
            let target = target(text);
            assert_eq!(target.said, [""; 0], "{text}");
            let flags = RequestArgs::try_parse_from(flags).unwrap();
            let message = target.asked(&flags).unwrap().message;
            assert_eq!(message.pid, [0; 0], "{text}");
            (
                message.payload.unwrap_or_default(),
                message.expect.unwrap_or_default(),
            )
        };
        let get = |path: &str| format!(r"GET /{path} HTTP/1.1\r\nHost: h:1\r\n\r\n");
        let http = "http".to_owned();
        assert_eq!(asked("http://h:1", &[]), (get(""), http.clone()));
        for query in [
            "requests=3",
            "size=10",
            "payload=y",
            "key=val",
            "pid=1&expect=9",
            "x",
        ] {
            for (url, path) in [
                ("http://h:1", ""),
                ("http://h:1/", ""),
                ("http://h:1/list", "list"),
            ] {
                let sent = get(&format!("{path}?{query}"));
                let url = format!("{url}?{query}#top?size=9");
                assert_eq!(asked(&url, &["--size=9"]), (sent, http.clone()), "{url}");
            }
        }
        assert_eq!(
            asked("http://h:1/", &["--payload=x"]),
            ("x".to_owned(), http)
        );
        assert_eq!(
            asked("http://h:1/", &["--expect=9"]),
            (get(""), "9".to_owned())
        );
        assert_eq!(asked("tcp://h:1", &[]), (String::new(), String::new()));
        assert_eq!(target("http://h:1/a?b#c").name, "http://h:1/a?b");
        assert_eq!(target("n=http://h:1/a?b=c").name, "n");
    }

    #[test]
    fn an_option_may_be_said_apart_from_the_url() {
        let mut one = target("http://h:1/a?size=10");
        one.give("size", "7").unwrap();
        one.give("expect", "7").unwrap();
        let message = one.asked(&RequestArgs::default()).unwrap().message;
        assert_eq!((message.size, message.payload), (Some(7), None));
        assert_eq!(message.expect.as_deref(), Some("7"));
        // As it is: a shell has no use for per cent.
        one.give("command", "a%20b=c").unwrap();
        let command = one.asked(&RequestArgs::default()).unwrap().exec.command;
        assert_eq!(command.as_deref(), Some("a%20b=c"));
        for (option, value, why) in [
            ("size", "7", "`size` is said twice"),
            ("payload", "x", "cannot be used with"),
            ("payloat", "x", "perhaps `payload` was meant"),
            (
                "rate",
                "5",
                "`rate` is the same for all servers: say it as --rate",
            ),
            (
                "zebra",
                "5",
                "there is no option `zebra`: write one of size, payload",
            ),
            ("pid", "x", "invalid value 'x' for '--pid"),
        ] {
            let wrong = one.clone().give(option, value).unwrap_err();
            assert!(wrong.contains(why), "{option}: {wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("tcp://127.0.0.1:1?payloat=x", "perhaps `payload` was meant"),
            (
                "tcp://127.0.0.1:1?zebra=1",
                "there is no option `zebra`: write one of size, payload",
            ),
            ("echo://127.0.0.1:1?zebra=1", "`bench` knows size, payload"),
            ("tcp://127.0.0.1:1?count=1", "say it as --count"),
            ("tcp://127.0.0.1:1?size=1&size=2", "`size` is said twice"),
            ("http://me@127.0.0.1:1", "names a user"),
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

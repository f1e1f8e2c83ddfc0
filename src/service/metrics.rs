use serde::{Deserialize, Serialize};

use super::{Checked, Class, OverStreams, Row, Service, Sessions};
use crate::buf::ReadBuf;
use crate::config::Transport;
use crate::turn::{Closed, Fault, Moment, Turn};
use crate::wire::{EXPOSITION_TYPE, Encode, HttpRequest, HttpRequests, HttpResponse, WireError};

/// Its row in the table.
pub(super) const ROW: Row = Row {
    name: "metrics",
    summary: "counters for Prometheus, by HTTP/1.1",
    usual: Transport::Tcp,
    stream: Some(&OverStreams {
        build: |_: &Options, _| Box::new(Metrics::default()),
    }),
    datagrams: None,
};

/// It has none of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {}

impl Checked for Options {
    fn class(&self) -> Class {
        Class::Figures
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";
const METHODS: &str = "GET, HEAD";

/// What the loop has counted, as Prometheus reads it (T11; RFC 9112): `GET /metrics`, and `GET /healthz`.
///
/// The figures are those of the turn in which they are asked for. They are made into text once a turn,
/// however many ask, so that a client that asks without end takes no more of the loop than others do.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests for the figures, which come when the turn is over.
    asked: Sessions<Asked>,
    /// The figures as text, and since when they stand.
    exposition: Vec<u8>,
    told: Option<Moment>,
}

/// How a request is answered.
#[derive(Debug, Clone, Copy)]
struct Asked {
    is_head: bool,
    keeps_alive: bool,
}

impl Metrics {
    fn answer(&mut self, t: &mut Turn<'_>, request: HttpRequest<'_>) {
        let asked = Asked {
            is_head: request.method == "HEAD",
            // What follows would be the body, which is not read.
            keeps_alive: request.keeps_alive && !request.has_body,
        };
        let is_allowed = asked.is_head || request.method == "GET";
        let (status, text, allow): (_, &[u8], _) = match request.path {
            "/metrics" | "/healthz" if !is_allowed => {
                let text = b"only GET and HEAD are allowed here\n";
                ((405, "Method Not Allowed"), text, Some(METHODS))
            }
            "/metrics" | "/healthz" if request.has_body => {
                ((400, "Bad Request"), b"a request here has no body\n", None)
            }
            "/metrics" => return self.tell_figures(t, asked),
            "/healthz" => ((200, "OK"), b"ok\n", None),
            _ => {
                let text = b"there is nothing here; there are /metrics and /healthz\n";
                ((404, "Not Found"), text, None)
            }
        };
        reply(t, asked, status, PLAIN, text, allow);
    }

    /// The figures now, if some client has asked for them in this turn; else when they are there.
    fn tell_figures(&mut self, t: &mut Turn<'_>, asked: Asked) {
        if self.told == Some(t.now) {
            reply(
                t,
                asked,
                (200, "OK"),
                EXPOSITION_TYPE,
                &self.exposition,
                None,
            );
        } else {
            self.asked.insert(t.id, asked);
            t.hold();
            t.ask_figures();
        }
    }

    /// What cannot become a request is answered, and ends the connection.
    fn refuse(t: &mut Turn<'_>, error: WireError) -> Result<(), Fault> {
        let (status, text): (_, &[u8]) = match error {
            WireError::TooLong { .. } => (
                (431, "Request Header Fields Too Large"),
                b"a request here has a head of at most 8192 bytes and 64 fields\n",
            ),
            _ => (
                (400, "Bad Request"),
                b"this is no request of HTTP/1.1 or HTTP/1.0\n",
            ),
        };
        let last = Asked {
            is_head: false,
            keeps_alive: false,
        };
        reply(t, last, status, PLAIN, text, None);
        Err(error.into())
    }
}

fn reply(
    t: &mut Turn<'_>,
    asked: Asked,
    status: (u16, &'static str),
    media_type: &'static str,
    body: &[u8],
    allow: Option<&'static str>,
) {
    t.reply(&HttpResponse {
        status,
        media_type,
        body,
        is_head: asked.is_head,
        keeps_alive: asked.keeps_alive,
        allow,
    });
    if !asked.keeps_alive {
        t.close_lingering();
    }
}

impl Service for Metrics {
    fn input(&mut self, t: &mut Turn<'_>, input: &mut ReadBuf) -> Result<(), Fault> {
        while !t.is_held() && !t.is_leaving() {
            match input.next(&mut HttpRequests) {
                Ok(Some(request)) => self.answer(t, request),
                Ok(None) => break,
                Err(error) => return Self::refuse(t, error),
            }
        }
        Ok(())
    }

    fn figures(&mut self, t: &mut Turn<'_>, page: &[u8]) {
        let Some(asked) = self.asked.remove(t.id) else {
            return;
        };
        self.exposition.clear();
        self.exposition.extend_from_slice(page);
        self.told = Some(t.now);
        self.tell_figures(t, asked);
        t.resume();
    }

    fn eof(&mut self, t: &mut Turn<'_>, rest: &mut ReadBuf) -> Result<(), Fault> {
        match rest.len() {
            0 => {
                t.close();
                Ok(())
            }
            have => Self::refuse(t, WireError::Truncated { have }),
        }
    }

    fn closed(&mut self, t: &mut Turn<'_>, _why: &Closed) {
        self.asked.remove(t.id);
    }

    fn refusal(&self, reason: &str, out: &mut Vec<u8>) {
        let text = format!("{reason}\n");
        let response = HttpResponse {
            status: (503, "Service Unavailable"),
            media_type: PLAIN,
            body: text.as_bytes(),
            is_head: false,
            keeps_alive: false,
            allow: None,
        };
        response.encode(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::rehearsal::Stage;
    use crate::turn::ConnId;
    use crate::wire::{Family, Kind};

    fn stage() -> (Stage<Metrics>, ConnId) {
        let mut stage = Stage::new(Metrics::default());
        counts(&mut stage, 1);
        let client = stage.enters();
        (stage, client)
    }

    fn counts(stage: &mut Stage<Metrics>, count: u64) {
        let one = Family::new("n_total", Kind::Counter, "One.").with(count);
        stage.set_figures(vec![one]);
    }

    /// The answers to what a client says: the status and the body of each, and whether it stays.
    fn answers(stage: &mut Stage<Metrics>, client: ConnId, says: &str) -> Vec<(u16, String, bool)> {
        stage.says(client, says.as_bytes());
        let mut heard = Vec::new();
        while let more @ [_, ..] = &stage.hears(client)[..] {
            heard.extend_from_slice(more);
        }
        let (mut heard, mut answers) = (&heard[..], Vec::new());
        while !heard.is_empty() {
            let mut fields = [httparse::EMPTY_HEADER; 8];
            let mut response = httparse::Response::new(&mut fields);
            let len = response.parse(heard).unwrap().unwrap();
            let field = |name: &str| {
                let mut all = response.headers.iter();
                let field = all.find(|field| field.name == name).unwrap();
                str::from_utf8(field.value).unwrap()
            };
            let stays = field("Connection") == "keep-alive";
            let body: usize = field("Content-Length").parse().unwrap();
            // The tests know which answer is one to HEAD: there, the next head follows at once.
            let is_head = heard[len..].is_empty() || heard[len..].starts_with(b"HTTP/1.1 ");
            let end = if is_head { len } else { len + body };
            let text = String::from_utf8(heard[len..end].to_vec()).unwrap();
            answers.push((response.code.unwrap(), text, stays));
            heard = &heard[end..];
        }
        answers
    }

    fn get(target: &str) -> String {
        format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
    }

    const TEXT: &str = "# HELP n_total One.\n# TYPE n_total counter\nn_total 1\n";

    #[test]
    fn t11_what_is_asked_for_one_after_another_is_answered_in_order() {
        let (mut stage, client) = stage();
        let asked = [
            get("/metrics"),
            get("/healthz"),
            get("/metrics").replace("GET", "HEAD"),
            get("/no"),
            get("/metrics").replace("GET", "POST"),
            get("/metrics?again"),
        ];
        let told: Vec<_> = answers(&mut stage, client, &asked.concat());
        let kept: Vec<(u16, &str)> = told.iter().map(|(c, t, _)| (*c, &t[..])).collect();
        assert_eq!(
            kept,
            [
                (200, TEXT),
                (200, "ok\n"),
                (200, ""),
                (
                    404,
                    "there is nothing here; there are /metrics and /healthz\n"
                ),
                (405, "only GET and HEAD are allowed here\n"),
                (200, TEXT),
            ]
        );
        assert!(told.iter().all(|(_, _, stays)| *stays));
        assert!(!stage.is_leaving(client));
        stage.ends(client);
        assert!(stage.is_leaving(client) && stage.fault(client).is_none());
    }

    #[test]
    fn t11_figures_are_those_of_the_turn() {
        let (mut stage, client) = stage();
        assert_eq!(answers(&mut stage, client, &get("/metrics"))[0].1, TEXT);
        counts(&mut stage, 2);
        let again = &answers(&mut stage, client, &get("/metrics"))[0].1;
        assert_eq!(again, TEXT, "it is the same turn");
        stage.waits(std::time::Duration::from_nanos(1));
        let later = &answers(&mut stage, client, &get("/metrics"))[0].1;
        assert!(later.ends_with("n_total 2\n"), "{later}");
    }

    #[test]
    fn t11_a_client_that_asks_for_it_is_the_last_on_its_connection() {
        for (asked, code) in [
            (
                get("/metrics").replace("Host", "Connection: close\r\nHost"),
                200,
            ),
            (get("/healthz").replace("HTTP/1.1", "HTTP/1.0"), 200),
            (
                get("/healthz").replace("Host", "Content-Length: 5\r\nHost"),
                400,
            ),
        ] {
            let (mut stage, client) = stage();
            let told = answers(&mut stage, client, &(asked + &get("/healthz")));
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!((told[0].0, told[0].2), (code, false));
            assert!(stage.is_leaving(client) && stage.fault(client).is_none());
        }
    }

    #[test]
    fn t11_what_is_no_request_is_told_so_and_ends_the_connection() {
        for (says, code) in [
            ("hello\r\n\r\n".to_owned(), 400),
            (get("/").replace("Host", "X"), 400),
            (format!("GET /{}", "x".repeat(9000)), 431),
        ] {
            let (mut stage, client) = stage();
            let told = answers(&mut stage, client, &says);
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!((told[0].0, told[0].2), (code, false));
            assert!(stage.fault(client).is_some());
        }
        let (mut stage, client) = stage();
        stage.says(client, b"GET /metrics HTTP/1.1\r\n");
        stage.ends(client);
        assert!(stage.hears(client).starts_with(b"HTTP/1.1 400 "));
    }

    #[test]
    fn what_was_asked_for_is_forgotten_with_its_connection() {
        let (mut stage, client) = stage();
        stage.service.asked.insert(
            client,
            Asked {
                is_head: false,
                keeps_alive: true,
            },
        );
        stage.leaves(client);
        assert!(stage.service.asked.is_empty());
    }
}

use std::time::Duration;

use proptest::prelude::*;
use serde::de::DeserializeOwned;

use super::*;
use crate::config::limits::{CHAT_HISTORY_LINES_MAX, COMMAND_OUTPUT_BYTES_MAX};
use crate::config::{Network, Settle, UnixAddress};
use crate::service::command::{CommandFraming, CommandOutput, Encoding, Restart};
use crate::service::greeting::GreetingFraming;
use crate::service::{chat, command, greeting, talk, upper};

fn endpoint(url: &str) -> Endpoint {
    url.parse().unwrap_or_else(|wrong| panic!("{wrong}"))
}

fn refusal(url: &str) -> String {
    match url.parse::<Endpoint>() {
        Ok(endpoint) => panic!("{url} was taken for {endpoint}"),
        Err(wrong) => wrong.to_string(),
    }
}

fn options<T: DeserializeOwned>(url: &str) -> T {
    let endpoint = endpoint(url);
    endpoint
        .options
        .read()
        .unwrap_or_else(|wrong| panic!("{wrong}"))
}

fn tcp(host: &str, port: u16) -> Address {
    let host = host
        .parse()
        .map_or_else(|_| Host::Name(host.into()), Host::Ip);
    Address::Tcp(HostPort { host, port })
}

#[test]
fn the_examples_of_the_manual_are_understood() {
    let echo = endpoint("echo://127.0.0.1:9000");
    assert_eq!(
        (echo.row.name, echo.address),
        ("echo", tcp("127.0.0.1", 9000))
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
        options::<greeting::Options>("greeting://127.0.0.1:8898?greeting=hello&reply=hi"),
        greeting::Options {
            greeting: vec!["hello".into()],
            reply: Some("hi".into()),
            ..greeting::Options::default()
        }
    );
    assert_eq!(
        options::<upper::Options>("upper://127.0.0.1:9999?once=true&strip=true"),
        upper::Options {
            once: true,
            strip: true,
            ..upper::Options::default()
        }
    );
    assert_eq!(
        endpoint("chat+fd://3").address,
        Address::Fd(crate::config::FdAddress::Number(3))
    );
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
    let url = "command://localhost:0?framing=decimal&ack=recv_ready&output=stderr-or-stdout\
         &encoding=gbk&settle=never&timeout=1m30s&max-output=64K&idle-timeout=5s\
         &programs=ls&programs=cat%20*&shell=false&run-as=nobody:nogroup&cwd=/srv&env=CI\
         &limit-nproc=9&limit-memory=1G&limit-cpu=1m&limit-files=64&limit-file-size=2M\
         &no-new-privs=on&readable=/usr&readable=/etc&writable=/tmp&cgroup=/sys/fs/cgroup/x\
         &cgroup-pids=5&cgroup-memory=3M\
         &max-connections=7&open=on&auth=none&keepalive=1m&user-timeout=90s\
         &allow-from=10.0.0.0/8&allow-from=::1&deny-from=::ffff:10.0.0.7\
         &max-per-source=3&rate-per-source=10/1s";
    assert_eq!(
        options::<command::Options>(url),
        (command::Options {
            framing: CommandFraming::Decimal,
            ack: Some("recv_ready".into()),
            output: CommandOutput::StderrOrStdout,
            encoding: Encoding::Gbk,
            settle: Settle::Never,
            timeout: Some(Duration::from_secs(90)),
            max_output: Some(65536),
            programs: vec!["ls".into(), "cat *".into()],
            shell: Some(false),
            run_as: Some("nobody:nogroup".into()),
            cwd: Some("/srv".into()),
            env: vec!["CI".into()],
            limit_nproc: Some(9),
            limit_memory: Some(1 << 30),
            limit_cpu: Some(Duration::from_secs(60)),
            limit_files: Some(64),
            limit_file_size: Some(2 << 20),
            no_new_privs: true,
            readable: vec!["/usr".into(), "/etc".into()],
            writable: vec!["/tmp".into()],
            cgroup: Some("/sys/fs/cgroup/x".into()),
            cgroup_pids: Some(5),
            cgroup_memory: Some(3 << 20),
            ..command::Options::default()
        })
    );
    assert_eq!(
        endpoint(url).common,
        Common {
            idle_timeout: Some(Duration::from_secs(5)),
            max_connections: Some(7),
            allow_from: ["10.0.0.0/8", "::1"]
                .map(|text| text.parse().unwrap())
                .into(),
            deny_from: vec!["10.0.0.7".parse().unwrap()],
            max_per_source: Some(3),
            rate_per_source: Some("10/s".parse().unwrap()),
            keepalive: Some(Duration::from_secs(60)),
            user_timeout: Some(Duration::from_secs(90)),
            open: true,
            auth: Some(Auth::None),
            ..Common::default()
        }
    );
    let url = "chat+unix:///a?flood=on&history=50&mode=0660&any-user=true&idle-timeout=off";
    let chat::Options { flood, history, .. } = options(url);
    assert_eq!((flood, history), (true, 50));
    let chat = endpoint(url);
    assert_eq!(chat.common.mode, Some(0o660));
    assert!(chat.common.any_user);
    let url =
        "greeting://h:1?greeting=a%20b%26&greeting=%E4%BD%A0&framing=i32&wait=true&settle=0&reply=";
    assert_eq!(
        options::<greeting::Options>(url),
        (greeting::Options {
            greeting: vec!["a b&".into(), "你".into()],
            framing: GreetingFraming::I32,
            reply: Some(String::new()),
            wait: true,
            settle: Settle::After(Duration::ZERO),
        })
    );
}

/// What is wrong, and a piece of the sentence that must say so.
const REFUSALS: [(&str, &str); 102] = [
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
        "fiel://127.0.0.1:1?root=/srv",
        "there is no service `fiel`, perhaps `file` was meant",
    ),
    ("file://127.0.0.1:1", "needs `root=DIRECTORY`"),
    ("file://127.0.0.1:1?root=srv", "is no absolute path"),
    (
        "file://127.0.0.1:1?root=/srv&public=true",
        "say `access=read`",
    ),
    (
        "file://127.0.0.1:1?root=/srv&access=read&quota=1M",
        "it is for uploads",
    ),
    (
        "echo+upd://127.0.0.1:1",
        "no transport `upd`, perhaps `udp` was meant",
    ),
    ("echo+unixgram:///a", "there is no transport `unixgram`"),
    (
        "chat+udp://127.0.0.1:1",
        "`chat` is not served over udp (it is over: tcp, unix, fd)",
    ),
    (
        "sntp+tcp://127.0.0.1:1",
        "`sntp` is not served over tcp (it is over: udp, fd)",
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
    (
        "chat+fd://9999999999",
        "neither the number of a descriptor nor a name",
    ),
    (
        "chat+fd://-1",
        "neither the number of a descriptor nor a name",
    ),
    (
        "chat+fd://a:b",
        "neither the number of a descriptor nor a name",
    ),
    (
        "chat+fd://a%20b",
        "neither the number of a descriptor nor a name",
    ),
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
        "`upper` takes it over tcp or unix, not over udp",
    ),
    (
        "time://127.0.0.1:1?idle-timeout=5s",
        "datagrams have no connection",
    ),
    (
        "sntp+fd://3?max-connections=5",
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
    (
        "echo://127.0.0.1:1?allow-from=localhost",
        "option `allow-from`: `localhost` is neither an address nor a network",
    ),
    (
        "echo://127.0.0.1:1?allow-from=::1&allow-from=10.0.0.1/8",
        "the network is 10.0.0.0/8",
    ),
    (
        "echo://127.0.0.1:1?deny-from=10.0.0.0/33",
        "option `deny-from`: `10.0.0.0/33` does not end",
    ),
    (
        "echo+unix:///a?allow-from=127.0.0.1",
        "the peer of a Unix socket has none",
    ),
    (
        "echo+unix:///a?max-per-source=1",
        "`mode` and `any-user` say who may connect",
    ),
    (
        "echo://127.0.0.1:1?max-per-source=0",
        "`deny-from` names sources",
    ),
    (
        "echo://127.0.0.1:1?rate-per-source=10",
        "option `rate-per-source`: `10` is not a rate such as 10/s",
    ),
    (
        "time://127.0.0.1:1?rate-per-source=10/s",
        "datagrams have no connection",
    ),
    (
        "echo+udp://127.0.0.1:1?max-per-source=1",
        "datagrams have no connection",
    ),
    ("echo+unix:///a?keepalive=5s", "the peer of a Unix socket"),
    ("time://127.0.0.1:1?keepalive=off", "have no connection"),
    ("echo://127.0.0.1:1?keepalive=0", "`off` for none"),
    (
        "echo://127.0.0.1:1?keepalive=10h",
        "10h is more than the kernel takes, 32767s; `off` for never",
    ),
    (
        "echo://127.0.0.1:1?user-timeout=1000h",
        "more than the kernel takes",
    ),
    ("echo://127.0.0.1:1?mode=0600", "only a Unix socket"),
    ("echo://127.0.0.1:1?any-user=true", "only a Unix socket"),
    ("echo+unix:///a?open=true", "has `mode` and `any-user`"),
    ("echo+unix:///a?mode=0888", "is not a file mode in octal"),
    (
        "command://127.0.0.1:1?framing=streem",
        "`streem` is not raw, decimal, i32, json or stream, perhaps `stream` was meant",
    ),
    (
        "command://127.0.0.1:1?framing=i23",
        "`i23` is not raw, decimal, i32, json or stream, perhaps `i32` was meant",
    ),
    (
        "command://127.0.0.1:1?auth=password",
        "option `auth`: `password` is not hmac or none",
    ),
    (
        "command://127.0.0.1:1?auth=hmac",
        "option `auth`: `hmac` needs a `secret-file`; `onepoll secret FILE` makes one",
    ),
    (
        "echo://127.0.0.1:1?auth=none&secret-file=/a",
        "option `auth`: `none` lets everybody in, and `secret-file` asks",
    ),
    (
        "echo://127.0.0.1:1?digest=md5",
        "option `digest`: it says how a secret is proven, and there is no `secret-file`",
    ),
    (
        "echo://127.0.0.1:1?secret-file=/a&digest=sha1",
        "option `digest`: `sha1` is not sha256 or md5",
    ),
    (
        "echo://127.0.0.1:1?proof=exporter",
        "option `proof`: it says what a proof covers, and there is no `secret-file`",
    ),
    (
        "echo://127.0.0.1:1?secret-file=/a&proof=exporter",
        "option `proof`: only TLS has an exporter",
    ),
    (
        "echo+udp://127.0.0.1:1?secret-file=/a",
        "option `secret-file`: datagrams have no connection that it could concern",
    ),
    ("command://127.0.0.1:1?ack=x", "only `framing=decimal`"),
    ("command://127.0.0.1:1?max-output=2G", "above 2147483647"),
    ("command://127.0.0.1:1?run=date", "needs `tail=true`"),
    ("command://127.0.0.1:1?tail=true", "needs `run=LINE`"),
    ("command://127.0.0.1:1?restart=never", "needs `run=LINE`"),
    ("command://127.0.0.1:1?history=3", "needs `run=LINE`"),
    ("command://127.0.0.1:1?run=%20&tail=true", "no command line"),
    (
        "command://127.0.0.1:1?run=date&tail=true&history=1025",
        "at most 1024 lines",
    ),
    (
        "command://127.0.0.1:1?run=date&tail=true&timeout=1s",
        "with `tail=true` none is read",
    ),
    ("chat://127.0.0.1:1?history=1025", "above 1024 lines"),
    ("chat://127.0.0.1:1?rooms=a%20b", "1 to 32 ASCII letters"),
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

/// A service's name, and options that it takes over streams.
fn a_service() -> impl Strategy<Value = (&'static str, Written)> {
    let settle = prop_oneof![
        Just(Settle::Never),
        any::<u64>().prop_map(|nanos| Settle::After(Duration::from_nanos(nanos))),
    ];
    let some_time = || proptest::option::of((1..u64::MAX).prop_map(Duration::from_nanos));
    let upper = (any::<bool>(), any::<bool>(), settle.clone()).prop_map(|(once, strip, settle)| {
        upper::Options {
            once,
            strip: strip && once,
            settle,
        }
    });
    let greeting = (
        proptest::collection::vec(".*", 0..3),
        prop_oneof![Just(GreetingFraming::Raw), Just(GreetingFraming::I32)],
        proptest::option::of(".*"),
        any::<bool>(),
        settle.clone(),
    )
        .prop_map(
            |(greeting, framing, reply, wait, settle)| greeting::Options {
                greeting,
                framing,
                reply,
                wait,
                settle,
            },
        );
    let chat = (
        proptest::option::of("[a-zA-Z0-9][-_.a-zA-Z0-9]{0,31}"),
        any::<bool>(),
        0..=CHAT_HISTORY_LINES_MAX,
    )
        .prop_map(|(rooms, flood, history)| chat::Options {
            rooms,
            flood,
            history,
            ..chat::Options::default()
        });
    let talk = (
        any::<bool>(),
        settle.clone(),
        proptest::option::of("/[a-z]{1,20}"),
    )
        .prop_map(|(bare, settle, attach)| talk::Options {
            bare,
            settle,
            attach,
            person: false,
        });
    // What stands for any number of arguments may only be the last.
    let program = "[a-z ]{0,4}[a-z] [^'\"\\\\]*";
    let program = program.prop_filter("any number of arguments", |line| !line.contains("**"));
    let command = (
        proptest::option::of(".+"),
        any::<bool>(),
        settle,
        some_time(),
        proptest::option::of(0..=COMMAND_OUTPUT_BYTES_MAX),
        proptest::collection::vec(program, 0..3),
    )
        .prop_map(
            |(ack, gbk, settle, timeout, max_output, programs)| command::Options {
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
                programs,
                no_new_privs: gbk,
                ..command::Options::default()
            },
        );
    let tail = ("x.*", any::<bool>(), proptest::option::of(0..=1024_u32)).prop_map(
        |(line, never, history)| command::Options {
            run: Some(line.replace('\0', "")),
            tail: true,
            restart: if never {
                Restart::Never
            } else {
                Restart::Always
            },
            history,
            ..command::Options::default()
        },
    );
    prop_oneof![
        prop_oneof![Just("echo"), Just("discard"), Just("time")]
            .prop_map(|name| (name, Written::default())),
        upper.prop_map(|options| ("upper", Written::of(&options))),
        greeting.prop_map(|options| ("greeting", Written::of(&options))),
        chat.prop_map(|options| ("chat", Written::of(&options))),
        talk.prop_map(|options| ("talk", Written::of(&options))),
        command.prop_map(|options| ("command", Written::of(&options))),
        tail.prop_map(|options| ("command", Written::of(&options))),
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
            |((name, mut written), host, unix, port, transport, (flag, other), number)| {
                let row = find(name).unwrap();
                let over = row.transports()[transport % row.transports().len()];
                let at = HostPort { host, port };
                let address = match over {
                    Transport::Tcp => Address::Tcp(at),
                    Transport::Udp => Address::Udp(at),
                    Transport::Unix => Address::Unix(unix),
                    Transport::Fd if flag => {
                        Address::Fd(crate::config::FdAddress::Name(format!("web.{port}%")))
                    }
                    Transport::Fd => {
                        Address::Fd(crate::config::FdAddress::Number(i32::from(port) + 3))
                    }
                };
                if over == Transport::Udp {
                    written = Written::default();
                }
                let stream = over != Transport::Udp && row.stream.is_some();
                let is_unix = over == Transport::Unix;
                let tcp = stream && !is_unix;
                let some_time = Duration::from_millis(u64::from(number / 200) + 1);
                let common = Common {
                    keepalive: if tcp {
                        other.then_some(some_time)
                    } else {
                        Common::default().keepalive
                    },
                    user_timeout: (tcp && flag).then_some(some_time),
                    idle_timeout: (stream && flag).then(|| Duration::from_nanos(number.into())),
                    max_connections: (stream && other).then_some(number),
                    allow_from: a_network(!is_unix && flag, number),
                    deny_from: a_network(!is_unix && other, number / 2),
                    max_per_source: (tcp && other).then_some(number),
                    rate_per_source: (tcp && flag)
                        .then(|| format!("{}/7s", number % 999 + 1).parse().unwrap()),
                    open: !is_unix && flag,
                    auth: (stream && flag).then_some(Auth::None),
                    mode: (is_unix && other).then_some(number & 0o777),
                    any_user: is_unix && flag,
                    ..Common::default()
                };
                for (name, value) in Written::of(&common).pairs() {
                    written.push(name, value.as_str().into());
                }
                Endpoint::read(row, address, over, written)
                    .unwrap_or_else(|wrong| panic!("{wrong}"))
            },
        )
}

/// Some networks, if there are any.
fn a_network(are_any: bool, number: u32) -> Vec<Network> {
    let v4 = std::net::Ipv4Addr::from_bits(number);
    let all = [
        v4.to_string(),
        format!("{}/16", std::net::Ipv4Addr::from_bits(number >> 16 << 16)),
        format!("2001:db8:{:x}::/48", number & 0xffff),
    ];
    let all = all.iter().filter(|_| are_any);
    all.map(|text| text.parse().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn display_and_parse_are_inverse(endpoint in an_endpoint()) {
        let url = endpoint.to_string();
        prop_assert_eq!(url.parse::<Endpoint>(), Ok(endpoint), "{}", url);
    }

    #[cfg(feature = "cli")]
    #[test]
    fn what_is_printed_is_read_again(
        endpoints in proptest::collection::vec(an_endpoint(), 0..5),
        user in proptest::option::of(".{0,9}"),
        connections in proptest::option::of(1..u32::MAX),
    ) {
        let file = ConfigFile {
            endpoints,
            limits: Limits { connections, ..Default::default() },
            log: Log { level: LogLevel::Debug, ..Log::default() },
            user,
            group: Some("7".into()),
            processes: connections.map(|count| count % 64 + 1),
            bus: toml::from_str("url = [\"nats://h:1\", \"nats://[::1]:2\"]\nreplicas = 3").ok(),
        };
        let text = file.write().unwrap();
        let read = ConfigFile::parse("printed", &text);
        prop_assert_eq!(read.map_err(|wrong| wrong.to_string()), Ok(file), "{}", text);
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

#[test]
fn endpoints_share_a_value_under_a_name_and_with_equal_options() {
    let set = |url| endpoint(url).set();
    let lobby = set("chat://h:1?rooms=lobby&history=5").unwrap();
    assert_eq!((lobby.service, &lobby.name[..]), ("chat", "lobby"));
    let over_unix = "chat+unix:///a?history=5&rooms=lobby&mode=0660&any-user=true&encoding=gbk";
    assert_eq!(set(over_unix).as_ref(), Some(&lobby));
    for other in [
        "chat://h:1?rooms=lobby",
        "chat://h:1?rooms=lobby&history=6",
        "chat://h:1?rooms=lobby&history=5&slow=drop-oldest",
        "chat://h:1?rooms=den&history=5",
    ] {
        assert_ne!(set(other).as_ref(), Some(&lobby), "{other}");
    }
    assert_eq!(set("chat://h:1?history=5"), None);
    assert_eq!(set("echo://h:1"), None);
}

#[test]
fn one_name_with_two_meanings_is_refused_with_both_endpoints() {
    let first = endpoint("chat://h:1?rooms=lobby&history=5");
    let agrees = |url| endpoint(url).agrees_with([&first]);
    assert_eq!(agrees("chat+unix:///a?rooms=lobby&history=5"), Ok(()));
    assert_eq!(agrees("chat+unix:///a?rooms=den"), Ok(()));
    assert_eq!(agrees("chat+unix:///a?history=7"), Ok(()));
    let wrong = agrees("chat+unix:///a?rooms=lobby")
        .unwrap_err()
        .to_string();
    assert_eq!(
        wrong,
        "endpoint `chat+unix:///a?rooms=lobby`: it shares `lobby` with `chat://h:1?history=5&rooms=lobby`, \
         which has another `history`: all endpoints of one set say the same"
    );
}

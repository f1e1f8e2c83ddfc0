//! All endpoints together: adopted, planned and bound, or why not.
//!
//! `serve` and `check` both call this, so that one accepts exactly what the other does.

use std::net::SocketAddr;

use rustix::process::geteuid;

use super::Endpoint;
use super::activation::Activation;
use super::bind::{Bound, bind};
use super::exposure::Exposure;
use super::handed::Handed;
use super::inherited::{Inherited, judge};
use super::plan::{Planned, connections_max, plan};
use super::socket_file::Intent;
use super::tls::secure;
use super::unserved::Unserved;
use crate::config::{Address, ConfigError, FdAddress, Limits, Lookups};
use crate::service::Several;

/// What became of the endpoints that were asked for.
#[derive(Debug)]
pub struct Opening {
    /// Each of them, in the order in which it was asked for.
    pub attempts: Vec<Attempt>,
    /// Every socket that was bound. None, if an endpoint or the limits were refused.
    pub bound: Vec<Bound>,
    /// Names of descriptors that a supervisor handed over, and that no endpoint took.
    pub unclaimed: Vec<String>,
    /// How many connections there can be in all.
    pub connections_max: Result<u32, ConfigError>,
}

/// What became of one endpoint.
#[derive(Debug)]
pub struct Attempt {
    /// As it was asked for.
    pub endpoint: Endpoint,
    /// The addresses that its host has here, or that its inherited socket has.
    pub at: Vec<SocketAddr>,
    /// Addresses of its host that this machine does not have.
    pub absent: Vec<SocketAddr>,
    /// Who can reach it, if it may be served.
    pub exposure: Option<Exposure>,
    /// Why it is not served.
    pub unserved: Option<Unserved>,
}

/// Endpoints that were judged and are not bound yet.
#[derive(Debug)]
pub struct Judged<'e> {
    /// One whose name several inherited descriptors have is here once for each.
    endpoints: Vec<Endpoint>,
    plans: Vec<Result<Planned, Unserved>>,
    limits: &'e Limits,
    nofile: u64,
    processes: u32,
    is_root: bool,
    lookups: Lookups,
    /// What a supervisor handed over, for the endpoints that are bound there.
    others: Handed,
}

impl Opening {
    /// Adopts what was inherited, judges every endpoint, and only if none is refused, binds them.
    ///
    /// To be called before anything else is opened: an inherited descriptor that is not there would be
    /// something of ours. `nofile` is the descriptor limit that the server has.
    pub fn of(endpoints: &[Endpoint], limits: &Limits, nofile: u64, intent: Intent) -> Opening {
        Judged::of(endpoints, limits, nofile).bind(intent, &mut Handed::default())
    }
}

impl<'e> Judged<'e> {
    /// Adopts what was inherited, and judges every endpoint, as [`Opening::of`] does.
    pub fn of(endpoints: &[Endpoint], limits: &'e Limits, nofile: u64) -> Judged<'e> {
        Judged::at_start(endpoints, limits, nofile, Lookups::live())
    }

    /// The same; what was looked up is kept.
    pub fn at_start(
        endpoints: &[Endpoint],
        limits: &'e Limits,
        nofile: u64,
        lookups: Lookups,
    ) -> Judged<'e> {
        let inherited = Inherited::adopt(endpoints, Activation::of_this_process());
        Judged::with(endpoints, limits, nofile, inherited, lookups)
    }

    /// Judges every endpoint once more. What was inherited was adopted at start, so nothing is now: an
    /// endpoint that is such a descriptor is judged when it finds its socket among those that are handed to
    /// [`bind`](Judged::bind).
    pub fn again(
        endpoints: &[Endpoint],
        limits: &'e Limits,
        nofile: u64,
        lookups: Lookups,
    ) -> Judged<'e> {
        let inherited = Inherited::adopt(&[], Activation::Absent);
        Judged::with(endpoints, limits, nofile, inherited, lookups)
    }

    fn with(
        endpoints: &[Endpoint],
        limits: &'e Limits,
        nofile: u64,
        mut inherited: Inherited,
        mut lookups: Lookups,
    ) -> Judged<'e> {
        let is_root = geteuid().is_root();
        let others = inherited.others(endpoints);
        let each = |endpoint: &Endpoint| vec![endpoint.clone(); inherited.count(endpoint)];
        // With one whose files are fetched over TCP comes the endpoint of that.
        let both = |endpoint: Endpoint| {
            let twin = endpoint.twin();
            std::iter::once(endpoint).chain(twin)
        };
        let endpoints = endpoints.iter().flat_map(each).flat_map(both);
        let endpoints: Vec<Endpoint> = endpoints.collect();
        let plan = |(n, endpoint): (usize, &Endpoint)| {
            endpoint
                .agrees_with(&endpoints[..n])
                .map_err(Unserved::Refused)?;
            plan(endpoint, &mut inherited, &mut lookups, is_root)
        };
        let plans = endpoints.iter().enumerate().map(plan).collect();
        Judged {
            endpoints,
            plans,
            lookups,
            limits,
            nofile,
            processes: 1,
            is_root,
            others,
        }
    }

    /// So many processes are to serve them, with these limits each. What cannot be served so is refused; of the default
    /// table, it is left out.
    pub fn among(mut self, processes: u32, has_bus: bool, is_default_table: bool) -> Judged<'e> {
        self.processes = processes;
        if processes <= 1 {
            return self;
        }
        for (endpoint, plan) in self.endpoints.iter().zip(&mut self.plans) {
            let (why, remedy) = match endpoint.several() {
                Several::WithBus(why) if !has_bus => (why, ", unless a `[bus]` joins them"),
                Several::No(why) => (why, ""),
                Several::Yes | Several::WithBus(_) => continue,
            };
            let problem = format!(
                "{processes} processes cannot serve it{remedy}: {why}; serve it by a server of its own, with one process"
            );
            if plan.is_ok() {
                *plan = Err(match is_default_table {
                    true => Unserved::failed(endpoint, problem),
                    false => Unserved::refused(endpoint, problem),
                });
            }
        }
        self
    }

    /// What was looked up so far: once all endpoints are judged, everything.
    pub fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    /// Whether something is wrong that no socket of another server can mend: of an endpoint that was to be
    /// inherited, the other server may have it.
    pub fn is_hopeless(&self) -> bool {
        let is_wrong = |(endpoint, plan): (&Endpoint, &Result<Planned, Unserved>)| match plan {
            Ok(_) => false,
            Err(Unserved::Failed(_)) => !matches!(endpoint.address, Address::Fd(_)),
            Err(Unserved::Refused(_) | Unserved::NotPrivate(_)) => true,
        };
        let mut all = self.endpoints.iter().zip(&self.plans);
        self.connections_max().is_err() || all.any(is_wrong)
    }

    /// Only if no endpoint is refused: takes the sockets that another server hands over, and binds the others.
    pub fn bind(mut self, intent: Intent, handed: &mut Handed) -> Opening {
        let mut others = std::mem::take(&mut self.others);
        let handed = if handed.is_empty() && !handed.is_everything() {
            &mut others
        } else {
            handed
        };
        self.find_inherited(handed);
        let connections_max = self.connections_max();
        let is_refused = connections_max.is_err()
            || self
                .plans
                .iter()
                .any(|plan| matches!(plan, Err(Unserved::Refused(_))));
        let mut opening = Opening {
            attempts: Vec::new(),
            bound: Vec::new(),
            unclaimed: Vec::new(),
            connections_max,
        };
        for (endpoint, plan) in self.endpoints.iter().zip(&mut self.plans) {
            let attempt = Attempt::of(endpoint, plan);
            opening.attempts.push(attempt);
            if let (Ok(planned), false) = (plan, is_refused) {
                opening.bind(planned, intent, handed);
            }
        }
        opening.unclaimed = others.left();
        opening
    }

    /// Judges the endpoints whose descriptors another server inherited, or we did when we began.
    fn find_inherited(&mut self, handed: &mut Handed) {
        let endpoints = std::mem::take(&mut self.endpoints);
        let plans = std::mem::take(&mut self.plans);
        for (endpoint, plan) in endpoints.into_iter().zip(plans) {
            let which = match (&plan, &endpoint.address) {
                (Err(Unserved::Failed(_)), Address::Fd(which)) => which.clone(),
                _ => {
                    self.endpoints.push(endpoint);
                    self.plans.push(plan);
                    continue;
                }
            };
            let name = format!("descriptor {which}");
            let mut found = false;
            while let Some(socket) = handed.inherited(&endpoint.place()) {
                found = true;
                let judged = judge(&endpoint, &name, socket, self.is_root);
                let lookups = &mut self.lookups;
                let plan = judged.and_then(|judged| {
                    let secure = secure(&endpoint, lookups)?;
                    Ok(Planned {
                        is_handed: true,
                        ..Planned::adopted(&endpoint, judged, secure, lookups)?
                    })
                });
                self.endpoints.push(endpoint.clone());
                self.plans.push(plan);
                // One number is one descriptor, and several may have one name.
                if matches!(which, FdAddress::Number(_)) {
                    break;
                }
            }
            if !found {
                self.endpoints.push(endpoint);
                self.plans.push(plan);
            }
        }
    }

    /// Binds nothing: why that which is wrong is not served.
    pub fn refuse(mut self) -> Opening {
        let all = self.endpoints.iter().zip(&mut self.plans);
        Opening {
            attempts: all
                .map(|(endpoint, plan)| Attempt::of(endpoint, plan))
                .collect(),
            bound: Vec::new(),
            unclaimed: Vec::new(),
            connections_max: self.connections_max(),
        }
    }

    fn connections_max(&self) -> Result<u32, ConfigError> {
        let planned: Vec<&Planned> = self.plans.iter().flatten().collect();
        connections_max(&planned, self.limits, self.nofile, self.processes)
    }
}

impl Opening {
    /// Binds what was attempted last.
    fn bind(&mut self, planned: &mut Planned, intent: Intent, handed: &mut Handed) {
        let Some(attempt) = self.attempts.last_mut() else {
            return;
        };
        match bind(planned, &self.bound, intent, handed) {
            Err(unserved) => attempt.unserved = Some(unserved),
            Ok(mut sockets) => {
                for bound in &mut sockets.bound {
                    if let Some(file) = &mut bound.file {
                        let before = self.bound.iter_mut();
                        let files = before.filter_map(|bound| bound.file.as_mut());
                        files.for_each(|other| file.inherit_directory(other));
                    }
                    bound.secure.clone_from(&planned.secure);
                    bound.secrets.clone_from(&planned.secrets);
                    bound.content.clone_from(&planned.file);
                }
                attempt.at.retain(|at| !is_among(*at, &sockets.absent));
                attempt.absent = sockets.absent;
                self.bound.extend(sockets.bound);
            }
        }
    }
}

impl Attempt {
    fn of(endpoint: &Endpoint, plan: &Result<Planned, Unserved>) -> Attempt {
        let planned = plan.as_ref().ok();
        Attempt {
            endpoint: endpoint.clone(),
            at: planned
                .map(|planned| planned.at.clone())
                .unwrap_or_default(),
            absent: Vec::new(),
            exposure: planned.map(|planned| planned.exposure),
            unserved: plan.as_ref().err().cloned(),
        }
    }

    /// Which of a host name's addresses are not served, in one line.
    pub fn absence(&self) -> Option<String> {
        let list = |at: &[SocketAddr]| {
            let list: Vec<String> = at.iter().map(SocketAddr::to_string).collect();
            list.join(" and ")
        };
        (!self.absent.is_empty()).then(|| {
            format!(
                "this machine has no {}; served at {}",
                list(&self.absent),
                list(&self.at)
            )
        })
    }
}

/// Whatever the port: the system may have chosen one.
fn is_among(at: SocketAddr, absent: &[SocketAddr]) -> bool {
    absent.iter().any(|absent| absent.ip() == at.ip())
}

#[cfg(test)]
mod tests {
    use std::fs::metadata;
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::IntoRawFd;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::{UnixDatagram, UnixListener};
    use std::path::Path;

    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, socket};

    use super::*;
    use crate::endpoint::Reach;

    const NOFILE: u64 = 100_000;

    /// What `serve` does, and what `check` does, with these endpoints; `DIR` is the directory.
    fn open(urls: &[&str], dir: &Path, intent: Intent) -> Opening {
        open_with(urls, dir, intent, &Limits::default(), NOFILE)
    }

    fn open_with(
        urls: &[&str],
        dir: &Path,
        intent: Intent,
        limits: &Limits,
        nofile: u64,
    ) -> Opening {
        let dir = dir.to_str().unwrap();
        let read = |url: &&str| url.replace("DIR", dir).parse().unwrap();
        let endpoints: Vec<Endpoint> = urls.iter().map(read).collect();
        Opening::of(&endpoints, limits, nofile, intent)
    }

    fn names_in(dir: &Path) -> usize {
        std::fs::read_dir(dir).unwrap().count()
    }

    /// Endpoints that may not be served, and why not.
    const REFUSED: [(&str, &str); 17] = [
        ("echo://127.0.0.1:0?secret-file=DIR/none", "cannot be read"),
        (
            "chat+unix://DIR/x.sock?secret-file=/dev/null",
            "open to others",
        ),
        ("echo://127.0.0.1:0?secret-file=DIR", "cannot be read"),
        ("echo://0.0.0.0:0", "`open=true`"),
        ("echo://[::]:0", "`open=true`"),
        ("chat://[::ffff:0.0.0.0]:0", "`open=true`"),
        ("discard://192.0.2.1:0", "`open=true`"),
        ("time://0.0.0.0:0", "`open=true`"),
        ("echo+udp://[::]:0", "`open=true`"),
        ("sntp://0.0.0.0:0", "`open=true`"),
        ("daytime+udp://192.0.2.1:0", "`open=true`"),
        ("command://127.0.0.1:0", "`auth=none`"),
        ("command://localhost:0", "`auth=none`"),
        ("command+unix://DIR/x.sock?any-user=true", "`auth=none`"),
        ("command+unix://@onepoll-any?any-user=true", "`auth=none`"),
        (
            "command://0.0.0.0:0?auth=none&open=true",
            "no option overrides",
        ),
        (
            "command://[::ffff:192.0.2.1]:0?auth=none&open=true",
            "no option overrides",
        ),
    ];

    #[test]
    fn fault_h6_what_is_refused_leaves_nothing_bound_whatever_stands_beside_it() {
        for (refused, why) in REFUSED {
            for intent in [Intent::Serve, Intent::Check] {
                let good = [
                    "echo://127.0.0.1:0",
                    "chat+unix://DIR/a.sock",
                    "time://127.0.0.1:0",
                ];
                for at in 0..=good.len() {
                    let dir = tempfile::tempdir().unwrap();
                    let mut urls = good.to_vec();
                    urls.insert(at, refused);
                    let opening = open(&urls, dir.path(), intent);
                    assert_eq!(opening.bound.len(), 0, "{urls:?} {intent:?}");
                    assert_eq!(names_in(dir.path()), 0, "{urls:?} {intent:?}");
                    for (n, attempt) in opening.attempts.iter().enumerate() {
                        match &attempt.unserved {
                            Some(Unserved::Refused(said)) if n == at => {
                                assert!(said.to_string().contains(why), "{said}");
                                assert_eq!(attempt.exposure, None);
                            }
                            unserved => assert!(n != at && unserved.is_none(), "{attempt:?}"),
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn limits_that_do_not_fit_bind_nothing_whichever_endpoint_asks_for_too_much() {
        let reserve = Limits::default().reserve(3);
        let total = u32::try_from(NOFILE - reserve).unwrap();
        let asks = |asked: u32, connections, intent| {
            let dir = tempfile::tempdir().unwrap();
            let big = format!("echo+unix://DIR/b.sock?max-connections={asked}");
            let limits = Limits {
                connections,
                ..Limits::default()
            };
            let opened: Vec<usize> = (0..3)
                .map(|at| {
                    let mut urls = vec!["chat+unix://DIR/a.sock", "upper://127.0.0.1:0"];
                    urls.insert(at, &big);
                    let opening = open_with(&urls, dir.path(), intent, &limits, NOFILE);
                    assert_eq!(opening.connections_max.is_err(), opening.bound.is_empty());
                    opening.bound.len()
                })
                .collect();
            assert_eq!(names_in(dir.path()), 0, "also the files are gone");
            opened
        };
        for intent in [Intent::Serve, Intent::Check] {
            assert_eq!(asks(total, None, intent), [3, 3, 3]);
            assert_eq!(asks(total + 1, None, intent), [0, 0, 0]);
            // An explicit total is the limit of each of them, and must fit itself.
            assert_eq!(asks(50, Some(50), intent), [3, 3, 3]);
            assert_eq!(asks(51, Some(50), intent), [0, 0, 0]);
            assert_eq!(asks(1, Some(total), intent), [3, 3, 3]);
            assert_eq!(asks(1, Some(total + 1), intent), [0, 0, 0]);
        }
    }

    #[test]
    fn limits_that_make_no_sense_bind_nothing() {
        let limits = Limits {
            commands: 0,
            ..Limits::default()
        };
        for intent in [Intent::Serve, Intent::Check] {
            let dir = tempfile::tempdir().unwrap();
            let urls = ["echo+unix://DIR/a.sock"];
            let opening = open_with(&urls, dir.path(), intent, &limits, NOFILE);
            assert!(opening.connections_max.is_err() && opening.bound.is_empty());
            assert_eq!(names_in(dir.path()), 0);
        }
    }

    /// A socket that another process opened, given to the endpoint `SERVICE+fd://N?OPTIONS`.
    fn inherit(socket: impl IntoRawFd, service: &str, options: &str) -> Opening {
        let url = format!("{service}+fd://{}{options}", socket.into_raw_fd());
        open(&[&url], Path::new("/"), Intent::Serve)
    }

    #[track_caller]
    fn reaches(opening: &Opening, reach: Reach) {
        let [attempt] = &opening.attempts[..] else {
            panic!("one endpoint was asked for");
        };
        assert_eq!(attempt.unserved, None);
        assert_eq!(attempt.exposure.map(|exposure| exposure.reach), Some(reach));
        assert_eq!(opening.bound.len(), 1);
    }

    #[track_caller]
    fn is_refused(opening: &Opening, why: &str) {
        let unserved = opening.attempts[0]
            .unserved
            .as_ref()
            .expect("it is refused");
        assert!(unserved.to_string().contains(why), "{unserved}");
        assert!(opening.bound.is_empty());
    }

    #[test]
    fn an_inherited_tcp_socket_is_judged_where_it_listens() {
        let tcp = |at: &str| TcpListener::bind(at).unwrap();
        for service in ["echo", "chat", "upper", "greeting", "discard", "daytime"] {
            reaches(&inherit(tcp("127.0.0.1:0"), service, ""), Reach::Loopback);
            reaches(&inherit(tcp("127.7.7.7:0"), service, ""), Reach::Loopback);
            is_refused(&inherit(tcp("0.0.0.0:0"), service, ""), "`open=true`");
            reaches(
                &inherit(tcp("0.0.0.0:0"), service, "?open=true"),
                Reach::Open,
            );
        }
        is_refused(&inherit(tcp("127.0.0.1:0"), "command", ""), "`auth=none`");
        let options = "?open=true&auth=none";
        is_refused(&inherit(tcp("0.0.0.0:0"), "command", options), "no option");
        let told = inherit(tcp("127.0.0.1:0"), "command", "?auth=none");
        reaches(&told, Reach::Loopback);
        assert!(told.attempts[0].exposure.unwrap().warning.is_some());
        // What is only for another kind of socket is refused for this one.
        for option in ["?any-user=true", "?any-user=true&auth=none"] {
            is_refused(&inherit(tcp("127.0.0.1:0"), "command", option), "any-user");
        }
    }

    #[test]
    fn an_inherited_udp_socket_is_judged_where_it_is_bound() {
        let udp = |at: &str| UdpSocket::bind(at).unwrap();
        for service in ["echo", "time", "upper", "sntp", "daytime"] {
            reaches(&inherit(udp("127.0.0.1:0"), service, ""), Reach::Loopback);
            is_refused(&inherit(udp("0.0.0.0:0"), service, ""), "`open=true`");
            let told = inherit(udp("0.0.0.0:0"), service, "?open=true");
            reaches(&told, Reach::Open);
            // Its own address is known, so that it is never answered.
            assert_ne!(told.bound[0].datagram_address(), None);
        }
        is_refused(
            &inherit(udp("127.0.0.1:0"), "command", "?auth=none"),
            "datagram",
        );
        is_refused(&inherit(udp("127.0.0.1:0"), "chat", ""), "datagram");
        for option in ["?idle-timeout=5s", "?max-connections=5", "?auth=none"] {
            is_refused(
                &inherit(udp("127.0.0.1:0"), "echo", option),
                "have no connection",
            );
        }
    }

    #[test]
    fn an_inherited_unix_socket_is_for_this_user_unless_told_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let unix = |name: &str| UnixListener::bind(dir.path().join(name)).unwrap();
        for (name, service, options, reach) in [
            ("a", "echo", "", Reach::SameUser),
            ("b", "command", "", Reach::SameUser),
            ("c", "chat", "?any-user=true", Reach::LocalUsers),
            (
                "d",
                "command",
                "?any-user=true&auth=none",
                Reach::LocalUsers,
            ),
        ] {
            reaches(&inherit(unix(name), service, options), reach);
            // The file is the other process's, and stays.
            assert!(dir.path().join(name).exists());
        }
        is_refused(
            &inherit(unix("e"), "command", "?any-user=true"),
            "`auth=none`",
        );
        is_refused(&inherit(unix("f"), "echo", "?keepalive=5s"), "keepalive");
        let datagrams = UnixDatagram::bind(dir.path().join("g")).unwrap();
        is_refused(
            &inherit(datagrams, "echo", ""),
            "neither a TCP, UDP nor Unix stream",
        );
        let silent = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        is_refused(&inherit(silent, "echo", ""), "does not listen");
    }

    #[test]
    fn one_descriptor_serves_one_endpoint() {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.into_raw_fd();
        let [one, other] = ["echo", "chat"].map(|service| format!("{service}+fd://{number}"));
        let urls = ["upper+unix://DIR/a.sock", &one, &other];
        let opening = open(&urls, dir.path(), Intent::Serve);
        assert!(opening.bound.is_empty());
        let said = opening.attempts[2].unserved.as_ref().unwrap().to_string();
        assert!(
            said.contains(&format!("is that of `{one}` already")),
            "{said}"
        );
        assert_eq!(names_in(dir.path()), 0);
    }

    #[test]
    fn a_socket_file_has_the_mode_that_was_asked_for_and_is_private_if_none_was() {
        let dir = tempfile::tempdir().unwrap();
        for (name, options, mode) in [
            ("a", "", 0o600),
            ("b", "?any-user=true", 0o600),
            ("c", "?mode=0660", 0o660),
            ("d", "?mode=0666&any-user=true", 0o666),
            ("e", "?mode=0000", 0),
            ("f", "?mode=0777", 0o777),
        ] {
            let url = format!("echo+unix://DIR/{name}{options}");
            let opening = open(&[&url], dir.path(), Intent::Serve);
            assert_eq!(opening.bound.len(), 1);
            let found = metadata(dir.path().join(name)).unwrap().mode();
            assert_eq!(found & 0o7777, mode, "{url}");
        }
        assert_eq!(
            names_in(dir.path()),
            0,
            "they are removed with their endpoints"
        );
    }

    #[test]
    fn a_socket_or_file_of_another_process_is_never_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let _stream = UnixListener::bind(path("stream")).unwrap();
        let _datagram = UnixDatagram::bind(path("datagram")).unwrap();
        let _packets = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        rustix::net::bind(&_packets, &SocketAddrUnix::new(path("packets")).unwrap()).unwrap();
        let _silent = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&_silent, &SocketAddrUnix::new(path("silent")).unwrap()).unwrap();
        std::fs::write(path("file"), "mine").unwrap();
        std::fs::create_dir(path("directory")).unwrap();
        std::os::unix::fs::symlink(path("nowhere"), path("link")).unwrap();
        std::os::unix::fs::symlink(path("stream"), path("to-stream")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), 0o600.into()).unwrap();
        let inode = |name: &str| path(name).symlink_metadata().unwrap().ino();
        let names = [
            "stream",
            "datagram",
            "packets",
            "silent",
            "file",
            "directory",
            "link",
            "to-stream",
            "fifo",
        ];
        let before = names.map(inode);
        for intent in [Intent::Serve, Intent::Check] {
            for name in names {
                let url = format!("echo+unix://DIR/{name}");
                let opening = open(&[&url], dir.path(), intent);
                assert!(opening.bound.is_empty(), "{name} {intent:?}");
                let unserved = opening.attempts[0].unserved.as_ref();
                assert!(
                    matches!(unserved, Some(Unserved::Failed(_))),
                    "{unserved:?}"
                );
            }
        }
        assert_eq!(names.map(inode), before);
        assert_eq!(names_in(dir.path()), names.len());
        // The one that listened does still.
        drop(std::os::unix::net::UnixStream::connect(path("stream")).unwrap());
    }

    #[test]
    fn a_file_that_another_server_has_put_there_since_is_left_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        for intent in [Intent::Serve, Intent::Check] {
            let opening = open(&["echo+unix://DIR/a.sock"], dir.path(), intent);
            assert_eq!(opening.bound.len(), 1);
            std::fs::remove_file(&path).unwrap();
            let other = UnixListener::bind(&path).unwrap();
            let inode = metadata(&path).unwrap().ino();
            drop(opening);
            assert_eq!(metadata(&path).unwrap().ino(), inode);
            drop(other);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_check_does_not_put_a_stale_file_back_over_another_servers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        let urls = ["echo+unix://DIR/a.sock"];
        // A child that another test is just starting may have a copy of it until it execs.
        let mut tries = (0..1000).map(|_| open(&urls, dir.path(), Intent::Check));
        let opening = tries.find(|opening| !opening.bound.is_empty()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        let inode = metadata(&path).unwrap().ino();
        drop(opening);
        assert_eq!(metadata(&path).unwrap().ino(), inode);
        assert_eq!(names_in(dir.path()), 1, "nor is it left beside it");
    }

    #[test]
    fn fault_h6_one_socket_file_has_one_endpoint_and_the_first_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("again")).unwrap();
        for intent in [Intent::Serve, Intent::Check] {
            for other in ["DIR/a.sock", "DIR/./a.sock", "DIR/again/a.sock"] {
                let urls = ["echo+unix://DIR/a.sock", &format!("chat+unix://{other}")];
                let opening = open(&urls, dir.path(), intent);
                assert_eq!(opening.bound.len(), 1);
                let unserved = opening.attempts[1].unserved.as_ref();
                assert!(
                    matches!(unserved, Some(Unserved::Refused(_))),
                    "{unserved:?}"
                );
            }
        }
        assert_eq!(names_in(dir.path()), 1);
    }

    #[test]
    fn a_directory_that_another_process_has_locked_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let lock = std::fs::File::open(dir.path()).unwrap();
        lock.lock().unwrap();
        std::thread::scope(|scope| {
            let opens =
                scope.spawn(|| open(&["echo+unix://DIR/a.sock"], dir.path(), Intent::Serve));
            // As long as it is locked no file appears, however often one looks.
            for _ in 0..200 {
                assert_eq!(names_in(dir.path()), 0);
                std::thread::yield_now();
            }
            lock.unlock().unwrap();
            assert_eq!(opens.join().unwrap().bound.len(), 1);
        });
    }

    #[test]
    fn a_stale_file_is_replaced_by_serve_and_put_back_by_check() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let inode = metadata(&path).unwrap().ino();
        let urls = ["echo+unix://DIR/a.sock"];
        // A child that another test is just starting may have a copy of it until it execs.
        let until_stale = |intent| {
            let mut tries = (0..1000).map(|_| open(&urls, dir.path(), intent));
            let found = tries.find(|opening| !opening.bound.is_empty());
            found.expect("a stale file is no obstacle")
        };
        drop(until_stale(Intent::Check));
        let found = metadata(&path).unwrap();
        assert_eq!((found.ino(), found.mode() & 0o777), (inode, 0o640));
        assert_eq!(names_in(dir.path()), 1);
        let opening = until_stale(Intent::Serve);
        assert_eq!(metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(opening);
        assert_eq!(names_in(dir.path()), 0);
    }
}

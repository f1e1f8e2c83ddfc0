//! Sockets that another server hands over, each to be found again by the endpoint that it is for.
//!
//! What the other server says of a socket finds it; what it may be served as is judged by what the kernel says of
//! it, as with one that was inherited.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, getsockname, sockopt};

use super::socket_file::identity;
use crate::config::Transport;
use crate::wire::{FileNumbers, SocketDescription};

/// Sockets that another server hands over. Dropped, those that no endpoint took are closed here; the other
/// server has them still.
#[derive(Debug, Default)]
pub struct Handed {
    all: Vec<Socket>,
    /// Nothing is bound besides: what is not among these is not there.
    is_everything: bool,
    /// They are those of a process that opens sockets for others and keeps them, such as systemd.
    is_activation: bool,
}

#[derive(Debug)]
struct Socket {
    number: u32,
    place: String,
    file: Option<FileNumbers>,
    found: Found,
    /// Whether it is served already, or has been, or needs no listening to.
    listens: bool,
    /// `None` once an endpoint has it.
    socket: Option<OwnedFd>,
}

/// What the kernel says of it.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    /// A Unix stream socket; in the abstract namespace if it has a name there.
    Unix(Option<Vec<u8>>),
    /// It is of no use here.
    Other,
}

impl Handed {
    /// These, which came with their numbers.
    pub fn of(sockets: impl IntoIterator<Item = (u32, SocketDescription, OwnedFd)>) -> Handed {
        let entry = |(number, description, socket): (u32, SocketDescription, OwnedFd)| Socket {
            number,
            place: description.place,
            file: description.file,
            found: find(&socket),
            listens: listens(&socket),
            socket: Some(socket),
        };
        Handed {
            all: sockets.into_iter().map(entry).collect(),
            is_everything: false,
            is_activation: false,
        }
    }

    /// They are all that is served: an endpoint that does not find its socket among them has none.
    pub fn everything(self) -> Handed {
        Handed {
            is_everything: true,
            ..self
        }
    }

    /// They come from a process that opens sockets for others.
    pub(super) fn by_activation(self) -> Handed {
        Handed {
            is_activation: true,
            ..self
        }
    }

    /// Whether nothing is bound besides.
    pub(super) fn is_everything(&self) -> bool {
        self.is_everything
    }

    /// Whether each is the only one at its address, and stays so.
    pub(super) fn is_activation(&self) -> bool {
        self.is_activation
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// What those are called that no endpoint took.
    pub(super) fn left(&self) -> Vec<String> {
        let left = self.all.iter().filter(|socket| socket.socket.is_some());
        left.map(|socket| socket.place.clone()).collect()
    }

    /// The numbers of those that were taken.
    pub fn taken(&self) -> Vec<u32> {
        let taken = self.all.iter().filter(|socket| socket.socket.is_none());
        taken.map(|socket| socket.number).collect()
    }

    /// The socket at this address, whatever service it had. Where the system is to choose the port, the one that
    /// was asked for in the same words keeps what it has.
    pub(super) fn inet(
        &mut self,
        transport: Transport,
        at: SocketAddr,
        place: &str,
    ) -> Option<(OwnedFd, SocketAddr)> {
        let is_here = |socket: &Socket| {
            let found = match (transport, &socket.found) {
                (Transport::Tcp, Found::Tcp(found)) | (Transport::Udp, Found::Udp(found)) => found,
                _ => return None,
            };
            let is_it = if at.port() == 0 {
                socket.place == place && found.ip() == at.ip()
            } else {
                *found == at
            };
            is_it.then_some(*found)
        };
        self.take(is_here)
    }

    /// The socket whose file is at this path.
    pub(super) fn path(&mut self, path: &Path) -> Option<(OwnedFd, FileNumbers)> {
        let (device, inode) = identity(path)?;
        let there = FileNumbers { device, inode };
        self.take(|socket| {
            let is_it = socket.found == Found::Unix(None) && socket.file == Some(there);
            is_it.then_some(there)
        })
    }

    /// The socket of this name in the abstract namespace.
    pub(super) fn abstract_name(&mut self, name: &[u8]) -> Option<OwnedFd> {
        let is_it = |found: &Found| matches!(found, Found::Unix(Some(has)) if has == name);
        let taken = self.take(|socket| is_it(&socket.found).then_some(()))?;
        Some(taken.0)
    }

    /// The socket that the other server inherited by the same name, whatever service it had.
    pub(super) fn inherited(&mut self, place: &str) -> Option<OwnedFd> {
        let without_service = |place: &str| place.split_once('+').map(|(_, rest)| rest.to_owned());
        let wanted = without_service(place)?;
        let is_it =
            |socket: &Socket| without_service(&socket.place).is_some_and(|has| has == wanted);
        let taken = self.take(|socket| is_it(socket).then_some(()))?;
        Some(taken.0)
    }

    fn take<T>(&mut self, is_it: impl Fn(&Socket) -> Option<T>) -> Option<(OwnedFd, T)> {
        let is_everything = self.is_everything;
        self.all.iter_mut().find_map(|entry| {
            entry.socket.as_ref()?;
            // A supervisor of ours listens when all its processes could serve.
            if !entry.listens && !is_everything {
                return None;
            }
            let told = is_it(entry)?;
            Some((entry.socket.take()?, told))
        })
    }
}

fn listens(socket: &OwnedFd) -> bool {
    let is_datagram = sockopt::socket_type(socket) == Ok(SocketType::DGRAM);
    is_datagram || sockopt::socket_acceptconn(socket).unwrap_or(false)
}

fn find(socket: &OwnedFd) -> Found {
    let (Ok(domain), Ok(kind), Ok(name)) = (
        sockopt::socket_domain(socket),
        sockopt::socket_type(socket),
        getsockname(socket),
    ) else {
        return Found::Other;
    };
    match (domain, kind, SocketAddr::try_from(name.clone())) {
        (AddressFamily::UNIX, SocketType::STREAM, _) => {
            let name = SocketAddrUnix::try_from(name).ok();
            Found::Unix(name.and_then(|name| name.abstract_name().map(<[u8]>::to_vec)))
        }
        (AddressFamily::INET | AddressFamily::INET6, SocketType::STREAM, Ok(at)) => Found::Tcp(at),
        (AddressFamily::INET | AddressFamily::INET6, SocketType::DGRAM, Ok(at)) => Found::Udp(at),
        _ => Found::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;
    use crate::config::Limits;
    use crate::endpoint::{Endpoint, Intent, Judged, Opening, Reach, take_control};

    /// A socket that another server calls so.
    fn described(place: &str, socket: impl Into<OwnedFd>) -> (SocketDescription, OwnedFd) {
        let description = SocketDescription {
            place: place.into(),
            file: None,
        };
        (description, socket.into())
    }

    /// The socket of a file, as another server describes it.
    fn of_file(path: &Path, socket: UnixListener) -> (SocketDescription, OwnedFd) {
        let (device, inode) = identity(path).unwrap();
        let (mut description, socket) = described("somewhere", socket);
        description.file = Some(FileNumbers { device, inode });
        (description, socket)
    }

    fn hands(sockets: Vec<(SocketDescription, OwnedFd)>) -> Handed {
        let numbered = (7..).zip(sockets);
        Handed::of(numbered.map(|(number, (description, socket))| (number, description, socket)))
    }

    /// What becomes of these endpoints, and the numbers of the sockets that they took.
    fn opens(urls: &[&str], sockets: Vec<(SocketDescription, OwnedFd)>) -> (Opening, Vec<u32>) {
        let endpoints: Vec<Endpoint> = urls.iter().map(|url| url.parse().unwrap()).collect();
        let limits = Limits::default();
        let mut handed = hands(sockets);
        let opening = Judged::of(&endpoints, &limits, 100_000).bind(Intent::Serve, &mut handed);
        (opening, handed.taken())
    }

    #[track_caller]
    fn is_refused(opening: &Opening, why: &str) {
        let unserved = opening.attempts[0].unserved.as_ref();
        let said = unserved.expect("it is not served").to_string();
        assert!(said.contains(why), "{said}");
        assert!(opening.bound.is_empty());
    }

    /// A number that nobody passed.
    const NONE: &str = "9999";

    #[test]
    fn what_was_inherited_there_is_judged_as_what_is_inherited_here() {
        let url = |service: &str, options: &str| format!("{service}+fd://{NONE}{options}");
        let place = format!("discard+fd://{NONE}");
        let tcp = |at: &str| vec![described(&place, TcpListener::bind(at).unwrap())];
        let udp = |at: &str| vec![described(&place, UdpSocket::bind(at).unwrap())];

        let (opening, taken) = opens(&[&url("echo", "")], tcp("127.0.0.1:0"));
        assert_eq!((opening.bound.len(), taken), (1, vec![7]));
        is_refused(
            &opens(&[&url("echo", "")], tcp("0.0.0.0:0")).0,
            "`open=true`",
        );
        let (opening, _) = opens(&[&url("echo", "?open=true")], tcp("0.0.0.0:0"));
        let exposure = opening.attempts[0].exposure.unwrap();
        assert_eq!(exposure.reach, Reach::Open);
        let commands = [&*url("command", "?auth=none&open=true")];
        is_refused(&opens(&commands, tcp("0.0.0.0:0")).0, "no option overrides");
        is_refused(
            &opens(&[&url("chat", "")], udp("127.0.0.1:0")).0,
            "datagram",
        );
        is_refused(
            &opens(&[&url("time", "")], udp("0.0.0.0:0")).0,
            "`open=true`",
        );
        is_refused(&opens(&[&url("echo", "")], vec![]).0, "was inherited");
    }

    #[test]
    fn an_address_finds_the_socket_that_listens_there_and_only_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let datagrams = UdpSocket::bind(at).unwrap();
        let (echo, upper) = (format!("echo://{at}"), format!("upper+udp://{at}"));
        // By what the kernel says of it, not by what the other server does.
        let sockets = || {
            vec![
                described("x", datagrams.try_clone().unwrap()),
                described("echo+tcp://192.0.2.1:1", listener.try_clone().unwrap()),
            ]
        };
        let (opening, taken) = opens(&[&upper, &echo], sockets());
        assert_eq!((opening.bound.len(), taken), (2, vec![7, 8]));
        let (opening, taken) = opens(&[&echo, &echo], sockets());
        assert!(opening.attempts[1].unserved.is_some());
        assert_eq!(taken, [8]);
        // One that does not listen is no listener.
        let idle = crate::reactor::bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let at = SocketAddr::try_from(getsockname(&idle).unwrap()).unwrap();
        let (opening, taken) = opens(&[&format!("echo://{at}")], vec![described("x", idle)]);
        assert!(opening.bound.is_empty() && taken.is_empty());
    }

    #[test]
    fn of_several_ports_that_the_system_chose_each_endpoint_keeps_its_own() {
        let any = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (one, other) = (any(), any());
        let at = other.local_addr().unwrap();
        let sockets = vec![
            described("chat+tcp://127.0.0.1:0", one),
            described("echo+tcp://127.0.0.1:0", other),
        ];
        let urls = ["discard://127.0.0.1:0", "echo://127.0.0.1:0"];
        let (opening, taken) = opens(&urls, sockets);
        assert_eq!(taken, [8]);
        assert_eq!(
            opening.bound[1].endpoint.to_string(),
            format!("echo://{at}")
        );
    }

    #[test]
    fn a_path_finds_the_socket_whose_file_is_there_and_the_file_is_ours_only_when_we_own_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let before = mode();
        let url = format!("echo+unix://{}?mode=0640", path.display());
        let socket = || vec![of_file(&path, listener.try_clone().unwrap())];

        let (opening, taken) = opens(&[&url], socket());
        assert_eq!(taken, [7]);
        drop(opening);
        assert_eq!(mode(), before);

        let (mut opening, _) = opens(&[&url], socket());
        let mut file = opening.bound[0].file.take().unwrap();
        file.own().unwrap();
        assert_eq!(mode(), 0o640);
        file.give_up();
        drop(file);
        assert!(path.exists());

        // Another file is at the path meanwhile: its socket is not the one that was handed over.
        let old = socket();
        fs::rename(&path, dir.path().join("b.sock")).unwrap();
        let _rival = UnixListener::bind(&path).unwrap();
        let (opening, taken) = opens(&[&url], old);
        is_refused(&opening, "another server has its socket there");
        assert!(taken.is_empty());

        // At the end it is removed, once it is ours.
        let moved = dir.path().join("b.sock");
        let mut handed = hands(vec![of_file(&moved, listener)]);
        let mut file = take_control(&moved, &mut handed).unwrap().unwrap().file;
        file.own().unwrap();
        drop(file);
        assert!(!moved.exists());
    }

    #[test]
    fn a_unix_socket_is_found_by_no_address_and_one_for_datagrams_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let datagrams = UnixDatagram::bind(&path).unwrap();
        let (device, inode) = identity(&path).unwrap();
        let (mut description, socket) = described("x", datagrams);
        description.file = Some(FileNumbers { device, inode });
        let url = format!("echo+unix://{}", path.display());
        let (_, taken) = opens(&[&url], vec![(description, socket)]);
        assert!(taken.is_empty());
        let name = format!("onepoll-handed-{}", std::process::id());
        let socket = crate::reactor::bind_abstract(name.as_bytes()).unwrap();
        crate::reactor::begin_to_listen(&socket).unwrap();
        let others = [
            format!("echo+unix://@{name}-other"),
            format!("echo+unix://@{name}"),
        ];
        let urls: Vec<&str> = others.iter().map(String::as_str).collect();
        let (opening, taken) = opens(&urls, vec![described("x", socket)]);
        assert_eq!((opening.bound.len(), taken), (2, vec![7]));
    }
}

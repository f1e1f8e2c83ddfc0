//! `--against`: the server that the one to be measured is asked in turn with: one that runs, or a program that is started for
//! this call, as the other was, on a port of its own.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use procfs::process::Process;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process};

use super::target::NamedTarget;
use crate::cli::Failure;
use crate::cli::tether::tethered;
use crate::config::{HostPort, ServerUrl};
use crate::load::measure::clock::{Stopwatch, nanos, rest};
use crate::load::{Endpoint, Plan};
use crate::service::SERVICES;

/// How long a program may take until it answers, and to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(5);
/// So much of what it says is shown.
const SAID_MAX: u64 = 4_096;

/// What `--against` names.
#[derive(Debug, Clone)]
pub(super) enum Rival {
    /// A server that runs.
    Running(Box<NamedTarget>),
    /// A program, to be started.
    Program(PathBuf),
}

/// How a program is started.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    /// What follows its name, as the other server has it.
    words: Vec<String>,
    /// Where names of files in them are looked up; where it is not known, here.
    folder: Option<PathBuf>,
    /// Where the other server listens.
    other: Endpoint,
}

/// A program that runs, until this goes, and no longer than this process.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    /// Where it listens.
    pub(super) endpoint: Endpoint,
}

impl Rival {
    /// A URL or HOST:PORT is a server that runs; anything else is a program.
    pub(super) fn read(text: &str) -> Result<Self, Failure> {
        let is_address = text
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.contains('/') && port.parse::<u16>().is_ok());
        if text.contains("://") || is_address {
            let target = text.parse();
            let target = target.map_err(|wrong| Failure::Usage(format!("--against: {wrong}")))?;
            return Ok(Self::Running(Box::new(target)));
        }
        let path = Path::new(text).canonicalize().map_err(|wrong| {
            Failure::Usage(format!(
                "--against {text}: {wrong}; write the path of a server program, HOST:PORT or a URL"
            ))
        })?;
        Ok(Self::Program(path))
    }
}

impl Program {
    /// The same command as that of the server at `target`, which `plan` asks: by the process that `--pid` names, or, where it
    /// is a service of ours, `serve` and its URL.
    pub(super) fn like(path: PathBuf, target: &NamedTarget, plan: &Plan) -> Result<Self, Failure> {
        let other = plan.endpoint.clone();
        let (words, folder) = match plan.pids.first() {
            Some(&pid) => command_of(pid).map_err(|wrong| {
                Failure::Usage(format!(
                    "--against: the command of process {pid} cannot be read: {wrong}"
                ))
            })?,
            None if is_service(&target.served) => {
                (vec!["serve".to_owned(), target.served.clone()], None)
            }
            None => {
                return Err(Failure::Usage(format!(
                    "--against {}: nobody knows how {} was started: name its process (--pid), or start the program yourself and give its URL",
                    path.display(),
                    target.name
                )));
            }
        };
        let program = Self {
            path,
            words,
            folder,
            other,
        };
        // Before anything is started.
        program.moved_to(&program.other)?;
        Ok(program)
    }

    /// What follows its name where it is to listen at `place` instead.
    fn moved_to(&self, place: &Endpoint) -> Result<Vec<String>, Failure> {
        let (from, to) = (Address::of(&self.other), Address::of(place));
        let words: Vec<_> = self
            .words
            .iter()
            .map(|word| from.replaced(word, &to))
            .collect();
        if words.iter().all(Option::is_none) {
            return Err(Failure::Usage(format!(
                "--against: {} is nowhere in the command of the other server ({}), so the program cannot be put elsewhere: start it yourself and give its URL",
                from.whole,
                shell_words::join(&self.words)
            )));
        }
        let words = words.into_iter().zip(&self.words);
        Ok(words
            .map(|(moved, word)| moved.unwrap_or_else(|| word.clone()))
            .collect())
    }

    /// Starts it, and waits until it can be asked.
    pub(super) fn start(&self) -> Result<Running, Failure> {
        let endpoint = beside(&self.other)?;
        let words = self.moved_to(&endpoint)?;
        let mut said =
            File::from(memfd_create("stderr", MemfdFlags::CLOEXEC).context("--against")?);
        let mut command = tethered(&self.path);
        command
            .args(&words)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command.stderr(said.try_clone().context("--against")?);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let what = || format!("--against {}", self.path.display());
        let child = command.spawn().with_context(what)?;
        let mut running = Running { child, endpoint };
        let ready = running.wait_until_it_listens().map_err(|wrong| {
            let call = shell_words::join(&words);
            anyhow!(
                "{}: {wrong}: {} {call}{}",
                what(),
                self.path.display(),
                last_words(&mut said)
            )
        });
        ready?;
        Ok(running)
    }
}

/// The arguments and the folder of a process.
fn command_of(pid: u32) -> anyhow::Result<(Vec<String>, Option<PathBuf>)> {
    let process = Process::new(pid.try_into()?)?;
    let mut words = process.cmdline()?;
    if words.is_empty() {
        bail!("it has none");
    }
    words.remove(0);
    Ok((words, process.cwd().ok()))
}

fn is_service(url: &str) -> bool {
    let scheme = ServerUrl::of(url).scheme;
    let scheme = scheme.split('+').next().unwrap_or_default();
    SERVICES.iter().any(|row| row.name == scheme)
}

/// Where a server listens, as it stands in a command.
struct Address {
    whole: String,
    port: Option<u16>,
}

impl Address {
    fn of(endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::Tcp(address) | Endpoint::Udp(address) => Self {
                whole: address.to_string(),
                port: Some(address.port),
            },
            Endpoint::Unix(path) => Self {
                whole: path.display().to_string(),
                port: None,
            },
        }
    }

    /// `word` with `to` in its place; none where it has nothing of it. A port is a word of its own.
    fn replaced(&self, word: &str, to: &Self) -> Option<String> {
        if let (Some(port), Some(to)) = (self.port, to.port)
            && *word == port.to_string()
        {
            return Some(to.to_string());
        }
        let at = word.find(&self.whole)?;
        let (before, rest) = word.split_at(at);
        let rest = &rest[self.whole.len()..];
        // Not the beginning of another port or path.
        let ends = !rest.starts_with(|next: char| next.is_alphanumeric() || "._-/".contains(next));
        ends.then(|| format!("{before}{}{rest}", to.whole))
    }
}

/// A place of the same kind where nobody listens yet.
fn beside(other: &Endpoint) -> Result<Endpoint, Failure> {
    let here = |address: &HostPort| -> io::Result<SocketAddr> {
        let first = address.to_socket_addrs()?.next();
        let mut address = first.ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
        address.set_port(0);
        Ok(address)
    };
    let wrong = |wrong: io::Error| {
        Failure::Usage(format!(
            "--against: a program is started on this machine, and {other} is not here ({wrong}): give the URL of a server that runs"
        ))
    };
    Ok(match other {
        Endpoint::Tcp(address) => {
            let free = here(address)
                .and_then(TcpListener::bind)
                .and_then(|free| free.local_addr());
            let port = free.map_err(wrong)?.port();
            Endpoint::Tcp(HostPort {
                port,
                ..address.clone()
            })
        }
        Endpoint::Udp(address) => {
            let free = here(address)
                .and_then(UdpSocket::bind)
                .and_then(|free| free.local_addr());
            let port = free.map_err(wrong)?.port();
            Endpoint::Udp(HostPort {
                port,
                ..address.clone()
            })
        }
        Endpoint::Unix(path) => {
            let mut path = path.clone().into_os_string();
            path.push(".against");
            Endpoint::Unix(path.into())
        }
    })
}

impl Running {
    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let watch = Stopwatch::start();
        while !listens(&self.endpoint) {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended before it could be asked ({status})");
            }
            if watch.nanos() >= nanos(PATIENCE) {
                bail!("it cannot be asked after {PATIENCE:?} at {}", self.endpoint);
            }
            rest(LOOK);
        }
        Ok(())
    }

    /// Its status, if it ends in time.
    fn wait(&mut self) -> Option<ExitStatus> {
        let watch = Stopwatch::start();
        while watch.nanos() < nanos(PATIENCE) {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            rest(LOOK);
        }
        None
    }
}

/// Asked to end, as a terminal would; killed where it does not.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if self.wait().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Whether anybody listens there.
fn listens(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Tcp(address) => {
            let mut addresses = address.to_socket_addrs().into_iter().flatten();
            addresses.any(|address| TcpStream::connect_timeout(&address, PATIENCE).is_ok())
        }
        Endpoint::Unix(path) => UnixStream::connect(path).is_ok(),
        Endpoint::Udp(address) => {
            let mut addresses = address.to_socket_addrs().into_iter().flatten();
            addresses.any(|address| is_bound(address).unwrap_or(false))
        }
    }
}

/// A datagram to a port that nobody has is refused at once.
fn is_bound(address: SocketAddr) -> io::Result<bool> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(10 * LOOK))?;
    socket.send(&[])?;
    let heard = socket.recv(&mut [0; 1]);
    Ok(!heard.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
}

/// What a program said before it ended, behind a colon.
fn last_words(said: &mut File) -> String {
    let mut text = Vec::new();
    let read = said
        .rewind()
        .and_then(|()| said.take(SAID_MAX).read_to_end(&mut text));
    match (read, String::from_utf8_lossy(&text).trim()) {
        (Err(_), _) | (_, "") => String::new(),
        (_, text) => format!(": {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Mode;

    fn program(words: &[&str], other: &str) -> Program {
        Program {
            path: "/bin/old".into(),
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            folder: None,
            other: other.parse().unwrap(),
        }
    }

    #[test]
    fn a_program_is_put_elsewhere_by_its_address_or_its_port() {
        for (words, other, to, moved) in [
            (
                &["serve", "echo://127.0.0.1:9000?max-connections=5", "-q"][..],
                "127.0.0.1:9000",
                "127.0.0.1:7",
                &["serve", "echo://127.0.0.1:7?max-connections=5", "-q"][..],
            ),
            (
                &["--port", "9000", "90001"],
                "tcp://localhost:9000",
                "localhost:7",
                &["--port", "7", "90001"],
            ),
            (
                &["[::1]:9000"],
                "udp://[::1]:9000",
                "udp://[::1]:7",
                &["[::1]:7"],
            ),
            (
                &["-l", "/run/x", "/run/x.log"],
                "unix:///run/x",
                "unix:///run/x.against",
                &["-l", "/run/x.against", "/run/x.log"],
            ),
        ] {
            let found = program(words, other)
                .moved_to(&to.parse().unwrap())
                .unwrap();
            assert_eq!(found, moved);
        }
        let wrong = program(&["--config", "file.toml"], "127.0.0.1:9000");
        let wrong = wrong
            .moved_to(&"127.0.0.1:7".parse().unwrap())
            .unwrap_err()
            .to_string();
        assert!(
            wrong.contains("127.0.0.1:9000 is nowhere in the command"),
            "{wrong}"
        );
        let near = program(&["127.0.0.1:90001"], "127.0.0.1:9000");
        assert!(near.moved_to(&"127.0.0.1:7".parse().unwrap()).is_err());
    }

    #[test]
    fn a_rival_is_a_server_or_a_program() {
        for url in [
            "127.0.0.1:9000",
            "old=echo://127.0.0.1:9",
            "unix:///run/x",
            "localhost:9",
        ] {
            assert!(matches!(Rival::read(url), Ok(Rival::Running(_))), "{url}");
        }
        for program in ["/bin/sh", "/bin/./sh"] {
            assert!(
                matches!(Rival::read(program), Ok(Rival::Program(_))),
                "{program}"
            );
        }
        let wrong = Rival::read("./no-such-program").unwrap_err().to_string();
        assert!(
            wrong.contains("write the path of a server program"),
            "{wrong}"
        );
    }

    #[test]
    fn a_service_of_ours_is_started_by_its_url_and_another_server_as_its_process_was() {
        let like = |url: &str, pids: &[u32]| {
            let target: NamedTarget = url.parse().unwrap();
            let mut plan = Plan::new(target.endpoint.clone(), Mode::Echo { depth: 1 });
            plan.pids = pids.to_vec();
            Program::like("/bin/old".into(), &target, &plan)
        };
        let ours = like("new=echo://127.0.0.1:9000?size=9&max-connections=5", &[]).unwrap();
        assert_eq!(
            ours.words,
            ["serve", "echo://127.0.0.1:9000?max-connections=5"]
        );
        let wrong = like("127.0.0.1:9000", &[]).unwrap_err().to_string();
        assert!(wrong.contains("name its process (--pid)"), "{wrong}");
        // This process is no server at 127.0.0.1:9000.
        let wrong = like("127.0.0.1:9000", &[std::process::id()])
            .unwrap_err()
            .to_string();
        assert!(wrong.contains("is nowhere in the command"), "{wrong}");
    }
}

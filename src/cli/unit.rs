//! `onepoll unit`: a service and a socket for systemd, made for a configuration.
//!
//! The service has no more rights than the configuration needs. The socket has the addresses that systemd can
//! bind before the server starts: it holds them while the server restarts, and ports below 1024 need no root.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::{Configuration, Failure, Outcome, Sources, print, print_bytes};
use crate::config::{Address, Confinement, FdAddress, Host, HostPort, Lookups, UnixAddress};
use crate::endpoint::Endpoint;

/// Print units of systemd for a configuration, or write them into a directory
///
/// `onepoll unit --config /etc/onepoll.toml /etc/systemd/system` writes `onepoll.service` and
/// `onepoll.socket`. Files that are there are not overwritten.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The TOML file that the service reads
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Write `onepoll.service` and `onepoll.socket` here
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs it.
pub(super) fn run(args: Args) -> Outcome {
    let sources = Sources {
        config: args.config.clone(),
        ..Sources::default()
    };
    let configuration = sources.read(&mut Lookups::live())?;
    let program = env::current_exe().context("cannot tell where this program is")?;
    let units = Units {
        program: &program,
        // systemd starts it in `/`.
        file: match &args.config {
            Some(file) => Some(fs::canonicalize(file).context("cannot tell where the file is")?),
            None => None,
        },
        configuration: &configuration,
    };
    let mut all = vec![("onepoll.service", units.service()?)];
    all.extend(units.socket().map(|socket| ("onepoll.socket", socket)));
    match &args.dir {
        None => {
            for (name, text) in all {
                print_bytes(format!("# {name}\n{text}\n").as_bytes())?;
            }
        }
        Some(dir) => {
            for (name, text) in all {
                write(&dir.join(name), &text)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o644).open(path);
    made.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    print(path.display())
}

/// What the units are made for.
struct Units<'a> {
    program: &'a Path,
    file: Option<PathBuf>,
    configuration: &'a Configuration,
}

impl Units<'_> {
    fn service(&self) -> Result<String, Failure> {
        let Configuration {
            endpoints,
            user,
            group,
            ..
        } = self.configuration;
        let mut start = format!("{} serve", word(self.program)?);
        if let Some(file) = &self.file {
            write!(start, " --config {}", word(file)?).map_err(Failure::usage)?;
        }
        let is_low = |endpoint: &Endpoint| port(endpoint).is_some_and(|at| (1..1024).contains(&at));
        let policies = endpoints.iter().filter_map(Endpoint::policy);
        let confinements: Vec<Confinement> = policies.map(|policy| policy.confinement).collect();
        let runs_as_others = confinements.iter().any(|within| within.user.is_some());
        let makes_cgroups = confinements.iter().any(|within| within.cgroup.is_some());
        let is_root = user.is_some() || group.is_some() || runs_as_others;
        let capability = if runs_as_others {
            // It kills what others leave behind, and finds that by its environment.
            "CAP_CHOWN CAP_KILL CAP_NET_BIND_SERVICE CAP_SETGID CAP_SETUID CAP_SYS_PTRACE"
        } else if is_root {
            // It becomes another by itself, which needs these until it has.
            "CAP_CHOWN CAP_NET_BIND_SERVICE CAP_SETGID CAP_SETUID"
        } else if endpoints.iter().any(is_low) {
            "CAP_NET_BIND_SERVICE"
        } else {
            ""
        };
        let runs = |name: &str| endpoints.iter().any(|endpoint| endpoint.row().name == name);
        let mut text = String::from(
            "[Unit]\n\
             Description=onepoll server\n\
             Documentation=man:onepoll-serve(1)\n\
             Wants=network-online.target\n\
             After=network-online.target nss-lookup.target\n\
             \n\
             [Service]\n\
             # With systemd 253 or later `Type=notify-reload` does what these two lines do, and `ExecReload=` goes.\n\
             Type=notify\n\
             ExecReload=/bin/kill -HUP $MAINPID\n",
        );
        let _ = writeln!(text, "ExecStart={start}");
        text.push_str(
            "# `serve --take-over` makes another process the main one; then `NotifyAccess=all`.\n\
             NotifyAccess=main\n\
             WatchdogSec=30\n\
             Restart=on-failure\n\
             # More than the 8 s of `drain-timeout`.\n\
             TimeoutStopSec=20\n\
             LimitNOFILE=524288\n\
             RuntimeDirectory=onepoll\n\
             RuntimeDirectoryMode=0700\n\
             Environment=XDG_RUNTIME_DIR=/run\n",
        );
        if !is_root {
            text.push_str(
                "# A user of its own that exists while the service runs. Secrets and keys that root owns are not\n\
                 # readable to it: name a user that owns them instead (`User=`), or `user` in the configuration.\n\
                 DynamicUser=yes\n",
            );
        } else if runs_as_others {
            text.push_str("# Its commands run as other users (`run-as`), so it stays root.\n");
        } else {
            text.push_str(
                "# The configuration says which user it becomes, so it starts as root.\n",
            );
        }
        let _ = writeln!(text, "CapabilityBoundingSet={capability}");
        if !is_root && !capability.is_empty() {
            let _ = writeln!(text, "AmbientCapabilities={capability}");
        }
        if runs("command") {
            text.push_str("# Commands that clients run are held to all of what follows.\n");
        }
        if makes_cgroups {
            text.push_str("# It makes cgroups for its commands (`cgroup`), which must be beneath its own.\nDelegate=yes\n");
            text.push_str(
                &HARDENED.replace("ProtectControlGroups=yes\n", "ProtectControlGroups=no\n"),
            );
        } else {
            text.push_str(HARDENED);
        }
        text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
        if self.socket().is_some() {
            text.push_str("Also=onepoll.socket\n");
        }
        Ok(text)
    }

    /// None, where there is nothing that systemd could bind.
    fn socket(&self) -> Option<String> {
        let mut listens = String::new();
        for endpoint in &self.configuration.endpoints {
            let line = match endpoint.address() {
                Address::Tcp(at) => inet(at).map(|at| format!("ListenStream={at}")),
                Address::Udp(at) => inet(at).map(|at| format!("ListenDatagram={at}")),
                // Its mode is the server's to set, and its directory to make.
                Address::Unix(UnixAddress::Path(_)) => None,
                Address::Unix(UnixAddress::Abstract(name)) => {
                    Some(format!("ListenStream=@{}", name.replace('%', "%%")))
                }
                Address::Fd(FdAddress::Name(name)) => Some(format!(
                    "# `{endpoint}` is given by a unit of its own: `FileDescriptorName={name}`,\n\
                     # its `ListenStream=`, and `Service=onepoll.service`."
                )),
                Address::Fd(FdAddress::Number(_)) => None,
            };
            if let Some(line) = line {
                let _ = writeln!(listens, "{line}");
            }
        }
        let has_one = listens.lines().any(|line| line.starts_with("Listen"));
        has_one.then(|| {
            format!(
                "[Unit]\nDescription=Sockets of the onepoll server\n\n\
                 [Socket]\n\
                 # The server finds each by its address: an endpoint that is not here, it binds by itself.\n\
                 {listens}\
                 Backlog=4096\nBindIPv6Only=default\n\n\
                 [Install]\nWantedBy=sockets.target\n"
            )
        })
    }
}

/// What a service needs that serves sockets, and no more. systemd.exec(5) says what each is.
const HARDENED: &str = "NoNewPrivileges=yes
UMask=0077
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
";

/// As systemd.socket(5) has it; a name is for the server to resolve, port 0 for it to choose.
fn inet(at: &HostPort) -> Option<String> {
    match at.host {
        Host::Ip(_) if at.port != 0 => Some(at.to_string()),
        _ => None,
    }
}

fn port(endpoint: &Endpoint) -> Option<u16> {
    match endpoint.address() {
        Address::Tcp(at) | Address::Udp(at) => Some(at.port),
        _ => None,
    }
}

/// A path as one word of `ExecStart=`, systemd.service(5).
fn word(path: &Path) -> Result<String, Failure> {
    let Some(path) = path.to_str() else {
        let path = path.display();
        return Err(Failure::usage(format_args!(
            "{path} is not UTF-8, which a unit of systemd is"
        )));
    };
    let escaped = path
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%");
    let escaped = escaped.replace('$', "$$");
    Ok(match escaped.contains([' ', '\t', '\'', '"', '\\', ';']) {
        true => format!("\"{escaped}\""),
        false => escaped,
    })
}

//! What a run will need of this machine, computed before it starts: ports, descriptors, entries in the
//! table of the firewall.
//!
//! It does not measure and does not forbid: where something is short, the user is told what, and what
//! would help; then the run does what it can.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::{fmt, fs};

use procfs::net::TcpState;
use procfs::process::{LimitValue, Process};

use crate::config::{CLIENT_PORTS_DEFAULT, client_ports, raise_descriptor_limit};
use crate::load::measure::figures::Grouped;
use crate::load::plan::Plan;
use crate::load::plan::error::LoadError;
use crate::load::plan::mode::{Amount, Close, Mode, ModeName, Model};
use crate::load::plan::target::TargetAddress;

/// What the generator has open beside its connections: standard streams, poll, timer, and files of /proc.
const OTHER_DESCRIPTORS: u64 = 16;
/// Linux keeps a closed connection's port for this long (`TCP_TIMEWAIT_LEN`).
const TIME_WAIT_S: f64 = 60.0;
/// Where the kernel may use ports in `TIME_WAIT` again, it does so after a second (`tcp_tw_reuse`,
/// ip-sysctl).
const REUSED_AFTER_S: f64 = 1.0;

/// What this machine has of the resources that a run needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Resources {
    /// The ports that the kernel chooses from, for IPv6 too (`net.ipv4.ip_local_port_range`).
    pub ports: RangeInclusive<u16>,
    /// How many of them it must not choose (`net.ipv4.ip_local_reserved_ports`).
    pub reserved: u64,
    /// How many are in `TIME_WAIT` after connections to this target.
    pub waiting: u64,
    /// When a port in `TIME_WAIT` may be used again (`net.ipv4.tcp_tw_reuse`).
    pub reuse: Reuse,
    /// The limit on descriptors of this process (`RLIMIT_NOFILE`).
    pub descriptors: u64,
    /// Entries in use and their limit, where the firewall tracks connections (netfilter).
    pub tracked: Option<(u64, u64)>,
    /// The limit on descriptors of the server's process, where `--pid` names it.
    pub server_descriptors: Option<u64>,
}

/// `net.ipv4.tcp_tw_reuse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// 0: after a minute.
    Never,
    /// 1: after a second.
    Always,
    /// 2, the default: after a second where both ends are loopback addresses.
    Loopback,
}

/// A resource of which a run needs, or may need, more than there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// Whether the run cannot do what was asked, whatever the server does.
    pub is_certain: bool,
    /// What is needed and what there is.
    what: String,
    /// What would help.
    remedy: String,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modal = if self.is_certain {
            "will fail"
        } else {
            "may fail"
        };
        write!(f, "{modal}: {}; {}", self.what, self.remedy)
    }
}

/// What is short for `plan` on this machine, as it is now.
pub fn forecast_of(plan: &mut Plan) -> Result<Vec<Shortage>, LoadError> {
    let target = plan.look_up()?;
    let resources = Resources::of_this_machine(plan, &target, raise_descriptor_limit());
    Ok(forecast(plan, &target, &resources))
}

/// What is short for `plan` with these resources; empty if nothing is.
pub fn forecast(plan: &Plan, target: &TargetAddress, resources: &Resources) -> Vec<Shortage> {
    let mut shortages = Vec::new();
    shortages.extend(descriptors(plan, resources));
    shortages.extend(server_descriptors(plan, resources));
    if let TargetAddress::Tcp(address) = target {
        shortages.extend(ports_at_once(plan, address, resources));
        shortages.extend(ports_in_turn(plan, address, resources));
        shortages.extend(tracking(plan, resources));
    }
    shortages
}

fn descriptors(plan: &Plan, resources: &Resources) -> Option<Shortage> {
    let wanted = at_once(plan) + OTHER_DESCRIPTORS;
    (plan.mode.name() != ModeName::Udp && wanted > resources.descriptors).then(|| Shortage {
        is_certain: true,
        what: format!(
            "{} connections need {} descriptors, the limit is {}",
            Grouped(at_once(plan)),
            Grouped(wanted),
            Grouped(resources.descriptors)
        ),
        remedy: format!(
            "raise it with `ulimit -n` (as root), or use `-c {}`",
            resources.descriptors.saturating_sub(OTHER_DESCRIPTORS)
        ),
    })
}

fn server_descriptors(plan: &Plan, resources: &Resources) -> Option<Shortage> {
    let may = resources.server_descriptors?;
    (plan.mode.name() != ModeName::Udp && at_once(plan) >= may).then(|| Shortage {
        is_certain: true,
        what: format!(
            "the server is to hold {} connections, the limit of its process is {} descriptors",
            Grouped(at_once(plan)),
            Grouped(may)
        ),
        remedy: "start it with a higher `ulimit -n`".to_owned(),
    })
}

/// Each connection to one address and port needs a pair of source address and port of its own.
fn ports_at_once(plan: &Plan, target: &SocketAddr, resources: &Resources) -> Option<Shortage> {
    let each = ports_of_each(resources);
    let sources = sources(plan);
    let wanted = at_once(plan);
    (wanted > each * sources).then(|| Shortage {
        is_certain: true,
        what: format!(
            "{} connections to {target} at once need as many local ports, {}",
            Grouped(wanted),
            there_are(each, sources, resources)
        ),
        remedy: more_sources(target, wanted.div_ceil(each.max(1))),
    })
}

/// The side that closes first keeps the port in `TIME_WAIT`.
fn ports_in_turn(plan: &Plan, target: &SocketAddr, resources: &Resources) -> Option<Shortage> {
    let Mode::Conn {
        close: Close::ClientFin,
        ..
    } = plan.mode
    else {
        return None;
    };
    let each = ports_of_each(resources);
    let there = (each * sources(plan)).saturating_sub(resources.waiting);
    let is_reused = match resources.reuse {
        Reuse::Never => false,
        Reuse::Always => true,
        Reuse::Loopback => target.ip().is_loopback(),
    };
    let (again_after, kept) = if is_reused {
        (REUSED_AFTER_S, "a second")
    } else {
        (TIME_WAIT_S, "a minute")
    };
    let rate_max = (each * sources(plan)) as f64 / again_after;
    let reset = "use `--close client-rst`, which leaves no port in TIME_WAIT";
    let remedy = |wanted: f64| {
        format!(
            "{reset}, or {}",
            more_sources(target, (wanted / each.max(1) as f64).ceil() as u64)
        )
    };
    if let Model::Open { rate, .. } = plan.model
        && rate > rate_max
    {
        return Some(Shortage {
            is_certain: true,
            what: format!(
                "{rate} connections a second need more ports than there are: each leaves its port in TIME_WAIT for {kept} or more, so {} ports are enough for {} a second",
                Grouped(each * sources(plan)),
                Grouped(rate_max as u64)
            ),
            remedy: remedy(rate * again_after),
        });
    }
    let may_want = match (plan.amount, plan.model) {
        (Amount::Count(count), _) => Some(count as f64),
        (Amount::For(time), Model::Open { rate, .. }) => {
            Some(rate * (time + plan.warmup).as_secs_f64())
        }
        (Amount::For(_), Model::Closed) => None,
    };
    let is_short = match may_want {
        Some(wanted) => wanted > there as f64 && !is_reused,
        // The closed model goes as fast as it can: a minute's worth of ports is soon used.
        None => !is_reused || resources.waiting * 2 > each * sources(plan),
    };
    is_short.then(|| Shortage {
        is_certain: false,
        what: format!(
            "each connection leaves its port in TIME_WAIT for {kept}, {}",
            match resources.waiting {
                0 => there_are(each, sources(plan), resources),
                waiting => format!(
                    "and {} of {} ports are there already",
                    Grouped(waiting),
                    Grouped(each * sources(plan))
                ),
            }
        ),
        remedy: remedy(may_want.unwrap_or(2.0 * each as f64)),
    })
}

fn tracking(plan: &Plan, resources: &Resources) -> Option<Shortage> {
    let (used, max) = resources.tracked?;
    let wanted = match (&plan.mode, plan.amount) {
        // Each connection keeps its entry for a while after its end.
        (Mode::Conn { .. }, Amount::Count(count)) => count,
        _ => at_once(plan),
    };
    (used.saturating_add(wanted) > max).then(|| Shortage {
        is_certain: false,
        what: format!(
            "the firewall tracks {} connections, at most {}, and this run adds {}",
            Grouped(used),
            Grouped(max),
            Grouped(wanted)
        ),
        remedy: "raise net.netfilter.nf_conntrack_max, or exempt these ports with a NOTRACK rule"
            .to_owned(),
    })
}

/// Connections that are open at once; in `fanout` the sender's, too.
fn at_once(plan: &Plan) -> u64 {
    plan.connections as u64 + u64::from(matches!(plan.mode, Mode::Fanout { .. }))
}

fn sources(plan: &Plan) -> u64 {
    plan.sources.len().max(1) as u64
}

fn ports_of_each(resources: &Resources) -> u64 {
    let all =
        u64::from(*resources.ports.end()).saturating_sub(u64::from(*resources.ports.start())) + 1;
    all.saturating_sub(resources.reserved)
}

fn there_are(each: u64, sources: u64, resources: &Resources) -> String {
    let range = format!("{} to {}", resources.ports.start(), resources.ports.end());
    match sources {
        1 => format!("there are {} ({range})", Grouped(each)),
        _ => format!("{sources} sources have {} each ({range})", Grouped(each)),
    }
}

fn more_sources(target: &SocketAddr, count: u64) -> String {
    let count = count.max(2);
    if target.ip().is_loopback() && target.is_ipv4() && count <= 250 {
        format!("use `--source 127.0.0.2-127.0.0.{}`", count + 1)
    } else {
        format!(
            "use `--source` with {count} local addresses, or widen net.ipv4.ip_local_port_range"
        )
    }
}

impl Resources {
    /// As they are now, for a run of `plan` to `target` in a process with a limit of `descriptors`.
    pub fn of_this_machine(plan: &Plan, target: &TargetAddress, descriptors: u64) -> Self {
        let ports = client_ports().unwrap_or(CLIENT_PORTS_DEFAULT);
        Self {
            reserved: count_ports(&read("/proc/sys/net/ipv4/ip_local_reserved_ports"), &ports),
            ports,
            waiting: match target {
                TargetAddress::Tcp(address) => waiting_for(address),
                TargetAddress::Unix(_) | TargetAddress::Udp(_) => 0,
            },
            reuse: match read("/proc/sys/net/ipv4/tcp_tw_reuse").trim() {
                "0" => Reuse::Never,
                "1" => Reuse::Always,
                _ => Reuse::Loopback,
            },
            descriptors,
            tracked: number("/proc/sys/net/netfilter/nf_conntrack_count")
                .zip(number("/proc/sys/net/netfilter/nf_conntrack_max")),
            server_descriptors: plan
                .pids
                .iter()
                .filter_map(|&pid| descriptor_limit_of(pid))
                .max(),
        }
    }
}

/// A file that is missing reads as empty.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn number(path: &str) -> Option<u64> {
    read(path).trim().parse().ok()
}

/// How many ports a list such as `8080,9148-9150` has within a range.
fn count_ports(text: &str, within: &RangeInclusive<u16>) -> u64 {
    let (start, end) = (u64::from(*within.start()), u64::from(*within.end()));
    let ports = text.trim().split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        Some((last.min(end) + 1).saturating_sub(first.max(start)))
    });
    ports.sum()
}

/// The soft limit on descriptors of a process; none where there is no such process, or no limit.
fn descriptor_limit_of(pid: u32) -> Option<u64> {
    let process = Process::new(pid.try_into().ok()?).ok()?;
    match process.limits().ok()?.max_open_files.soft_limit {
        LimitValue::Value(limit) => Some(limit),
        LimitValue::Unlimited => None,
    }
}

/// How many connections to `target` wait in `TIME_WAIT`.
fn waiting_for(target: &SocketAddr) -> u64 {
    let connections = match target.ip().to_canonical() {
        IpAddr::V4(_) => procfs::net::tcp(),
        IpAddr::V6(_) => procfs::net::tcp6(),
    };
    let connections = connections.unwrap_or_default();
    let waiting = connections.iter().filter(|connection| {
        connection.state == TcpState::TimeWait && connection.remote_address == *target
    });
    waiting.count() as u64
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Ipv6Addr, Shutdown, TcpListener, TcpStream};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::*;
    use crate::load::Arrivals;

    fn resources() -> Resources {
        Resources {
            ports: 32_768..=60_999,
            reserved: 0,
            waiting: 0,
            reuse: Reuse::Loopback,
            descriptors: 20_000,
            tracked: None,
            server_descriptors: None,
        }
    }

    fn plan(mode: Mode, connections: usize) -> Plan {
        let mut plan = Plan::new("127.0.0.1:9000".parse().unwrap(), mode);
        plan.connections = connections;
        plan
    }

    fn near() -> TargetAddress {
        TargetAddress::Tcp("127.0.0.1:9000".parse().unwrap())
    }

    fn far() -> TargetAddress {
        TargetAddress::Tcp("192.0.2.1:9000".parse().unwrap())
    }

    const FIN: Mode = Mode::Conn {
        close: Close::ClientFin,
        requests: 1,
    };
    const RST: Mode = Mode::Conn {
        close: Close::ClientRst,
        requests: 1,
    };

    const ECHO: Mode = Mode::Echo { depth: 1 };
    const UDP: Mode = Mode::Udp { window: 64 };

    #[track_caller]
    fn says(shortages: &[Shortage], is_certain: bool, parts: &[&str]) {
        let [shortage] = shortages else {
            panic!("{shortages:?}");
        };
        assert_eq!(shortage.is_certain, is_certain, "{shortage}");
        let text = shortage.to_string();
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }

    #[test]
    fn a_modest_run_has_no_shortage() {
        for mode in [FIN, RST, ECHO, Mode::Hold, UDP] {
            assert_eq!(forecast(&plan(mode, 1_000), &near(), &resources()), []);
        }
    }

    #[test]
    fn descriptors_are_reckoned_on_both_sides() {
        let shortages = forecast(&plan(ECHO, 19_990), &near(), &resources());
        says(
            &shortages,
            true,
            &[
                "19,990 connections need 20,006",
                "the limit is 20,000",
                "-c 19984",
            ],
        );
        let mut resources = resources();
        resources.server_descriptors = Some(1_024);
        let shortages = forecast(&plan(Mode::Hold, 5_000), &near(), &resources);
        says(
            &shortages,
            true,
            &["the limit of its process is 1,024", "ulimit -n"],
        );
        assert_eq!(forecast(&plan(UDP, 5_000), &near(), &resources), []);
    }

    #[test]
    fn ports_at_once_are_those_of_all_sources() {
        let mut resources = resources();
        resources.descriptors = 1 << 20;
        let mut plan = plan(Mode::Hold, 100_000);
        let shortages = forecast(&plan, &near(), &resources);
        says(
            &shortages,
            true,
            &[
                "100,000 connections",
                "there are 28,232 (32768 to 60999)",
                "--source 127.0.0.2-127.0.0.5",
            ],
        );
        plan.sources = (2..6)
            .map(|n| SocketAddr::from(([127, 0, 0, n], 0)))
            .collect();
        assert_eq!(forecast(&plan, &near(), &resources), []);
        resources.reserved = 20_000;
        let shortages = forecast(&plan, &near(), &resources);
        says(
            &shortages,
            true,
            &["4 sources have 8,232 each", "127.0.0.14"],
        );
        let shortages = forecast(&plan, &far(), &resources);
        says(&shortages, true, &["13 local addresses, or widen"]);
    }

    #[test]
    fn ports_that_wait_are_reckoned_by_who_closes_and_where() {
        let mut plan = plan(FIN, 50);
        plan.amount = Amount::Count(50_000);
        // On loopback a port in TIME_WAIT serves again after a second; elsewhere after a minute.
        assert_eq!(forecast(&plan, &near(), &resources()), []);
        says(
            &forecast(&plan, &far(), &resources()),
            false,
            &["TIME_WAIT for a minute", "client-rst", "2 local addresses"],
        );
        plan.amount = Amount::Count(20_000);
        assert_eq!(forecast(&plan, &far(), &resources()), []);
        let mut crowded = resources();
        crowded.waiting = 10_000;
        says(
            &forecast(&plan, &far(), &crowded),
            false,
            &["10,000 of 28,232 ports are there already"],
        );
        plan.mode = RST;
        assert_eq!(forecast(&plan, &far(), &crowded), []);
    }

    #[test]
    fn a_rate_above_what_the_ports_allow_is_certain() {
        let mut plan = plan(FIN, 50);
        plan.amount = Amount::For(Duration::from_secs(1));
        plan.model = Model::Open {
            rate: 40_000.0,
            arrivals: Arrivals::Poisson,
        };
        says(
            &forecast(&plan, &near(), &resources()),
            true,
            &["40000 connections a second", "28,232 a second", "127.0.0.3"],
        );
        plan.model = Model::Open {
            rate: 400.0,
            arrivals: Arrivals::Poisson,
        };
        assert_eq!(forecast(&plan, &near(), &resources()), []);
        // Below 470 a second a minute's worth of ports is enough, and one second uses few.
        assert_eq!(forecast(&plan, &far(), &resources()), []);
        plan.model = Model::Open {
            rate: 500.0,
            arrivals: Arrivals::Poisson,
        };
        says(
            &forecast(&plan, &far(), &resources()),
            true,
            &["470 a second"],
        );
    }

    #[test]
    fn tracked_connections_have_a_table_of_their_own() {
        let mut resources = resources();
        resources.tracked = Some((60_000, 65_536));
        assert_eq!(forecast(&plan(ECHO, 5_000), &near(), &resources), []);
        says(
            &forecast(&plan(ECHO, 6_000), &near(), &resources),
            false,
            &[
                "60,000 connections, at most 65,536",
                "adds 6,000",
                "NOTRACK",
            ],
        );
    }

    #[test]
    fn what_the_kernel_tells_is_read() {
        assert_eq!(count_ports("8080,9148-9150\n", &(1..=65_535)), 4);
        assert_eq!(
            count_ports("1024-32767,60000-65535\n", &(32_768..=60_999)),
            1_000
        );
        assert_eq!(count_ports("\n", &(1..=65_535)), 0);
    }

    #[test]
    fn connections_that_wait_are_counted_by_target() {
        // An IPv4 address of its own: on `::1`, connections of others to an earlier owner of the port may
        // begin to wait meanwhile.
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let own = IpAddr::from([127, 77, high, low.clamp(1, 254)]);
        for (ip, is_exact) in [(own, true), (IpAddr::from(Ipv6Addr::LOCALHOST), false)] {
            let listener = TcpListener::bind((ip, 0)).unwrap();
            let target = listener.local_addr().unwrap();
            let pair = || {
                let client = TcpStream::connect(target).unwrap();
                let (server, _) = listener.accept().unwrap();
                for end in [&client, &server] {
                    end.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                }
                (client, server)
            };
            // Those that are open do not wait.
            let _open = [pair(), pair()];
            for _ in 0..3 {
                let (mut client, mut server) = pair();
                client.shutdown(Shutdown::Write).unwrap();
                assert_eq!(server.read(&mut [0]).unwrap(), 0);
                drop(server);
                assert_eq!(client.read(&mut [0]).unwrap(), 0);
            }
            let waiting = waiting_for(&target);
            assert!(
                waiting == 3 || waiting > 3 && !is_exact,
                "{target}: {waiting}"
            );
        }
    }

    #[test]
    fn the_limit_of_a_process_is_its_own() {
        let mut child = Command::new("sh")
            .args(["-c", "ulimit -S -n 77; echo; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let limit = descriptor_limit_of(child.id());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(limit, Some(77));
        assert_eq!(descriptor_limit_of(child.id()), None);
        assert_eq!(descriptor_limit_of(u32::MAX), None);
    }

    #[test]
    fn this_machine_has_resources() {
        let plan = plan(ECHO, 1);
        let resources = Resources::of_this_machine(&plan, &near(), 1_024);
        assert!(
            ports_of_each(&resources) > 0 && resources.descriptors == 1_024,
            "{resources:?}"
        );
    }
}

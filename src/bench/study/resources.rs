//! What this machine has of the resources that a run needs, as the kernel tells it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use procfs::net::TcpState;
use procfs::process::{LimitValue, Process};

use crate::config::{CLIENT_PORTS_DEFAULT, client_ports};
use crate::load::plan::Plan;
use crate::load::plan::target::TargetAddress;

/// Linux keeps a closed connection's port for this long (`TCP_TIMEWAIT_LEN`).
pub(super) const TIME_WAIT_S: u64 = 60;
/// Where the kernel may use ports in `TIME_WAIT` again, it does so after this long (`tcp_tw_reuse`,
/// ip-sysctl).
pub(super) const REUSED_AFTER_S: u64 = 1;

/// What this machine has for a run to one target.
#[derive(Debug, Clone, PartialEq)]
pub struct Resources {
    /// The ports that the kernel chooses from, for IPv6 too (`net.ipv4.ip_local_port_range`).
    pub ports: RangeInclusive<u16>,
    /// How many of them it must not choose (`net.ipv4.ip_local_reserved_ports`).
    pub reserved: u64,
    /// How many are in `TIME_WAIT` after connections to the target.
    pub waiting: u64,
    /// Seconds before a port in `TIME_WAIT` may serve for the target again: 60, or 1 where
    /// `net.ipv4.tcp_tw_reuse` says so.
    pub reused_after_s: u64,
    /// The limit on descriptors of this process (`RLIMIT_NOFILE`).
    pub descriptors: u64,
    /// Entries in use and their limit, where the firewall tracks connections (netfilter).
    pub tracked: Option<(u64, u64)>,
    /// The limit on descriptors of the server's process, where `--pid` names it.
    pub server_descriptors: Option<u64>,
}

impl Resources {
    /// As they are now, for a run of `plan` to `target` in a process with a limit of `descriptors`.
    pub fn of_this_machine(plan: &Plan, target: &TargetAddress, descriptors: u64) -> Self {
        let ports = client_ports().unwrap_or(CLIENT_PORTS_DEFAULT);
        let reuse = read("/proc/sys/net/ipv4/tcp_tw_reuse");
        let (waiting, reused_after_s) = match target {
            TargetAddress::Tcp(address) => (waiting_for(address), reused_after_s(&reuse, address)),
            TargetAddress::Unix(_) | TargetAddress::Udp(_) => (0, TIME_WAIT_S),
        };
        let limits = plan.pids.iter().filter_map(|&pid| descriptor_limit_of(pid));
        Self {
            reserved: count_ports(&read("/proc/sys/net/ipv4/ip_local_reserved_ports"), &ports),
            ports,
            waiting,
            reused_after_s,
            descriptors,
            tracked: number("/proc/sys/net/netfilter/nf_conntrack_count")
                .zip(number("/proc/sys/net/netfilter/nf_conntrack_max")),
            server_descriptors: limits.max(),
        }
    }

    /// How many ports the kernel can choose from for each source address.
    pub fn ports_each(&self) -> u64 {
        (self.ports.len() as u64).saturating_sub(self.reserved)
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

/// What `tcp_tw_reuse` means for a target: 0 is never, 1 always, 2 (the default) on loopback.
fn reused_after_s(setting: &str, target: &SocketAddr) -> u64 {
    match setting.trim() {
        "0" => TIME_WAIT_S,
        "1" => REUSED_AFTER_S,
        _ if target.ip().is_loopback() => REUSED_AFTER_S,
        _ => TIME_WAIT_S,
    }
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
    use crate::load::Mode;

    #[test]
    fn what_the_kernel_tells_is_read() {
        for (text, within, count) in [
            ("8080,9148-9150\n", 1..=65_535, 4),
            ("1024-32767,60000-65535\n", 32_768..=60_999, 1_000),
            ("\n", 1..=65_535, 0),
        ] {
            assert_eq!(count_ports(text, &within), count, "{text}");
        }
        let [near, far] = ["127.0.0.1:9000", "192.0.2.1:9000"].map(|text| text.parse().unwrap());
        for (setting, on_loopback, elsewhere) in [("0\n", 60, 60), ("1\n", 1, 1), ("2\n", 1, 60)] {
            assert_eq!(reused_after_s(setting, &near), on_loopback, "{setting}");
            assert_eq!(reused_after_s(setting, &far), elsewhere, "{setting}");
        }
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
            let is_right = waiting == 3 || waiting > 3 && !is_exact;
            assert!(is_right, "{target}: {waiting}");
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
        let plan = Plan::new("127.0.0.1:9000".parse().unwrap(), Mode::Hold);
        let target = TargetAddress::Tcp("127.0.0.1:9000".parse().unwrap());
        let found = Resources::of_this_machine(&plan, &target, 1_024);
        assert!(found.ports_each() > 0, "{found:?}");
        assert_eq!(found.descriptors, 1_024);
    }
}

//! What a run will need, beside what this machine has, computed before it starts: ports, descriptors,
//! entries in the table of the firewall.
//!
//! It does not measure and does not forbid: where something is short, the user is told what, and what
//! would help; then the run does what it can.

use std::net::SocketAddr;

use crate::bench::study::resources::{REUSED_AFTER_S, Resources};
use crate::config::raise_descriptor_limit;
use crate::load::measure::figures::Grouped;
use crate::load::net::greeting::{SILENCE, greeting, takes_any};
use crate::load::plan::Plan;
use crate::load::plan::error::LoadError;
use crate::load::plan::mode::{Amount, Close, Mode, ModeName, Model};
use crate::load::plan::target::TargetAddress;
use crate::load::run::report::{Report, escaped};

/// What the generator has open beside its connections: standard streams, poll, timer, and files of /proc.
const OTHER_DESCRIPTORS: u64 = 16;

/// What is short for `plan` on this machine, as it is now: see [`forecast`]. It is also listened for a greeting, where one
/// would be taken for an answer.
///
/// # Errors
///
/// As [`Plan::look_up`].
pub fn forecast_of(plan: &mut Plan) -> Result<Vec<String>, LoadError> {
    let target = plan.look_up()?;
    if takes_any(plan) {
        plan.greeting = greeting(plan, &target, SILENCE);
    }
    let resources = Resources::of_this_machine(plan, &target, raise_descriptor_limit());
    Ok(forecast(plan, &target, &resources))
}

/// Where answers were wrong, whether the server had spoken before it was asked: then that is said in the reports. Nobody listens for it
/// beforehand where it cannot be taken for a right answer.
pub fn hear_greeting(plan: &Plan, reports: &mut [Report]) {
    let is_wrong = |report: &Report| report.errors.and(&report.warmup_errors).wrong_answer > 0;
    if takes_any(plan) || !reports.iter().any(is_wrong) {
        return;
    }
    let target = plan.target.as_ref().map(|located| &located.address);
    let heard = target.and_then(|target| greeting(plan, target, SILENCE));
    for report in reports {
        report.greeting = heard.as_deref().map(escaped);
    }
}

/// A sentence for each resource of which `plan` needs more than there is: that the run will fail, where it
/// cannot do what was asked whatever the server does, or may fail; how much is needed and how much there
/// is; and what would help.
pub fn forecast(plan: &Plan, target: &TargetAddress, resources: &Resources) -> Vec<String> {
    let sources = plan.sources.len().max(1) as u64;
    let needs = Needs {
        plan,
        resources,
        // In `fanout` the sender's, too.
        at_once: plan.connections as u64 + u64::from(matches!(plan.mode, Mode::Fanout { .. })),
        sources,
        ports: resources.ports_each() * sources,
    };
    let mut shortages = Vec::new();
    if plan.mode.name() != ModeName::Udp {
        shortages.extend(needs.descriptors());
        shortages.extend(needs.server_descriptors());
    }
    if let TargetAddress::Tcp(address) = target {
        shortages.extend(needs.ports_at_once(address));
        shortages.extend(needs.ports_in_turn(address));
        shortages.extend(needs.tracking());
    }
    shortages
}

/// One run beside the resources that it has.
struct Needs<'f> {
    plan: &'f Plan,
    resources: &'f Resources,
    /// Connections that are open at once.
    at_once: u64,
    /// Source addresses.
    sources: u64,
    /// Ports of all of them.
    ports: u64,
}

impl Needs<'_> {
    fn descriptors(&self) -> Option<String> {
        let limit = self.resources.descriptors;
        let wanted = self.at_once + OTHER_DESCRIPTORS;
        let may = limit.saturating_sub(OTHER_DESCRIPTORS);
        (wanted > limit).then(|| {
            let [connections, wanted, limit] = [self.at_once, wanted, limit].map(Grouped);
            format!(
                "will fail: {connections} connections need {wanted} descriptors, the limit is {limit}; raise it with `ulimit -n` (as root), or use `-c {may}`"
            )
        })
    }

    fn server_descriptors(&self) -> Option<String> {
        let limit = self.resources.server_descriptors?;
        (self.at_once >= limit).then(|| {
            let [connections, limit] = [self.at_once, limit].map(Grouped);
            format!(
                "will fail: the server is to hold {connections} connections, the limit of its process is {limit} descriptors; start it with a higher `ulimit -n`"
            )
        })
    }

    /// Each connection to one address and port needs a pair of source address and port of its own.
    fn ports_at_once(&self, target: &SocketAddr) -> Option<String> {
        (self.at_once > self.ports).then(|| {
            let (connections, there) = (Grouped(self.at_once), self.there_are());
            let remedy = self.more_sources(target, self.at_once as f64);
            format!(
                "will fail: {connections} connections to {target} at once need as many local ports, {there}; {remedy}"
            )
        })
    }

    /// The side that closes first keeps the port in `TIME_WAIT`.
    fn ports_in_turn(&self, target: &SocketAddr) -> Option<String> {
        let closes_first = matches!(
            self.plan.mode,
            Mode::Conn {
                close: Close::ClientFin,
                ..
            }
        );
        if !closes_first {
            return None;
        }
        let (ports, waiting) = (Grouped(self.ports), self.resources.waiting);
        let again_after = self.resources.reused_after_s;
        let is_reused = again_after <= REUSED_AFTER_S;
        let kept = if is_reused { "a second" } else { "a minute" };
        let remedy = |wanted| {
            let sources = self.more_sources(target, wanted);
            format!("use `--close client-rst`, which leaves no port in TIME_WAIT, or {sources}")
        };
        let rate_max = self.ports as f64 / again_after as f64;
        if let Model::Open { rate, .. } = self.plan.model
            && rate > rate_max
        {
            let enough = Grouped(rate_max as u64);
            let remedy = remedy(rate * again_after as f64);
            return Some(format!(
                "will fail: {rate} connections a second need more ports than there are: each leaves its port in TIME_WAIT for {kept} or more, so {ports} ports are enough for {enough} a second; {remedy}"
            ));
        }
        let may_want = match (self.plan.amount, self.plan.model) {
            (Amount::Count(count), _) => Some(count as f64),
            (Amount::For(time), Model::Open { rate, .. }) => {
                Some(rate * (time + self.plan.warmup).as_secs_f64())
            }
            (Amount::For(_), Model::Closed) => None,
        };
        let is_short = match may_want {
            Some(wanted) => wanted > self.ports.saturating_sub(waiting) as f64 && !is_reused,
            // The closed model goes as fast as it can: a minute's worth of ports is soon used.
            None => !is_reused || waiting * 2 > self.ports,
        };
        is_short.then(|| {
            let there = match waiting {
                0 => self.there_are(),
                _ => format!("and {} of {ports} ports are there already", Grouped(waiting)),
            };
            let remedy = remedy(may_want.unwrap_or(2.0 * self.resources.ports_each() as f64));
            format!(
                "may fail: each connection leaves its port in TIME_WAIT for {kept}, {there}; {remedy}"
            )
        })
    }

    fn tracking(&self) -> Option<String> {
        let (used, max) = self.resources.tracked?;
        let wanted = match (&self.plan.mode, self.plan.amount) {
            // Each connection keeps its entry for a while after its end.
            (Mode::Conn { .. }, Amount::Count(count)) => count,
            _ => self.at_once,
        };
        (used.saturating_add(wanted) > max).then(|| {
            let [used, max, wanted] = [used, max, wanted].map(Grouped);
            format!(
                "may fail: the firewall tracks {used} connections, at most {max}, and this run adds {wanted}; raise net.netfilter.nf_conntrack_max, or exempt these ports with a NOTRACK rule"
            )
        })
    }

    fn there_are(&self) -> String {
        let Resources { ports, .. } = self.resources;
        let each = Grouped(self.resources.ports_each());
        let range = format!("({} to {})", ports.start(), ports.end());
        match self.sources {
            1 => format!("there are {each} {range}"),
            sources => format!("{sources} sources have {each} each {range}"),
        }
    }

    /// How to get sources that have `wanted` ports together.
    fn more_sources(&self, target: &SocketAddr, wanted: f64) -> String {
        let each = self.resources.ports_each().max(1) as f64;
        let count = ((wanted / each).ceil() as u64).max(2);
        if target.ip().is_loopback() && target.is_ipv4() && count <= 250 {
            format!("use `--source 127.0.0.2-127.0.0.{}`", count + 1)
        } else {
            format!(
                "use `--source` with {count} local addresses, or widen net.ipv4.ip_local_port_range"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::study::resources::TIME_WAIT_S;
    use crate::load::Arrivals;

    const FIN: Mode = conn(Close::ClientFin);
    const RST: Mode = conn(Close::ClientRst);
    const ECHO: Mode = Mode::Echo { depth: 1 };
    const UDP: Mode = Mode::Udp { window: 64 };

    const fn conn(close: Close) -> Mode {
        Mode::Conn { close, requests: 1 }
    }

    /// A run on a machine as distributions set it up, to a target on loopback.
    struct Case {
        plan: Plan,
        target: &'static str,
        resources: Resources,
    }

    impl Case {
        fn new(mode: Mode, connections: usize) -> Self {
            let mut plan = Plan::new("127.0.0.1:9000".parse().unwrap(), mode);
            plan.connections = connections;
            let resources = Resources {
                ports: 32_768..=60_999,
                reserved: 0,
                waiting: 0,
                reused_after_s: REUSED_AFTER_S,
                descriptors: 20_000,
                tracked: None,
                server_descriptors: None,
            };
            Self {
                plan,
                target: "127.0.0.1:9000",
                resources,
            }
        }

        fn move_target_far_away(&mut self) {
            self.target = "192.0.2.1:9000";
            self.resources.reused_after_s = TIME_WAIT_S;
        }

        fn at_rate(&mut self, rate: f64) {
            let arrivals = Arrivals::Poisson;
            self.plan.model = Model::Open { rate, arrivals };
        }

        fn forecast(&self) -> Vec<String> {
            let target = TargetAddress::Tcp(self.target.parse().unwrap());
            forecast(&self.plan, &target, &self.resources)
        }

        #[track_caller]
        fn lacks_nothing(&self) {
            assert!(self.forecast().is_empty(), "{:?}", self.forecast());
        }

        /// One shortage, whose sentence has these parts in this order.
        #[track_caller]
        fn says(&self, parts: &str) {
            let shortages = self.forecast();
            let [text] = &shortages[..] else {
                panic!("{shortages:?}");
            };
            let mut rest = &text[..];
            for part in parts.split(" … ") {
                let found = rest.split_once(part);
                (_, rest) = found.unwrap_or_else(|| panic!("{part:?} is not in {text:?}"));
            }
        }
    }

    #[test]
    fn a_modest_run_has_no_shortage() {
        for mode in [FIN, RST, ECHO, Mode::Hold, UDP] {
            Case::new(mode, 1_000).lacks_nothing();
        }
    }

    #[test]
    fn descriptors_are_reckoned_on_both_sides() {
        Case::new(ECHO, 19_990)
            .says("will fail: 19,990 connections need 20,006 … the limit is 20,000 … -c 19984");
        let mut case = Case::new(Mode::Hold, 5_000);
        case.resources.server_descriptors = Some(1_024);
        case.says("will fail … the limit of its process is 1,024 … ulimit -n");
        case.plan.mode = UDP;
        case.lacks_nothing();
    }

    #[test]
    fn ports_at_once_are_those_of_all_sources() {
        let mut case = Case::new(Mode::Hold, 100_000);
        case.resources.descriptors = 1 << 20;
        case.says("will fail: 100,000 connections … there are 28,232 (32768 to 60999) … --source 127.0.0.2-127.0.0.5");
        let sources = (2..6).map(|n| SocketAddr::from(([127, 0, 0, n], 0)));
        case.plan.sources = sources.collect();
        case.lacks_nothing();
        case.resources.reserved = 20_000;
        case.says("will fail … 4 sources have 8,232 each … 127.0.0.14");
        case.move_target_far_away();
        case.says("will fail … 13 local addresses, or widen");
    }

    #[test]
    fn ports_that_wait_are_reckoned_by_who_closes_and_where() {
        let mut case = Case::new(FIN, 50);
        case.plan.amount = Amount::Count(50_000);
        // On loopback a port in TIME_WAIT serves again after a second; elsewhere after a minute.
        case.lacks_nothing();
        case.move_target_far_away();
        case.says("may fail … TIME_WAIT for a minute … client-rst … 2 local addresses");
        case.plan.amount = Amount::Count(20_000);
        case.lacks_nothing();
        case.resources.waiting = 10_000;
        case.says("may fail … 10,000 of 28,232 ports are there already");
        case.plan.mode = RST;
        case.lacks_nothing();
    }

    #[test]
    fn a_rate_above_what_the_ports_allow_is_certain() {
        let mut case = Case::new(FIN, 50);
        case.plan.amount = Amount::For(Duration::from_secs(1));
        case.at_rate(40_000.0);
        case.says("will fail: 40000 connections a second … 28,232 a second … 127.0.0.3");
        case.at_rate(400.0);
        case.lacks_nothing();
        // Below 470 a second a minute's worth of ports is enough, and one second uses few.
        case.move_target_far_away();
        case.lacks_nothing();
        case.at_rate(500.0);
        case.says("will fail … 470 a second");
    }

    #[test]
    fn tracked_connections_have_a_table_of_their_own() {
        let mut case = Case::new(ECHO, 5_000);
        case.resources.tracked = Some((60_000, 65_536));
        case.lacks_nothing();
        case.plan.connections = 6_000;
        case.says("may fail … 60,000 connections, at most 65,536 … adds 6,000 … NOTRACK");
    }
}

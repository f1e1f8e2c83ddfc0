//! A report as text for a terminal.

use std::fmt;

use crate::bench::show::phrases;
use crate::load::measure::figures::{Grouped, Micros, whole};
use crate::load::measure::histogram::Summary;
use crate::load::plan::mode::ModeName;
use crate::load::run::outcome::Deliveries;
use crate::load::run::report::Report;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            connections,
            requests,
            latency_us: l,
            ..
        } = self;
        if self.mode == ModeName::Hold {
            return self.fmt_hold(f);
        }
        if let Some(deliveries) = &self.deliveries {
            return self.fmt_fanout(f, deliveries);
        }
        write!(
            f,
            "bench {} {}: {} connections, ",
            self.mode,
            self.endpoint,
            Grouped(connections.asked as u64)
        )?;
        match (self.close, self.several()) {
            (Some(close), None) => writeln!(
                f,
                "one message of {} B each, close: {close}",
                self.size_bytes
            )?,
            (Some(close), Some(several)) => writeln!(
                f,
                "{} messages of {} B each, one after the other, close: {close}",
                Grouped(several),
                self.size_bytes
            )?,
            (None, _) => writeln!(
                f,
                "{} in flight on each, {} B a message",
                self.pipeline, self.size_bytes
            )?,
        }
        if self.expect != "echo" {
            writeln!(f, "  answer     {}", self.expect)?;
        }
        self.fmt_digest(f)?;
        self.fmt_model(f)?;
        let rate = Grouped(whole(self.rate_per_s));
        let unit = match self.several() {
            None => {
                write!(f, "  rate       {rate} /s")?;
                "answers"
            }
            Some(_) => {
                let requests = Grouped(whole(self.requests_per_s));
                write!(
                    f,
                    "  rate       {rate} connections /s, {requests} requests /s"
                )?;
                "connections"
            }
        };
        writeln!(
            f,
            "   ({} {unit} in {:.3} s, after {:.3} s of warm-up{})",
            Grouped(requests.came),
            self.elapsed_s,
            self.warmup_s,
            if self.interrupted {
                ", interrupted"
            } else {
                ""
            }
        )?;
        if requests.late + requests.unanswered > 0 {
            writeln!(
                f,
                "             {} late, {} never answered, of {} asked",
                Grouped(requests.late),
                Grouped(requests.unanswered),
                Grouped(requests.asked)
            )?;
        }
        if let Some(seen) = &self.datagrams {
            writeln!(
                f,
                "  datagrams  {} sent, {} lost, {} duplicated, {} reordered, {} late, {} wrong, {} refused{}",
                Grouped(seen.sent),
                Grouped(seen.lost),
                Grouped(seen.duplicates),
                Grouped(seen.reordered),
                Grouped(seen.late),
                Grouped(seen.wrong),
                Grouped(seen.refused),
                if seen.numbered {
                    ""
                } else {
                    "; too short for a number: duplicates and order cannot be told"
                }
            )?;
        }
        if l.count == 0 {
            writeln!(f, "  latency    none: no answer came")?;
        } else {
            writeln!(f, "  latency    {l}")?;
        }
        for (name, sum) in [
            ("connect", &self.phases_us.connect),
            ("first byte", &self.phases_us.first_byte),
            ("last byte", &self.phases_us.last_byte),
            ("close", &self.phases_us.close),
            ("sent late", &self.generator.lag_us),
        ] {
            if sum.max > 0.0 {
                writeln!(f, "    {name:10} {sum}")?;
            }
        }
        if self.datagrams.is_none() {
            writeln!(
                f,
                "  held       {} of {} connections",
                Grouped(connections.held as u64),
                Grouped(connections.asked as u64)
            )?;
        }
        self.fmt_errors(f)?;
        self.fmt_server(f)?;
        self.fmt_generator(f)
    }
}

impl Report {
    /// How often each connection asks, where that is not once.
    fn several(&self) -> Option<u64> {
        let requests = self.requests_per_connection.filter(|count| *count > 1)?;
        Some(requests as u64)
    }

    fn fmt_model(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (model, rule) = phrases::model(self);
        writeln!(f, "  model      {model}: {rule}{}", phrases::stall(self))
    }

    fn fmt_digest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.digest {
            Some(digest) => writeln!(
                f,
                "  handshake  {digest}: each connection proves that it knows the secret; part of \"connect\""
            ),
            None => Ok(()),
        }
    }

    fn fmt_hold(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (asked, held) = (self.connections.asked as u64, self.connections.held as u64);
        writeln!(
            f,
            "bench hold {}: {} idle connections for {:.3} s",
            self.endpoint,
            Grouped(asked),
            self.elapsed_s
        )?;
        write!(f, "  held       {} of {}", Grouped(held), Grouped(asked))?;
        if self.errors.total > 0 {
            // Here a connection owes no answer: one that ended was closed by the server.
            let kinds = phrases::kinds(&self.errors).replace("short answers", "hung up");
            write!(f, ", because {kinds}")?;
        }
        writeln!(f)?;
        self.fmt_digest(f)?;
        writeln!(f, "  connect    {}", self.phases_us.connect)?;
        self.fmt_hints(f)?;
        self.fmt_server(f)?;
        self.fmt_generator(f)
    }

    fn fmt_fanout(&self, f: &mut fmt::Formatter<'_>, seen: &Deliveries) -> fmt::Result {
        writeln!(
            f,
            "bench fanout {}: one sender to {} members, lines of {} B",
            self.endpoint,
            Grouped(self.connections.asked as u64),
            self.size_bytes
        )?;
        self.fmt_model(f)?;
        writeln!(
            f,
            "  rate       {} deliveries /s, {} lines /s   ({} lines that every member received in {:.3} s, after {:.3} s of warm-up)",
            Grouped(whole(self.rate_per_s)),
            Grouped(whole(seen.lines_per_s)),
            Grouped(self.requests.answered),
            self.elapsed_s,
            self.warmup_s
        )?;
        if self.requests.late + self.requests.unanswered > 0 {
            writeln!(
                f,
                "             {} late, {} never received by all, of {} lines",
                Grouped(self.requests.late),
                Grouped(self.requests.unanswered),
                Grouped(self.requests.asked)
            )?;
        }
        writeln!(
            f,
            "  deliveries {} of {} ({} lines, warm-up included): {} lost, {} late, {} duplicated, {} reordered, {} wrong; {} notices",
            Grouped(seen.delivered),
            Grouped(seen.expected),
            Grouped(seen.lines),
            Grouped(seen.lost),
            Grouped(seen.late),
            Grouped(seen.duplicates),
            Grouped(seen.reordered),
            Grouped(seen.wrong),
            Grouped(seen.notices)
        )?;
        if self.latency_us.count == 0 {
            writeln!(f, "  latency    none: no line reached every member")?;
        } else {
            for (name, sum) in [
                ("to first", &seen.first_us),
                ("to median", &seen.median_us),
                ("to last", &self.latency_us),
            ] {
                writeln!(f, "  {name:10} {sum}")?;
            }
        }
        for (name, sum) in [
            ("connect", &self.phases_us.connect),
            ("sent late", &self.generator.lag_us),
        ] {
            if sum.max > 0.0 {
                writeln!(f, "    {name:10} {sum}")?;
            }
        }
        writeln!(
            f,
            "  held       {} of {} members, {} gone",
            Grouped(self.connections.held as u64),
            Grouped(self.connections.asked as u64),
            Grouped(seen.gone)
        )?;
        self.fmt_errors(f)?;
        self.fmt_server(f)?;
        self.fmt_generator(f)
    }

    fn fmt_server(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(server) = &self.server else {
            return if self.is_watched() {
                writeln!(
                    f,
                    "  server     a process of --pid ended during the run, so there are no figures for it"
                )
            } else {
                Ok(())
            };
        };
        write!(
            f,
            "  server     {:.0} % of one processor, {} sleeps /s, {} KiB of memory",
            server.cpu_share * 100.0,
            Grouped(whole(server.sleeps_per_s)),
            Grouped(server.memory_after_bytes / 1024)
        )?;
        if let Some(rate) = server.per_cpu_s {
            write!(
                f,
                ", {} {} per second of processor",
                Grouped(whole(rate)),
                match (self.deliveries, self.several()) {
                    (Some(_), _) => "deliveries",
                    (None, None) => "answers",
                    (None, Some(_)) => "connections",
                }
            )?;
        }
        if let Some(bytes) = server.memory_per_connection_bytes {
            write!(f, ", {} B more a connection", Grouped(whole(bytes)))?;
        }
        writeln!(f)
    }

    fn fmt_errors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (errors, when) in [(&self.warmup_errors, " during warm-up"), (&self.errors, "")] {
            if errors.total > 0 || when.is_empty() {
                write!(f, "  errors     {}{when}", Grouped(errors.total))?;
                if errors.total > 0 {
                    write!(f, ": {}", phrases::kinds(errors))?;
                }
                writeln!(f)?;
            }
        }
        self.fmt_hints(f)
    }

    fn fmt_hints(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.other_error {
            writeln!(f, "             the first of the others: {error}")?;
        }
        if self.errors.no_port + self.warmup_errors.no_port > 0 {
            writeln!(
                f,
                "             local ports ran out: use `--close client-rst`, or `--source 127.0.0.2-127.0.0.20`"
            )?;
        }
        if self.errors.no_descriptor + self.warmup_errors.no_descriptor > 0 {
            writeln!(
                f,
                "             descriptors ran out: raise the limit with `ulimit -n`, or use fewer connections (-c)"
            )?;
        }
        let ended = self.errors.short_answer + self.errors.reset;
        if self.expect == "http" && self.mode == ModeName::Echo && ended > 0 {
            writeln!(
                f,
                "             the server closed connections that were to stay open: nginx does so after keepalive_requests (1,000)"
            )?;
        }
        Ok(())
    }

    fn fmt_generator(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generator = &self.generator;
        write!(
            f,
            "  generator  {:.0} % of one processor, {:.0} % waiting for it",
            generator.busy_share * 100.0,
            generator.queued_share * 100.0
        )?;
        match phrases::limit(generator) {
            Some(why) => write!(f, "; the generator was the limit, since {why}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {}   p90 {}   p99 {}   p99.9 {}   max {}",
            Micros(self.p50),
            Micros(self.p90),
            Micros(self.p99),
            Micros(self.p99_9),
            Micros(self.max)
        )
    }
}

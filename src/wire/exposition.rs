//! Figures as Prometheus reads them: its text format, version 0.0.4.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::fmt::{self, Write as _};

use super::Encode;

/// The media type of the format.
pub const EXPOSITION_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One figure, in words, and its value for each set of labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    samples: Vec<Sample>,
}

/// How a figure moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only upwards, from 0 at the start of the process.
    Counter,
    /// Up and down.
    Gauge,
    /// Counts of values by size.
    Histogram,
}

#[derive(Debug, Clone, PartialEq)]
struct Sample {
    suffix: &'static str,
    labels: Vec<(&'static str, String)>,
    value: Value,
}

/// A value: what is counted is exact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A number of things.
    Count(u64),
    /// A number of nanoseconds, which is told in seconds.
    Nanos(u64),
}

impl Family {
    /// A figure that has no value yet.
    pub fn new(name: &'static str, kind: Kind, help: &'static str) -> Family {
        Family {
            name,
            help,
            kind,
            samples: Vec::new(),
        }
    }

    /// The same, with this as its only value.
    pub fn with(mut self, value: u64) -> Family {
        self.push(&[], value);
        self
    }

    /// Adds its value for these labels.
    pub fn push(&mut self, labels: &[(&'static str, &str)], value: u64) {
        self.add("", labels, Value::Count(value));
    }

    /// Adds the values of a histogram: the greatest value of each bucket, with how many were at most that;
    /// then how many there were, and their sum. `of` makes a value of a number.
    pub fn push_histogram(
        &mut self,
        up_to: impl Iterator<Item = (u64, u64)>,
        count: u64,
        sum: u64,
        of: fn(u64) -> Value,
    ) {
        for (most, so_far) in up_to {
            let most = of(most).to_string();
            self.add("_bucket", &[("le", &most)], Value::Count(so_far));
        }
        self.add("_bucket", &[("le", "+Inf")], Value::Count(count));
        self.add("_sum", &[], of(sum));
        self.add("_count", &[], Value::Count(count));
    }

    fn add(&mut self, suffix: &'static str, labels: &[(&'static str, &str)], value: Value) {
        let labels = labels.iter().map(|&(name, text)| (name, text.to_owned()));
        self.samples.push(Sample {
            suffix,
            labels: labels.collect(),
            value,
        });
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl Encode for [Family] {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut text = String::new();
        for family in self.iter().filter(|family| !family.samples.is_empty()) {
            // Writing to a string does not fail.
            let _ = write!(text, "{family}");
        }
        out.extend_from_slice(text.as_bytes());
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, kind) = (self.name, self.kind);
        let help = self.help.replace('\\', r"\\").replace('\n', r"\n");
        writeln!(f, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
        for Sample {
            suffix,
            labels,
            value,
        } in &self.samples
        {
            write!(f, "{name}{suffix}")?;
            for (n, (label, text)) in labels.iter().enumerate() {
                let sign = if n == 0 { '{' } else { ',' };
                let text = text.replace('\\', r"\\").replace('"', "\\\"");
                write!(f, "{sign}{label}=\"{}\"", text.replace('\n', r"\n"))?;
            }
            let end = if labels.is_empty() { "" } else { "}" };
            writeln!(f, "{end} {value}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::Count(count) => write!(f, "{count}"),
            Value::Nanos(nanos) => {
                let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
                let digits = format!("{seconds}.{rest:09}");
                f.write_str(digits.trim_end_matches('0').trim_end_matches('.'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_its_meaning_its_kind_and_its_values() {
        let mut refused = Family::new("a_total", Kind::Counter, "What was\nrefused, \\ and why.");
        refused.push(&[("endpoint", "e\"\\\n"), ("reason", "full")], u64::MAX);
        let mut time = Family::new("b_seconds", Kind::Histogram, "Time.");
        let buckets = [(1023, 1), (1_500_000_000, 2)].into_iter();
        time.push_histogram(buckets, 3, 12_000_000_000, Value::Nanos);
        let none = Family::new("c", Kind::Gauge, "Nothing has a value yet.");
        let mut out = b"before ".to_vec();
        [
            refused,
            time,
            none,
            Family::new("d", Kind::Gauge, "One.").with(0),
        ]
        .encode(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"before # HELP a_total What was\nrefused, \\ and why.
# TYPE a_total counter
a_total{endpoint="e\"\\\n",reason="full"} 18446744073709551615
# HELP b_seconds Time.
# TYPE b_seconds histogram
b_seconds_bucket{le="0.000001023"} 1
b_seconds_bucket{le="1.5"} 2
b_seconds_bucket{le="+Inf"} 3
b_seconds_sum 12
b_seconds_count 3
# HELP d One.
# TYPE d gauge
d 0
"#
        );
    }
}

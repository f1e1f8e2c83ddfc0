//! Figures as Prometheus reads them: its text format, version 0.0.4.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::collections::HashMap;
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

    /// Adds a value to the family of this name, which is made if it is not among them.
    pub fn add_to(
        families: &mut Vec<Family>,
        (name, kind, help): (&'static str, Kind, &'static str),
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        let at = families.iter().position(|family| family.name == name);
        let at = at.unwrap_or_else(|| {
            families.push(Family::new(name, kind, help));
            families.len() - 1
        });
        families[at].push(labels, value);
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

    /// Puts this label before the others of all its values.
    pub fn label(&mut self, name: &'static str, text: &str) {
        for sample in &mut self.samples {
            sample.labels.insert(0, (name, text.to_owned()));
        }
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

/// Several pages as one: a figure that several have is told once, with the values of all. Their labels tell them
/// apart.
pub fn one_page(pages: &[&[u8]]) -> Vec<u8> {
    // In the order in which they are met: what a figure means, and its values on all pages.
    let mut figures: Vec<(&[u8], Vec<u8>)> = Vec::new();
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    for page in pages {
        let mut place = None;
        for line in page.split_inclusive(|&byte| byte == b'\n') {
            if line.starts_with(b"# HELP ") {
                place = Some(*places.entry(line).or_insert_with(|| {
                    figures.push((line, Vec::new()));
                    figures.len() - 1
                }));
            } else if let Some((_, values)) = place.and_then(|place| figures.get_mut(place))
                && (!line.starts_with(b"# TYPE ") || values.is_empty())
            {
                values.extend_from_slice(line);
            }
        }
    }
    let mut page = Vec::new();
    for (meaning, values) in figures {
        page.extend_from_slice(meaning);
        page.extend_from_slice(&values);
    }
    page
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

    #[test]
    fn pages_of_several_become_one() {
        let page = |process: &str, bytes| {
            let mut sent = Family::new("sent_total", Kind::Counter, "Bytes.");
            sent.push(&[("endpoint", "e")], bytes);
            sent.push(&[("endpoint", "f")], bytes + 1);
            let mut own = match process {
                "1" => Family::new("first", Kind::Gauge, "Of the first.").with(1),
                _ => Family::new("second", Kind::Gauge, "Of the second.").with(2),
            };
            sent.label("process", process);
            own.label("process", process);
            let mut out = Vec::new();
            [sent, own].encode(&mut out);
            out
        };
        let one = one_page(&[&page("1", 7), &page("2", 9), b"", b"nonsense\n"]);
        assert_eq!(
            String::from_utf8(one).unwrap(),
            r#"# HELP sent_total Bytes.
# TYPE sent_total counter
sent_total{process="1",endpoint="e"} 7
sent_total{process="1",endpoint="f"} 8
sent_total{process="2",endpoint="e"} 9
sent_total{process="2",endpoint="f"} 10
# HELP first Of the first.
# TYPE first gauge
first{process="1"} 1
# HELP second Of the second.
# TYPE second gauge
second{process="2"} 2
"#
        );
    }
}

//! What became of requests, of datagrams and of the deliveries of lines, as a report has it.

use serde::{Deserialize, Serialize};

use crate::load::measure::histogram::Summary;
use crate::load::plan::target::Located;

/// What a request's time consists of, from when it was meant to begin: the parts that it has add up to its latency. On
/// connections that stay, connecting is before all requests, and no part of any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Breakdown<T> {
    /// Open model: from when it was meant to begin until it was sent, or its connection dialled for. It waited for a
    /// free connection, or for the generator ("sent late").
    #[serde(default)] // an earlier result has none
    pub wait: T,
    /// From dialling to being connected, including the proof where the server sends a challenge.
    pub connect: T,
    /// From being connected (`conn`) or asking (`echo`) to the first byte of the answer; where a
    /// connection of `conn` asks several times, of its first.
    pub first_byte: T,
    /// From there to the last byte of the answer, or of the last of them.
    pub last_byte: T,
    /// From the last byte to the end of the connection; in `echo` of nothing.
    pub close: T,
}

impl<T> Breakdown<T> {
    /// The same of each part.
    pub fn map<U>(&self, of: impl Fn(&T) -> U) -> Breakdown<U> {
        Breakdown {
            wait: of(&self.wait),
            connect: of(&self.connect),
            first_byte: of(&self.first_byte),
            last_byte: of(&self.last_byte),
            close: of(&self.close),
        }
    }
}

/// Requests and answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// Begun while measuring.
    pub asked: u64,
    /// Whole and right answers that came while measuring, whenever they were asked for: the rate is of these.
    pub came: u64,
    /// Whole and right answers while measuring.
    pub answered: u64,
    /// Whole and right answers after the end: in the latencies, not in the rate.
    pub late: u64,
    /// Requests that no answer came to: their connection failed before, or they were never sent.
    pub unanswered: u64,
    /// Open model: of these, those that were never sent, since no connection was free within the timeout.
    #[serde(default)] // an earlier result has none
    pub unsent: u64,
}

/// How many answers came on each connection while measuring: that of one that is asked again at once says how slow the
/// server was to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerConnection {
    /// The fewest.
    pub least: u64,
    /// On half of them there were at most so many.
    pub median: u64,
    /// On 90 % of them there were at most so many.
    pub p90: u64,
    /// The most.
    pub most: u64,
    /// How many had less than half as many as that 90th percentile; none where that is too few to tell from chance.
    pub starved: u64,
}

impl PerConnection {
    /// Of so many answers on each; none without any connection.
    pub(crate) fn of(answers: &[u64]) -> Option<Self> {
        let mut answers = answers.to_vec();
        answers.sort_unstable();
        let at = |tenths: usize| answers[(answers.len() * tenths).div_ceil(10).max(1) - 1];
        let (least, most) = (*answers.first()?, *answers.last()?);
        let p90 = at(9);
        let starved = answers.iter().filter(|count| 2 * **count < p90).count();
        Some(Self {
            least,
            median: at(5),
            p90,
            most,
            starved: if p90 >= ANSWERS_MIN {
                starved as u64
            } else {
                0
            },
        })
    }
}

/// Half of so many is not what chance leaves of them: that would be five standard deviations.
const ANSWERS_MIN: u64 = 100;

/// Bytes a second while measuring, of messages and answers: without what TLS, TCP and IP add.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// To the server.
    pub sent: f64,
    /// From the server; in `fanout` to all members together.
    pub received: f64,
}

/// Responses of HTTP to requests that began while measuring, by the first digit of their status: those from 400 on are
/// refusals, and no answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statuses {
    /// 200 to 299.
    #[serde(rename = "2xx")]
    pub success: u64,
    /// 300 to 399.
    #[serde(rename = "3xx")]
    pub redirection: u64,
    /// 400 to 499.
    #[serde(rename = "4xx")]
    pub client_error: u64,
    /// 500 to 599.
    #[serde(rename = "5xx")]
    pub server_error: u64,
}

impl Statuses {
    /// Of counts by the first digit, from 1 on.
    pub(crate) fn of([_, success, redirection, client_error, server_error]: [u64; 5]) -> Self {
        Self {
            success,
            redirection,
            client_error,
            server_error,
        }
    }
}

/// Where the name of a server led.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The address that was asked: of several the first at which something listens, or a path.
    pub asked: String,
    /// All that the name has, in the order of the resolver; none of a path.
    pub all: Vec<String>,
}

impl Address {
    pub(crate) fn of(found: &Located) -> Self {
        Self {
            asked: found.address.to_string(),
            all: found.all.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What is known, at the end, of the connections that `hold` has held until then. None is what nobody could tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollCall {
    /// How many were connected: nothing that came on them had said otherwise.
    pub connected: usize,
    /// How many of these are established, as the kernel of this machine has it.
    pub established: Option<usize>,
    /// Where the server is on this machine, too: how many it has accepted.
    pub accepted: Option<usize>,
    /// Likewise: how many were in the queue of its listener.
    pub waiting: Option<usize>,
    /// Likewise: of how many its end was gone, without a word.
    pub gone: Option<usize>,
    /// How many the service answered, each asked with one message; none where it was not asked.
    pub answered: Option<usize>,
}

/// What became of lines and of their deliveries, one to each member: `expected` is `delivered` and `lost`
/// together.
///
/// Lines of the warm-up are included. Probes (lines sent before that, until all members receive them) are
/// not, but what went wrong with them is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Deliveries {
    /// Lines that were sent.
    pub lines: u64,
    /// One for each line and each member that was there when it was sent. After a member's connection failed,
    /// no more is expected of it: the failure is an error, the lines after it are not.
    pub expected: u64,
    /// Of these, those that came in time, every byte of them.
    pub delivered: u64,
    /// Of these, those that did not: not within the timeout, or the connection failed before.
    pub lost: u64,
    /// Deliveries after their time: lost before.
    pub late: u64,
    /// Lines that a member had received already.
    pub duplicates: u64,
    /// Lines that a member received after a later one.
    pub reordered: u64,
    /// Lines with a byte that was not sent, or without one that was.
    pub wrong: u64,
    /// Lines that the sender did not send: notices of the server.
    pub notices: u64,
    /// Members whose connection failed before the end.
    pub gone: u64,
    /// Lines that every member had, a second while measuring.
    pub lines_per_s: f64,
    /// From the beginning of a line until the first member had it, in microseconds; here and below of
    /// the lines that all members had.
    pub first_us: Summary,
    /// Until half of the members had it.
    pub median_us: Summary,
}

/// A member of a chat that lacks lines of those that count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LackingMember {
    /// Its number, from 1 on, in the order in which members were dialled for.
    pub member: usize,
    /// Its own address, as the server sees it if nothing is between; none over a Unix socket.
    pub address: Option<String>,
    /// How many lines it never received; of one that has gone, until then.
    pub lines: u64,
    /// Whether its connection failed before the end.
    pub is_gone: bool,
}

/// What became of datagrams, those of the warm-up included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatagramCounts {
    /// Requests that left.
    pub sent: u64,
    /// Requests that were not answered in time.
    pub lost: u64,
    /// Datagrams that the kernel dropped, since there was no room for them in our own receive buffer: an answer among them was
    /// sent and has arrived, and is lost here. None where the kernel does not tell.
    #[serde(default)] // an earlier result does not say
    pub dropped: Option<u64>,
    /// Bytes of that buffer, as the kernel counts them: more than what is in the datagrams.
    #[serde(default)] // an earlier result does not say
    pub buffer_bytes: u64,
    /// Bytes that hold all answers that can come at once: those to all that is in flight, in the open model those of 10 ms. The
    /// kernel gives no more than `net.core.rmem_max` lets it.
    #[serde(default)] // an earlier result does not say
    pub buffer_wanted_bytes: u64,
    /// Answers to what was answered already.
    pub duplicates: u64,
    /// Answers that came after the answer to a later request.
    pub reordered: u64,
    /// Answers to what had been given up as lost.
    pub late: u64,
    /// Answers to nothing that was asked, or with a wrong byte.
    pub wrong: u64,
    /// How often the kernel reported that nothing listens there.
    pub refused: u64,
    /// Whether requests carry a number; without, `duplicates` and `reordered` cannot be told.
    pub numbered: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_with_less_than_half_of_the_usual_are_counted() {
        assert_eq!(PerConnection::of(&[]), None);
        let starved = |answers: &[u64]| PerConnection::of(answers).unwrap().starved;
        assert_eq!(
            (starved(&[7]), starved(&[49, 100]), starved(&[50, 100])),
            (0, 1, 0)
        );
        // Too few to tell.
        assert_eq!(starved(&[0, 99]), 0);
        let half = [vec![3; 25], vec![1_000; 24], vec![5_000]].concat();
        let expected = PerConnection {
            least: 3,
            median: 3,
            p90: 1_000,
            most: 5_000,
            starved: 25,
        };
        assert_eq!(PerConnection::of(&half), Some(expected));
    }
}

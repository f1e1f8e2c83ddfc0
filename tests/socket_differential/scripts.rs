//! Random scripts: two or more sockets, and what can be done to them.

use onepoll::socket::*;
use serde_json::{Value, json};

/// SplitMix64: a script is its number and the seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()].clone()
    }
}

/// How many sockets a script may know.
const SOCKETS: u64 = 6;

/// One script.
pub(crate) fn script(dice: &mut Dice) -> Vec<Value> {
    let mut steps = Vec::new();
    if dice.percent(10) {
        let value = dice.pick(&[json!(0.01), json!(0), json!(0.005)]);
        steps.push(json!({"op": "setdefaulttimeout", "value": value}));
    }
    set_stage(dice, &mut steps);
    for _ in 0..10 + dice.below(30) {
        step(dice, &mut steps);
    }
    steps
}

/// Two ends that know each other, numbered 0 and 1; who listens is 2.
fn set_stage(dice: &mut Dice, steps: &mut Vec<Value>) {
    let (stream, datagram) = (SOCK_STREAM.number(), SOCK_DGRAM.number());
    let small = dice.percent(40);
    let shrink = |steps: &mut Vec<Value>, s: u64| {
        if small {
            for option in [SO_SNDBUF, SO_RCVBUF] {
                steps.push(json!({"op": "setsockopt", "s": s, "level": SOL_SOCKET, "option": option, "value": 2048}));
            }
        }
    };
    let kind = dice.below(10);
    match kind {
        0 | 1 => {
            let kind = if kind == 0 { stream } else { datagram };
            steps.push(json!({"op": "socketpair", "family": 1, "kind": kind, "into": 0}));
            shrink(steps, 0);
            shrink(steps, 1);
        }
        2..=5 => {
            let (family, to) = match kind {
                2 | 3 => (2, json!({"host": "127.0.0.1", "port": 0})),
                4 => (10, json!({"host": "::1", "port": 0})),
                _ => (1, unix_name(dice, 2)),
            };
            steps.push(json!({"op": "socket", "family": family, "kind": stream, "into": 2}));
            shrink(steps, 2);
            steps.push(json!({"op": "bind", "s": 2, "to": to}));
            let backlog = dice.pick(&[0, 1, 5, 128]);
            steps.push(json!({"op": "listen", "s": 2, "n": backlog}));
            steps.push(json!({"op": "socket", "family": family, "kind": stream, "into": 0}));
            shrink(steps, 0);
            steps.push(json!({"op": "connect", "s": 0, "to": {"of": 2}, "safe": true}));
            steps.push(json!({"op": "accept", "s": 2, "into": 1}));
        }
        6..=8 => {
            let family = dice.pick(&[2, 2, 10, 1]);
            for s in 0..2 {
                steps.push(json!({"op": "socket", "family": family, "kind": datagram, "into": s}));
                shrink(steps, s);
                let to = match family {
                    2 => json!({"host": "127.0.0.1", "port": 0}),
                    10 => json!({"host": "::1", "port": 0}),
                    _ => unix_name(dice, s),
                };
                steps.push(json!({"op": "bind", "s": s, "to": to}));
            }
            if dice.percent(60) {
                steps.push(json!({"op": "connect", "s": 0, "to": {"of": 1}, "safe": true}));
            }
            if dice.percent(40) {
                steps.push(json!({"op": "connect", "s": 1, "to": {"of": 0}, "safe": true}));
            }
        }
        _ => {
            for s in 0..2 {
                let family = dice.pick(&[1, 2, 10]);
                let kind = dice.pick(&[stream, datagram, stream | SOCK_NONBLOCK.number()]);
                steps.push(json!({"op": "socket", "family": family, "kind": kind, "into": s}));
            }
        }
    }
}

/// In the file system, or abstract.
fn unix_name(dice: &mut Dice, number: u64) -> Value {
    let lead = dice.pick(&["", "\0"]);
    json!({"unix": format!("{lead}@{number}")})
}

fn step(dice: &mut Dice, steps: &mut Vec<Value>) {
    let (s, flags) = (who(dice), flags(dice));
    let n = dice.pick(&[0, 1, 2, 5, 10, 100, 1000, 5000]);
    let seed = dice.below(256);
    let helper = dice.percent(6);
    let new = json!(match dice.below(100) {
        0..12 => with_help(
            dice,
            helper,
            json!({"op": "recv", "s": s, "n": n, "flags": flags})
        ),
        12..24 => json!({"op": "send", "s": s, "n": n.min(500), "seed": seed, "flags": 0}),
        24..28 => json!({"op": "sendall", "s": s, "n": n.min(500), "seed": seed}),
        28..31 => with_help(
            dice,
            helper,
            json!({"op": "recv_into", "s": s, "n": n, "flags": flags})
        ),
        31..35 => with_help(
            dice,
            helper,
            json!({"op": "recvfrom", "s": s, "n": n, "flags": flags})
        ),
        35..37 => json!({"op": "recvfrom_into", "s": s, "n": n, "flags": flags}),
        37..41 => json!({"op": "sendto", "s": s, "n": n, "seed": seed, "to": to(dice)}),
        41..49 => json!({"op": "settimeout", "s": s, "value": timeout(dice)}),
        49..53 => json!({"op": "setblocking", "s": s, "value": dice.percent(50)}),
        53 => json!({"op": "mode", "s": s}),
        54..57 => json!({"op": "shutdown", "s": s, "n": dice.pick(&[0, 1, 1, 1, 2, 3])}),
        57..59 => json!({"op": "close", "s": s}),
        59 => dice.pick(&[
            json!({"op": "detach", "s": s}),
            json!({"op": "adopt", "s": s, "into": s}),
            json!({"op": "adopt", "s": s, "into": 5}),
            json!({"op": "fileno", "s": s}),
        ]),
        60 => json!({"op": "dup", "s": s, "into": dice.below(SOCKETS)}),
        61 => json!({"op": "getsockname", "s": s}),
        62 => json!({"op": "getpeername", "s": s}),
        63..66 => {
            let (level, option, size) = option(dice);
            let n = if dice.percent(70) { 0 } else { size };
            json!({"op": "getsockopt", "s": s, "level": level, "option": option, "n": n})
        }
        66..68 => {
            let (level, option, size) = option(dice);
            let value = match size {
                8 => dice.pick(&[
                    json!("0100000000000000"),
                    json!("0100000001000000"),
                    json!("00"),
                    json!(1),
                ]),
                _ => dice.pick(&[json!(0), json!(1), json!(4096), json!("01000000")]),
            };
            json!({"op": "setsockopt", "s": s, "level": level, "option": option, "value": value})
        }
        68..72 => {
            let s = dice.pick(&[2, 2, 2, s]);
            let accept = json!({"op": "accept", "s": s, "into": 3 + dice.below(3)});
            let help = json!({"op": "connect", "s": s, "after_ms": 6});
            if helper {
                let mut accept = accept;
                accept["helper"] = help;
                accept
            } else {
                accept
            }
        }
        72..76 => json!({"op": "connect_ex", "s": s, "to": to(dice)}),
        76..78 => json!({"op": "connect", "s": s, "to": to(dice)}),
        78 => json!({"op": "bind", "s": s, "to": to(dice)}),
        79 => json!({"op": "listen", "s": s, "n": dice.pick(&[0, 1, 10])}),
        80..82 => {
            let family = dice.pick(&[1, 2, 10]);
            let kind = dice.pick(&[1, 2, 1 | 0o4000]);
            json!({"op": "socket", "family": family, "kind": kind, "into": 3 + dice.below(3)})
        }
        82 => {
            // Closing now resets the connection.
            steps.push(json!({"op": "setsockopt", "s": s, "level": SOL_SOCKET, "option": SO_LINGER, "value": "0100000000000000"}));
            json!({"op": "close", "s": s})
        }
        83 => json!({"op": "fill", "s": s}),
        84 => json!({"op": "drain", "s": s}),
        85 => {
            // More than fits, if the mode does not wait for ever.
            steps.push(json!({"op": "settimeout", "s": s, "value": dice.pick(&[0.0, 0.01])}));
            json!({"op": "sendall", "s": s, "n": 20_000_000, "seed": seed})
        }
        86..89 => {
            let mode = dice.pick(&["rb", "wb", "rwb", "x"]);
            let buffering = dice.pick(&[json!(null), json!(0), json!(16)]);
            // Python makes no file out of a closed socket's nothing, but does out of the number -1.
            json!({"op": "makefile", "s": s, "f": dice.below(3), "mode": mode, "buffering": buffering})
        }
        89..92 => {
            json!({"op": "file_read", "f": dice.below(3), "n": dice.pick(&[-1, 0, 1, 5, 20, 100])})
        }
        92..94 => json!({"op": "file_readline", "f": dice.below(3)}),
        94..96 => {
            json!({"op": "file_write", "f": dice.below(3), "n": dice.pick(&[0, 1, 10, 20, 100]), "seed": seed})
        }
        96 => json!({"op": "file_flush", "f": dice.below(3)}),
        97 => json!({"op": "file_close", "f": dice.below(3)}),
        98 => {
            json!({"op": "setdefaulttimeout", "value": dice.pick(&[json!(null), json!(0.01), json!(-1)])})
        }
        _ => json!({"op": "getdefaulttimeout"}),
    });
    steps.push(new);
}

/// Mostly the two ends.
fn who(dice: &mut Dice) -> u64 {
    dice.pick(&[0, 0, 0, 0, 1, 1, 1, 1, 2, 3, 4, 5])
}

fn flags(dice: &mut Dice) -> u32 {
    dice.pick(&[0, 0, 0, 0, 0, 0, MSG_PEEK, MSG_DONTWAIT])
}

fn timeout(dice: &mut Dice) -> Value {
    dice.pick(&[
        json!(null),
        json!(null),
        json!(0),
        json!(0.0),
        json!(0.005),
        json!(0.01),
        json!(0.02),
        json!(0.000_000_001),
        json!(-1),
    ])
}

fn to(dice: &mut Dice) -> Value {
    let of = json!({"of": dice.pick(&[0, 1, 2, 3])});
    let name = unix_name(dice, 7);
    dice.pick(&[
        of.clone(),
        of.clone(),
        of,
        json!({"host": "127.0.0.1", "port": 0}),
        json!({"host": "::1", "port": 0}),
        name,
        json!({"unix": ""}),
    ])
}

/// Level, number, and size of its structure.
fn option(dice: &mut Dice) -> (i32, i32, u64) {
    dice.pick(&[
        (SOL_SOCKET, SO_REUSEADDR, 4),
        (SOL_SOCKET, SO_REUSEPORT, 4),
        (SOL_SOCKET, SO_KEEPALIVE, 4),
        (SOL_SOCKET, SO_BROADCAST, 4),
        (SOL_SOCKET, SO_OOBINLINE, 4),
        (SOL_SOCKET, SO_SNDBUF, 4),
        (SOL_SOCKET, SO_RCVBUF, 4),
        (SOL_SOCKET, SO_LINGER, 8),
        (SOL_SOCKET, SO_TYPE, 4),
        (SOL_SOCKET, SO_ERROR, 4),
        (SOL_SOCKET, SO_ERROR, 4),
        (SOL_SOCKET, SO_ACCEPTCONN, 4),
        (SOL_SOCKET, SO_PROTOCOL, 4),
        (SOL_SOCKET, SO_DOMAIN, 4),
        (IPPROTO_TCP, TCP_NODELAY, 4),
        (IPPROTO_TCP, TCP_CORK, 4),
        (IPPROTO_IP, IP_TTL, 4),
        (IPPROTO_IPV6, IPV6_V6ONLY, 4),
    ])
}

/// In another thread somebody will wake who waits.
fn with_help(dice: &mut Dice, help: bool, mut step: Value) -> Value {
    if help {
        let other = 1 - step["s"].as_u64().unwrap().min(1);
        let op = dice.pick(&["send", "send", "shutdown", "recv"]);
        step["helper"] = json!({"op": op, "s": other, "n": 3, "after_ms": 6});
    }
    step
}

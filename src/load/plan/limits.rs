//! Every bound of a plan, with its reason.

/// Sixteen times as many as a local address has ports: with that many sources.
pub const CONNECTIONS_MAX: usize = 1 << 20;
/// A message that fits twice into what the kernel buffers would measure memory, not a server.
pub const SIZE_BYTES_MAX: usize = 16 << 20;
/// All that one connection may have in flight: it is one slice in memory.
pub const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;
/// The start times of all that is in flight, some 1 GiB at the most.
pub const IN_FLIGHT_MAX: usize = 1 << 26;
/// The ring of start times of one connection.
pub const PIPELINE_MAX: usize = 1 << 16;
/// What one connection can ask in about an hour.
pub const REQUESTS_MAX: usize = 1_000_000_000;

/// Ten times what one thread can send.
pub const RATE_MAX: f64 = 1e7;
/// All of `127.0.x.y`, good for far more connections to one destination than there are descriptors; a
/// range that was mistyped is not to fill memory.
pub const SOURCES_MAX: usize = 1 << 16;
/// Datagrams in flight: half of the numbers that are remembered, so that a late answer is recognised.
pub const DATAGRAMS_MAX: usize = 1 << 15;
/// The largest payload of a datagram over IPv4 (RFC 768: 16 bits of length, less 28 bytes of headers).
pub const DATAGRAM_BYTES_MAX: usize = 65_507;
/// Lines of a chat in flight, in either model.
pub const LINES_MAX: usize = 1 << 16;
/// Eight letters of five bits: a number that an upper-casing server leaves alone.
pub const NUMBER_BYTES: usize = 8;

/// The longest greeting of a server, where a delimiter ends it: more is none.
pub const GREETING_BYTES_MAX: usize = 64 << 10;

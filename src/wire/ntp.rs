//! Packets of the Network Time Protocol (U7; RFC 5905, section 7.3).
//!
//! Knows the header of versions 1 to 4, which is the same in all of them. Does not know extension
//! fields and authenticators, which may follow it, nor what time it is.

use std::time::SystemTime;

use super::since_1900::Since1900;
use super::{Decode, Encode, WireError};

/// The length of an NTP header in bytes.
pub const NTP_BYTES: usize = 48;

/// The versions whose header this is.
const VERSIONS: std::ops::RangeInclusive<u8> = 1..=4;

/// The header of an NTP packet, with nothing behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NtpPacket {
    /// What is announced about a leap second: 0 nothing, 1 one more, 2 one less, 3 the clock is
    /// not synchronised.
    pub leap: u8,
    /// 1 to 4.
    pub version: u8,
    /// [`CLIENT`](NtpPacket::CLIENT), [`SERVER`](NtpPacket::SERVER), or another of 3 bits.
    pub mode: u8,
    /// How many servers away the reference clock is; 0: unspecified, 16: not synchronised.
    pub stratum: u8,
    /// The longest time between two requests, as a power of 2 in seconds.
    pub poll: i8,
    /// How exactly the sender reads its clock, as a power of 2 in seconds.
    pub precision: i8,
    /// The time to the reference clock and back, in units of 2⁻¹⁶ s.
    pub root_delay: u32,
    /// How wrong the sender's clock may be, in units of 2⁻¹⁶ s.
    pub root_dispersion: u32,
    /// Which clock the sender goes by: four ASCII characters at stratum 1.
    pub reference_id: [u8; 4],
    /// When the sender's clock was last set.
    pub reference: NtpTime,
    /// In an answer, what the request had for `transmit`: the client knows its request by it.
    pub origin: NtpTime,
    /// When the request came.
    pub receive: NtpTime,
    /// When this packet left.
    pub transmit: NtpTime,
}

impl NtpPacket {
    /// The mode of a request.
    pub const CLIENT: u8 = 3;
    /// The mode of an answer.
    pub const SERVER: u8 = 4;
}

/// A moment: seconds since 1900-01-01 00:00 UTC modulo 2³² in the upper half, their fraction in
/// units of 2⁻³² s in the lower. 0 means "unknown".
///
/// After 2036-02-07 the seconds begin again at 0 (era 1); differences stay right as long as they
/// are below 68 years, since they are computed modulo 2³² too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// The moment `wall`, to 2⁻³² s and never later than it.
    pub fn at(wall: SystemTime) -> NtpTime {
        let (Since1900(seconds), nanos) = Since1900::with_nanos(wall);
        let fraction = (u64::from(nanos) << 32) / 1_000_000_000;
        NtpTime(u64::from(seconds) << 32 | fraction)
    }

    /// A second before this moment, in the era before it if it must be.
    pub fn a_second_before(self) -> NtpTime {
        NtpTime(self.0.wrapping_sub(1 << 32))
    }
}

/// Takes the header off the front of a datagram; what follows it is left.
///
/// # Errors
///
/// [`WireError::Malformed`] for a version other than 1 to 4, whose header may be another.
///
/// ```
/// use onepoll::wire::{Decode, Ntp, NtpPacket};
///
/// let request = [&[0x23_u8][..], &[0; 47]].concat();
/// let (packet, taken) = Ntp.decode(&request)?.expect("48 bytes are a packet");
/// assert_eq!((packet.version, packet.mode, taken), (4, NtpPacket::CLIENT, 48));
/// # Ok::<(), onepoll::wire::WireError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Ntp;

impl Decode for Ntp {
    type Frame<'b> = NtpPacket;

    fn decode(&mut self, unread: &[u8]) -> Result<Option<(NtpPacket, usize)>, WireError> {
        let Some(&first) = unread.first() else {
            return Ok(None);
        };
        let version = first >> 3 & 7;
        if !VERSIONS.contains(&version) {
            return Err(WireError::Malformed {
                what: "NTP packet",
                detail: format!("version {version} is not one of 1 to 4"),
            });
        }
        let Some(header) = unread.first_chunk::<NTP_BYTES>() else {
            return Ok(None);
        };
        let word = |at: usize| -> [u8; 4] { std::array::from_fn(|n| header[at + n]) };
        let time = |at: usize| NtpTime(u64::from_be_bytes(std::array::from_fn(|n| header[at + n])));
        let packet = NtpPacket {
            leap: first >> 6,
            version,
            mode: first & 7,
            stratum: header[1],
            poll: header[2].cast_signed(),
            precision: header[3].cast_signed(),
            root_delay: u32::from_be_bytes(word(4)),
            root_dispersion: u32::from_be_bytes(word(8)),
            reference_id: word(12),
            reference: time(16),
            origin: time(24),
            receive: time(32),
            transmit: time(40),
        };
        Ok(Some((packet, NTP_BYTES)))
    }
}

impl Encode for NtpPacket {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push((self.leap & 3) << 6 | (self.version & 7) << 3 | self.mode & 7);
        out.push(self.stratum);
        out.push(self.poll.cast_unsigned());
        out.push(self.precision.cast_unsigned());
        out.extend_from_slice(&self.root_delay.to_be_bytes());
        out.extend_from_slice(&self.root_dispersion.to_be_bytes());
        out.extend_from_slice(&self.reference_id);
        for time in [self.reference, self.origin, self.receive, self.transmit] {
            out.extend_from_slice(&time.0.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    /// An answer, as a server of stratum 2 gave it; each field has bytes of its own.
    const ANSWER: [u8; NTP_BYTES] = [
        0x5c, 2, 6, 0xe8, // leap 1, version 3, mode 4; stratum, poll, precision
        0x00, 0x00, 0x01, 0x02, 0x00, 0x03, 0x04, 0x05, b'G', b'P', b'S', 0, //
        0xee, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, // reference
        0xee, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, // origin
        0xee, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, // receive
        0xee, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, // transmit
    ];

    fn packet() -> NtpPacket {
        NtpPacket {
            leap: 1,
            version: 3,
            mode: NtpPacket::SERVER,
            stratum: 2,
            poll: 6,
            precision: -24,
            root_delay: 0x0102,
            root_dispersion: 0x0003_0405,
            reference_id: *b"GPS\0",
            reference: NtpTime(0xee10_1112_1314_1516),
            origin: NtpTime(0xee20_2122_2324_2526),
            receive: NtpTime(0xee30_3132_3334_3536),
            transmit: NtpTime(0xee40_4142_4344_4546),
        }
    }

    fn encoded(packet: &NtpPacket) -> Vec<u8> {
        let mut out = b"before".to_vec();
        packet.encode(&mut out);
        assert!(out.starts_with(b"before"), "encode only appends");
        out.split_off(6)
    }

    #[test]
    fn u7_whole_and_back() {
        assert_eq!(Ntp.decode(&ANSWER), Ok(Some((packet(), NTP_BYTES))));
        assert_eq!(encoded(&packet()), ANSWER);
    }

    #[test]
    fn u7_truncated_is_not_yet_and_at_the_end_an_error() {
        for have in 0..NTP_BYTES {
            assert_eq!(Ntp.decode(&ANSWER[..have]), Ok(None), "{have} bytes");
            let end = match have {
                0 => Ok(None),
                have => Err(WireError::Truncated { have }),
            };
            assert_eq!(Ntp.decode_eof(&ANSWER[..have]), end, "{have} bytes");
        }
    }

    #[test]
    fn u7_a_tail_is_left_alone() {
        for tail in [&b"x"[..], &[0xff; 20], &[0; 1000]] {
            let with_tail = [&ANSWER[..], tail].concat();
            assert_eq!(Ntp.decode(&with_tail), Ok(Some((packet(), NTP_BYTES))));
        }
    }

    #[test]
    fn u7_versions_1_to_4_and_no_other() {
        for version in 0..=7_u8 {
            let mut bytes = ANSWER;
            bytes[0] = version << 3 | 3;
            for bytes in [&bytes[..], &bytes[..1]] {
                let is_known = Ntp.decode(bytes).is_ok();
                assert_eq!(is_known, (1..=4).contains(&version), "version {version}");
            }
        }
    }

    #[test]
    fn u7_a_moment_is_seconds_since_1900_and_their_fraction() {
        let unix = |secs, nanos| NtpTime::at(UNIX_EPOCH + Duration::new(secs, nanos)).0;
        assert_eq!(unix(0, 0), 2_208_988_800 << 32);
        assert_eq!(unix(1, 500_000_000), 2_208_988_801 << 32 | 1 << 31);
        assert_eq!(unix(0, 999_999_999) & 0xffff_ffff, 0xffff_fffb);
    }

    #[test]
    fn u7_after_2036_the_seconds_go_on_from_0_and_differences_stay_right() {
        let last = NtpTime::at(UNIX_EPOCH + Duration::new(2_085_978_495, 750_000_000));
        let next = NtpTime::at(UNIX_EPOCH + Duration::new(2_085_978_496, 250_000_000));
        assert_eq!((last.0, next.0), (0xffff_ffff_c000_0000, 0x4000_0000));
        assert_eq!(next.0.wrapping_sub(last.0), 1 << 31, "half a second");
    }

    proptest! {
        #[test]
        fn u7_what_is_taken_is_written_back_bit_by_bit(bytes in any::<[u8; 32]>(), first in any::<u8>()) {
            let mut header = [0; NTP_BYTES];
            header[0] = first;
            header[1..33].copy_from_slice(&bytes);
            header[40..].copy_from_slice(&bytes[..8]);
            if let Ok(packet) = Ntp.decode(&header) {
                let (packet, taken) = packet.expect("it is whole");
                prop_assert_eq!(taken, NTP_BYTES);
                prop_assert_eq!(encoded(&packet), header);
            }
        }
    }
}

use serde::{Deserialize, Serialize};

use super::{Checked, DatagramTurn, Datagrams, OverDatagrams, Row};
use crate::config::{Transport, Trouble};
use crate::wire::{Decode, Ntp, NtpPacket, NtpTime};

/// Its row in the table.
pub(super) const ROW: Row = Row {
    name: "sntp",
    summary: "the time for NTP clients (RFC 5905)",
    usual: Transport::Udp,
    stream: None,
    datagrams: Some(&OverDatagrams {
        build: |options: &Options, _| Box::new(Sntp::new(options)),
    }),
};

/// Options of `sntp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Options {
    /// How many servers away the reference clock is, 1 to 15. A clock that nothing corrects is a
    /// bad one: clients prefer any server with less than 10.
    stratum: u16,
}

impl Default for Options {
    fn default() -> Options {
        Options { stratum: 10 }
    }
}

impl Checked for Options {
    fn check(&self) -> Result<(), Trouble> {
        if (1..=15).contains(&self.stratum) {
            return Ok(());
        }
        Err(Trouble::with(
            "stratum",
            format!(
                "{} is not from 1 (a reference clock) to 15 (16 means that it cannot be trusted)",
                self.stratum
            ),
        ))
    }
}

/// The port of NTP, from which servers ask as well: ntpd does.
const NTP_PORT: u16 = 123;

/// 2⁻¹⁶ s, 15 µs: the clock is read once a turn of the loop, not once a packet.
const PRECISION: i8 = -16;

/// 10 ms, in units of 2⁻¹⁶ s. A computer's own clock has no bound to how wrong it is; a client that
/// compares servers is told that this one is no good one, and not that it is useless.
const ROOT_DISPERSION: u32 = 655;

/// The clock of this machine, corrected by nothing that is known here (RFC 5905, figure 12).
const LOCAL_CLOCK: [u8; 4] = *b"LOCL";

/// The time to a fraction of a second, for clients of NTP (U7; RFC 5905, the server's side).
///
/// A request is a packet of mode 3 (client), version 1 to 4, of 48 bytes or more; what follows the
/// 48, extension fields and authenticators, is ignored. Its answer has 48 bytes, mode 4 and the
/// request's version. Nothing else is answered; so two servers can never set each other talking,
/// and a client may ask from port 123, which no other service answers (fault E8).
///
/// The answer says whose clock it is: the machine's own (`LOCL`), at the stratum that is configured.
/// The time the request came and the time the answer leaves are the same, since the clock is read
/// once a turn; what lies between is below a millisecond unless the loop is busy.
#[derive(Debug)]
struct Sntp {
    stratum: u8,
}

impl Sntp {
    fn new(options: &Options) -> Sntp {
        Sntp {
            stratum: u8::try_from(options.stratum).expect("it was checked to be 15 at most"),
        }
    }
}

impl Datagrams for Sntp {
    fn datagram(&mut self, t: &mut DatagramTurn<'_>, bytes: &[u8]) {
        let Ok(Some((request, _))) = Ntp.decode(bytes) else {
            return;
        };
        if request.mode != NtpPacket::CLIENT {
            return;
        }
        let now = NtpTime::at(t.wall);
        t.answer(&NtpPacket {
            leap: 0,
            version: request.version,
            mode: NtpPacket::SERVER,
            stratum: self.stratum,
            poll: request.poll,
            precision: PRECISION,
            root_delay: 0,
            root_dispersion: ROOT_DISPERSION,
            reference_id: LOCAL_CLOCK,
            reference: now.a_second_before(),
            origin: request.transmit,
            receive: now,
            transmit: now,
        });
    }

    fn may_answer_port(&self, port: u16) -> bool {
        port == NTP_PORT
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;
    use crate::turn::Moment;
    use crate::wire::{Encode, NTP_BYTES};

    /// 2024-02-29 07:05:09.25 UTC, as Unix and as NTP count.
    const WALL: Duration = Duration::from_millis(1_709_190_309_250);
    const NOW: u64 = (1_709_190_309 + 2_208_988_800) << 32 | 1 << 30;

    fn request(version: u8, mode: u8) -> NtpPacket {
        NtpPacket {
            leap: 3,
            version,
            mode,
            stratum: 0,
            poll: 6,
            precision: 32,
            root_delay: 1 << 16,
            root_dispersion: 1 << 16,
            reference_id: *b"INIT",
            reference: NtpTime(1),
            origin: NtpTime(2),
            receive: NtpTime(3),
            transmit: NtpTime(0x0123_4567_89ab_cdef),
        }
    }

    fn encoded(packet: &NtpPacket) -> Vec<u8> {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        bytes
    }

    fn answer_at(wall: SystemTime, asked: &[u8]) -> Option<Vec<u8>> {
        let mut out = b"left over".to_vec();
        let from = "127.0.0.1:5000".parse().unwrap();
        let mut turn = DatagramTurn::new(Moment::START, wall, from, &mut out);
        Sntp::new(&Options::default()).datagram(&mut turn, asked);
        turn.into_answer().map(<[u8]>::to_vec)
    }

    fn answer(asked: &[u8]) -> Option<Vec<u8>> {
        answer_at(UNIX_EPOCH + WALL, asked)
    }

    #[test]
    fn u7_a_request_of_each_version_is_answered_in_its_own() {
        for version in 1..=4 {
            let told = answer(&encoded(&request(version, 3))).unwrap();
            let expected = NtpPacket {
                leap: 0,
                version,
                mode: 4,
                stratum: 10,
                poll: 6,
                precision: -16,
                root_delay: 0,
                root_dispersion: 655,
                reference_id: *b"LOCL",
                reference: NtpTime(NOW - (1 << 32)),
                origin: NtpTime(0x0123_4567_89ab_cdef),
                receive: NtpTime(NOW),
                transmit: NtpTime(NOW),
            };
            assert_eq!(Ntp.decode(&told), Ok(Some((expected, NTP_BYTES))));
        }
    }

    #[test]
    fn u7_fault_e5_what_follows_the_header_makes_no_answer_longer() {
        let asked = encoded(&request(4, 3));
        for tail in [&b"x"[..], &[0xff; 20], &[0; 1000]] {
            assert_eq!(answer(&[&asked[..], tail].concat()), answer(&asked));
        }
        assert_eq!(answer(&asked).map(|told| told.len()), Some(asked.len()));
    }

    #[test]
    fn u7_fault_e8_only_a_client_is_answered() {
        for mode in (0..=7).filter(|&mode| mode != 3) {
            assert_eq!(answer(&encoded(&request(4, mode))), None, "mode {mode}");
        }
        let answered = answer(&encoded(&request(4, 3))).unwrap();
        assert_eq!(answer(&answered), None, "an answer is never answered");
    }

    #[test]
    fn u7_no_packet_has_no_answer() {
        let asked = encoded(&request(4, 3));
        for have in 0..NTP_BYTES {
            assert_eq!(answer(&asked[..have]), None, "{have} bytes");
        }
        for version in [0, 5, 6, 7] {
            assert_eq!(answer(&encoded(&request(version, 3))), None);
        }
    }

    #[test]
    fn u7_a_stratum_that_clients_would_not_take_is_refused() {
        for (stratum, is_right) in [(0, false), (1, true), (15, true), (16, false), (266, false)] {
            assert_eq!(Options { stratum }.check().is_ok(), is_right, "{stratum}");
        }
    }

    #[test]
    fn u7_after_2036_the_answer_is_of_the_next_era() {
        let wall = UNIX_EPOCH + Duration::new(2_085_978_496, 500_000_000);
        let told = answer_at(wall, &encoded(&request(4, 3))).unwrap();
        let (packet, _) = Ntp.decode(&told).unwrap().unwrap();
        assert_eq!(packet.transmit, NtpTime(0x8000_0000));
        assert_eq!(packet.reference, NtpTime(0xffff_ffff_8000_0000));
    }

    #[test]
    fn u7_fault_e8_port_123_may_ask_and_no_other_below_1024() {
        let sntp = Sntp::new(&Options::default());
        assert!(
            (0..1024)
                .filter(|&port| sntp.may_answer_port(port))
                .eq([123])
        );
    }
}

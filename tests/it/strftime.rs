//! U2: what we answer against what CPython prints, and what no format may do.
//!
//! The comparison needs `python3` on Linux with glibc. Without it those tests print why and pass,
//! unless `ONEPOLL_TEST_REQUIRE_ALL=1`. Random formats come from a seed that is printed;
//! `ONEPOLL_TEST_SEED=n` repeats it.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::BuildHasher;
use std::process::Command;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned, civil};
use onepoll::wire::{STRFTIME_BYTES_MAX, StrftimeError, strftime};

use crate::support::program::{run, skipped};

/// Zones with daylight saving on either side of the year, odd offsets, old local mean times, and
/// rules without a name.
const ZONES: &[&str] = &[
    "UTC",
    "Europe/Berlin",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Africa/Monrovia",
    "Pacific/Apia",
    "EST5EDT,M3.2.0,M11.1.0",
    "<+0330>-3:30",
];

const DIRECTIVES: &str = "aAbBcCdDeEfFgGhHiIjJkKlLmMnNoOpPqQrRsStTuUvVwWxXyYzZ%+.:,!é你";

#[test]
fn u2_every_directive_flag_and_modifier_is_cpythons() {
    let mut formats = Vec::new();
    for prefix in [
        "", "E", "O", "_", "-", "0", "^", "#", "_E", "^O", "#E", "^#", "-0_", "0-", "EO",
    ] {
        for directive in DIRECTIVES.chars() {
            formats.push(format!("%{prefix}{directive}"));
        }
        formats.push(format!("%{prefix}"));
    }
    // One format with many conversions costs one line of the script and no more.
    let formats: Vec<String> = formats
        .chunks(12)
        .map(|some| some.join("|"))
        .chain(["%".into(), "100%".into(), "%Y-%m-%d %x".into()])
        .collect();
    for zone in ZONES {
        let mut instants = instants();
        if is_rule(zone) {
            // glibc applies a rule without a name from 1970 on, jiff at all times.
            instants.retain(|&at| at >= 0);
        }
        // Turns of years are the same arithmetic in every zone: all of them in one, some in others.
        let step = if *zone == "Europe/Berlin" { 1 } else { 7 };
        let instants: Vec<i64> = instants.into_iter().step_by(step).collect();
        agrees_with_cpython(zone, &across(&instants, &formats));
    }
}

#[test]
fn u2_random_formats_are_cpythons() {
    let seed = match std::env::var("ONEPOLL_TEST_SEED") {
        Ok(seed) => seed.parse().expect("ONEPOLL_TEST_SEED is a number"),
        Err(_) => RandomState::new().hash_one("strftime"),
    };
    println!("ONEPOLL_TEST_SEED={seed}");
    let mut random = SplitMix(seed);
    let instants = instants();
    for zone in ["Europe/Berlin", "America/St_Johns"] {
        let asked: Vec<(i64, String)> = (0..5_000)
            .map(|_| (random.one_of(&instants), random_format(&mut random)))
            .collect();
        agrees_with_cpython(zone, &asked);
    }
}

#[test]
fn u2_an_empty_format_is_the_date_twice() {
    assert_eq!(answer(b""), Ok("2024-02-29 02/29/24".into()));
}

#[test]
fn u2_numbers_before_the_common_era_do_not_panic() {
    let zoned = civil::date(-9999, 1, 1)
        .at(0, 0, 0, 0)
        .to_zoned(TimeZone::UTC)
        .or_else(|_| Timestamp::MIN.in_tz("UTC"))
        .unwrap();
    let mut out = Vec::new();
    strftime(b"%C %y %Y %G %g %V %U %W %j %s %c", &zoned, &mut out).unwrap();
    assert!(out.starts_with(b"-100 01 -9999 "));
}

#[test]
fn u2_a_second_that_began_before_the_epoch_is_rounded_down() {
    for (nanoseconds, second) in [
        (-1_500_000_000, "-2"),
        (-1_000_000_000, "-1"),
        (-1, "-1"),
        (0, "0"),
        (999_999_999, "0"),
    ] {
        let at = Timestamp::from_nanosecond(nanoseconds).unwrap();
        let mut out = Vec::new();
        strftime(b"%s", &at.to_zoned(TimeZone::UTC), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), second, "{nanoseconds}");
    }
}

#[test]
fn fault_e6_a_width_is_answered_as_literal_text() {
    for format in [
        "%1536Y",
        "%9d",
        "%010Y",
        "%_5e",
        "%^5a",
        "%-1E%",
        "%5%d",
        "%5",
        "%5E",
        "%99999999999999999999c",
        "%5é",
    ] {
        assert_eq!(answer(format.as_bytes()), Ok(format.into()));
    }
    assert_eq!(answer(b"%5d%d %%5d"), Ok("%5d29 %5d".into()));
}

#[test]
fn fault_e6_no_conversion_grows_more_than_twelve_times() {
    let mut most = (0, String::new());
    for at in instants().into_iter().filter(|&at| at > -2_000_000_000) {
        for zone in ZONES {
            let zoned = zoned(at, zone);
            for directive in DIRECTIVES.chars() {
                let format = format!("%{directive}");
                let mut out = Vec::new();
                strftime(format.as_bytes(), &zoned, &mut out).unwrap();
                most = most.max((out.len().div_ceil(format.len()), format));
            }
        }
    }
    assert_eq!(most, (12, "%c".into()));
}

#[test]
fn fault_e6_an_answer_is_at_most_512_bytes_and_keeps_what_was_there() {
    assert_eq!(STRFTIME_BYTES_MAX, 512);
    assert_eq!(answer("x".repeat(512).as_bytes()).unwrap().len(), 512);
    assert_eq!(answer("%c".repeat(21).as_bytes()).unwrap().len(), 21 * 24);
    for format in [
        "x".repeat(513),
        "%c".repeat(22),
        "%%".repeat(513),
        "%".repeat(65_507),
    ] {
        let mut out = vec![b'!'; 600];
        let written = strftime(format.as_bytes(), &leap_day(), &mut out);
        assert_eq!(written, Err(StrftimeError::TooLong));
        assert_eq!(out, [b'!'; 600]);
    }
    // The limit is the answer's, not that of what it is appended to.
    let mut out = vec![b'!'; 600];
    assert_eq!(strftime(b"%Y", &leap_day(), &mut out), Ok(()));
    assert_eq!(out[600..], *b"2024");
}

#[test]
fn fault_e7_malformed_formats_stay_or_are_an_error_text() {
    for format in [
        "%", "%E", "%Q", "%.2f", "%-", "100%", "% d", "%+", "%é", "%你好",
    ] {
        assert_eq!(answer(format.as_bytes()), Ok(format.into()));
    }
    assert_eq!(answer(b"%#z"), Ok("+0000".into()));
    assert_eq!(answer(b"a\0b"), Err(StrftimeError::Nul));
    assert_eq!(answer(b"%\xff"), Err(StrftimeError::NotUtf8));
    assert_eq!(answer(b"%Y \xe4\xbd"), Err(StrftimeError::NotUtf8));
    for error in [
        StrftimeError::Nul,
        StrftimeError::NotUtf8,
        StrftimeError::TooLong,
    ] {
        assert!(error.to_string().len() <= 64);
    }
}

#[test]
fn fault_e7_garbage_is_text_or_an_error_and_never_long() {
    let zoned = leap_day();
    let mut random = SplitMix(7);
    let mut out = Vec::new();
    for _ in 0..20_000 {
        let len = random.below(24);
        let format: Vec<u8> = (0..len)
            .map(|_| match random.below(3) {
                0 => b'%',
                1 => random.next().to_le_bytes()[0] & 0x7f,
                _ => random.next().to_le_bytes()[0],
            })
            .collect();
        out.clear();
        match strftime(&format, &zoned, &mut out) {
            Ok(()) => assert!(std::str::from_utf8(&out).is_ok() && out.len() <= 512),
            Err(_) => assert!(out.is_empty()),
        }
    }
}

// What is asked.

fn leap_day() -> Zoned {
    civil::date(2024, 2, 29)
        .at(7, 5, 9, 0)
        .to_zoned(TimeZone::UTC)
        .unwrap()
}

fn answer(format: &[u8]) -> Result<String, StrftimeError> {
    let mut out = Vec::new();
    strftime(format, &leap_day(), &mut out)?;
    Ok(String::from_utf8(out).expect("UTF-8 in, UTF-8 out"))
}

fn zoned(at: i64, zone: &str) -> Zoned {
    let zone = if is_rule(zone) {
        TimeZone::posix(zone)
    } else {
        TimeZone::get(zone)
    };
    let zone = zone.expect("the zone is installed");
    Timestamp::from_second(at).unwrap().to_zoned(zone)
}

fn is_rule(zone: &str) -> bool {
    zone.contains([',', '<'])
}

/// Fixed, so that a random format never meets one of the few instants where `%s` is meant to
/// differ.
fn instants() -> Vec<i64> {
    let mut instants = vec![
        0,
        -1,
        1_700_000_000,
        1_711_846_799, // the last second of winter time in Berlin, 2024
        1_711_846_800,
        1_729_990_800, // the second 2:00 of that autumn
        2_147_483_648,
        4_102_444_800,
        -62_000_000_000, // the year 5
        253_402_128_000, // the last days of 9999
    ];
    // The turns of years with every weekday, leap and not: where week numbers go wrong.
    for year in (1995..2024).chain([1900, 2100]) {
        for (month, day, hour) in [(1, 1, 0), (1, 4, 12), (12, 29, 13), (12, 31, 23)] {
            let noon = civil::date(year, month, day).at(hour, 4, 9, 0);
            let utc = noon.to_zoned(TimeZone::UTC).unwrap();
            instants.push(utc.timestamp().as_second());
        }
    }
    instants
}

fn across(instants: &[i64], formats: &[String]) -> Vec<(i64, String)> {
    let pairs = |at: &i64| -> Vec<_> { formats.iter().map(|f| (*at, f.clone())).collect() };
    instants.iter().flat_map(pairs).collect()
}

/// Percents, flags, directives and text in any order; no digit but 0, so no widths. Now and then
/// one that is too long.
fn random_format(random: &mut SplitMix) -> String {
    let alphabet: Vec<char> = "%%%%%%%_-0^#EO \n{}"
        .chars()
        .chain(DIRECTIVES.chars())
        .collect();
    let len = match random.below(20) {
        0 => 200 + random.below(400),
        _ => 1 + random.below(20),
    };
    (0..len).map(|_| random.one_of(&alphabet)).collect()
}

/// Vigna's splitmix64: small, and the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap();
        usize::try_from(self.next() % end).unwrap()
    }

    fn one_of<T: Copy>(&mut self, some: &[T]) -> T {
        some[self.below(some.len())]
    }
}

// What CPython says.

const SCRIPT: &str = r#"
import sys, time
for line in sys.stdin:
    at, form = line.split(" ")
    form = bytes.fromhex(form).decode("utf-8")
    print(time.strftime(form, time.localtime(int(at))).encode("utf-8").hex())
"#;

fn agrees_with_cpython(zone: &str, asked: &[(i64, String)]) {
    if skipped("python3") {
        return;
    }
    let mut lines = String::new();
    for (at, format) in asked {
        writeln!(lines, "{at} {}", hex(format.as_bytes())).unwrap();
    }
    let mut python = Command::new("python3");
    python
        .args(["-c", SCRIPT])
        .env("LC_ALL", "C")
        .env("TZ", zone);
    let said = run(&mut python, &lines);
    let said = &said.exits(0).out;

    assert_eq!(said.lines().count(), asked.len());
    let mut zoned_at = (i64::MIN, leap_day());
    for ((at, format), said) in asked.iter().zip(said.lines()) {
        if zoned_at.0 != *at {
            zoned_at = (*at, zoned(*at, zone));
        }
        let mut out = Vec::new();
        let written = strftime(format.as_bytes(), &zoned_at.1, &mut out);
        if said.len() > 2 * STRFTIME_BYTES_MAX {
            assert_eq!(written, Err(StrftimeError::TooLong));
        } else {
            assert_eq!(
                (written, hex(&out).as_str()),
                (Ok(()), said),
                "{format:?} at {at} in {zone}: {:?}",
                String::from_utf8_lossy(&out)
            );
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

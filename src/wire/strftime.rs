//! The local time in words, as CPython's `time.strftime` prints it (U2).
//!
//! Knows the directives of glibc's `strftime` in the C locale, flags and oddities included. Does
//! not know what time it is, nor which zone: both come in a [`Zoned`].
//!
//! Written after glibc's `time/strftime_l.c` rather than on top of jiff's own `strftime`: that one
//! follows the same manual but not the same accidents (`%E%` is `%`, `%^q` is `%^Q`, `%_z` is
//! `- 330`), knows widths, which must not be obeyed here, and cannot be told when to stop. jiff
//! does what is hard: calendar, zones, week numbers.

use std::io::Write;

use jiff::Zoned;
use thiserror::Error;

/// How many bytes [`strftime`] answers at most: 512.
///
/// The protocol's limit on loopback (fault E6). It holds 21 times `%c`, and any format a person
/// would write.
pub const STRFTIME_BYTES_MAX: usize = 512;

/// What an empty format means.
const FORMAT_DEFAULT: &[u8] = b"%Y-%m-%d %x";

/// Why a format has no answer. Shown, each is a text of at most 64 bytes to answer instead, so an
/// error is never an amplifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StrftimeError {
    /// There is a NUL in the format. CPython 3.11 raises `ValueError` with these words.
    #[error("embedded null character")]
    Nul,
    /// The format is not UTF-8.
    #[error("the format is not UTF-8")]
    NotUtf8,
    /// The answer would be longer than [`STRFTIME_BYTES_MAX`].
    #[error("the answer would be longer than {STRFTIME_BYTES_MAX} bytes")]
    TooLong,
}

/// Appends `zoned` to `out`, written as `format` says.
///
/// Equal to `time.strftime(format, time.localtime(t))` of CPython on Linux with glibc, in the C
/// locale, for all its directives
/// (`%a %A %b %B %c %C %d %D %e %F %g %G %h %H %I %j %k %l %m %M %n %p %P %r %R %s %S %t %T %u %U
/// %V %w %W %x %X %y %Y %z %Z %%`), modifiers (`E`, `O`) and flags (`_ - 0 ^ #`). A conversion it
/// does not know stays as it is, and so does a `%` at the end.
///
/// Two things are meant to differ. A conversion with a width (`%1536Y`) stays as it is, from the `%`
/// to its letter: obeyed, six bytes would become 1536 (fault E6). And `%s` is the instant itself;
/// CPython computes it back from the local time, and is an hour off where a zone went back without
/// calling it daylight saving.
///
/// An empty format means `%Y-%m-%d %x`. The largest growth of any conversion is that of `%c`: 2
/// bytes become 24, so 12 times, up to the limit; an empty datagram becomes 19 bytes.
///
/// # Errors
///
/// As [`StrftimeError`] says; `out` is then as it was.
///
/// ```
/// use onepoll::wire::strftime;
///
/// let zoned = jiff::civil::date(2024, 2, 29)
///     .at(7, 5, 9, 0)
///     .to_zoned(jiff::tz::TimeZone::UTC)?;
/// let mut out = Vec::new();
/// strftime(b"%A %-d %B, %k:%M %Z; %Q %5d", &zoned, &mut out)?;
/// assert_eq!(out, b"Thursday 29 February,  7:05 UTC; %Q %5d");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn strftime(format: &[u8], zoned: &Zoned, out: &mut Vec<u8>) -> Result<(), StrftimeError> {
    if memchr::memchr(0, format).is_some() {
        return Err(StrftimeError::Nul);
    }
    if std::str::from_utf8(format).is_err() {
        return Err(StrftimeError::NotUtf8);
    }
    let from = out.len();
    let mut writer = Writer { zoned, out, from };
    let written = writer.expand(match format {
        [] => FORMAT_DEFAULT,
        format => format,
    });
    if written.is_err() {
        out.truncate(from);
    }
    written
}

/// Writes one answer, and stops at its limit.
struct Writer<'a> {
    zoned: &'a Zoned,
    out: &'a mut Vec<u8>,
    /// Where in `out` the answer begins.
    from: usize,
}

impl Writer<'_> {
    /// Copies text and carries out conversions until `format` ends.
    fn expand(&mut self, mut format: &[u8]) -> Result<(), StrftimeError> {
        while !format.is_empty() {
            let text = memchr::memchr(b'%', format).unwrap_or(format.len());
            self.push(&format[..text])?;
            format = &format[text..];
            if let Some(conversion) = Conversion::first_of(format) {
                self.convert(&conversion)?;
                format = &format[conversion.text.len()..];
            }
        }
        Ok(())
    }

    fn convert(&mut self, c: &Conversion<'_>) -> Result<(), StrftimeError> {
        let Some(directive) = c.directive.filter(|&d| !c.width && c.admits_modifier(d)) else {
            return self.unknown(c);
        };
        let date = self.zoned.date();
        let time = self.zoned.time();
        let year = i64::from(date.year());
        let weekday = date.weekday();
        let hour12 = match time.hour() % 12 {
            0 => 12,
            hour => hour,
        };
        // Both count from zero, as glibc's `tm_wday` (Sunday) and `tm_yday` do.
        let wday = i64::from(weekday.to_sunday_zero_offset());
        let yday = i64::from(date.day_of_year()) - 1;

        match directive {
            b'a' => self.name(c, &DAYS[index(wday)][..3]),
            b'A' => self.name(c, DAYS[index(wday)]),
            b'b' | b'h' => self.name(c, &MONTHS[index(date.month() - 1)][..3]),
            b'B' => self.name(c, MONTHS[index(date.month() - 1)]),
            b'p' | b'P' | b'Z' => self.other_case(c, directive),

            b'c' => self.combined(c, b"%a %b %e %H:%M:%S %Y"),
            b'D' | b'x' => self.combined(c, b"%m/%d/%y"),
            b'F' => self.combined(c, b"%Y-%m-%d"),
            b'r' => self.combined(c, b"%I:%M:%S %p"),
            b'R' => self.combined(c, b"%H:%M"),
            b'T' | b'X' => self.combined(c, b"%H:%M:%S"),

            b'C' => self.number(c.pad, 1, year.div_euclid(100)),
            b'd' => self.number(c.pad, 2, date.day().into()),
            b'e' => self.number(c.pad.or_space(), 2, date.day().into()),
            b'g' => {
                let year = date.iso_week_date().year();
                self.number(c.pad, 2, i64::from(year).rem_euclid(100))
            }
            b'G' => self.number(c.pad, 1, date.iso_week_date().year().into()),
            b'H' => self.number(c.pad, 2, time.hour().into()),
            b'I' => self.number(c.pad, 2, hour12.into()),
            b'j' => self.number(c.pad, 3, yday + 1),
            b'k' => self.number(c.pad.or_space(), 2, time.hour().into()),
            b'l' => self.number(c.pad.or_space(), 2, hour12.into()),
            b'm' => self.number(c.pad, 2, date.month().into()),
            b'M' => self.number(c.pad, 2, time.minute().into()),
            b's' => self.number(c.pad, 1, self.epoch_seconds()),
            b'S' => self.number(c.pad, 2, time.second().into()),
            b'u' => self.number(c.pad, 1, weekday.to_monday_one_offset().into()),
            b'U' => self.number(c.pad, 2, (yday + 7 - wday) / 7),
            b'V' => self.number(c.pad, 2, date.iso_week_date().week().into()),
            b'w' => self.number(c.pad, 1, wday),
            b'W' => {
                let monday = i64::from(weekday.to_monday_zero_offset());
                self.number(c.pad, 2, (yday + 7 - monday) / 7)
            }
            b'y' => self.number(c.pad, 2, year.rem_euclid(100)),
            b'Y' => self.number(c.pad, 1, year),
            b'z' => {
                let minutes = i64::from(self.zoned.offset().seconds()).abs() / 60;
                // The sign is not part of the number, hence `- 330` when padded with spaces.
                self.push(if self.zoned.offset().is_negative() {
                    b"-"
                } else {
                    b"+"
                })?;
                self.number(c.pad, 4, minutes / 60 * 100 + minutes % 60)
            }

            b'n' => self.push(b"\n"),
            b't' => self.push(b"\t"),
            b'%' => self.push(b"%"),
            _ => self.unknown(c),
        }
    }

    /// A conversion that is none, left as it stands.
    fn unknown(&mut self, c: &Conversion<'_>) -> Result<(), StrftimeError> {
        // glibc copies from the last `%` on, which in `%E%` is the second.
        let text = match c.directive {
            Some(b'%') if !c.width => b"%",
            _ => c.text,
        };
        // And it copies as it copies names: `%^q` becomes `%^Q`. Months obey `#` before they mind
        // their modifier: `%#Eb` becomes `%#EB`. With a width that is our own doing, and literal
        // means literal.
        let month = matches!(c.directive, Some(b'b' | b'B' | b'h'));
        self.cased(text, !c.width && (c.upper || (c.change_case && month)))
    }

    /// A day or a month, which `^` and `#` alike write in capitals.
    fn name(&mut self, c: &Conversion<'_>, name: &str) -> Result<(), StrftimeError> {
        self.cased(name.as_bytes(), c.upper || c.change_case)
    }

    /// `%p`, `%P` and `%Z`: capitals by nature, which `#` writes in small letters.
    fn other_case(&mut self, c: &Conversion<'_>, directive: u8) -> Result<(), StrftimeError> {
        let from = self.out.len();
        match directive {
            b'Z' => {
                let zone = self.zoned.time_zone();
                let info = zone.to_offset_info(self.zoned.timestamp());
                self.push(info.abbreviation().as_bytes())?;
            }
            _ if self.zoned.hour() < 12 => self.push(b"AM")?,
            _ => self.push(b"PM")?,
        }
        let written = &mut self.out[from..];
        if c.change_case || directive == b'P' {
            written.make_ascii_lowercase();
        } else if c.upper {
            written.make_ascii_uppercase();
        }
        Ok(())
    }

    /// A conversion that stands for others. Of the flags only `^` reaches them.
    fn combined(&mut self, c: &Conversion<'_>, format: &[u8]) -> Result<(), StrftimeError> {
        let from = self.out.len();
        self.expand(format)?;
        if c.upper {
            self.out[from..].make_ascii_uppercase();
        }
        Ok(())
    }

    fn cased(&mut self, text: &[u8], upper: bool) -> Result<(), StrftimeError> {
        let from = self.out.len();
        self.push(text)?;
        if upper {
            self.out[from..].make_ascii_uppercase();
        }
        Ok(())
    }

    /// `value` in at least `digits` places, of which a sign takes one.
    fn number(&mut self, pad: Pad, digits: usize, value: i64) -> Result<(), StrftimeError> {
        // On the stack: an answer a datagram, and none of them allocates.
        let mut text = [0; 20];
        let mut rest = &mut text[..];
        match pad {
            Pad::Default | Pad::Zero => write!(rest, "{value:0digits$}"),
            Pad::Space => write!(rest, "{value:digits$}"),
            Pad::Nothing => write!(rest, "{value}"),
        }
        .expect("an i64 has at most 20 characters, and no directive asks for as many");
        let unused = rest.len();
        self.push(&text[..text.len() - unused])
    }

    /// Whole seconds since 1970, rounded down as the local time is.
    fn epoch_seconds(&self) -> i64 {
        let timestamp = self.zoned.timestamp();
        let rounded_up = timestamp.subsec_nanosecond() < 0;
        timestamp.as_second() - i64::from(rounded_up)
    }

    /// The only place that writes, and so the only one that counts.
    fn push(&mut self, text: &[u8]) -> Result<(), StrftimeError> {
        let room = STRFTIME_BYTES_MAX.saturating_sub(self.out.len() - self.from);
        if text.len() > room {
            return Err(StrftimeError::TooLong);
        }
        self.out.extend_from_slice(text);
        Ok(())
    }
}

/// `%`, flags, perhaps a width, perhaps a modifier, and the directive.
struct Conversion<'f> {
    /// All of it as it stands in the format.
    text: &'f [u8],
    pad: Pad,
    /// `^`
    upper: bool,
    /// `#`
    change_case: bool,
    width: bool,
    /// `E` or `O`
    modifier: Option<u8>,
    /// None where the format ends too early.
    directive: Option<u8>,
}

impl<'f> Conversion<'f> {
    /// The conversion at the front of `format`, if that is a `%`.
    ///
    /// A directive may be the first byte of a longer character; the other bytes are then ordinary
    /// text, and the character comes out whole.
    fn first_of(format: &'f [u8]) -> Option<Self> {
        if format.first() != Some(&b'%') {
            return None;
        }
        let mut c = Self {
            text: format,
            pad: Pad::Default,
            upper: false,
            change_case: false,
            width: false,
            modifier: None,
            directive: None,
        };
        let mut rest = format[1..].iter();
        let mut next = rest.next();
        while let Some(flag @ (b'_' | b'-' | b'0' | b'^' | b'#')) = next {
            match flag {
                b'_' => c.pad = Pad::Space,
                b'-' => c.pad = Pad::Nothing,
                b'0' => c.pad = Pad::Zero,
                b'^' => c.upper = true,
                _ => c.change_case = true,
            }
            next = rest.next();
        }
        while let Some(b'0'..=b'9') = next {
            c.width = true;
            next = rest.next();
        }
        if let Some(modifier @ (b'E' | b'O')) = next {
            c.modifier = Some(*modifier);
            next = rest.next();
        }
        c.directive = next.copied();
        c.text = &format[..format.len() - rest.len()];
        Some(c)
    }

    /// Whether glibc lets this modifier stand before `directive`. In the C locale, which has
    /// neither eras nor other digits, it then says nothing.
    fn admits_modifier(&self, directive: u8) -> bool {
        match self.modifier {
            None => true,
            Some(b'E') => !b"%aAbBdDeFgGhHIjklmMSUVwW".contains(&directive),
            Some(_) => !b"%aAcDFxXY".contains(&directive),
        }
    }
}

/// What fills a number up.
#[derive(Clone, Copy)]
enum Pad {
    /// No flag: zeros, or spaces for the directives that have them.
    Default,
    /// `0`
    Zero,
    /// `_`
    Space,
    /// `-`
    Nothing,
}

impl Pad {
    fn or_space(self) -> Self {
        match self {
            Self::Default => Self::Space,
            flag => flag,
        }
    }
}

/// A calendar number that is not negative as an index.
fn index(number: impl Into<i64>) -> usize {
    usize::try_from(number.into()).expect("the calendar counts days and months from zero")
}

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// When a line was said, as it stands before the line for those who come later: `[2026-11-27 20:31:05] `. No name
/// begins with a bracket, so nobody can say a line that looks like an earlier one.
#[derive(Debug)]
pub(super) struct Stamp {
    zone: TimeZone,
    /// The last second that was asked for, since the epoch, and how it is written.
    last: Option<(i64, String)>,
}

impl Stamp {
    /// In the time of this zone.
    pub(super) fn new(zone: TimeZone) -> Stamp {
        Stamp { zone, last: None }
    }

    /// Of this moment.
    pub(super) fn at(&mut self, wall: SystemTime) -> &str {
        // A clock that is beyond the year 9999 is not worth more than this.
        let at = Timestamp::try_from(wall).unwrap_or(Timestamp::UNIX_EPOCH);
        let second = at.as_second();
        let known = self.last.take().filter(|(last, _)| *last == second);
        let (_, text) = self.last.insert(known.unwrap_or_else(|| {
            let local = at.to_zoned(self.zone.clone());
            (second, local.strftime("[%Y-%m-%d %H:%M:%S] ").to_string())
        }));
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stamp_is_the_local_second() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let mut stamp = Stamp::new(zone);
        let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        assert_eq!(stamp.at(at(0)), "[1970-01-01 01:00:00] ");
        assert_eq!(stamp.at(at(999)), "[1970-01-01 01:00:00] ");
        assert_eq!(stamp.at(at(1000)), "[1970-01-01 01:00:01] ");
        assert_eq!(stamp.at(at(500)), "[1970-01-01 01:00:00] ");
        let never = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(stamp.at(never), "[1970-01-01 01:00:00] ");
    }
}

use super::row::Row;

/// Every service, in the order in which messages and help list them.
pub static SERVICES: &[&Row] = &[
    &super::echo::ROW,
    &super::discard::ROW,
    &super::upper::ROW,
    &super::greeting::ROW,
    &super::chat::ROW,
    &super::talk::ROW,
    &super::command::ROW,
    &super::file::ROW,
    &super::time::ROW,
    &super::daytime::ROW,
    &super::time868::ROW,
    &super::chargen::ROW,
    &super::sntp::ROW,
    &super::metrics::ROW,
    &super::ipmsg::ROW,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Limits, Written};
    use crate::service::Setting;
    use jiff::tz::TimeZone;

    #[test]
    fn every_row_goes_over_what_it_usually_goes_over() {
        for row in SERVICES {
            let over = row.transports();
            assert_eq!(over.first(), Some(&row.usual), "{}", row.name);
            assert!(!row.summary.is_empty(), "{}", row.name);
        }
    }

    #[test]
    fn a_name_is_one_service() {
        for (n, row) in SERVICES.iter().enumerate() {
            assert!(!SERVICES[..n].contains(row), "{}", row.name);
        }
    }

    #[test]
    fn every_half_is_made_without_options() {
        let setting = Setting {
            limits: &Limits::default(),
            zone: &TimeZone::UTC,
            is_open: false,
            bus: None,
        };
        for row in SERVICES {
            let none = Written::default();
            if row.name == "file" {
                // Where its files are goes without saying nowhere.
                let wrong = row.stream.unwrap().read(&none).unwrap_err();
                assert_eq!(wrong.option.as_deref(), Some("root"));
                continue;
            }
            for transport in row.transports() {
                let schema = row.schema(transport).unwrap();
                assert_eq!(schema.read(&none).unwrap().0, none, "{}", row.name);
            }
            let stream = row.stream.map(|half| half.build(&none, &setting));
            let datagrams = row.datagrams.map(|half| half.build(&none, &setting));
            assert!(stream.is_none_or(|made| made.is_ok()), "{}", row.name);
            assert!(datagrams.is_none_or(|made| made.is_ok()), "{}", row.name);
        }
    }
}

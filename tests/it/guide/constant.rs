//! The constants of the code, as people write their values.

use std::fs;
use std::path::Path;
use std::time::Duration;

use onepoll::config::{format_duration, format_size};

pub(super) fn for_each_source(folder: &Path, visit: &mut impl FnMut(&str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            for_each_source(&path, visit);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            visit(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// `const NAME: TYPE = VALUE;` as a name and a value, as people write it.
pub(super) fn constant(line: &str) -> Option<(String, String)> {
    let (_, rest) = line.split_once("const ")?;
    let (name, rest) = rest.split_once(": ")?;
    let (_, value) = rest.split_once(" = ")?;
    let value = value.strip_suffix(';')?;
    let text = if let Some(rest) = value.strip_prefix("Duration::from_") {
        let (unit, rest) = rest.split_once('(')?;
        let count = evaluated(rest.strip_suffix(')')?)?;
        format_duration(match unit {
            "secs" => Duration::from_secs(count),
            "millis" => Duration::from_millis(count),
            _ => return None,
        })
    } else {
        let count = evaluated(value)?;
        if name.contains("BYTES") && count.is_multiple_of(1024) {
            format_size(count)
        } else {
            count.to_string()
        }
    };
    Some((name.to_owned(), text))
}

/// `64`, `65_536`, `1 << 20`, `64 * 1024`, `i32::MAX as usize`.
pub(super) fn evaluated(expression: &str) -> Option<u64> {
    if let Some((number, shift)) = expression.split_once(" << ") {
        return Some(evaluated(number)? << evaluated(shift)?);
    }
    if let Some((one, other)) = expression.split_once(" * ") {
        return evaluated(one)?.checked_mul(evaluated(other)?);
    }
    if expression == "i32::MAX as usize" {
        return u64::try_from(i32::MAX).ok();
    }
    expression.replace('_', "").parse().ok()
}

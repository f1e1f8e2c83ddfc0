use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Escaped, WireError};

/// The keys of a header. Each is taken by its name and type, and an error says which one was wrong, what was
/// found and what would be right.
///
/// Values stay text until they are taken: a number that no type holds (`1e400`) is an error of its key then, and
/// none where nobody asks for it.
#[derive(Debug)]
pub(super) struct Object(BTreeMap<String, Box<RawValue>>);

/// How deep objects and lists in a header may be nested; the header itself counts.
const DEPTH_MAX: u32 = 16;

/// How much of a wrong value is shown.
const SHOWN_BYTES_MAX: usize = 64;

impl Object {
    pub(super) fn parse(json: &[u8]) -> Result<Object, WireError> {
        check_depth(json)?;
        // serde quotes what it did not like.
        serde_json::from_slice(json)
            .map_err(|error| malformed(&Escaped(error.to_string().as_bytes()).to_string()))
    }

    /// The `type` that says which frame it is.
    pub(super) fn kind(&mut self) -> Result<String, WireError> {
        self.text("type")?
            .ok_or_else(|| malformed("`type` is missing"))
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, WireError> {
        self.take(key, "a string")
    }

    pub(super) fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>, WireError> {
        let expected = "a list of strings";
        let Some(items) = self.take::<Vec<Box<RawValue>>>(key, expected)? else {
            return Ok(None);
        };
        let texts = items.iter().map(|item| {
            serde_json::from_str(item.get()).map_err(|_| wrong(key, expected, item.get()))
        });
        texts.collect::<Result<_, _>>().map(Some)
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<bool, WireError> {
        Ok(self.take(key, "true or false")?.unwrap_or(false))
    }

    /// A whole number of at most `max`.
    pub(super) fn number(&mut self, key: &str, max: u64) -> Result<Option<u64>, WireError> {
        let Some(value) = self.0.remove(key) else {
            return Ok(None);
        };
        match serde_json::from_str(value.get()) {
            Ok(number) if number <= max => Ok(Some(number)),
            _ => Err(wrong(
                key,
                &format!("a whole number from 0 to {max}"),
                value.get(),
            )),
        }
    }

    fn take<T: DeserializeOwned>(
        &mut self,
        key: &str,
        expected: &str,
    ) -> Result<Option<T>, WireError> {
        let Some(value) = self.0.remove(key) else {
            return Ok(None);
        };
        let taken = serde_json::from_str(value.get());
        taken
            .map(Some)
            .map_err(|_| wrong(key, expected, value.get()))
    }

    /// A number that must be there.
    pub(super) fn required(&mut self, key: &str, max: u64) -> Result<u64, WireError> {
        self.number(key, max)?
            .ok_or_else(|| malformed(&format!("`{key}` is missing")))
    }

    /// Whether there is such a key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Nothing else may be there: a key that is not understood might change what is to be done.
    pub(super) fn ends(self) -> Result<(), WireError> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(key) => Err(malformed(&format!(
                "unknown key `{}`",
                Escaped(shown(&key).as_bytes())
            ))),
        }
    }
}

/// What is nested deeper is refused before anything is made of it. Of what is no JSON, that is found out then.
fn check_depth(json: &[u8]) -> Result<(), WireError> {
    let (mut depth, mut structure) = (0_u32, Structure::new());
    for &byte in json {
        match byte {
            _ if !structure.has(byte) => {}
            b'{' | b'[' if depth == DEPTH_MAX => {
                return Err(malformed(&format!("nested deeper than {DEPTH_MAX}")));
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Tells the structure of JSON from what is in its strings, byte by byte.
#[derive(Debug, Clone, Default)]
pub(super) struct Structure {
    in_string: bool,
    escaped: bool,
}

impl Structure {
    pub(super) const fn new() -> Structure {
        Structure {
            in_string: false,
            escaped: false,
        }
    }

    /// Whether the next byte is of the structure.
    pub(super) fn has(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ => return !self.in_string,
        }
        false
    }
}

pub(super) fn malformed(detail: &str) -> WireError {
    WireError::Malformed {
        what: "header",
        detail: detail.to_owned(),
    }
}

/// A `type`, or another word, that is none of those that there are.
pub(super) fn unknown(key: &str, word: &str, known: &str) -> WireError {
    malformed(&format!(
        "`{key}` is {known}, not \"{}\"",
        Escaped(shown(word).as_bytes())
    ))
}

fn wrong(key: &str, expected: &str, found: &str) -> WireError {
    malformed(&format!(
        "`{key}` is {expected}, not {}",
        Escaped(shown(found).as_bytes())
    ))
}

fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)]
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object, D::Error> {
        deserializer.deserialize_map(Keys)
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut keys = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
            if keys.contains_key(&key) {
                // Some readers take the first, others the last.
                return Err(A::Error::custom(format!("`{}` comes twice", shown(&key))));
            }
            keys.insert(key, value);
        }
        Ok(Object(keys))
    }
}

//! Names and values, wherever they were written, into typed options.
//!
//! Knows no option by name. A URL's query and a TOML table both become [`Written`], and serde
//! makes each service's own struct of them; so both are written alike, and go wrong alike. The
//! known keys and values that an error lists are the ones serde derived, never a second list.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::{Serialize, forward_to_deserialize_any};

use super::error::{Trouble, meant};
use super::text::{one_of, quoted};

/// One value as it was written. A URL has text only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// In quotes, where a file has them.
    Text(String),
    /// A truth value without quotes.
    Bool(bool),
    /// A number without quotes.
    Integer(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Bool(value) => write!(f, "`{value}`"),
            Self::Integer(value) => write!(f, "`{value}`"),
        }
    }
}

/// Options by name, in the order they were first written, each with all its values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written(Vec<(String, Vec<Value>)>);

impl Written {
    /// One value more for the option of this name.
    pub fn push(&mut self, name: &str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(value),
            None => self.0.push((name.into(), vec![value])),
        }
    }

    /// Each option with its values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[Value])> {
        self.0
            .iter()
            .map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// Each value with the name of its option, as text; a repeated option repeats.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, String)> {
        self.iter().flat_map(|(name, values)| {
            values.iter().map(move |value| match value {
                Value::Text(text) => (name, text.clone()),
                Value::Bool(value) => (name, value.to_string()),
                Value::Integer(value) => (name, value.to_string()),
            })
        })
    }

    /// Takes out those that are among `names`.
    pub fn take(&mut self, names: &[&str]) -> Written {
        Written(
            self.0
                .extract_if(.., |(name, _)| names.contains(&name.as_str()))
                .collect(),
        )
    }

    /// What of `options` differs from the defaults. Lists give one entry each.
    pub fn of<T: Serialize + Default>(options: &T) -> Written {
        use serde_json::Value as Json;
        let fields = |options: &T| match serde_json::to_value(options) {
            Ok(Json::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let defaults = fields(&T::default());
        let text = |value: Json| match value {
            Json::String(text) => Value::Text(text),
            Json::Bool(value) => Value::Bool(value),
            other => match other.as_i64() {
                Some(number) => Value::Integer(number),
                None => Value::Text(other.to_string()),
            },
        };
        let mut written = Written::default();
        for (name, value) in fields(options) {
            match value {
                value if defaults.get(&name) == Some(&value) => {}
                Json::Array(values) => {
                    for value in values {
                        written.push(&name, text(value));
                    }
                }
                value => written.push(&name, text(value)),
            }
        }
        written
    }

    /// All of them as one `T`; what `T` does not know is an error.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Trouble> {
        T::deserialize(Table(self))
    }
}

/// The keys that a struct of options takes, as serde knows them.
pub fn keys_of<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Keys<'k>(&'k mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for Keys<'_> {
        type Error = Trouble;
        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Trouble> {
            Err(Trouble::new("not a struct"))
        }
        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            keys: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Trouble> {
            *self.0 = keys;
            Err(Trouble::new("only the keys were wanted"))
        }
        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }
    let mut keys: &'static [&'static str] = &[];
    // It always fails: the keys are learnt before any value is asked for.
    let _ = T::deserialize(Keys(&mut keys));
    keys
}

/// Written as the fields of a struct.
struct Table<'o>(&'o Written);

impl<'de> Deserializer<'de> for Table<'_> {
    type Error = Trouble;
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        visitor.visit_map(Fields {
            rest: self.0.0.iter(),
            current: None,
        })
    }
    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

struct Fields<'o> {
    rest: std::slice::Iter<'o, (String, Vec<Value>)>,
    current: Option<&'o (String, Vec<Value>)>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Trouble;
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Trouble> {
        self.current = self.rest.next();
        self.current
            .map(|(name, _)| {
                let name_text: StrDeserializer<'_, Trouble> = name.as_str().into_deserializer();
                seed.deserialize(name_text)
                    .map_err(|trouble| Trouble::of(name, trouble.problem))
            })
            .transpose()
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Trouble> {
        let (name, values) = self
            .current
            .ok_or_else(|| Trouble::new("a value was asked for before its key"))?;
        seed.deserialize(Values { values })
            .map_err(|trouble| Trouble::with(name, trouble.problem))
    }
}

/// Everything that was written for one option.
struct Values<'o> {
    values: &'o [Value],
}

impl Values<'_> {
    fn one(&self) -> Result<&Value, Trouble> {
        match self.values {
            [one] => Ok(one),
            [] => Err(Trouble::new("an empty list is no value")),
            many => Err(Trouble::new(format!(
                "given {} times, and it takes one value",
                many.len()
            ))),
        }
    }

    fn text(&self) -> Result<&str, Trouble> {
        match self.one()? {
            Value::Text(text) => Ok(text),
            other => Err(Trouble::new(format!(
                "{other} is not text; put it in quotes"
            ))),
        }
    }
}

macro_rules! whole_numbers {
    ($($deserialize:ident $visit:ident $type:ty,)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
            let value = self.one()?;
            let number = match value {
                // `+1` and `-0` would parse, and nobody means them.
                Value::Text(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
                Value::Integer(number) => <$type>::try_from(*number).ok(),
                _ => None,
            };
            visitor.$visit(number.ok_or_else(|| {
                Trouble::new(format!("{value} is not a whole number up to {}", <$type>::MAX))
            })?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Values<'_> {
    type Error = Trouble;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        match self.one()? {
            Value::Text(text) => visitor.visit_str(text),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(value) => visitor.visit_i64(*value),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        let value = self.one()?;
        visitor.visit_bool(match value {
            Value::Bool(value) => *value,
            Value::Text(text) if text == "true" || text == "on" => true,
            Value::Text(text) if text == "false" || text == "off" => false,
            other => {
                return Err(Trouble::new(format!(
                    "{other} is neither true (or on) nor false (or off)"
                )));
            }
        })
    }

    whole_numbers! {
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        struct Each<'o>(std::slice::Iter<'o, Value>);
        impl<'de> SeqAccess<'de> for Each<'_> {
            type Error = Trouble;
            fn next_element_seed<T: DeserializeSeed<'de>>(
                &mut self,
                seed: T,
            ) -> Result<Option<T::Value>, Trouble> {
                self.0
                    .next()
                    .map(|value| {
                        seed.deserialize(Values {
                            values: std::slice::from_ref(value),
                        })
                    })
                    .transpose()
            }
        }
        visitor.visit_seq(Each(self.values.iter()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Trouble> {
        let text = self.text()?;
        if !variants.contains(&text) {
            return Err(Trouble::new(format!(
                "{} is not {}{}",
                quoted(text),
                one_of(variants),
                meant(text, variants)
            )));
        }
        let variant: StrDeserializer<'_, Trouble> = text.into_deserializer();
        visitor.visit_enum(variant)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u128 f32 f64 char bytes byte_buf unit unit_struct newtype_struct
        tuple tuple_struct map struct identifier ignored_any
    }
}

//! A JSON object read as Go reads it: keys in any case, null as good as absent, a wrong type refused.

use serde_json::{Map, Value};

use super::ImportError;

/// An object whose keys may be written in any case.
pub(super) struct Fields<'a> {
    pub(super) file: &'a str,
    pub(super) place: &'a str,
    pub(super) object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The value of a key; the exact spelling wins over others, and null is as good as absent.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        let other = || self.object.iter().find(|(own, _)| own.eq_ignore_ascii_case(key)).map(|(_, value)| value);
        self.object.get(key).or_else(other).filter(|value| !value.is_null())
    }

    pub(super) fn wrong(&self, key: &str, wanted: &str, found: &Value) -> ImportError {
        let place = if self.place.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place) };
        let noun = match found {
            Value::String(_) => "text",
            Value::Number(_) => "a number",
            Value::Bool(_) => "true or false",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
            Value::Null => "null",
        };
        ImportError {
            file: self.file.to_owned(),
            message: format!("`{place}` is {noun}"),
            help: format!("it should be {wanted}; Uchiwa refuses this too"),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<&'a str, ImportError> {
        match self.get(key) {
            None => Ok(""),
            Some(Value::String(text)) => Ok(text),
            Some(found) => Err(self.wrong(key, "text", found)),
        }
    }

    pub(super) fn boolean(&self, key: &str) -> Result<bool, ImportError> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(is)) => Ok(*is),
            Some(found) => Err(self.wrong(key, "true or false", found)),
        }
    }

    /// A number in a range; absent and zero are the same to Uchiwa.
    pub(super) fn integer(&self, key: &str, range: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, ImportError> {
        match self.get(key) {
            None => Ok(None),
            Some(found) => match found.as_u64() {
                Some(0) => Ok(None),
                Some(number) if range.contains(&number) => Ok(Some(number)),
                _ => Err(self.wrong(key, &format!("a whole number up to {}", range.end()), found)),
            },
        }
    }
}

//! Whether a value is what a JSON Schema says (draft 2020-12, as far as our own descriptions use it).
//!
//! Stricter than the draft: a word that this does not know is a fault, and so is a field that the schema does not name,
//! unless it allows others. So nothing passes because nobody has looked.

use serde_json::{Map, Value};

/// Words that say nothing of what a value may be.
const REMARKS: [&str; 6] = ["description", "title", "default", "format", "examples", "$schema"];

/// What is wrong with `value`, each with its place; nothing, where it is as `schema` of `document` says.
pub fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    look(document, schema, value, At { place: "", beside: &[] }, &mut found);
    found
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct At<'a> {
    place: &'a str,
    /// Fields that the schema around this one has named.
    beside: &'a [String],
}

fn look(document: &Value, schema: &Value, value: &Value, at: At<'_>, found: &mut Vec<String>) {
    let At { place, beside } = at;
    let words = match schema {
        Value::Bool(true) => return,
        Value::Object(words) => words,
        _ => return found.push(format!("{place}: nothing may stand here")),
    };
    let named = words.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.clone());
    let here: Vec<String> = beside.iter().cloned().chain(named).collect();
    for (word, wanted) in words {
        let mut fault = |why: String| found.push(format!("{place}: {why}"));
        match word.as_str() {
            "$ref" => {
                let pointer = wanted.as_str().and_then(|text| text.strip_prefix('#')).unwrap_or_default();
                match document.pointer(pointer) {
                    Some(schema) => look(document, schema, value, At { place, beside: &here }, found),
                    None => fault(format!("{wanted} leads nowhere")),
                }
            }
            "type" => {
                let names = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
                if !names.iter().any(|name| is_of(value, name.as_str().unwrap_or_default())) {
                    fault(format!("{value} is not {wanted}"));
                }
            }
            "const" if wanted != value => fault(format!("{value} is not {wanted}")),
            "enum" if !wanted.as_array().is_some_and(|list| list.contains(value)) => {
                fault(format!("{value} is none of {wanted}"));
            }
            "minimum" if value.is_number() && value.as_f64() < wanted.as_f64() => fault(format!("{value} is less than {wanted}")),
            "maximum" if value.is_number() && value.as_f64() > wanted.as_f64() => fault(format!("{value} is more than {wanted}")),
            "required" => {
                let names = wanted.as_array().into_iter().flatten().filter_map(Value::as_str);
                for name in names.filter(|name| value.get(name).is_none()) {
                    fault(format!("`{name}` is missing"));
                }
            }
            "properties" => {
                for (name, schema) in wanted.as_object().into_iter().flatten() {
                    if let Some(inner) = value.get(name) {
                        look(document, schema, inner, At { place: &format!("{place}/{name}"), beside: &[] }, found);
                    }
                }
            }
            "additionalProperties" => {
                for (name, inner) in others(words, value) {
                    look(document, wanted, inner, At { place: &format!("{place}/{name}"), beside: &[] }, found);
                }
            }
            "items" => {
                for (at, inner) in value.as_array().into_iter().flatten().enumerate() {
                    look(document, wanted, inner, At { place: &format!("{place}/{at}"), beside: &[] }, found);
                }
            }
            "allOf" => {
                for schema in wanted.as_array().into_iter().flatten() {
                    look(document, schema, value, At { place, beside: &here }, found);
                }
            }
            "anyOf" | "oneOf" => {
                let choices = wanted.as_array().into_iter().flatten();
                let tried: Vec<_> = choices.map(|schema| faults(document, schema, value)).collect();
                let fits = tried.iter().filter(|faults| faults.is_empty()).count();
                if fits == 0 || (word == "oneOf" && fits > 1) {
                    fault(format!("{fits} of {} choices fit: {tried:?}", tried.len()));
                }
            }
            "const" | "enum" | "minimum" | "maximum" => {}
            other if REMARKS.contains(&other) || other.starts_with("x-") => {}
            other => fault(format!("`{other}` is a word that the tests do not know")),
        }
    }
    let is_whole = ["additionalProperties", "$ref", "allOf", "anyOf", "oneOf"].iter().all(|word| !words.contains_key(*word));
    if words.contains_key("properties") && is_whole {
        let unknown = others(words, value).filter(|(name, _)| !beside.contains(name));
        found.extend(unknown.map(|(name, _)| format!("{place}: `{name}` is not described")));
    }
}

/// Fields that the schema does not name.
fn others<'v>(words: &Map<String, Value>, value: &'v Value) -> impl Iterator<Item = (&'v String, &'v Value)> {
    let named = words.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    value.as_object().into_iter().flatten().filter(move |(name, _)| !named.contains_key(*name))
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        _ => false,
    }
}

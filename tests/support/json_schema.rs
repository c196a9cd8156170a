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
    let own = words.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.clone());
    let here: Vec<String> = beside.iter().cloned().chain(own).collect();
    for (word, wanted) in words {
        let parts = parts(document, word, wanted, words, value);
        for Part { schema, value, name } in &parts.within {
            let place = name.as_ref().map_or_else(|| place.to_owned(), |name| format!("{place}/{name}"));
            let beside = if name.is_some() { &[][..] } else { &here };
            look(document, schema, value, At { place: &place, beside }, found);
        }
        let why = parts.fault.or_else(|| fault(document, word, wanted, value));
        found.extend(why.map(|why| format!("{place}: {why}")));
    }
    let is_whole =
        ["additionalProperties", "$ref", "allOf", "anyOf", "oneOf"].iter().all(|word| !words.contains_key(*word));
    if words.contains_key("properties") && is_whole {
        let unknown = others(words, value).filter(|(name, _)| !beside.contains(name));
        found.extend(unknown.map(|(name, _)| format!("{place}: `{name}` is not described")));
    }
}

/// A schema that a part of the value, or all of it, must fit.
struct Part<'a> {
    schema: &'a Value,
    value: &'a Value,
    /// What the part is called; `None`: it is the value itself.
    name: Option<String>,
}

/// What a word says of the parts.
#[derive(Default)]
struct Parts<'a> {
    within: Vec<Part<'a>>,
    fault: Option<String>,
}

/// What is to be looked at because of this word.
fn parts<'a>(
    document: &'a Value,
    word: &str,
    wanted: &'a Value,
    words: &'a Map<String, Value>,
    value: &'a Value,
) -> Parts<'a> {
    let within = match word {
        "$ref" => {
            let pointer = wanted.as_str().and_then(|text| text.strip_prefix('#')).unwrap_or_default();
            let Some(schema) = document.pointer(pointer) else {
                return Parts { fault: Some(format!("{wanted} leads nowhere")), ..Parts::default() };
            };
            vec![Part { schema, value, name: None }]
        }
        "allOf" => {
            let all = wanted.as_array().into_iter().flatten();
            all.map(|schema| Part { schema, value, name: None }).collect()
        }
        "properties" => {
            let described = wanted.as_object().into_iter().flatten();
            let there = described.filter_map(|(name, schema)| Some((name, schema, value.get(name)?)));
            there.map(|(name, schema, value)| Part { schema, value, name: Some(name.clone()) }).collect()
        }
        "additionalProperties" => {
            let others = others(words, value);
            others.map(|(name, value)| Part { schema: wanted, value, name: Some(name.clone()) }).collect()
        }
        "items" => {
            let items = value.as_array().into_iter().flatten().enumerate();
            items.map(|(at, value)| Part { schema: wanted, value, name: Some(at.to_string()) }).collect()
        }
        _ => Vec::new(),
    };
    Parts { within, fault: None }
}

/// What is wrong with the value itself by this word.
fn fault(document: &Value, word: &str, wanted: &Value, value: &Value) -> Option<String> {
    let list = || wanted.as_array().into_iter().flatten();
    match word {
        "type" => {
            let kinds = wanted.as_array().map_or(std::slice::from_ref(wanted), Vec::as_slice);
            let fits = kinds.iter().any(|kind| is_of(value, kind.as_str().unwrap_or_default()));
            (!fits).then(|| format!("{value} is not {wanted}"))
        }
        "const" => (wanted != value).then(|| format!("{value} is not {wanted}")),
        "enum" => (!list().any(|one| one == value)).then(|| format!("{value} is none of {wanted}")),
        "minimum" => (value.is_number() && value.as_f64() < wanted.as_f64()).then(|| format!("{value} < {wanted}")),
        "maximum" => (value.is_number() && value.as_f64() > wanted.as_f64()).then(|| format!("{value} > {wanted}")),
        "required" => {
            let missing: Vec<_> =
                list().filter(|name| value.get(name.as_str().unwrap_or_default()).is_none()).collect();
            (!missing.is_empty()).then(|| format!("missing: {missing:?}"))
        }
        "anyOf" | "oneOf" => {
            let tried: Vec<_> = list().map(|schema| faults(document, schema, value)).collect();
            let fits = tried.iter().filter(|faults| faults.is_empty()).count();
            let is_good = if word == "oneOf" { fits == 1 } else { fits > 0 };
            (!is_good).then(|| format!("{fits} of {} choices fit: {tried:?}", tried.len()))
        }
        "$ref" | "allOf" | "properties" | "additionalProperties" | "items" => None,
        other if REMARKS.contains(&other) || other.starts_with("x-") => None,
        other => Some(format!("`{other}` is a word that the tests do not know")),
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

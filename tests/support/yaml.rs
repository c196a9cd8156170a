//! YAML as values of JSON, for tests of what Docker and Kubernetes read.

use serde_json::{Map, Value};
use yaml_rust2::{Yaml, YamlLoader};

/// Every document of a text.
#[track_caller]
pub fn documents(text: &str) -> Vec<Value> {
    YamlLoader::load_from_str(text).unwrap().iter().map(value).collect()
}

fn value(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::String(text) | Yaml::Real(text) => text.as_str().into(),
        Yaml::Integer(number) => (*number).into(),
        Yaml::Boolean(is) => (*is).into(),
        Yaml::Array(items) => items.iter().map(value).collect(),
        Yaml::Hash(table) => {
            let named = table.iter().map(|(key, inner)| (key.as_str().unwrap().to_owned(), value(inner)));
            Value::Object(named.collect::<Map<_, _>>())
        }
        Yaml::Null => Value::Null,
        Yaml::Alias(_) | Yaml::BadValue => panic!("{yaml:?}"),
    }
}

//! The description of the API for programs (`OpenAPI` 3.1), made of the table of paths and of the types that answers are
//! made from: it cannot know a path, a role or a field that the port does not, nor miss one.

use std::sync::LazyLock;

use hyper::body::Bytes;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::changes::WhoBody;
use super::drills::DrillBody;
use super::orders::WishBody;
use super::routes::{Body, How, ROUTES, Right, Route, Says};
use crate::config::Written;

/// Where schemas with a name stand.
const SCHEMAS: &str = "/components/schemas";

/// What `GET /api/v1/openapi.json` answers, as far as a type can say it.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a form for its description, of which no value is made")]
pub(super) struct OpenApi {
    /// `3.1.0`.
    openapi: String,
    /// What this is.
    info: Map<String, Value>,
    /// Where the paths are: here.
    servers: Vec<Map<String, Value>>,
    /// Each path with what can be done there.
    paths: Map<String, Value>,
    /// What the paths share.
    components: Map<String, Value>,
}

/// The document.
pub(super) static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    // A tree of maps with texts for keys always is JSON.
    let mut text = serde_json::to_vec_pretty(&document()).unwrap_or_default();
    text.push(b'\n');
    text.into()
});

/// What makes schemas: of what is said here, and of what is sent here.
struct Makers {
    said: SchemaGenerator,
    sent: SchemaGenerator,
}

fn document() -> Value {
    let settings = || {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = SCHEMAS.into();
            settings.meta_schema = None;
        })
    };
    let mut makers = Makers {
        said: settings().for_serialize().into_generator(),
        sent: settings().for_deserialize().into_generator(),
    };
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| Value::Object(Map::new()));
        path[method(route)] = operation(route, &mut makers);
    }
    let mut schemas = makers.sent.take_definitions(true);
    schemas.extend(makers.said.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Evenkeel admin port",
            "description": ABOUT,
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": { "Problem": problem() },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of admin.tokens or admin.token_file; none where the configuration has none",
                },
            },
        },
    })
}

const ABOUT: &str = "Each operation says by x-role what it takes: `none`, `read` or `operate`; who may operate may read. \
    Whatever takes POST wants the header X-Evenkeel-Request or a body of JSON, so that no web page can send it.";

fn method(route: &Route) -> &'static str {
    match route.how {
        How::Get => "get",
        How::Post => "post",
    }
}

fn role(right: Right) -> &'static str {
    match right {
        Right::Open => "none",
        Right::Read => "read",
        Right::Operate => "operate",
    }
}

fn operation(route: &Route, makers: &mut Makers) -> Value {
    let role = role(route.right);
    let security = if route.right == Right::Open { json!([]) } else { json!([{ "token": [role] }]) };
    let mut made = json!({
        "operationId": id(route),
        "summary": route.about,
        "x-role": role,
        "security": security,
        "parameters": parameters(route),
        "responses": responses(route, &mut makers.said),
    });
    if let Some(body) = body(route.body, &mut makers.sent) {
        made["requestBody"] = body;
    }
    made
}

/// `get_api_v1_pools_pool_why`.
fn id(route: &Route) -> String {
    let words = route.path.split(['/', '.', '-']).filter(|word| !word.is_empty());
    let words = words.map(|word| word.trim_matches(['{', '}'])).collect::<Vec<_>>().join("_");
    if words.is_empty() { format!("{}_index", method(route)) } else { format!("{}_{words}", method(route)) }
}

fn parameters(route: &Route) -> Vec<Value> {
    let open = route.path.split('/').filter_map(|word| word.strip_prefix('{')?.strip_suffix('}'));
    let of_path = open.map(|name| {
        let kind = if matches!(name, "number" | "from" | "to") {
            json!({ "type": "integer", "minimum": 0 })
        } else {
            json!({ "type": "string" })
        };
        json!({ "name": name, "in": "path", "required": true, "schema": kind })
    });
    let of_query = route.query.iter().map(
        |(name, about)| json!({ "name": name, "in": "query", "description": about, "schema": { "type": "string" } }),
    );
    let mut all: Vec<Value> = of_path.chain(of_query).collect();
    if route.how == How::Post {
        all.push(json!({
            "name": "X-Evenkeel-Request", "in": "header", "schema": { "type": "string" },
            "description": "anything; needed where the body is no JSON",
        }));
    }
    all
}

fn responses(route: &Route, makers: &mut SchemaGenerator) -> Value {
    let content = match &route.says {
        Says::Text(types) => types.iter().map(|kind| ((*kind).to_owned(), text())).collect::<Map<_, _>>(),
        Says::Json(shape) => Map::from_iter([("application/json".to_owned(), json!({ "schema": shape(makers) }))]),
        Says::Pieces(kind, pieces) => {
            let pieces: Map<String, Value> =
                pieces.iter().map(|(name, shape)| ((*name).to_owned(), Schema::to_value(shape(makers)))).collect();
            Map::from_iter([((*kind).to_owned(), json!({ "schema": { "type": "string" }, "x-pieces": pieces }))])
        }
    };
    let mut made = Map::from_iter([("200".to_owned(), json!({ "description": route.about, "content": content }))]);
    for status in refusals(route) {
        let answer = match route.right {
            Right::Open => json!({ "description": "why not", "content": { "text/plain": text() } }),
            _ => json!({ "$ref": "#/components/responses/Problem" }),
        };
        made.insert((*status).to_owned(), answer);
    }
    Value::Object(made)
}

/// What else may be answered.
fn refusals(route: &Route) -> &'static [&'static str] {
    match (route.right, route.how) {
        (Right::Open, _) if route.query.is_empty() => &[],
        (Right::Open, _) => &["404", "503"],
        (_, How::Get) => &["400", "401", "403", "404", "409", "429", "500", "503"],
        (_, How::Post) => &["400", "401", "403", "404", "408", "409", "412", "413", "429", "500", "503"],
    }
}

fn text() -> Value {
    json!({ "schema": { "type": "string" } })
}

fn body(body: Body, makers: &mut SchemaGenerator) -> Option<Value> {
    let (required, content) = match body {
        Body::None => return None,
        Body::Who => (false, json!({ "application/json": { "schema": makers.subschema_for::<WhoBody>() } })),
        Body::Order => (true, json!({ "application/json": { "schema": makers.subschema_for::<WishBody>() } })),
        Body::Drill => (true, json!({ "application/json": { "schema": makers.subschema_for::<DrillBody>() } })),
        Body::Configuration => (
            true,
            json!({
                "application/toml": text(),
                "application/json": { "schema": makers.subschema_for::<Written>() },
            }),
        ),
    };
    Some(json!({ "required": required, "content": content }))
}

/// Whatever is wrong is said in one of two ways.
fn problem() -> Value {
    json!({
        "description": "What is wrong, in `error`; or in `problems`, where a configuration is.",
        "content": { "application/json": { "schema": {
            "type": "object",
            "properties": {
                "error": { "type": "string", "description": "In a sentence." },
                "problems": { "type": "string", "description": "All that is wrong with a configuration, for people." },
                "reported": { "type": "array", "items": { "type": "object" }, "description": "The same for programs." },
            },
            "anyOf": [{ "required": ["error"] }, { "required": ["problems"] }],
        } } },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_stands_there_with_its_role_and_an_id_of_its_own() {
        let document: Value = serde_json::from_slice(&DOCUMENT).expect("JSON");
        let mut ids = std::collections::BTreeSet::new();
        for route in ROUTES {
            let operation = &document["paths"][route.path][method(route)];
            assert_eq!(operation["x-role"], role(route.right), "{}", route.path);
            assert!(ids.insert(operation["operationId"].to_string()), "{} twice", operation["operationId"]);
        }
        assert_eq!(ids.len(), ROUTES.len());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(map) => {
                    found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    map.values().for_each(|value| references(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document: Value = serde_json::from_slice(&DOCUMENT).expect("JSON");
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 40, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference}"));
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}

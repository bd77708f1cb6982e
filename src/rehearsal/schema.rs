//! The smallest instance of a JSON schema: what a model that is asked for structured output or tool arguments gives.
//!
//! It reads what the SDKs write (OpenAI's strict subset, pydantic's and zod's schemas): `$ref`, `allOf`, `anyOf`, `oneOf`,
//! `enum`, `const`, bounds, lengths and common formats. `pattern`, `not`, `if` and `uniqueItems` are not read. A schema may
//! come from anyone, so depth and size are bounded: past the bounds the instance is short rather than valid.

use std::cell::Cell;

use serde_json::{Map, Number, Value};

/// From here on whatever is optional is left out, so that a recursive type ends.
const LEAN: usize = 6;

/// Nothing is nested deeper.
const DEEPEST: usize = 16;

/// Schemas looked at for one instance; a schema that branches into itself would be looked at for ever.
const BUDGET: usize = 2_000;

/// Looking at a schema may copy all of it, so a huge one is looked at fewer times: no more than so many bytes in all.
const BYTES: usize = 40_000_000;

/// The most items of an array or characters of a string that a schema can ask for.
const LONGEST: u64 = 100;

/// An instance of `schema`.
pub(super) fn instance(schema: &Value) -> Value {
    let budget = BUDGET.min(BYTES / schema.to_string().len());
    Maker { root: schema, budget: Cell::new(budget) }.make(schema, 0)
}

struct Maker<'a> {
    root: &'a Value,
    budget: Cell<usize>,
}

impl Maker<'_> {
    fn make(&self, schema: &Value, depth: usize) -> Value {
        let Value::Object(schema) = schema else {
            // `true` allows everything and `false` nothing.
            return if schema == &Value::Bool(false) { Value::Null } else { "text".into() };
        };
        let schema = self.plain(schema, depth);
        if let Some(only) = schema.get("const") {
            return only.clone();
        }
        if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|values| values.first()) {
            return first.clone();
        }
        match kind(&schema) {
            "object" => self.object(&schema, depth),
            "array" => self.array(&schema, depth),
            "integer" => number(&schema, true),
            "number" => number(&schema, false),
            "boolean" => Value::Bool(true),
            "null" => Value::Null,
            _ => text(&schema).into(),
        }
    }

    /// The schema with its references followed, its `allOf` merged and an alternative chosen.
    fn plain(&self, schema: &Map<String, Value>, depth: usize) -> Map<String, Value> {
        let mut plain = schema.clone();
        while let Some(left) = self.budget.get().checked_sub(1) {
            self.budget.set(left);
            if let Some(target) = plain.remove("$ref") {
                if let Some(Value::Object(target)) = target.as_str().and_then(|target| self.root.pointer(target.strip_prefix('#')?)) {
                    merge(&mut plain, target.clone());
                }
            } else if let Some(Value::Array(all)) = plain.remove("allOf") {
                for one in all.iter().filter_map(Value::as_object) {
                    merge(&mut plain, self.plain(one, depth));
                }
            } else if let Some(Value::Array(options)) = plain.remove("anyOf").or_else(|| plain.remove("oneOf")) {
                if let Some(Value::Object(option)) = choose(&options, depth) {
                    merge(&mut plain, option.clone());
                }
            } else {
                break;
            }
        }
        plain
    }

    fn object(&self, schema: &Map<String, Value>, depth: usize) -> Value {
        let mut object = Map::new();
        let required = schema.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for name in required.iter().filter_map(Value::as_str) {
            if depth >= DEEPEST || self.budget.get() == 0 {
                break;
            }
            let property = schema.get("properties").and_then(|properties| properties.get(name));
            object.insert(name.to_owned(), self.make(property.unwrap_or(&Value::Bool(true)), depth + 1));
        }
        Value::Object(object)
    }

    fn array(&self, schema: &Map<String, Value>, depth: usize) -> Value {
        let bound = |key| schema.get(key).and_then(Value::as_u64);
        let fixed = schema.get("prefixItems").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let usual = if fixed.is_empty() { u64::from(depth < LEAN) } else { fixed.len() as u64 };
        let count = match bound("minItems") {
            Some(0) | None => usual,
            Some(least) => least,
        };
        let count = count.min(bound("maxItems").unwrap_or(LONGEST)).min(LONGEST) as usize;
        let items = schema.get("items").unwrap_or(&Value::Bool(true));
        let mut array = Vec::new();
        while array.len() < count && depth < DEEPEST && self.budget.get() > 0 {
            array.push(self.make(fixed.get(array.len()).unwrap_or(items), depth + 1));
        }
        Value::Array(array)
    }
}

/// The first alternative; deep down the first that ends there.
fn choose(options: &[Value], depth: usize) -> Option<&Value> {
    let ends = |option: &&Value| {
        let kind = option.get("type").and_then(Value::as_str);
        option.get("enum").is_some() || option.get("const").is_some() || kind.is_some_and(|kind| !matches!(kind, "object" | "array"))
    };
    let end = if depth >= LEAN { options.iter().find(ends) } else { None };
    end.or(options.first())
}

/// Adds what `from` says and `into` doesn't; properties and required names are both's.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (None, value) => {
                into.insert(key, value);
            }
            (Some(Value::Object(has)), Value::Object(more)) if key == "properties" => merge(has, more),
            (Some(Value::Array(has)), Value::Array(more)) if key == "required" => has.extend(more),
            _ => {}
        }
    }
}

/// The type that is named, the first of several, or what the other keys are about.
fn kind(schema: &Map<String, Value>) -> &str {
    let named = schema.get("type").and_then(|kind| kind.as_str().or_else(|| kind.get(0)?.as_str()));
    let has = |keys: &[&str]| keys.iter().any(|key| schema.contains_key(*key));
    match named {
        Some(kind) => kind,
        None if has(&["properties", "required"]) => "object",
        None if has(&["items", "prefixItems"]) => "array",
        None if has(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]) => "number",
        None => "string",
    }
}

/// The least number allowed, or 1.
fn number(schema: &Map<String, Value>, whole: bool) -> Value {
    let bound = |key| schema.get(key).and_then(Value::as_f64);
    let round_up = |n: f64| if whole { n.ceil() } else { n };
    let least = bound("minimum")
        .map(round_up)
        .into_iter()
        .chain(bound("exclusiveMinimum").map(|n| if whole { n.floor() + 1.0 } else { above(n, schema) }));
    let most = bound("maximum").map(|n| if whole { n.floor() } else { n }).into_iter();
    let most = most.chain(bound("exclusiveMaximum").map(|n| if whole { n.ceil() - 1.0 } else { n - 1.0 })).reduce(f64::min);
    let least = least.reduce(f64::max);
    let mut n = least.unwrap_or_else(|| most.map_or(1.0, |most| most.min(1.0)));
    if let Some(step) = bound("multipleOf").filter(|step| *step > 0.0) {
        n = (n / step).ceil() * step;
        if least.is_none() && most.is_some_and(|most| n > most) {
            n -= step;
        }
    }
    if n.fract() == 0.0 && n.abs() < 9e15 { Value::from(n as i64) } else { Number::from_f64(n).map_or(Value::from(1), Value::Number) }
}

/// A number above `n` and below what bounds it from above.
fn above(n: f64, schema: &Map<String, Value>) -> f64 {
    let bound = |key| schema.get(key).and_then(Value::as_f64);
    match bound("maximum").or(bound("exclusiveMaximum")) {
        Some(most) if most <= n + 1.0 => n + (most - n) / 2.0,
        _ => n + 1.0,
    }
}

fn text(schema: &Map<String, Value>) -> String {
    let text = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => "2026-01-02T03:04:05Z",
        Some("date") => "2026-01-02",
        Some("time") => "03:04:05Z",
        Some("duration") => "PT1M",
        Some("email") => "someone@example.com",
        Some("hostname") => "example.com",
        Some("uri" | "url") => "https://example.com/",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        Some("ipv4") => "192.0.2.1",
        Some("ipv6") => "2001:db8::1",
        _ => "text",
    };
    let bound = |key| schema.get(key).and_then(Value::as_u64);
    let has = text.chars().count() as u64;
    let length = has.max(bound("minLength").unwrap_or(0)).min(bound("maxLength").unwrap_or(u64::MAX));
    text.chars().chain("text".chars().cycle()).take(length.min(LONGEST.max(has)) as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn only_what_is_required() {
        let schema = json!({"type": "object", "required": ["city", "days"], "properties": {
            "city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}, "unit": {"enum": ["C", "F"]}}});
        assert_eq!(instance(&schema), json!({"city": "text", "days": 3}));
    }

    #[test]
    fn references_alternatives_and_parts() {
        let schema = json!({"$defs": {"Color": {"enum": ["red"]}, "Base": {"type": "object", "properties": {"id": {"format": "uuid", "type": "string"}}, "required": ["id"]}},
            "allOf": [{"$ref": "#/$defs/Base"}], "properties": {"c": {"$ref": "#/$defs/Color", "description": "x"}, "n": {"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 1}, {"type": "null"}]},
            "t": {"type": ["integer", "null"], "multipleOf": 5}, "p": {"type": "array", "prefixItems": [{"const": 1}, {"type": "boolean"}]}}, "required": ["c", "n", "t", "p"]});
        let made = instance(&schema);
        assert_eq!(made, json!({"id": "00000000-0000-4000-8000-000000000000", "c": "red", "n": 0.5, "t": 5, "p": [1, true]}));
    }

    #[test]
    fn a_recursive_type_ends() {
        let node = json!({"$defs": {"Node": {"type": "object", "required": ["v", "next", "kids"], "properties": {"v": {"type": "integer"},
            "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}, "kids": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}}}, "$ref": "#/$defs/Node"});
        let text = instance(&node).to_string();
        assert!(text.len() < 20_000 && text.contains(r#""kids":[],"next":null"#), "{text}");
    }

    #[test]
    fn a_huge_schema_is_not_multiplied() {
        let names: Vec<String> = (0..2_000).map(|n| format!("p{n}")).collect();
        let properties: Map<String, Value> = names.iter().map(|name| (name.clone(), json!({"$ref": "#/$defs/big"}))).collect();
        let schema =
            json!({"$defs": {"big": {"const": "x".repeat(2_000_000)}}, "type": "object", "required": names, "properties": properties});
        assert!(instance(&schema).to_string().len() < 2 * BYTES);
    }

    #[test]
    fn a_hostile_schema_is_bounded() {
        let wide: Vec<String> = (0..50).map(|n| format!("p{n}")).collect();
        let properties: Map<String, Value> = wide.iter().map(|name| (name.clone(), json!({"$ref": "#"}))).collect();
        for schema in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
            json!({"type": "object", "required": wide, "properties": properties}),
            json!({"type": "array", "minItems": u64::MAX, "items": {"$ref": "#"}}),
            json!({"type": "string", "minLength": u64::MAX}),
            json!({"type": 5, "enum": [], "required": 3, "anyOf": []}),
            json!({"type": "integer", "minimum": 1e300, "multipleOf": 1e-300}),
        ] {
            assert!(instance(&schema).to_string().len() < 100_000);
        }
    }

    /// Schemas of the kinds that clients send; `d0` and `d1` are defined beside the root.
    fn schemas() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            (0u64..9, 0u64..9).prop_map(|(least, more)| json!({"type": "string", "minLength": least, "maxLength": least + more})),
            (-50i64..50, 0i64..9).prop_map(|(least, more)| json!({"type": "integer", "minimum": least, "maximum": least + more})),
            (-50i64..50).prop_map(|most| json!({"type": "integer", "exclusiveMaximum": most})),
            (-5.0f64..5.0, 0.1f64..5.0)
                .prop_map(|(least, more)| json!({"type": "number", "exclusiveMinimum": least, "maximum": least + more})),
            Just(json!({"type": "boolean"})),
            Just(json!({"type": ["string", "null"]})),
            "[a-z]{1,4}".prop_map(|value| json!({"enum": [value, 3]})),
            (0..2).prop_map(|n| json!({"$ref": format!("#/$defs/d{n}")})),
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                (proptest::collection::btree_map("[a-d]", inner.clone(), 0..4), any::<u8>()).prop_map(|(properties, some)| {
                    let required: Vec<_> =
                        properties.keys().enumerate().filter(|(n, _)| some >> n & 1 == 1).map(|(_, name)| name.clone()).collect();
                    json!({"type": "object", "properties": properties, "required": required})
                }),
                (inner.clone(), 0u64..3).prop_map(|(items, least)| json!({"type": "array", "items": items, "minItems": least})),
                proptest::collection::vec(inner, 1..3).prop_map(|options| json!({"anyOf": options})),
            ]
        })
    }

    /// Whether `value` satisfies `schema`, written apart from the code above.
    fn satisfies(root: &Value, schema: &Value, value: &Value) -> bool {
        if let Some(target) = schema["$ref"].as_str() {
            return satisfies(root, root.pointer(&target[1..]).unwrap(), value);
        }
        if let Some(options) = schema["anyOf"].as_array() {
            return options.iter().any(|option| satisfies(root, option, value));
        }
        if let Some(values) = schema["enum"].as_array() {
            return values.contains(value);
        }
        let kinds: Vec<&str> = schema["type"]
            .as_array()
            .map_or(vec![schema["type"].as_str().unwrap_or("")], |kinds| kinds.iter().filter_map(Value::as_str).collect());
        let bound = |key: &str| schema[key].as_f64();
        kinds.iter().any(|kind| match (*kind, value) {
            ("null", Value::Null) | ("boolean", Value::Bool(_)) => true,
            ("string", Value::String(text)) => {
                let length = text.chars().count() as f64;
                bound("minLength").is_none_or(|n| length >= n) && bound("maxLength").is_none_or(|n| length <= n)
            }
            ("integer" | "number", Value::Number(n)) => {
                let n = n.as_f64().unwrap();
                (*kind == "number" || n.fract() == 0.0)
                    && bound("minimum").is_none_or(|b| n >= b)
                    && bound("maximum").is_none_or(|b| n <= b)
                    && bound("exclusiveMinimum").is_none_or(|b| n > b)
                    && bound("exclusiveMaximum").is_none_or(|b| n < b)
            }
            ("array", Value::Array(items)) => {
                items.len() as f64 >= bound("minItems").unwrap_or(0.0) && items.iter().all(|item| satisfies(root, &schema["items"], item))
            }
            ("object", Value::Object(has)) => {
                schema["required"].as_array().unwrap().iter().all(|name| has.contains_key(name.as_str().unwrap()))
                    && has.iter().all(|(name, value)| satisfies(root, &schema["properties"][name], value))
            }
            _ => false,
        })
    }

    proptest! {
        #[test]
        fn an_instance_satisfies_its_schema(schema in schemas()) {
            let mut root = json!({"type": "object", "properties": {"value": schema}, "required": ["value"]});
            root["$defs"] = json!({"d0": {"type": "integer", "minimum": 7}, "d1": {"$ref": "#/$defs/d0"}});
            let made = instance(&root);
            prop_assert!(satisfies(&root, &root, &made), "{made} for {root}");
        }
    }
}

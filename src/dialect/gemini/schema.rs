//! Google's own schema objects, a subset of OpenAPI's, as the JSON Schema that everybody else reads.
//!
//! Types are in capitals there, `nullable` is a member, counts may be strings, and names may be written in either of protobuf's
//! two ways. What JSON Schema has no word for (`propertyOrdering`) is left out. <https://ai.google.dev/api/caching#Schema>

use std::borrow::Cow;

use crate::dialect::chat::Json;
use crate::dialect::draft::Draft;
use crate::dialect::node::{Members, Node};

/// The JSON Schema that says the same.
pub(super) fn json_schema(schema: Node<'_>) -> Json<'static> {
    let mut d = Draft::with_room(schema.raw().len());
    write(&mut d, schema);
    // Written by a Draft from text: it is UTF-8.
    Cow::Owned(String::from_utf8(d.into_vec()).unwrap_or_default())
}

fn write(d: &mut Draft, schema: Node<'_>) {
    let Some(mut m) = schema.members() else {
        d.raw(schema.raw());
        return;
    };
    let nullable = m.take("nullable").and_then(Node::truth).unwrap_or(false);
    d.begin(b'{');
    for (name, value) in m.rest() {
        let name = camel(&name);
        match &*name {
            "propertyOrdering" => {}
            "type" => kind(d, value, nullable),
            // Google marks by it that a string is an enumeration.
            "format" if value.raw() == r#""enum""# => {}
            "enum" | "anyOf" if nullable => {
                let null = if name == "enum" { "null" } else { r#"{"type":"null"}"# };
                d.key(&name).begin(b'[');
                value.items().unwrap_or_default().into_iter().for_each(|item| write(d, item));
                d.raw(null).end(b']');
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => {
                d.key(&name).list(|d| value.items().unwrap_or_default().into_iter().for_each(|item| write(d, item)));
            }
            "items" | "additionalProperties" => write(d.key(&name), value),
            "properties" | "$defs" | "defs" => {
                named(d.key(if name == "defs" { "$defs" } else { &name }), value.members().unwrap_or_default())
            }
            "ref" => _ = d.key("$ref").raw(value.raw()),
            "example" => _ = d.key("examples").list(|d| _ = d.raw(value.raw())),
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => {
                let digits = value.text().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
                d.key(&name).raw(digits.as_deref().unwrap_or(value.raw()));
            }
            _ => _ = d.key(&name).raw(value.raw()),
        }
    }
    d.end(b'}');
}

fn named(d: &mut Draft, members: Members<'_>) {
    d.begin(b'{');
    for (name, value) in members.rest() {
        write(d.key(&name), value);
    }
    d.end(b'}');
}

fn kind(d: &mut Draft, value: Node<'_>, nullable: bool) {
    match value.text().map(|name| name.to_ascii_lowercase()).as_deref() {
        // JSON Schema's own list of types.
        None => _ = d.key("type").raw(value.raw()),
        Some("type_unspecified") => {}
        Some(name) if nullable && name != "null" => _ = d.key("type").list(|d| _ = d.text(name).text("null")),
        Some(name) => _ = d.key("type").text(name),
    }
}

/// A keyword as JSON writes it: `max_items` is `maxItems`.
pub(super) fn camel(name: &str) -> Cow<'_, str> {
    if !name.contains('_') {
        return Cow::Borrowed(name);
    }
    let mut camel = String::with_capacity(name.len());
    let mut up = false;
    for letter in name.chars() {
        match letter {
            '_' => up = true,
            _ if std::mem::take(&mut up) => camel.push(letter.to_ascii_uppercase()),
            _ => camel.push(letter),
        }
    }
    Cow::Owned(camel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn becomes(schema: &Value) -> Value {
        let text = schema.to_string();
        serde_json::from_str(&json_schema(Node::whole(text.as_bytes()).unwrap())).unwrap()
    }

    #[test]
    fn says_the_same_in_json_schema() {
        let google = json!({
            "type": "OBJECT",
            "properties": {
                "max_items": {"type": "STRING", "format": "enum", "enum": ["a", "b"], "nullable": true},
                "list": {"type": "ARRAY", "items": {"type": "INTEGER", "format": "int32"}, "max_items": "3", "minItems": 1, "nullable": true},
                "either": {"any_of": [{"type": "NUMBER"}, {"type": "BOOLEAN"}], "nullable": true},
                "free": {"type": "object", "additionalProperties": {"type": "STRING"}, "example": {"a": "b"}},
                "plain": {"type": "STRING", "nullable": false},
            },
            "required": ["list"],
            "propertyOrdering": ["list", "plain"],
        });
        let expected = json!({
            "type": "object",
            "properties": {
                "max_items": {"type": ["string", "null"], "enum": ["a", "b", null]},
                "list": {"type": ["array", "null"], "items": {"type": "integer", "format": "int32"}, "maxItems": 3, "minItems": 1},
                "either": {"anyOf": [{"type": "number"}, {"type": "boolean"}, {"type": "null"}]},
                "free": {"type": "object", "additionalProperties": {"type": "string"}, "examples": [{"a": "b"}]},
                "plain": {"type": "string"},
            },
            "required": ["list"],
        });
        assert_eq!(becomes(&google), expected);
    }

    #[test]
    fn what_is_no_schema_stays() {
        for odd in [json!(true), json!("x"), json!({}), json!({"properties": 1, "anyOf": null, "type": ["string", "null"]})] {
            becomes(&odd);
        }
        assert_eq!(becomes(&json!({"additionalProperties": false})), json!({"additionalProperties": false}));
    }
}

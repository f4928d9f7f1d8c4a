//! The part of JSON Schema (draft 2020-12) that `crates/bench/results.schema.json` uses. A keyword that is
//! not understood fails, so that nothing in the schema goes unheeded.

use serde_json::Value;

/// Everything in `value` that the schema forbids, each with its place; empty where it holds.
pub(crate) fn violations(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, rule) in schema.as_object().unwrap() {
        let broken = match keyword.as_str() {
            "$schema" | "title" | "description" => continue,
            "properties" => {
                for (name, rule) in rule.as_object().unwrap() {
                    if let Some(inner) = value.get(name) {
                        found.extend(violations(rule, inner, &format!("{at}/{name}")));
                    }
                }
                continue;
            }
            "additionalProperties" => {
                let known = |name: &str| schema["properties"].get(name).is_some();
                for (name, inner) in value.as_object().into_iter().flatten() {
                    if known(name) {
                        continue;
                    }
                    let place = format!("{at}/{name}");
                    match rule {
                        Value::Bool(false) => found.push(format!("{place} is not in the schema")),
                        rule => found.extend(violations(rule, inner, &place)),
                    }
                }
                continue;
            }
            "items" => {
                for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(violations(rule, inner, &format!("{at}/{index}")));
                }
                continue;
            }
            "required" => {
                let missing = |name: &&Value| value.get(name.as_str().unwrap()).is_none();
                rule.as_array().unwrap().iter().any(|name| missing(&name))
            }
            "const" => value != rule,
            "type" => match rule {
                Value::Array(types) => !types.iter().any(|rule| is(value, rule)),
                rule => !is(value, rule),
            },
            "minimum" => value.as_f64().is_some_and(|number| number < rule.as_f64().unwrap()),
            "minItems" => value.as_array().is_some_and(|list| (list.len() as u64) < rule.as_u64().unwrap()),
            "maxItems" => value.as_array().is_some_and(|list| list.len() as u64 > rule.as_u64().unwrap()),
            _ => panic!("{at}: the keyword {keyword} is not understood"),
        };
        if broken {
            found.push(format!("{at}: {value} breaks {keyword} {rule}"));
        }
    }
    found
}

fn is(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("there is no type {other}"),
    }
}

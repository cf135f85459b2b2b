//! The generated schema: a method's inputs and outputs as JSON Schema, for clients that speak JSON.

use alloy_dyn_abi::DynSolType;
use alloy_primitives::{I256, U256};
use serde_json::{Map, Value, json};

use crate::{
    abi::{self, NUMBER_BITS_MAX},
    manifest::{Manifest, Parameter},
};

/// The dialect that the schema is written in.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A JSON Schema with a definition for each method: an object of `inputs` and `outputs`, as [`Manifest::encode_call`]
/// takes and [`Manifest::decode_output`] gives them.
#[must_use]
pub fn json_schema(manifest: &Manifest) -> Value {
    let methods: Map<String, Value> = manifest
        .methods
        .iter()
        .map(|method| {
            let definition = json!({
                "description": method.description,
                "type": "object",
                "properties": { "inputs": tuple(&method.inputs), "outputs": tuple(&method.outputs) },
                "additionalProperties": false,
            });
            (method.name.clone(), definition)
        })
        .collect();
    json!({
        "$schema": DIALECT,
        "title": format!("{} {}", manifest.name, manifest.version),
        "description": manifest.description,
        "$defs": methods,
    })
}

fn tuple(parameters: &[Parameter]) -> Value {
    let properties: Map<String, Value> = parameters
        .iter()
        .map(|parameter| {
            let mut schema = abi::parse_type(&parameter.kind).map_or(json!(true), |kind| value(&kind));
            if let Some(schema) = schema.as_object_mut() {
                schema.insert("$comment".to_owned(), Value::from(parameter.kind.as_str()));
            }
            (parameter.name.clone(), schema)
        })
        .collect();
    let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    json!({ "type": "object", "properties": properties, "required": names, "additionalProperties": false })
}

fn value(kind: &DynSolType) -> Value {
    match kind {
        DynSolType::Bool => json!({ "type": "boolean" }),
        DynSolType::String => json!({ "type": "string" }),
        DynSolType::Address => json!({ "type": "string", "pattern": "^0x[0-9a-fA-F]{40}$" }),
        DynSolType::Bytes => json!({ "type": "string", "pattern": "^0x([0-9a-fA-F]{2})*$" }),
        DynSolType::FixedBytes(size_bytes) => {
            json!({ "type": "string", "pattern": format!("^0x[0-9a-fA-F]{{{}}}$", 2 * size_bytes) })
        }
        DynSolType::Uint(bits) if *bits <= NUMBER_BITS_MAX => {
            json!({ "type": "integer", "minimum": 0, "maximum": (1_u64 << bits) - 1 })
        }
        DynSolType::Int(bits) if *bits <= NUMBER_BITS_MAX => {
            let half = 1_i64 << (bits - 1);
            json!({ "type": "integer", "minimum": -half, "maximum": half - 1 })
        }
        DynSolType::Uint(bits) => digits(r"^(0|[1-9][0-9]*)$", U256::MAX >> (256 - bits)),
        DynSolType::Int(bits) => digits(r"^(0|-?[1-9][0-9]*)$", I256::MAX.asr(256 - bits)),
        DynSolType::Array(inner) => json!({ "type": "array", "items": value(inner) }),
        DynSolType::FixedArray(inner, length) => {
            json!({ "type": "array", "items": value(inner), "minItems": length, "maxItems": length })
        }
        // No manifest names another.
        _ => json!(false),
    }
}

/// A decimal number as text: a JSON number would be rounded by some readers.
fn digits(pattern: &str, max: impl std::fmt::Display) -> Value {
    json!({ "type": "string", "pattern": pattern, "description": format!("a decimal number of at most {max}") })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn every_type_has_a_schema() {
        let manifest = Manifest::from_toml(
            r#"
            name = "hello"
            version = "1.0.0"
            publisher = "Example"
            language = "c"
            world = "utility"
            [limits]
            fuel = 1
            memory_bytes = 1
            timeout_ms = 1
            [[methods]]
            name = "all"
            description = "Everything."
            inputs = [
                { name = "a", type = "bool" }, { name = "b", type = "address" }, { name = "c", type = "bytes4" },
                { name = "d", type = "uint48" }, { name = "e", type = "int8" }, { name = "f", type = "uint256[2][]" },
            ]
            outputs = [{ name = "g", type = "int256" }, { name = "h", type = "bytes" }, { name = "i", type = "string" }]
            "#,
        )
        .unwrap();
        let schema = json_schema(&manifest);
        let (inputs, outputs) = (
            &schema["$defs"]["all"]["properties"]["inputs"],
            &schema["$defs"]["all"]["properties"]["outputs"]["properties"],
        );
        assert_eq!(inputs["required"], json!(["a", "b", "c", "d", "e", "f"]));
        assert_eq!(inputs["properties"]["c"]["pattern"], "^0x[0-9a-fA-F]{8}$");
        assert_eq!(inputs["properties"]["d"]["maximum"], 281_474_976_710_655_u64);
        assert_eq!(inputs["properties"]["e"]["minimum"], -128);
        let inner = &inputs["properties"]["f"]["items"];
        assert_eq!((&inner["minItems"], &inner["items"]["type"]), (&json!(2), &json!("string")));
        let words = outputs["g"]["description"].as_str().unwrap();
        assert!(words.contains(&I256::MAX.to_string()), "{words}");
        assert_eq!(outputs["i"], json!({ "type": "string", "$comment": "string" }));
    }
}

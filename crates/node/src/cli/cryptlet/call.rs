//! `bletchley cryptlet call`.

use super::super::Common;
use super::Found;
use crate::client::Client;
use alloy_primitives::{Bytes, hex};
use alloy_sol_types::{SolCall, SolInterface, sol};
use anyhow::{Context, Result, anyhow, bail};
use bletchley_cryptlet::manifest::{Manifest, Method};
use bletchley_evm::DELEGATE_ADDRESS;
use bletchley_primitives::keccak256;
use clap::Args;
use serde_json::{Map, Value, json};

sol! {
    interface Delegate {
        error CryptletFailed(uint8 status, string reason);
        function call(bytes32 cryptlet, string method, bytes input) external view returns (bytes output);
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bletchley cryptlet call fx-rates rate base=EUR quote=USD date=20240329\n  bletchley cryptlet call hello greet name=Ada --member regulator\n\nValues are text or JSON: names='[\"Ada\",\"Alan\"]'."
)]
pub(super) struct Call {
    /// Its name.
    name: String,
    /// The method.
    method: String,
    /// Inputs, by name.
    #[arg(value_name = "NAME=VALUE")]
    inputs: Vec<String>,
    #[command(flatten)]
    common: Common,
}

impl Call {
    pub(super) fn run(self) -> Result<()> {
        let output = self.common.output();
        let client = Client::of(&self.common.folder()?)?;
        let found = Found::named(&client, &self.name)?;
        let values = inputs(&found.manifest, &self.method, &self.inputs)?;
        let input = found.manifest.encode_call(&self.method, &values)?;
        let call = Delegate::callCall {
            cryptlet: keccak256(&self.name),
            method: self.method.clone(),
            input: input.into(),
        };
        let request = json!([{ "to": DELEGATE_ADDRESS, "input": Bytes::from(call.abi_encode()) }, "latest"]);
        let answer =
            client.rpc_or_revert("eth_call", &request)?.map_err(|revert| explained(&self.name, &revert))?;
        let answer: Bytes = serde_json::from_value(answer).context("the node's answer is not bytes")?;
        let answer = Delegate::callCall::abi_decode_returns(&answer)?;
        let outputs = found.manifest.decode_output(&self.method, &answer)?;
        output.event(&outputs);
        for (name, value) in outputs.as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            output.line(format!("  {name} = {}", output.bold(&value)));
        }
        Ok(())
    }
}

/// What a delegated call that reverts says.
fn explained(name: &str, revert: &Value) -> anyhow::Error {
    let data = revert.pointer("/data").and_then(Value::as_str).and_then(|data| hex::decode(data).ok());
    let decoded = data.and_then(|data| Delegate::DelegateErrors::abi_decode(&data).ok());
    match decoded {
        Some(Delegate::DelegateErrors::CryptletFailed(failed)) => {
            anyhow!("{name} refuses (status {}): {}", failed.status, failed.reason)
        }
        None => anyhow!("{}", super::text(revert, "message")),
    }
}

/// `name=value` texts as the method's inputs: JSON where the type is no text, or where it reads as JSON of a list.
fn inputs(manifest: &Manifest, method: &str, given: &[String]) -> Result<Value> {
    let Some(known) = manifest.method(method) else {
        let names: Vec<&str> = manifest.methods.iter().map(|method| method.name.as_str()).collect();
        bail!("{} has no method {method}; it has {}", manifest.name, names.join(", "));
    };
    let mut values = Map::new();
    for text in given {
        let (name, value) =
            text.split_once('=').with_context(|| format!("{text:?} is not NAME=VALUE; {}", usage(known)))?;
        let input = known.inputs.iter().find(|input| input.name == name);
        let input = input.with_context(|| format!("{method} takes no {name:?}; {}", usage(known)))?;
        let value = if input.kind.ends_with(']') || input.kind == "bool" {
            serde_json::from_str(value)
                .with_context(|| format!("{name} is a {}: write it as JSON", input.kind))?
        } else {
            Value::String(value.to_owned())
        };
        values.insert(name.to_owned(), value);
    }
    if let Some(missing) = known.inputs.iter().find(|input| !values.contains_key(&input.name)) {
        bail!("{} is missing; {}", missing.name, usage(known));
    }
    Ok(Value::Object(values))
}

fn usage(method: &Method) -> String {
    let inputs = method.inputs.iter().map(|input| format!(" {}=<{}>", input.name, input.kind));
    format!("write: {}{}", method.name, inputs.collect::<String>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn inputs_are_named_and_typed() {
        let manifest = include_str!("../../../../../cryptlets/fx-rates/cryptlet.toml");
        let manifest = Manifest::from_toml(manifest).unwrap();
        let of = |method: &str, given: &[&str]| {
            let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
            inputs(&manifest, method, &given).map_err(|error| error.to_string())
        };
        let full = of("rate", &["base=EUR", "quote=USD", "date=20240329"]).unwrap();
        assert_eq!(full, json!({ "base": "EUR", "quote": "USD", "date": "20240329" }));
        assert!(manifest.encode_call("rate", &full).is_ok());
        let wrong = of("rate", &["base=EUR"]).unwrap_err();
        assert_eq!(wrong, "quote is missing; write: rate base=<string> quote=<string> date=<uint32>");
        assert!(of("rate", &["bass=EUR"]).unwrap_err().starts_with("rate takes no \"bass\""));
        assert!(of("rates", &[]).unwrap_err().ends_with("it has rate"));
    }
}

//! What a manifest says about calls, with its types parsed: the checks that stand before and after the code.

use std::collections::HashMap;

use alloy_dyn_abi::DynSolType;
use alloy_primitives::Bytes;

use super::limits;
use crate::{
    abi,
    container::{FailureKind, INPUT_SIZE_BYTES_MAX, Invocation, LoadError, OUTPUT_SIZE_BYTES_MAX, Status},
    fetch::{Fetched, check_path},
    manifest::{Manifest, NAME_SIZE_BYTES_MAX, Parameter},
};

/// A manifest with its types parsed.
pub(crate) struct Methods {
    pub(crate) manifest: Manifest,
    types: HashMap<String, MethodTypes>,
}

/// Types of one method.
pub(crate) struct MethodTypes {
    inputs: Vec<DynSolType>,
    outputs: Vec<DynSolType>,
}

impl Methods {
    /// `None` when a type is not known: such a manifest does not pass its own check.
    pub(crate) fn of(manifest: Manifest) -> Option<Self> {
        let tuple = |parameters: &[Parameter]| {
            parameters
                .iter()
                .map(|parameter| abi::parse_type(&parameter.kind).ok())
                .collect::<Option<Vec<_>>>()
        };
        let types = manifest
            .methods
            .iter()
            .map(|method| {
                let types = MethodTypes { inputs: tuple(&method.inputs)?, outputs: tuple(&method.outputs)? };
                Some((method.name.clone(), types))
            })
            .collect::<Option<_>>()?;
        Some(Self { manifest, types })
    }

    /// The types of the method called, or why the call does not run (specs/cryptlet.md: Calls).
    pub(crate) fn admit(&self, call: &Invocation) -> Result<&MethodTypes, Status> {
        if call.input.len() > INPUT_SIZE_BYTES_MAX {
            let reason = format!("the input is longer than {INPUT_SIZE_BYTES_MAX} bytes");
            return Err(Status::failed(FailureKind::InputTooLarge, reason));
        }
        let Some(types) = self.types.get(&call.method) else {
            let method: String = call.method.chars().take(NAME_SIZE_BYTES_MAX).collect();
            let reason = format!("{} has no method `{method}`", self.manifest.name);
            return Err(Status::failed(FailureKind::UnknownMethod, reason));
        };
        if !abi::is_canonical(&types.inputs, &call.input) {
            let reason = format!("the input is not the ABI encoding of {}", tuple_name(&types.inputs));
            return Err(Status::failed(FailureKind::InvalidInput, reason));
        }
        Ok(types)
    }

    /// What manifest and path forbid, on every host and whatever a record says.
    pub(crate) fn forbids_fetch(&self, source: &str, path: &str) -> Option<Fetched> {
        let declared = self.manifest.capabilities.fetch.iter().any(|declared| declared.name == source);
        if !declared {
            return Some(Fetched::Denied(format!("the manifest names no source `{source}`")));
        }
        check_path(path).err().map(|problem| Fetched::Denied(problem.to_owned()))
    }

    /// Refuses a manifest that asks for more than a host of this profile gives.
    pub(crate) fn check_demands(manifest: &Manifest) -> Result<(), LoadError> {
        for (what, asked, max) in [
            ("limits.fuel", manifest.limits.fuel, limits::FUEL_MAX),
            ("limits.memory_bytes", manifest.limits.memory_bytes, limits::MEMORY_SIZE_BYTES_MAX as u64),
            ("limits.timeout_ms", manifest.limits.timeout_ms, limits::TIMEOUT_MS_MAX),
        ] {
            if asked > max {
                return Err(LoadError::TooDemanding { name: manifest.name.clone(), what, asked, max });
            }
        }
        Ok(())
    }
}

impl MethodTypes {
    /// The status of a call that gave this output, and the output if it stands.
    pub(crate) fn accept(&self, output: Vec<u8>) -> (Status, Bytes) {
        if output.len() > OUTPUT_SIZE_BYTES_MAX {
            return (Status::failed(FailureKind::OutputTooLarge, too_large()), Bytes::new());
        }
        if !abi::is_canonical(&self.outputs, &output) {
            let reason =
                format!("the cryptlet's output is not the ABI encoding of {}", tuple_name(&self.outputs));
            return (Status::failed(FailureKind::AbiViolation, reason), Bytes::new());
        }
        (Status::Ok, output.into())
    }
}

/// Words of an answer past its bound.
pub(super) fn too_large() -> String {
    format!("the cryptlet hands over more than {OUTPUT_SIZE_BYTES_MAX} bytes")
}

fn tuple_name(types: &[DynSolType]) -> String {
    let names: Vec<_> = types.iter().map(DynSolType::sol_type_name).collect();
    format!("({})", names.join(","))
}

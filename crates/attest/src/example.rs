//! Claims for examples, tests and vectors.

use alloy_primitives::{Address, B256};
use bletchley_primitives::LedgerId;

use crate::RuntimeClaims;

/// Well-formed claims of a host, with this ephemeral key; every digest is made up.
#[must_use]
pub fn claims(host: Address, ephemeral_key: B256) -> RuntimeClaims {
    RuntimeClaims {
        registry: LedgerId(B256::repeat_byte(1)),
        host,
        binary: B256::repeat_byte(2),
        engine: "wasmtime 48.0.8".to_owned(),
        profile: B256::repeat_byte(3),
        isolation: "in-process".to_owned(),
        component: B256::repeat_byte(4),
        world: "bletchley:cryptlet@1.0.0".to_owned(),
        config: B256::repeat_byte(5),
        ephemeral_key,
        location: "DE-BY".to_owned(),
    }
}

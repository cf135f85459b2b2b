//! One function for each method of cryptlet.toml, its name in snake_case. What it returns as an error, the calling contract
//! reverts with.

// Generated from cryptlet.toml by `bletchley cryptlet build`.
#[path = "../.bletchley/cryptlet.rs"]
mod cryptlet;

use cryptlet::{log, Cryptlet, CryptletError, TotalOutputs, U256};

struct Hello;

impl Cryptlet for Hello {
    fn greet(&self, name: String) -> Result<String, CryptletError> {
        if name.is_empty() {
            return Err(CryptletError::invalid_input("greet needs a name"));
        }
        log::info(&format!("greeting {}", name));
        Ok(format!("Hello, {}!", name))
    }

    fn total(&self, amounts: Vec<U256>) -> Result<TotalOutputs, CryptletError> {
        let count = amounts.len() as u32;
        let sum = amounts.into_iter().try_fold(U256::ZERO, U256::checked_add);
        let sum = sum.ok_or_else(|| CryptletError::invalid_input("the sum has more than 256 bits"))?;
        Ok(TotalOutputs { sum, count })
    }
}

cryptlet::export!(Hello);

//! Positional parameters: bounded in number, decoded one by one where a method asks for them.

use crate::error::RpcError;
use crate::limits::PARAMS_MAX;
use alloy_primitives::{Bytes, U256};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The parameters of one request.
#[derive(Debug)]
pub(crate) struct Params<'a>(Vec<&'a RawValue>);

impl<'a> Params<'a> {
    /// Splits the JSON text of the parameters; absent and `null` are an empty list.
    pub(crate) fn parse(text: Option<&'a str>) -> Result<Self, RpcError> {
        let Some(text) = text else { return Ok(Self(Vec::new())) };
        let all: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| {
            RpcError::invalid_params("non-array args: parameters are given by position, in an array")
        })?;
        if all.len() > PARAMS_MAX {
            return Err(RpcError::invalid_params(format!("too many arguments, want at most {PARAMS_MAX}")));
        }
        Ok(Self(all))
    }

    fn get(&self, index: usize) -> Option<&'a str> {
        self.0.get(index).map(|raw| raw.get()).filter(|text| *text != "null")
    }

    /// The parameter at `index`, which must be there.
    pub(crate) fn required<T: DeserializeOwned>(&self, index: usize) -> Result<T, RpcError> {
        self.optional(index)?
            .ok_or_else(|| RpcError::invalid_params(format!("missing value for required argument {index}")))
    }

    /// The parameter at `index`, unless it is absent or `null`.
    pub(crate) fn optional<T: DeserializeOwned>(&self, index: usize) -> Result<Option<T>, RpcError> {
        let Some(text) = self.get(index) else { return Ok(None) };
        serde_json::from_str(text)
            .map(Some)
            .map_err(|error| RpcError::invalid_params(format!("invalid argument {index}: {error}")))
    }

    /// The parameter at `index`, or `T`'s default.
    pub(crate) fn or_default<T: DeserializeOwned + Default>(&self, index: usize) -> Result<T, RpcError> {
        Ok(self.optional(index)?.unwrap_or_default())
    }

    /// Refuses parameters beyond the first `count`.
    pub(crate) fn at_most(&self, count: usize) -> Result<(), RpcError> {
        if self.0.len() > count {
            return Err(RpcError::invalid_params(format!("too many arguments, want at most {count}")));
        }
        Ok(())
    }
}

/// The one parameter of `eth_sendRawTransaction`, on the shortest way from text to bytes.
pub(crate) fn raw_transaction(text: Option<&str>) -> Result<Bytes, RpcError> {
    let missing = || RpcError::invalid_params("missing value for required argument 0");
    let text = text.ok_or_else(missing)?;
    let fast = serde_json::from_str::<(&str,)>(text).map(|(hex,)| Cow::Borrowed(hex));
    let hex = match fast {
        Ok(hex) => hex,
        Err(_) => {
            let params = Params::parse(Some(text))?;
            params.at_most(1)?;
            Cow::Owned(params.required::<String>(0)?)
        }
    };
    let digits = hex
        .strip_prefix("0x")
        .ok_or_else(|| RpcError::invalid_params("invalid argument 0: hex string without 0x prefix"))?;
    if digits.is_empty() {
        return Err(RpcError::invalid_params("invalid argument 0: a raw transaction is not empty"));
    }
    let bytes = hex::decode(digits)
        .map_err(|error| RpcError::invalid_params(format!("invalid argument 0: {error}")))?;
    Ok(Bytes::from(bytes))
}

/// A number of at most 64 bits, as a hexadecimal or decimal string or as a JSON number: development tools send all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Quantity(pub(crate) u64);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wide = Wide::deserialize(deserializer)?;
        u64::try_from(wide.0).map(Self).map_err(|_| D::Error::custom("number exceeds 64 bits"))
    }
}

/// A number of at most 256 bits, written in any of the ways of [`Quantity`]. Leading zeros are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wide(pub(crate) U256);

impl<'de> Deserialize<'de> for Wide {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Wide;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a string with a hexadecimal (0x...) or decimal number")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Wide, E> {
                Ok(Wide(U256::from(number)))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Wide, E> {
                u64::try_from(number)
                    .map(|n| Wide(U256::from(n)))
                    .map_err(|_| E::custom("number is negative"))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Wide, E> {
                Err(E::custom(format!(
                    "{number} is not a whole number of at most 64 bits; write it as a string"
                )))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Wide, E> {
                let parsed = match text.strip_prefix("0x") {
                    Some("") => return Err(E::custom("hex string \"0x\"")),
                    Some(digits) => U256::from_str_radix(digits, 16),
                    None if text.is_empty() => return Err(E::custom("empty string")),
                    None => U256::from_str_radix(text, 10),
                };
                parsed.map(Wide).map_err(|error| E::custom(format!("not a number: {error}")))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_in_every_dress() {
        for text in ["255", "\"0xff\"", "\"255\"", "\"0x00ff\""] {
            assert_eq!(serde_json::from_str::<Quantity>(text).unwrap(), Quantity(255), "{text}");
        }
        for text in ["-1", "1.5", "\"0x\"", "\"\"", "\"ten\"", "true", "\"0x1_0000000000000000f\"", "1e40"] {
            assert!(serde_json::from_str::<Quantity>(text).is_err(), "{text}");
        }
        let too_wide = format!("\"0x1{}\"", "0".repeat(64));
        assert!(serde_json::from_str::<Wide>(&too_wide).is_err());
    }

    #[test]
    fn raw_transactions_are_hex_and_nothing_else() {
        assert_eq!(raw_transaction(Some(r#"["0x02ff"]"#)).unwrap().as_ref(), [0x02, 0xff]);
        assert_eq!(raw_transaction(Some(r#"["0x\u00302ff"]"#)).unwrap().as_ref(), [0x02, 0xff]);
        for text in
            ["[]", "[1]", "{}", r#"["02ff"]"#, r#"["0x2ff"]"#, r#"["0xzz"]"#, r#"["0x"]"#, "[null]", "\"0x\""]
        {
            assert_eq!(raw_transaction(Some(text)).unwrap_err().code, -32602, "{text}");
        }
        assert_eq!(raw_transaction(None).unwrap_err().code, -32602);
    }

    #[test]
    fn parameters_are_bounded() {
        let text = format!("[{}1]", "1,".repeat(PARAMS_MAX));
        assert_eq!(Params::parse(Some(&text)).unwrap_err().code, -32602);
        assert!(Params::parse(Some("{\"a\":1}")).is_err());
        assert!(Params::parse(Some("null")).is_err());
    }
}

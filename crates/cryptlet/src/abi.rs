//! ABI types by name, and values between JSON and the ABI: what the CLI and the API speak for a method's tuple.

use alloy_dyn_abi::{DynSolType, DynSolValue};
use alloy_primitives::{Address, I256, U256};
use serde_json::Value;

/// Longest name of a type.
const TYPE_SIZE_BYTES_MAX: usize = 64;
/// Deepest nesting of arrays.
const ARRAY_DEPTH_MAX: usize = 2;
/// Longest fixed array.
const FIXED_ARRAY_LENGTH_MAX: usize = 1024;
/// Integers up to this many bits are JSON numbers; wider ones are decimal strings, which no reader rounds.
pub(crate) const NUMBER_BITS_MAX: usize = 53;

/// Why a value or a type was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AbiError {
    /// Not a type that manifests may use.
    #[error(
        "`{0}` is not a type that a manifest may use: bool, address, string, bytes, bytes1-32, (u)int8-256, or arrays of these"
    )]
    Type(String),
    /// A JSON value that is not of its type.
    #[error("`{name}` must be a {expected}, not {given}")]
    Value {
        /// Parameter.
        name: String,
        /// ABI type.
        expected: String,
        /// The value, shortened.
        given: String,
    },
    /// Not as many values as parameters.
    #[error("expected {expected} values, got {given}")]
    Count {
        /// How many there should be.
        expected: usize,
        /// How many there are.
        given: usize,
    },
    /// A value without a name, or an unknown one.
    #[error("there is no value for `{0}`")]
    Missing(String),
    /// Bytes that are not the canonical encoding of the tuple.
    #[error("not the ABI encoding of {expected}: {reason}")]
    Bytes {
        /// Types of the tuple.
        expected: String,
        /// What is wrong.
        reason: String,
    },
}

/// Reads a type by its canonical name.
///
/// # Errors
/// [`AbiError::Type`] for anything but the types that manifests may use, spelled canonically.
pub fn parse_type(name: &str) -> Result<DynSolType, AbiError> {
    let wrong = || AbiError::Type(name.chars().take(TYPE_SIZE_BYTES_MAX).collect());
    if name.len() > TYPE_SIZE_BYTES_MAX
        || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"[]".contains(&byte))
    {
        return Err(wrong());
    }
    let parsed = DynSolType::parse(name).map_err(|_| wrong())?;
    if parsed.sol_type_name() == name && allowed(&parsed, 0) { Ok(parsed) } else { Err(wrong()) }
}

fn allowed(kind: &DynSolType, depth: usize) -> bool {
    match kind {
        DynSolType::Bool
        | DynSolType::Address
        | DynSolType::String
        | DynSolType::Bytes
        | DynSolType::FixedBytes(_)
        | DynSolType::Uint(_)
        | DynSolType::Int(_) => true,
        DynSolType::Array(inner) => depth < ARRAY_DEPTH_MAX && allowed(inner, depth + 1),
        DynSolType::FixedArray(inner, length) => {
            depth < ARRAY_DEPTH_MAX
                && (1..=FIXED_ARRAY_LENGTH_MAX).contains(length)
                && allowed(inner, depth + 1)
        }
        _ => false,
    }
}

/// Encodes named values, given as a JSON array in order or as an object by name, as an ABI tuple.
///
/// # Errors
/// [`AbiError`] naming the parameter.
pub fn encode(parameters: &[(&str, DynSolType)], values: &Value) -> Result<Vec<u8>, AbiError> {
    let count = |given| AbiError::Count { expected: parameters.len(), given };
    let mut tuple = Vec::with_capacity(parameters.len());
    match values {
        Value::Array(values) => {
            if values.len() != parameters.len() {
                return Err(count(values.len()));
            }
            for ((name, kind), value) in parameters.iter().zip(values) {
                tuple.push(to_abi(name, kind, value)?);
            }
        }
        Value::Object(values) => {
            if values.len() > parameters.len() {
                return Err(count(values.len()));
            }
            for (name, kind) in parameters {
                let value = values.get(*name).ok_or_else(|| AbiError::Missing((*name).to_owned()))?;
                tuple.push(to_abi(name, kind, value)?);
            }
        }
        other => return Err(value_error("the call's values", "JSON array or object", other)),
    }
    Ok(DynSolValue::Tuple(tuple).abi_encode_params())
}

/// Decodes an ABI tuple into a JSON object by name. Only the canonical encoding is accepted.
///
/// # Errors
/// [`AbiError::Bytes`].
pub fn decode(parameters: &[(&str, DynSolType)], bytes: &[u8]) -> Result<Value, AbiError> {
    let kinds: Vec<DynSolType> = parameters.iter().map(|(_, kind)| kind.clone()).collect();
    let canonical = is_canonical(&kinds, bytes);
    let tuple = DynSolType::Tuple(kinds);
    let wrong = |reason: String| AbiError::Bytes { expected: tuple.sol_type_name().into_owned(), reason };
    if !canonical {
        return Err(wrong("not what abi.encode writes".to_owned()));
    }
    let value = tuple.abi_decode_params(bytes).map_err(|error| wrong(error.to_string()))?;
    let DynSolValue::Tuple(values) = value else { return Err(wrong("no tuple".to_owned())) };
    Ok(Value::Object(
        parameters
            .iter()
            .zip(&values)
            .map(|((name, _), value)| ((*name).to_owned(), to_json(value)))
            .collect(),
    ))
}

/// Whether these bytes are what `abi.encode` writes for some tuple of these types. Each byte is read once and nothing
/// is allocated: a decoder would follow offsets that share their target, and a few bytes could become gigabytes.
#[must_use]
pub fn is_canonical(tuple: &[DynSolType], bytes: &[u8]) -> bool {
    sequence(tuple.iter(), bytes) == Some(bytes.len())
}

const WORD_SIZE_BYTES: usize = 32;

/// Length of the canonical encoding of a sequence at the start of these bytes: heads, then tails in order, no gap.
fn sequence<'a>(kinds: impl Iterator<Item = &'a DynSolType> + Clone, bytes: &[u8]) -> Option<usize> {
    let mut tail_at =
        kinds.clone().try_fold(0_usize, |size, kind| size.checked_add(head_size_bytes(kind)))?;
    let mut head_at = 0_usize;
    for kind in kinds {
        let head = bytes.get(head_at..head_at.checked_add(head_size_bytes(kind))?)?;
        if is_dynamic(kind) {
            if small(head)? != tail_at {
                return None;
            }
            tail_at = tail_at.checked_add(tail(kind, bytes.get(tail_at..)?)?)?;
        } else if !is_static_value(kind, head) {
            return None;
        }
        head_at += head.len();
    }
    (tail_at <= bytes.len()).then_some(tail_at)
}

fn tail(kind: &DynSolType, bytes: &[u8]) -> Option<usize> {
    match kind {
        DynSolType::FixedArray(inner, length) => sequence(std::iter::repeat_n(&**inner, *length), bytes),
        DynSolType::Array(inner) => {
            let (length, rest) = bytes.split_at_checked(WORD_SIZE_BYTES)?;
            // Every element has a head of at least a word.
            let length = small(length).filter(|length| *length <= rest.len() / WORD_SIZE_BYTES)?;
            Some(WORD_SIZE_BYTES + sequence(std::iter::repeat_n(&**inner, length), rest)?)
        }
        DynSolType::Bytes | DynSolType::String => {
            let (length, rest) = bytes.split_at_checked(WORD_SIZE_BYTES)?;
            let length = small(length).filter(|length| *length <= rest.len())?;
            let padded = length.next_multiple_of(WORD_SIZE_BYTES);
            let (body, padding) = rest.get(..padded)?.split_at_checked(length)?;
            let plain = *kind == DynSolType::Bytes || std::str::from_utf8(body).is_ok();
            (plain && padding.iter().all(|byte| *byte == 0)).then_some(WORD_SIZE_BYTES + padded)
        }
        _ => None,
    }
}

fn is_dynamic(kind: &DynSolType) -> bool {
    match kind {
        DynSolType::String | DynSolType::Bytes | DynSolType::Array(_) => true,
        DynSolType::FixedArray(inner, _) => is_dynamic(inner),
        _ => false,
    }
}

fn head_size_bytes(kind: &DynSolType) -> usize {
    match kind {
        DynSolType::FixedArray(inner, length) if !is_dynamic(kind) => {
            length.saturating_mul(head_size_bytes(inner))
        }
        _ => WORD_SIZE_BYTES,
    }
}

fn is_static_value(kind: &DynSolType, bytes: &[u8]) -> bool {
    let only = |start: usize, fill: u8| bytes.iter().take(start).all(|byte| *byte == fill);
    match kind {
        DynSolType::Bool => only(31, 0) && bytes.last().is_some_and(|last| *last <= 1),
        DynSolType::Address => only(12, 0),
        DynSolType::Uint(bits) => only(WORD_SIZE_BYTES - bits / 8, 0),
        DynSolType::Int(bits) => {
            let start = WORD_SIZE_BYTES - bits / 8;
            let negative = bytes.get(start).is_some_and(|byte| *byte >= 0x80);
            only(start, if negative { 0xff } else { 0 })
        }
        DynSolType::FixedBytes(size_bytes) => bytes.iter().skip(*size_bytes).all(|byte| *byte == 0),
        DynSolType::FixedArray(inner, _) => {
            bytes.chunks(head_size_bytes(inner)).all(|element| is_static_value(inner, element))
        }
        _ => false,
    }
}

/// A word as a length or offset, if it can be one.
fn small(word: &[u8]) -> Option<usize> {
    let (high, low) = word.split_at_checked(28)?;
    let number = u32::from_be_bytes(low.try_into().ok()?);
    high.iter().all(|byte| *byte == 0).then_some(usize::try_from(number).ok()?)
}

fn value_error(name: &str, expected: &str, given: &Value) -> AbiError {
    AbiError::Value {
        name: name.to_owned(),
        expected: expected.to_owned(),
        given: given.to_string().chars().take(80).collect(),
    }
}

fn to_abi(name: &str, kind: &DynSolType, value: &Value) -> Result<DynSolValue, AbiError> {
    let wrong = || value_error(name, &kind.sol_type_name(), value);
    let text = || value.as_str().ok_or_else(wrong);
    Ok(match kind {
        DynSolType::Bool => DynSolValue::Bool(value.as_bool().ok_or_else(wrong)?),
        DynSolType::String => DynSolValue::String(text()?.to_owned()),
        DynSolType::Address => DynSolValue::Address(text()?.parse::<Address>().map_err(|_| wrong())?),
        DynSolType::Bytes => DynSolValue::Bytes(hex::decode(text()?).map_err(|_| wrong())?),
        DynSolType::FixedBytes(size_bytes) => {
            let bytes = hex::decode(text()?).map_err(|_| wrong())?;
            if bytes.len() != *size_bytes {
                return Err(wrong());
            }
            DynSolValue::FixedBytes(alloy_primitives::B256::right_padding_from(&bytes), *size_bytes)
        }
        DynSolType::Uint(bits) => {
            let number: U256 = integer_text(value).ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
            if number.bit_len() > *bits {
                return Err(wrong());
            }
            DynSolValue::Uint(number, *bits)
        }
        DynSolType::Int(bits) => {
            let number: I256 = integer_text(value).ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
            if number.bits() as usize > *bits {
                return Err(wrong());
            }
            DynSolValue::Int(number, *bits)
        }
        DynSolType::Array(inner) => {
            let values = value.as_array().ok_or_else(wrong)?;
            DynSolValue::Array(
                values.iter().map(|value| to_abi(name, inner, value)).collect::<Result<_, _>>()?,
            )
        }
        DynSolType::FixedArray(inner, length) => {
            let values = value.as_array().ok_or_else(wrong)?;
            if values.len() != *length {
                return Err(wrong());
            }
            DynSolValue::FixedArray(
                values.iter().map(|value| to_abi(name, inner, value)).collect::<Result<_, _>>()?,
            )
        }
        _ => return Err(AbiError::Type(kind.sol_type_name().into_owned())),
    })
}

fn integer_text(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        Value::String(text) if !text.is_empty() && text.len() <= 80 => Some(text.clone()),
        _ => None,
    }
}

fn to_json(value: &DynSolValue) -> Value {
    match value {
        DynSolValue::Bool(value) => Value::Bool(*value),
        DynSolValue::Int(number, bits) => match i64::try_from(*number) {
            Ok(small) if *bits <= NUMBER_BITS_MAX => Value::from(small),
            _ => Value::String(number.to_string()),
        },
        DynSolValue::Uint(number, bits) => match u64::try_from(*number) {
            Ok(small) if *bits <= NUMBER_BITS_MAX => Value::from(small),
            _ => Value::String(number.to_string()),
        },
        DynSolValue::FixedBytes(word, size_bytes) => {
            Value::String(hex::encode_prefixed(word.get(..*size_bytes).unwrap_or_default()))
        }
        DynSolValue::Address(address) => Value::String(address.to_checksum(None)),
        DynSolValue::Bytes(bytes) => Value::String(hex::encode_prefixed(bytes)),
        DynSolValue::String(text) => Value::String(text.clone()),
        DynSolValue::Array(values) | DynSolValue::FixedArray(values) | DynSolValue::Tuple(values) => {
            Value::Array(values.iter().map(to_json).collect())
        }
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_canonical_names_of_allowed_types() {
        for good in
            ["bool", "address", "string", "bytes", "bytes32", "uint256", "int8", "uint32[]", "string[3][]"]
        {
            assert!(parse_type(good).is_ok(), "{good}");
        }
        for bad in [
            "uint",
            "int",
            "byte",
            "bytes33",
            "uint7",
            "(uint256)",
            "uint8[0]",
            "uint8[][][]",
            "function",
            "",
            "uint8 ",
            "tuple",
        ] {
            assert!(parse_type(bad).is_err(), "{bad}");
        }
        assert!(parse_type("uint8[99999999999]").is_err());
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let parameters = [("date", parse_type("uint32").unwrap()), ("days", parse_type("int16").unwrap())];
        assert!(encode(&parameters, &json!([20_240_105, -3])).is_ok());
        for bad in [
            json!([4_294_967_296_u64, 0]),
            json!([-1, 0]),
            json!([1.5, 0]),
            json!([0, 40_000]),
            json!([0, "x"]),
            json!([0]),
        ] {
            assert!(encode(&parameters, &bad).is_err(), "{bad}");
        }
        assert_eq!(encode(&parameters, &json!({ "date": 1 })), Err(AbiError::Missing("days".into())));
        assert!(encode(&parameters, &json!({ "date": 1, "days": 1, "more": 1 })).is_err());
    }

    #[test]
    fn agrees_with_solidity_on_a_fixture() {
        let parameters = [("base", DynSolType::String), ("date", DynSolType::Uint(32))];
        let bytes = encode(&parameters, &json!(["EUR", 7])).unwrap();
        let expected = format!(
            "{:064x}{:064x}{:064x}4555520000000000000000000000000000000000000000000000000000000000",
            64, 7, 3
        );
        assert_eq!(hex::encode(&bytes), expected);
        assert_eq!(decode(&parameters, &bytes).unwrap(), json!({ "base": "EUR", "date": 7 }));
        let mut trailing = bytes;
        trailing.extend([0; 32]);
        assert!(decode(&parameters, &trailing).is_err());
    }

    proptest! {
        #[test]
        fn decoding_inverts_encoding(text in ".{0,40}", number in any::<u128>(), signed in any::<i64>(), list in prop::collection::vec(any::<bool>(), 0..9)) {
            let parameters = [
                ("a", parse_type("string").unwrap()),
                ("b", parse_type("uint128").unwrap()),
                ("c", parse_type("int64").unwrap()),
                ("d", parse_type("bool[]").unwrap()),
            ];
            let value = json!({ "a": text, "b": number.to_string(), "c": signed.to_string(), "d": list });
            prop_assert_eq!(decode(&parameters, &encode(&parameters, &value).unwrap()).unwrap(), value);
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let parameters = [("a", parse_type("string[][]").unwrap()), ("b", parse_type("uint8[3][]").unwrap())];
            let _ = decode(&parameters, &bytes);
        }

        /// The library decodes and encodes again: the same answer, paid for with memory.
        #[test]
        fn canonical_is_what_survives_a_decoder(
            texts in prop::collection::vec(prop::collection::vec("[a-zé]{0,40}", 0..3), 0..3),
            fixed in any::<[i8; 3]>(),
            flag in any::<bool>(),
            change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let names = ["string[][]", "int8[3]", "bool", "bytes4", "address[]", "string[2]", "uint24"];
            let kinds: Vec<DynSolType> = names.iter().map(|name| parse_type(name).unwrap()).collect();
            let parameters: Vec<(&str, DynSolType)> = names.iter().copied().zip(kinds.iter().cloned()).collect();
            let value = json!([texts, fixed, flag, "0x01020304", ["0x0000000000000000000000000000000000000001"], ["x", ""], 9]);
            let mut bytes = encode(&parameters, &value).unwrap();
            prop_assert!(is_canonical(&kinds, &bytes));
            let mut narrow = false;
            if let Some((at, byte)) = change {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                // Words of int8[3], bool, bytes4 and uint24: the library carries their unused bytes along.
                narrow = (32..192).contains(&at) || (256..288).contains(&at);
            }
            let survives = DynSolType::Tuple(kinds.clone()).abi_decode_params(&bytes).is_ok_and(|value| value.abi_encode_params() == bytes);
            prop_assert!(is_canonical(&kinds, &bytes) == survives || (narrow && survives));
        }
    }

    #[test]
    fn words_wider_than_their_type_are_no_encoding() {
        for (kind, at, byte) in [
            ("bool", 31, 2),
            ("bool", 0, 1),
            ("uint24", 28, 1),
            ("int8", 30, 1),
            ("int8", 31, 0x80),
            ("bytes4", 4, 1),
            ("address", 11, 1),
            ("uint8[2]", 62, 1),
        ] {
            let kinds = [parse_type(kind).unwrap()];
            let mut bytes = vec![0; head_size_bytes(&kinds[0])];
            assert!(is_canonical(&kinds, &bytes), "{kind}");
            bytes[at] = byte;
            assert!(!is_canonical(&kinds, &bytes), "{kind}");
        }
        let negative = [[0xff; 31].as_slice(), &[0x80]].concat();
        assert!(is_canonical(&[parse_type("int8").unwrap()], &negative));
    }

    #[test]
    fn offsets_that_share_their_target_are_no_encoding() {
        // 1000 strings that all point at one long one: a decoder would make 30 MB of 64 kB.
        let kinds = [parse_type("string[]").unwrap()];
        let word = |number: usize| alloy_primitives::U256::from(number).to_be_bytes::<32>();
        let mut bytes = [word(32), word(1000)].concat();
        bytes.extend(std::iter::repeat_n(word(32_000), 1000).flatten());
        bytes.extend(word(30_016));
        bytes.extend([b'a'; 30_016]);
        assert!(!is_canonical(&kinds, &bytes));
        assert!(decode(&[("a", kinds[0].clone())], &bytes).is_err());
        assert!(is_canonical(&[], &[]) && !is_canonical(&[], &[0]));
    }
}

//! The types of a manifest, as the generators see them.

use alloy_dyn_abi::DynSolType;
use bletchley_cryptlet::abi;

/// A type that a manifest may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `bool`.
    Bool,
    /// `address`.
    Address,
    /// `string`.
    Text,
    /// `bytes`.
    Bytes,
    /// `bytes1` to `bytes32`.
    Fixed(usize),
    /// `uint8` to `uint256`, in bits.
    Uint(usize),
    /// `int8` to `int256`, in bits.
    Int(usize),
    /// `T[]`.
    List(Box<Kind>),
    /// `T[n]`.
    Array(Box<Kind>, usize),
}

impl Kind {
    /// The type of this name; `None` if no manifest may name it.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        abi::parse_type(name).ok().and_then(|kind| Self::of(&kind))
    }

    fn of(kind: &DynSolType) -> Option<Self> {
        Some(match kind {
            DynSolType::Bool => Self::Bool,
            DynSolType::Address => Self::Address,
            DynSolType::String => Self::Text,
            DynSolType::Bytes => Self::Bytes,
            DynSolType::FixedBytes(size_bytes) => Self::Fixed(*size_bytes),
            DynSolType::Uint(bits) => Self::Uint(*bits),
            DynSolType::Int(bits) => Self::Int(*bits),
            DynSolType::Array(inner) => Self::List(Box::new(Self::of(inner)?)),
            DynSolType::FixedArray(inner, length) => Self::Array(Box::new(Self::of(inner)?), *length),
            _ => return None,
        })
    }

    /// Whether its place in a tuple holds an offset.
    pub(crate) fn is_dynamic(&self) -> bool {
        match self {
            Self::Text | Self::Bytes | Self::List(_) => true,
            Self::Array(inner, _) => inner.is_dynamic(),
            _ => false,
        }
    }

    /// Length of its place in a tuple, in words of 32 bytes.
    pub(crate) fn head_words(&self) -> usize {
        match self {
            Self::Array(inner, length) if !inner.is_dynamic() => length.saturating_mul(inner.head_words()),
            _ => 1,
        }
    }
}

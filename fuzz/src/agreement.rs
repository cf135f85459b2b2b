//! What engines say to each other.

use crate::Verdict;
use bletchley_tendermint::{decodes, examples, seal_decodes};

/// Every message has one encoding, and is of one kind.
pub(crate) mod tendermint_message {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let decoded = decodes(bytes);
        assert_ne!(decoded, Some(false), "two encodings of one message");
        Verdict::of(decoded.is_some())
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        examples().0
    }
}

/// What stands beside a final block has one encoding.
pub(crate) mod tendermint_seal {
    use super::*;

    pub(crate) fn check(bytes: &[u8]) -> Verdict {
        let decoded = seal_decodes(bytes);
        assert_ne!(decoded, Some(false), "two encodings of one seal");
        Verdict::of(decoded.is_some())
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        vec![examples().1]
    }
}

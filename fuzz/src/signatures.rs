//! Signatures with claims of who made them.

pub(crate) mod claims {
    use crate::Verdict;
    use bletchley_crypto::{
        BATCH_MIN, PublicKey, SecretKey, Signed, keccak256, recover_claimed, recover_key,
    };
    use bletchley_primitives::Signature;

    /// Most of them in one input.
    const CLAIMS_MAX: usize = 2 * BATCH_MIN;

    /// Digest, signature and claimed key, one after another.
    const ITEM_SIZE_BYTES: usize = 32 + Signature::SIZE_BYTES + PublicKey::SIZE_BYTES;

    pub(crate) fn check(input: &[u8]) -> Verdict {
        let (items, rest) = input.as_chunks::<ITEM_SIZE_BYTES>();
        if !rest.is_empty() || items.len() > CLAIMS_MAX {
            return Verdict::Refused;
        }
        let items: Vec<Signed> = items
            .iter()
            .map(|bytes| Signed {
                digest: bytes[..32].try_into().unwrap(),
                signature: Signature(bytes[32..97].try_into().unwrap()),
                claimed: Some(PublicKey::from_bytes(bytes[97..].try_into().unwrap())),
            })
            .collect();
        let recovered = recover_claimed(&items);
        let mut lies = recovered.false_claims.iter();
        for (index, (item, key)) in items.iter().zip(&recovered.keys).enumerate() {
            assert_eq!(*key, recover_key(item.digest, &item.signature), "a claim changed who signed");
            assert!(item.claimed == key.ok() || lies.next() == Some(&index), "a lie was not told on");
        }
        assert_eq!(lies.next(), None, "a truth was told on");
        Verdict::of(recovered.false_claims.is_empty())
    }

    pub(crate) fn seeds() -> Vec<Vec<u8>> {
        let of = |count: usize, signers: usize| {
            (0..count)
                .flat_map(|number| {
                    let digest = keccak256(number.to_be_bytes());
                    let signature = SecretKey::from_seed(&(number % signers).to_be_bytes()).sign(digest);
                    let key = recover_key(digest, &signature).unwrap();
                    [&digest[..], &signature.0, key.as_bytes()].concat()
                })
                .collect()
        };
        vec![of(BATCH_MIN, BATCH_MIN), of(BATCH_MIN + 1, 3), of(1, 1)]
    }
}

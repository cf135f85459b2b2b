//! Memory-hard derivation for secrets and identities with little entropy: Argon2id (RFC 9106).

use alloy_primitives::B256;
use alloy_rlp::{RlpDecodable, RlpEncodable};
use argon2::{Algorithm, Argon2, Params, Version};

/// Argon2id parameters, part of the public record of whatever was derived with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub struct Argon2Params {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Argon2Params {
    /// RFC 9106, section 4, second recommended option: 64 MiB, 3 passes, 4 lanes.
    pub const RECOMMENDED: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 };
    /// OWASP's least for interactive use: 19 MiB, 2 passes, 1 lane.
    pub const LEAST: Self = Self { memory_kib: 19 * 1024, passes: 2, lanes: 1 };
    /// The most that a record may ask of whoever checks it: 256 MiB.
    pub const MEMORY_KIB_MAX: u32 = 256 * 1024;
    /// The most passes that a record may ask for.
    pub const PASSES_MAX: u32 = 16;
    /// The most lanes that a record may ask for.
    pub const LANES_MAX: u32 = 16;
}

/// Why nothing was derived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeriveError {
    /// The parameters ask for more than the bounds allow, or for less than Argon2 can do.
    #[error("Argon2id parameters out of bounds: {memory_kib} KiB, {passes} passes, {lanes} lanes")]
    Parameters {
        /// Memory asked for.
        memory_kib: u32,
        /// Passes asked for.
        passes: u32,
        /// Lanes asked for.
        lanes: u32,
    },
    /// The salt is shorter than 8 bytes or longer than 64.
    #[error("a salt has 8 to 64 bytes, this one has {0}")]
    Salt(usize),
}

/// Argon2id v1.3 of `secret` with `salt`, 32 bytes.
///
/// # Errors
/// [`DeriveError`] when parameters or salt are out of bounds; nothing is allocated then.
pub fn derive_argon2id(secret: &[u8], salt: &[u8], params: Argon2Params) -> Result<B256, DeriveError> {
    let Argon2Params { memory_kib, passes, lanes } = params;
    let refused = DeriveError::Parameters { memory_kib, passes, lanes };
    if memory_kib > Argon2Params::MEMORY_KIB_MAX
        || passes > Argon2Params::PASSES_MAX
        || lanes > Argon2Params::LANES_MAX
    {
        return Err(refused);
    }
    if !(8..=64).contains(&salt.len()) {
        return Err(DeriveError::Salt(salt.len()));
    }
    let params = Params::new(memory_kib, passes, lanes, Some(32)).map_err(|_| refused.clone())?;
    let mut out = [0u8; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(secret, salt, &mut out)
        .map_err(|_| refused)?;
    Ok(B256::new(out))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use alloy_primitives::{b256, hex};

    /// RFC 9106, 5.3: Argon2id test vector (its secret and associated data included).
    #[test]
    fn rfc_9106_vector() {
        let params = argon2::ParamsBuilder::new()
            .m_cost(32)
            .t_cost(3)
            .p_cost(4)
            .data(argon2::AssociatedData::new(&[4; 12]).unwrap())
            .output_len(32)
            .build()
            .unwrap();
        let mut out = [0u8; 32];
        Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params)
            .unwrap()
            .hash_password_into(&[1; 32], &[2; 16], &mut out)
            .unwrap();
        assert_eq!(hex::encode(out), "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659");
    }

    #[test]
    fn deterministic_and_bounded() {
        let small = Argon2Params { memory_kib: 64, passes: 1, lanes: 1 };
        let once = derive_argon2id(b"x", b"saltsalt", small).unwrap();
        assert_eq!(once, derive_argon2id(b"x", b"saltsalt", small).unwrap());
        assert_ne!(once, derive_argon2id(b"y", b"saltsalt", small).unwrap());
        assert_ne!(once, b256!("0000000000000000000000000000000000000000000000000000000000000000"));
        assert_eq!(derive_argon2id(b"x", b"salt", small), Err(DeriveError::Salt(4)));
        let bomb = Argon2Params { memory_kib: u32::MAX, passes: 1, lanes: 1 };
        assert!(matches!(derive_argon2id(b"x", b"saltsalt", bomb), Err(DeriveError::Parameters { .. })));
    }
}

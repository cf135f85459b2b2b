//! The determinism profile: under which engine and rules an outcome was computed. Two hosts of one profile agree.

use alloy_primitives::B256;
use bletchley_crypto::Domain;

const PROFILE: Domain = Domain("bletchley/cryptlet/profile/1");

/// Engine, version and every setting that an outcome depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionProfile {
    /// Short name, such as `wasmtime-1`.
    pub name: String,
    /// Exact version of wasmtime.
    pub wasmtime_version: String,
    /// Settings and bounds, sorted by name.
    pub flags: Vec<(String, String)>,
    digest: B256,
}

impl ExecutionProfile {
    /// A profile; the flags are sorted here.
    #[must_use]
    pub fn new(name: &str, wasmtime_version: &str, flags: &[(&str, String)]) -> Self {
        let mut flags: Vec<(String, String)> =
            flags.iter().map(|(flag, value)| ((*flag).to_owned(), value.clone())).collect();
        flags.sort();
        let lines: String = flags.iter().map(|(flag, value)| format!("{flag}={value}\n")).collect();
        let digest = PROFILE.digest(&[name.as_bytes(), wasmtime_version.as_bytes(), lines.as_bytes()]);
        Self { name: name.to_owned(), wasmtime_version: wasmtime_version.to_owned(), flags, digest }
    }

    /// What a receipt carries.
    #[must_use]
    pub const fn digest(&self) -> B256 {
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::ExecutionProfile;

    #[test]
    fn every_part_is_in_the_digest_and_the_order_of_flags_is_not() {
        let flag = |name, value: &str| (name, value.to_owned());
        let profile = ExecutionProfile::new("p", "1", &[flag("a", "1"), flag("b", "2")]);
        assert_eq!(profile, ExecutionProfile::new("p", "1", &[flag("b", "2"), flag("a", "1")]));
        for other in [
            ExecutionProfile::new("q", "1", &[flag("a", "1"), flag("b", "2")]),
            ExecutionProfile::new("p", "2", &[flag("a", "1"), flag("b", "2")]),
            ExecutionProfile::new("p", "1", &[flag("a", "2"), flag("b", "2")]),
            ExecutionProfile::new("p", "1", &[flag("a", "1")]),
        ] {
            assert_ne!(profile.digest(), other.digest());
        }
    }
}

//! Kinds of evidence.

use alloy_rlp::{BufMut, Decodable, Encodable};
use serde::{Deserialize, Serialize};

/// Who vouches for a host. The numbers and names are part of the format (specs/attestation.md: Kinds).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Kind {
    /// Nobody but the host's own key. Proves nothing about hardware or about what runs there.
    Software = 1,
    /// A TPM 2.0: what was measured into its registers since the machine started.
    Tpm2 = 2,
    /// An Intel SGX enclave.
    Sgx = 3,
    /// An Intel TDX trust domain.
    Tdx = 4,
    /// An AMD SEV-SNP guest.
    SevSnp = 5,
    /// An AWS Nitro enclave.
    Nitro = 6,
}

impl Kind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [Self::Software, Self::Tpm2, Self::Sgx, Self::Tdx, Self::SevSnp, Self::Nitro];

    /// Name in policies, on ledgers and on screens.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::Tpm2 => "tpm2",
            Self::Sgx => "sgx",
            Self::Tdx => "tdx",
            Self::SevSnp => "sev-snp",
            Self::Nitro => "nitro",
        }
    }

    /// What evidence of this kind shows, in one plain line.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Software => {
                "SOFTWARE TRUST ONLY: the host's own key signed; no hardware vouches for anything"
            }
            Self::Tpm2 => {
                "a TPM vouches for its registers; what a running host measured into them is its own word"
            }
            Self::Sgx => "an Intel CPU vouches for an enclave",
            Self::Tdx => "an Intel CPU vouches for a virtual machine",
            Self::SevSnp => "an AMD CPU vouches for a virtual machine",
            Self::Nitro => "AWS vouches for an enclave",
        }
    }

    /// Whether hardware, or a cloud's hypervisor, stands behind the evidence.
    #[must_use]
    pub const fn is_hardware(self) -> bool {
        !matches!(self, Self::Software)
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Encodable for Kind {
    fn encode(&self, out: &mut dyn BufMut) {
        (*self as u8).encode(out);
    }
    fn length(&self) -> usize {
        1
    }
}

impl Decodable for Kind {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let number = u8::decode(buf)?;
        Self::ALL
            .into_iter()
            .find(|kind| *kind as u8 == number)
            .ok_or(alloy_rlp::Error::Custom("unknown kind of evidence"))
    }
}

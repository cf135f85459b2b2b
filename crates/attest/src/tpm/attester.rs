//! Asks a TPM for evidence.

use alloy_primitives::{B256, Bytes};
use zeroize::Zeroizing;

use super::{
    RUNTIME_PCR,
    command::{Handle, Tpm, TpmError},
    credential::Credential,
    endorsement::SignedEndorsement,
    quote::{PCRS_MAX, Pcr, Quote},
    structure::{EccPublic, attestation_key_template, endorsement_key_template},
    transport::Transport,
};
use crate::{AttestError, Attester, Evidence, Kind, RuntimeClaims};

/// Registers that are quoted beside the host's own: what firmware and boot loader measured.
const BOOT_PCRS: std::ops::RangeInclusive<u8> = 0..=9;

/// Public areas of the two keys of a TPM that attestation needs. Both are derived from the TPM's own seed: they are the
/// same after every start, and nothing is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmIdentity {
    /// The endorsement key, by which its maker and its owner know the TPM.
    pub endorsement_key: EccPublic,
    /// The attestation key, which signs quotes.
    pub attestation_key: EccPublic,
}

/// Makes evidence of kind `tpm2`.
pub struct TpmAttester {
    tpm: Tpm,
    endorsement: Option<SignedEndorsement>,
}

impl std::fmt::Debug for TpmAttester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TpmAttester(endorsed: {})", self.endorsement.is_some())
    }
}

impl TpmAttester {
    /// An attester over this TPM. Without an endorsement its evidence is good only where a policy pins the attestation key.
    #[must_use]
    pub fn new(transport: Box<dyn Transport>, endorsement: Option<SignedEndorsement>) -> Self {
        Self { tpm: Tpm(transport), endorsement }
    }

    /// The TPM's keys, for whoever is to endorse them.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn identity(&mut self) -> Result<TpmIdentity, TpmError> {
        let (endorsement_key, attestation_key) =
            self.with_keys(|_, endorsement, attestation| Ok((endorsement.1.clone(), attestation.1.clone())))?;
        Ok(TpmIdentity {
            endorsement_key: public(&endorsement_key)?,
            attestation_key: public(&attestation_key)?,
        })
    }

    /// The secret of a credential that was made for this TPM's keys.
    ///
    /// # Errors
    /// [`TpmError::Refused`] when it was made for others.
    pub fn activate(&mut self, credential: &Credential) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        self.with_keys(|tpm, endorsement, attestation| {
            tpm.activate(attestation.0, endorsement.0, &credential.object, &credential.seed)
        })
        .map(Zeroizing::new)
    }

    /// Measures what the claims name and quotes.
    fn quote(&mut self, claims: &RuntimeClaims, report_data: B256) -> Result<Quote, TpmError> {
        let pcrs: Vec<u8> = BOOT_PCRS.chain([RUNTIME_PCR]).collect();
        self.tpm.reset(RUNTIME_PCR)?;
        for digest in claims.measured() {
            self.tpm.extend(RUNTIME_PCR, digest)?;
        }
        let (handle, attestation_key) = self.tpm.create_primary(&attestation_key_template())?;
        let quoted = self.tpm.quote(handle, report_data, &pcrs);
        self.tpm.flush(handle)?;
        let quoted = quoted?;
        // Read after the quote: a register that changes between the two makes evidence that no verifier takes.
        let values = self.tpm.read(&pcrs)?;
        let pcrs = pcrs.into_iter().zip(values).map(|(number, value)| Pcr { number, value }).take(PCRS_MAX);
        Ok(Quote {
            attestation_key: attestation_key.into(),
            attested: quoted.attested.into(),
            signature: quoted.signature.into(),
            pcrs: pcrs.collect(),
        })
    }

    /// Loads both keys, and forgets them afterwards whatever happens.
    fn with_keys<T>(
        &mut self,
        act: impl FnOnce(&mut Tpm, &(Handle, Vec<u8>), &(Handle, Vec<u8>)) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let endorsement = self.tpm.create_primary(&endorsement_key_template())?;
        let attestation = self.tpm.create_primary(&attestation_key_template());
        let done = attestation.and_then(|attestation| {
            let done = act(&mut self.tpm, &endorsement, &attestation);
            self.tpm.flush(attestation.0)?;
            done
        });
        self.tpm.flush(endorsement.0)?;
        done
    }
}

impl Attester for TpmAttester {
    fn kind(&self) -> Kind {
        Kind::Tpm2
    }

    fn evidence(&mut self, claims: &RuntimeClaims, report_data: B256) -> Result<Evidence, AttestError> {
        let quote = self
            .quote(claims, report_data)
            .map_err(|error| AttestError::Source { kind: Kind::Tpm2, problem: error.to_string() })?;
        let collateral = self.endorsement.as_ref().map_or_else(Bytes::new, |signed| signed.encode().into());
        Ok(Evidence { kind: Kind::Tpm2, bytes: alloy_rlp::encode(quote).into(), collateral })
    }
}

fn public(bytes: &[u8]) -> Result<EccPublic, TpmError> {
    EccPublic::decode(bytes).map_err(|_| TpmError::Answer {
        command: "TPM2_CreatePrimary",
        problem: "not the key that was asked for",
    })
}

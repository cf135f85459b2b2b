//! Writes the sample of a TPM quote anew: `cargo run -p bletchley-attest --features swtpm --example samples -- FOLDER`.

use bletchley_attest::{Attester, example, swtpm::SimulatedTpm, tpm::TpmAttester};
use bletchley_crypto::SecretKey;
use bletchley_primitives::B256;
use std::{error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("which folder?")?);
    let tpm = SimulatedTpm::start()?;
    let mut attester = TpmAttester::new(tpm.connect()?, None);
    let host = SecretKey::from_seed(b"specs/attestation.md: host");
    let claims = example::claims(host.address(), B256::repeat_byte(6));
    let evidence = attester.evidence(&claims, claims.report_data(B256::repeat_byte(0x11)))?;
    fs::write(folder.join("quote.tpm2"), &evidence.bytes)?;
    fs::write(folder.join("quote.ak"), attester.identity()?.attestation_key.name())?;
    Ok(())
}

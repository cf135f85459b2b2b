//! The few commands that attestation needs (part 3). Each takes its handles, its authorizations, its parameters.

use alloy_primitives::B256;

use super::{
    quote::PCRS_MAX,
    structure::{ALG_NULL, ALG_SHA256},
    transport::{HEADER_SIZE_BYTES, Transport},
    wire::{Reader, WireError, Writer},
};

const ST_NO_SESSIONS: u16 = 0x8001;
const ST_SESSIONS: u16 = 0x8002;
const RH_NULL: u32 = 0x4000_0007;
const RS_PW: u32 = 0x4000_0009;
const RH_ENDORSEMENT: u32 = 0x4000_000b;
const SE_POLICY: u8 = 1;
/// Most values that one TPM2_PCR_Read gives.
const PCR_READ_MAX: usize = 8;
/// A caller's nonce in a session of which nothing is keyed by it; the least that the specification allows.
const NONCE: [u8; 16] = [0; 16];

const CC_PCR_RESET: u32 = 0x13d;
const CC_CREATE_PRIMARY: u32 = 0x131;
const CC_ACTIVATE_CREDENTIAL: u32 = 0x147;
const CC_POLICY_SECRET: u32 = 0x151;
const CC_QUOTE: u32 = 0x158;
const CC_FLUSH_CONTEXT: u32 = 0x165;
const CC_START_AUTH_SESSION: u32 = 0x176;
const CC_PCR_READ: u32 = 0x17e;
const CC_PCR_EXTEND: u32 = 0x182;

/// Why a TPM did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// It does not answer.
    #[error("the TPM does not answer: {0}")]
    Io(#[from] std::io::Error),
    /// It says no.
    #[error(
        "the TPM refuses {command} with code {code:#x} (`tpm2_rc_decode {code:#x}` says what that means)"
    )]
    Refused {
        /// What it was asked for.
        command: &'static str,
        /// Its response code (part 2, 6.6).
        code: u32,
    },
    /// Its answer is not a response.
    #[error("the TPM's answer to {command}: {problem}")]
    Answer {
        /// What it was asked for.
        command: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
}

/// A handle of a loaded object or session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handle(u32);

/// A TPM that commands can be sent to.
pub(super) struct Tpm(pub(super) Box<dyn Transport>);

/// A command: its name in errors, its code, how many handles its response begins with.
#[derive(Clone, Copy)]
struct Command(&'static str, u32);

/// What a command quoted.
pub(super) struct Quoted {
    pub(super) attested: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

impl Tpm {
    /// Sends a command with these handles, authorized with empty passwords (`passwords` of them, then a session).
    fn call(
        &mut self,
        Command(command, code): Command,
        handles: &[u32],
        sessions: &[u32],
        parameters: Writer,
    ) -> Result<Vec<u8>, TpmError> {
        let body = handles.iter().fold(Writer::default(), |body, handle| body.u32(*handle));
        let body = if sessions.is_empty() {
            body
        } else {
            let area = sessions.iter().fold(Writer::default(), |area, session| {
                let nonce: &[u8] = if *session == RS_PW { &[] } else { &NONCE };
                area.u32(*session).sized(nonce).u8(0).sized(&[])
            });
            let length = u32::try_from(area.0.len()).unwrap_or(u32::MAX);
            body.u32(length).bytes(&area.0)
        };
        let body = body.bytes(&parameters.0).0;
        let size = u32::try_from(body.len().saturating_add(HEADER_SIZE_BYTES)).unwrap_or(u32::MAX);
        let tag = if sessions.is_empty() { ST_NO_SESSIONS } else { ST_SESSIONS };
        let bytes = Writer::default().u16(tag).u32(size).u32(code).bytes(&body).0;
        let response = self.0.exchange(&bytes)?;
        let answer = |WireError(problem)| TpmError::Answer { command, problem };
        let mut reader = Reader(&response);
        reader.u16().map_err(answer)?;
        let length = reader.u32().map_err(answer)?;
        let code = reader.u32().map_err(answer)?;
        if code != 0 {
            return Err(TpmError::Refused { command, code });
        }
        if usize::try_from(length).unwrap_or(usize::MAX) != response.len() {
            return Err(answer(WireError("its length is wrong")));
        }
        Ok(reader.0.to_vec())
    }

    /// Makes the primary key of a template in the endorsement hierarchy, and gives its handle and public area.
    pub(super) fn create_primary(&mut self, template: &[u8]) -> Result<(Handle, Vec<u8>), TpmError> {
        let command = Command("TPM2_CreatePrimary", CC_CREATE_PRIMARY);
        let sensitive = Writer::default().sized(&[]).sized(&[]).0;
        let parameters = Writer::default().sized(&sensitive).sized(template).sized(&[]).u32(0);
        let response = self.call(command, &[RH_ENDORSEMENT], &[RS_PW], parameters)?;
        read(command, &response, |reader| {
            let handle = Handle(reader.u32()?);
            reader.u32()?;
            Ok((handle, reader.sized()?.to_vec()))
        })
    }

    /// Forgets a loaded object or session.
    pub(super) fn flush(&mut self, Handle(handle): Handle) -> Result<(), TpmError> {
        let parameters = Writer::default().u32(handle);
        self.call(Command("TPM2_FlushContext", CC_FLUSH_CONTEXT), &[], &[], parameters).map(drop)
    }

    /// Sets a register back to zero, which software may do with few of them.
    pub(super) fn reset(&mut self, pcr: u8) -> Result<(), TpmError> {
        let command = Command("TPM2_PCR_Reset", CC_PCR_RESET);
        self.call(command, &[u32::from(pcr)], &[RS_PW], Writer::default()).map(drop)
    }

    /// Measures a digest into a register.
    pub(super) fn extend(&mut self, pcr: u8, digest: B256) -> Result<(), TpmError> {
        let parameters = Writer::default().u32(1).u16(ALG_SHA256).bytes(digest.as_slice());
        let command = Command("TPM2_PCR_Extend", CC_PCR_EXTEND);
        self.call(command, &[u32::from(pcr)], &[RS_PW], parameters).map(drop)
    }

    /// Values of registers of the SHA-256 bank.
    pub(super) fn read(&mut self, pcrs: &[u8]) -> Result<Vec<B256>, TpmError> {
        let command = Command("TPM2_PCR_Read", CC_PCR_READ);
        let mut values = Vec::with_capacity(pcrs.len());
        for some in pcrs.chunks(PCR_READ_MAX) {
            let response = self.call(command, &[], &[], selection(Writer::default(), some))?;
            let read = read(command, &response, |reader| {
                reader.u32()?;
                if reader.u32()? != 1 {
                    return Err(WireError("other than one bank of registers"));
                }
                reader.u16()?;
                let bitmap = reader.u8()?;
                reader.bytes(usize::from(bitmap))?;
                let count = reader.u32()?;
                (0..count.min(PCR_READ_MAX as u32))
                    .map(|_| B256::try_from(reader.sized()?).map_err(|_| WireError("not a SHA-256 register")))
                    .collect::<Result<Vec<B256>, _>>()
            })?;
            if read.len() != some.len() {
                let problem = "it does not have all registers in a SHA-256 bank";
                return Err(TpmError::Answer { command: command.0, problem });
            }
            values.extend(read);
        }
        Ok(values)
    }

    /// Registers, signed by a key together with what the asker gave.
    pub(super) fn quote(
        &mut self,
        Handle(key): Handle,
        qualifying: B256,
        pcrs: &[u8],
    ) -> Result<Quoted, TpmError> {
        let command = Command("TPM2_Quote", CC_QUOTE);
        let parameters = Writer::default().sized(qualifying.as_slice()).u16(ALG_NULL);
        let response = self.call(command, &[key], &[RS_PW], selection(parameters, pcrs))?;
        read(command, &response, |reader| {
            let length = reader.u32()?;
            let mut inner = Reader(reader.bytes(usize::try_from(length).unwrap_or(usize::MAX))?);
            Ok(Quoted { attested: inner.sized()?.to_vec(), signature: inner.0.to_vec() })
        })
    }

    /// The secret of a credential, if it was made for these two keys of this TPM.
    pub(super) fn activate(
        &mut self,
        Handle(attestation_key): Handle,
        Handle(endorsement_key): Handle,
        credential: &[u8],
        seed: &[u8],
    ) -> Result<Vec<u8>, TpmError> {
        let session = self.endorsement_session()?;
        let command = Command("TPM2_ActivateCredential", CC_ACTIVATE_CREDENTIAL);
        let parameters = Writer::default().sized(credential).sized(seed);
        let handles = [attestation_key, endorsement_key];
        let response = self.call(command, &handles, &[RS_PW, session.0], parameters);
        // A session ends with a command that succeeds.
        if response.is_err() {
            self.flush(session)?;
        }
        read(command, &response?, |reader| {
            reader.u32()?;
            Ok(reader.sized()?.to_vec())
        })
    }

    /// A session that satisfies the endorsement key's policy.
    fn endorsement_session(&mut self) -> Result<Handle, TpmError> {
        let start = Command("TPM2_StartAuthSession", CC_START_AUTH_SESSION);
        let parameters =
            Writer::default().sized(&NONCE).sized(&[]).u8(SE_POLICY).u16(ALG_NULL).u16(ALG_SHA256);
        let response = self.call(start, &[RH_NULL, RH_NULL], &[], parameters)?;
        let session = read(start, &response, |reader| Ok(Handle(reader.u32()?)))?;
        let parameters = Writer::default().sized(&[]).sized(&[]).sized(&[]).u32(0);
        let policy = Command("TPM2_PolicySecret", CC_POLICY_SECRET);
        self.call(policy, &[RH_ENDORSEMENT, session.0], &[RS_PW], parameters)?;
        Ok(session)
    }
}

fn read<T>(
    Command(command, _): Command,
    response: &[u8],
    take: impl FnOnce(&mut Reader<'_>) -> Result<T, WireError>,
) -> Result<T, TpmError> {
    take(&mut Reader(response)).map_err(|WireError(problem)| TpmError::Answer { command, problem })
}

/// One bank's selection of registers (TPML_PCR_SELECTION).
fn selection(writer: Writer, pcrs: &[u8]) -> Writer {
    let mut bitmap = [0u8; PCRS_MAX / 8];
    for pcr in pcrs {
        if let Some(byte) = bitmap.get_mut(usize::from(pcr / 8)) {
            *byte |= 1 << (pcr % 8);
        }
    }
    writer.u32(1).u16(ALG_SHA256).u8(bitmap.len() as u8).bytes(&bitmap)
}

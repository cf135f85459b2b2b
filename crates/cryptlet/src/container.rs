//! The Container seam: something that holds packages and answers calls. What holds them (a wasm component in this
//! process, a confined worker, a TEE) is the implementation's business; what a call gives back is fixed here.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes};
use bletchley_primitives::{Height, LedgerId, TimestampMs};

use crate::{
    manifest::{Isolation, Manifest},
    package::{Package, PackageId},
    profile::ExecutionProfile,
    transcript::Transcript,
};

/// Longest ABI-encoded input of a call.
pub const INPUT_SIZE_BYTES_MAX: usize = bletchley_ledger::CallBounds::INPUT_SIZE_BYTES_MAX;
/// Longest ABI-encoded output of a call.
pub const OUTPUT_SIZE_BYTES_MAX: usize = bletchley_ledger::CallBounds::OUTPUT_SIZE_BYTES_MAX;
/// Longest reason of a failure; a longer one is cut at a character's edge.
pub const REASON_SIZE_BYTES_MAX: usize = 512;

/// Holds packages and answers calls. Implementations are `Sync`: many calls run at once.
pub trait Container: Send + Sync {
    /// Name of the implementation, as evidence shows it.
    fn name(&self) -> &'static str;

    /// The profile that every outcome of this container was computed under.
    fn profile(&self) -> &ExecutionProfile;

    /// Makes a package ready, kept at least `least` and as its manifest asks from the host. Slow (it may compile) and
    /// idempotent; calls of other packages go on meanwhile.
    ///
    /// # Errors
    /// [`LoadError`]; the container is as it was before.
    fn load(&self, package: &Package, least: Isolation) -> Result<PackageId, LoadError>;

    /// Whether `load` of this package, for this isolation or a stronger one, has finished.
    fn is_loaded(&self, package: &PackageId, least: Isolation) -> bool;

    /// Lets a package go; calls of it that run finish.
    fn unload(&self, package: &PackageId);

    /// The manifest of a package that is loaded.
    fn manifest(&self, package: &PackageId) -> Option<Manifest>;

    /// What this container says about how it keeps code from the host, name and value, sorted by name.
    fn claims(&self) -> Vec<(&'static str, String)>;

    /// Answers one call in a fresh instance. Never panics and never fails: trouble is part of the outcome.
    fn invoke(&self, package: &PackageId, call: &Invocation) -> Outcome;
}

/// One call.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Identity of the call; the seed of its randomness.
    pub call_id: B256,
    /// Ledger whose contract calls.
    pub ledger: LedgerId,
    /// Height of the block that the call was made against.
    pub height: Height,
    /// Time of that block.
    pub block_time: TimestampMs,
    /// As-of time: what the cryptlet's clock shows.
    pub as_of: TimestampMs,
    /// Contract that calls.
    pub caller: Address,
    /// Method, as the manifest names it.
    pub method: String,
    /// ABI-encoded tuple of the method's inputs.
    pub input: Bytes,
    /// Fuel that the caller allows; the manifest's figure is the ceiling.
    pub fuel_max: u64,
    /// Wall-clock time that the caller allows; the manifest's figure is the ceiling.
    pub timeout_ms: u64,
    /// Where outside data comes from.
    pub outside: Outside,
    /// How far the caller's policy wants the code kept from the host, at least.
    pub isolation: Isolation,
}

/// Where a call's outside data comes from.
#[derive(Clone, Debug, Default)]
pub enum Outside {
    /// From the world, through the container's fetcher; recorded.
    #[default]
    Live,
    /// From the record of an earlier execution: nothing is called.
    Recorded(Arc<Transcript>),
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether there is an output, and if not, why.
    pub status: Status,
    /// ABI-encoded tuple of the method's outputs; empty unless the status is [`Status::Ok`].
    pub output: Bytes,
    /// Fuel that the call used, of the fuel that it was given.
    pub fuel_used: u64,
    /// Digest over the sequence of host calls: where two executions differ, it differs.
    pub host_calls_digest: B256,
    /// The outside data that went into the call, in order.
    pub transcript: Transcript,
}

impl Outcome {
    /// An outcome of a call that did not run.
    #[must_use]
    pub fn not_run(status: Status) -> Self {
        Self {
            status,
            output: Bytes::new(),
            fuel_used: 0,
            host_calls_digest: crate::transcript::host_calls_start(),
            transcript: Transcript::default(),
        }
    }
}

/// Whether there is an output, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is an output.
    Ok,
    /// The call failed, and fails the same way on every host of this profile: a result.
    Failed(Failure),
    /// This host could not answer: says nothing about the call, another try may succeed.
    Unavailable(Unavailability),
}

impl Status {
    /// A failure with its reason cut to [`REASON_SIZE_BYTES_MAX`].
    #[must_use]
    pub fn failed(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self::Failed(Failure { kind, reason: bounded(reason.into()) })
    }

    /// An unavailability with its reason cut to [`REASON_SIZE_BYTES_MAX`].
    #[must_use]
    pub fn unavailable(kind: UnavailableKind, reason: impl Into<String>) -> Self {
        Self::Unavailable(Unavailability { kind, reason: bounded(reason.into()) })
    }

    /// Stable code: 0 for ok, 1 to 99 for failures, 100 and up for unavailability.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed(failure) => failure.kind.code(),
            Self::Unavailable(unavailability) => unavailability.kind.code(),
        }
    }

    /// Whether the status is a function of call, transcript and profile: a result, which every host comes to.
    #[must_use]
    pub const fn is_recordable(&self) -> bool {
        !matches!(self, Self::Unavailable(_))
    }

    /// The plain reason, empty when the call succeeded.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Ok => "",
            Self::Failed(failure) => &failure.reason,
            Self::Unavailable(unavailability) => &unavailability.reason,
        }
    }
}

/// A failure that every host of the profile agrees on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// Plain words for the caller.
    pub reason: String,
}

/// A host's inability to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailability {
    /// What kind of trouble.
    pub kind: UnavailableKind,
    /// Plain words for the operator.
    pub reason: String,
}

macro_rules! coded {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $code,)*
        }

        impl $name {
            /// Stable code, as receipts carry it.
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The kind with this code.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Stable name, as logs, metrics and the API show it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

coded! {
    /// Kinds of failure that every host of the profile agrees on.
    FailureKind {
        /// The cryptlet says that the input is at fault.
        InvalidInput = 1, "invalid-input";
        /// The cryptlet says that the caller may not do this.
        Denied = 2, "denied";
        /// The cryptlet says that it is at fault itself.
        Internal = 3, "internal";
        /// The manifest has no such method.
        UnknownMethod = 4, "unknown-method";
        /// The input is longer than [`INPUT_SIZE_BYTES_MAX`].
        InputTooLarge = 5, "input-too-large";
        /// The code trapped.
        Trap = 10, "trap";
        /// The fuel ran out.
        OutOfFuel = 11, "out-of-fuel";
        /// The code asked for more memory or table space than the manifest allows.
        OutOfMemory = 12, "out-of-memory";
        /// The code's stack overflowed.
        StackOverflow = 13, "stack-overflow";
        /// The output is longer than [`OUTPUT_SIZE_BYTES_MAX`].
        OutputTooLarge = 14, "output-too-large";
        /// More host calls, or more bytes in one, than the host allows.
        HostCallLimit = 15, "host-call-limit";
        /// The component broke the calling convention.
        AbiViolation = 16, "abi-violation";
    }
}

coded! {
    /// Kinds of trouble that say nothing about the call.
    UnavailableKind {
        /// The wall clock ran out first.
        Timeout = 100, "timeout";
        /// All instances of this host are taken.
        Busy = 101, "busy";
        /// The package is not loaded here.
        NotLoaded = 102, "not-loaded";
        /// The cryptlet says that a source it needs did not answer.
        SourceUnavailable = 103, "source-unavailable";
        /// Trouble of the host itself.
        HostFault = 104, "host-fault";
        /// Only when a record is repeated: the execution asks for outside data that the record does not have.
        TranscriptMismatch = 105, "transcript-mismatch";
    }
}

/// Why a package was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The code is not an acceptable component.
    #[error("package {name} refused: {source}")]
    Refused {
        /// Name in the manifest.
        name: String,
        /// What is wrong with it.
        source: crate::host::CheckError,
    },
    /// The code is a component, but does not compile or link under this profile.
    #[error("package {name} does not {stage} under profile {profile}: {reason}")]
    Unusable {
        /// Name in the manifest.
        name: String,
        /// `compile` or `link`.
        stage: &'static str,
        /// Name of the profile.
        profile: String,
        /// First line of the engine's words.
        reason: String,
    },
    /// The manifest asks for more than this host gives.
    #[error(
        "package {name} asks for {asked} of {what}, this host gives at most {max}: lower it in cryptlet.toml"
    )]
    TooDemanding {
        /// Name in the manifest.
        name: String,
        /// What it asks for.
        what: &'static str,
        /// How much.
        asked: u64,
        /// The host's ceiling.
        max: u64,
    },
    /// The manifest asks for isolation that this container does not give.
    #[error(
        "package {name} asks for isolation `{asked}`, this container gives `{given}`: use another container"
    )]
    Isolation {
        /// Name in the manifest.
        name: String,
        /// What it asks for.
        asked: &'static str,
        /// What there is.
        given: &'static str,
    },
    /// No confined worker could make it ready: says nothing about the package.
    #[error("package {name} not loaded: {reason}")]
    Worker {
        /// Name in the manifest.
        name: String,
        /// What went wrong with the worker.
        reason: String,
    },
    /// The host holds as many packages as it can.
    #[error("package {name} not loaded: this host already holds its maximum of {max} packages")]
    Full {
        /// Name in the manifest.
        name: String,
        /// The bound.
        max: usize,
    },
}

fn bounded(mut reason: String) -> String {
    if reason.len() > REASON_SIZE_BYTES_MAX {
        let end = (0..=REASON_SIZE_BYTES_MAX).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
        reason.truncate(end);
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_stable() {
        for code in 0..=u8::MAX {
            let (failure, unavailable) = (FailureKind::from_code(code), UnavailableKind::from_code(code));
            assert!(failure.is_none() || unavailable.is_none());
            assert!(failure.is_none_or(|kind| kind.code() == code && code > 0 && code < 100));
            assert!(unavailable.is_none_or(|kind| kind.code() == code && code >= 100));
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let status = Status::failed(FailureKind::Internal, "é".repeat(REASON_SIZE_BYTES_MAX));
        assert_eq!(status.reason().len(), REASON_SIZE_BYTES_MAX);
        let status = Status::failed(FailureKind::Internal, format!("x{}", "é".repeat(REASON_SIZE_BYTES_MAX)));
        assert_eq!(status.reason().len(), REASON_SIZE_BYTES_MAX - 1);
    }
}

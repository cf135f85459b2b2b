//! What a cryptlet in Rust sees of the world, and what stands between its methods and the Solidity ABI.
#![allow(dead_code, unused_imports, clippy::all)]

use std::fmt;

/// Why a cryptlet refuses a call. The words reach the contract as the reason of its revert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CryptletError {
    /// The caller's input is at fault.
    InvalidInput(String),
    /// The caller may not do this.
    Denied(String),
    /// An outside source did not answer; the host may try again.
    Unavailable(String),
    /// The cryptlet itself is at fault.
    Internal(String),
}

impl CryptletError {
    /// The caller's input is at fault.
    pub fn invalid_input(words: impl Into<String>) -> Self {
        Self::InvalidInput(words.into())
    }

    fn parts(self) -> (u8, String) {
        match self {
            Self::InvalidInput(words) => (0, words),
            Self::Denied(words) => (1, words),
            Self::Unavailable(words) => (2, words),
            Self::Internal(words) => (3, words),
        }
    }
}

/// An Ethereum address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 20]);

/// The call being answered.
pub mod context {
    /// The call being answered.
    #[derive(Clone, Debug)]
    pub struct CallContext {
        /// 32 bytes that identify this call and no other.
        pub call_id: Vec<u8>,
        /// 32 bytes: the ledger whose contract calls.
        pub ledger: Vec<u8>,
        /// Height of the block that the call was made against.
        pub height: u64,
        /// Time of that block, in milliseconds since 1970.
        pub block_time_ms: u64,
        /// The contract that calls.
        pub caller: super::Address,
    }

    #[link(wasm_import_module = "bletchley:cryptlet/context@1.0.0")]
    extern "C" {
        #[link_name = "current"]
        fn host_current(record: *mut u8);
    }

    /// The call being answered.
    pub fn current() -> CallContext {
        let mut record = super::Record([0; 40]);
        unsafe { host_current(record.0.as_mut_ptr()) };
        let mut caller = super::Address::default();
        caller.0.copy_from_slice(&record.list(32));
        CallContext {
            call_id: record.list(0),
            ledger: record.list(8),
            height: record.number(16),
            block_time_ms: record.number(24),
            caller,
        }
    }
}

/// The only clock there is.
pub mod clock {
    #[link(wasm_import_module = "bletchley:cryptlet/clock@1.0.0")]
    extern "C" {
        #[link_name = "now"]
        fn host_now() -> u64;
    }

    /// The as-of time of the call, in milliseconds since 1970. It does not advance while the call runs.
    pub fn now() -> u64 {
        unsafe { host_now() }
    }
}

/// Bytes that are a function of the call: anyone can compute them.
pub mod random {
    #[link(wasm_import_module = "bletchley:cryptlet/random@1.0.0")]
    extern "C" {
        #[link_name = "bytes"]
        fn host_bytes(size: u32, record: *mut u8);
    }

    /// The next bytes of the stream.
    pub fn bytes(size: u32) -> Vec<u8> {
        let mut record = super::Record([0; 8]);
        unsafe { host_bytes(size, record.0.as_mut_ptr()) };
        record.list(0)
    }
}

/// Lines for the host's operator.
pub mod log {
    #[link(wasm_import_module = "bletchley:cryptlet/log@1.0.0")]
    extern "C" {
        #[link_name = "emit"]
        fn host_emit(level: u32, at: *const u8, size: usize);
    }

    fn emit(level: u32, words: &str) {
        unsafe { host_emit(level, words.as_ptr(), words.len()) };
    }

    /// Details.
    pub fn debug(words: &str) {
        emit(0, words);
    }

    /// What happens.
    pub fn info(words: &str) {
        emit(1, words);
    }

    /// What should be looked at.
    pub fn warn(words: &str) {
        emit(2, words);
    }

    /// What is wrong.
    pub fn error(words: &str) {
        emit(3, words);
    }
}

/// What the host writes: a record of the Canonical ABI.
#[repr(C, align(8))]
struct Record<const SIZE: usize>([u8; SIZE]);

impl<const SIZE: usize> Record<SIZE> {
    fn word(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[at..at + 4]);
        u32::from_le_bytes(bytes)
    }

    fn number(&self, at: usize) -> u64 {
        u64::from(self.word(at)) | u64::from(self.word(at + 4)) << 32
    }

    /// A list of bytes that the host allocated with `cabi_realloc`.
    fn list(&self, at: usize) -> Vec<u8> {
        let (start, size) = (self.word(at) as usize, self.word(at + 4) as usize);
        if size == 0 {
            return Vec::new();
        }
        unsafe { Vec::from_raw_parts(start as *mut u8, size, size) }
    }
}

/// Values of the Solidity ABI.
pub trait Abi: Sized {
    /// Whether the head holds an offset.
    const DYNAMIC: bool;
    /// Length of the head.
    const HEAD: usize;

    /// The value whose head is at this place of a sequence that starts at `base`.
    fn decode(input: &[u8], base: usize, at: usize) -> Self;

    /// Writes the head at this place, and what it points at behind everything.
    fn encode(&self, out: &mut Vec<u8>, base: usize, at: usize);

    /// Whether an integer, or each in an array, has at most so many bits.
    fn fits(&self, _bits: usize) -> bool {
        true
    }
}

const WORD: usize = 32;

fn number_in(input: &[u8], at: usize) -> usize {
    <u32 as Abi>::decode(input, 0, at) as usize
}

fn start_of(input: &[u8], base: usize, at: usize) -> usize {
    base + number_in(input, at)
}

fn put_number(out: &mut Vec<u8>, at: usize, number: usize) {
    (number as u64).encode(out, 0, at);
}

fn reserve(out: &mut Vec<u8>, size: usize) -> usize {
    let start = out.len();
    out.resize(start + size, 0);
    start
}

macro_rules! integers {
    ($($unsigned:ty, $signed:ty, $size:literal;)*) => {$(
        impl Abi for $unsigned {
            const DYNAMIC: bool = false;
            const HEAD: usize = WORD;

            fn decode(input: &[u8], _base: usize, at: usize) -> Self {
                let mut bytes = [0; $size];
                bytes.copy_from_slice(&input[at + WORD - $size..at + WORD]);
                Self::from_be_bytes(bytes)
            }

            fn encode(&self, out: &mut Vec<u8>, _base: usize, at: usize) {
                out[at + WORD - $size..at + WORD].copy_from_slice(&self.to_be_bytes());
            }

            fn fits(&self, bits: usize) -> bool {
                bits >= 8 * $size || *self >> bits == 0
            }
        }

        impl Abi for $signed {
            const DYNAMIC: bool = false;
            const HEAD: usize = WORD;

            fn decode(input: &[u8], base: usize, at: usize) -> Self {
                <$unsigned as Abi>::decode(input, base, at) as $signed
            }

            fn encode(&self, out: &mut Vec<u8>, base: usize, at: usize) {
                let fill = if *self < 0 { 0xff } else { 0 };
                out[at..at + WORD].iter_mut().for_each(|byte| *byte = fill);
                (*self as $unsigned).encode(out, base, at);
            }

            fn fits(&self, bits: usize) -> bool {
                bits >= 8 * $size || (*self >> (bits - 1) == 0 || *self >> (bits - 1) == -1)
            }
        }
    )*};
}

integers! {
    u8, i8, 1;
    u16, i16, 2;
    u32, i32, 4;
    u64, i64, 8;
    u128, i128, 16;
}

impl Abi for bool {
    const DYNAMIC: bool = false;
    const HEAD: usize = WORD;

    fn decode(input: &[u8], _base: usize, at: usize) -> Self {
        input[at + WORD - 1] == 1
    }

    fn encode(&self, out: &mut Vec<u8>, _base: usize, at: usize) {
        out[at + WORD - 1] = u8::from(*self);
    }
}

impl Abi for Address {
    const DYNAMIC: bool = false;
    const HEAD: usize = WORD;

    fn decode(input: &[u8], _base: usize, at: usize) -> Self {
        let mut address = Self::default();
        address.0.copy_from_slice(&input[at + 12..at + WORD]);
        address
    }

    fn encode(&self, out: &mut Vec<u8>, _base: usize, at: usize) {
        out[at + 12..at + WORD].copy_from_slice(&self.0);
    }
}

/// `bytes1` to `bytes32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fixed<const SIZE: usize>(pub [u8; SIZE]);

impl<const SIZE: usize> Abi for Fixed<SIZE> {
    const DYNAMIC: bool = false;
    const HEAD: usize = WORD;

    fn decode(input: &[u8], _base: usize, at: usize) -> Self {
        let mut bytes = [0; SIZE];
        bytes.copy_from_slice(&input[at..at + SIZE]);
        Self(bytes)
    }

    fn encode(&self, out: &mut Vec<u8>, _base: usize, at: usize) {
        out[at..at + SIZE].copy_from_slice(&self.0);
    }
}

/// `bytes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub Vec<u8>);

impl Abi for Bytes {
    const DYNAMIC: bool = true;
    const HEAD: usize = WORD;

    fn decode(input: &[u8], base: usize, at: usize) -> Self {
        let start = start_of(input, base, at);
        Self(input[start + WORD..start + WORD + number_in(input, start)].to_vec())
    }

    fn encode(&self, out: &mut Vec<u8>, base: usize, at: usize) {
        put_number(out, at, out.len() - base);
        let start = reserve(out, WORD + (self.0.len() + WORD - 1) / WORD * WORD);
        put_number(out, start, self.0.len());
        out[start + WORD..start + WORD + self.0.len()].copy_from_slice(&self.0);
    }
}

impl Abi for String {
    const DYNAMIC: bool = true;
    const HEAD: usize = WORD;

    fn decode(input: &[u8], base: usize, at: usize) -> Self {
        // The host lets no other input through.
        String::from_utf8(Bytes::decode(input, base, at).0).unwrap_or_default()
    }

    fn encode(&self, out: &mut Vec<u8>, base: usize, at: usize) {
        Bytes(self.as_bytes().to_vec()).encode(out, base, at);
    }
}

impl<T: Abi> Abi for Vec<T> {
    const DYNAMIC: bool = true;
    const HEAD: usize = WORD;

    fn decode(input: &[u8], base: usize, at: usize) -> Self {
        let start = start_of(input, base, at);
        let first = start + WORD;
        (0..number_in(input, start)).map(|index| T::decode(input, first, first + index * T::HEAD)).collect()
    }

    fn encode(&self, out: &mut Vec<u8>, base: usize, at: usize) {
        put_number(out, at, out.len() - base);
        let start = reserve(out, WORD);
        put_number(out, start, self.len());
        let first = reserve(out, self.len() * T::HEAD);
        for (index, value) in self.iter().enumerate() {
            value.encode(out, first, first + index * T::HEAD);
        }
    }

    fn fits(&self, bits: usize) -> bool {
        self.iter().all(|value| value.fits(bits))
    }
}

impl<T: Abi + fmt::Debug, const LENGTH: usize> Abi for [T; LENGTH] {
    const DYNAMIC: bool = T::DYNAMIC;
    const HEAD: usize = if T::DYNAMIC { WORD } else { LENGTH * T::HEAD };

    fn decode(input: &[u8], base: usize, at: usize) -> Self {
        let first = if T::DYNAMIC { start_of(input, base, at) } else { at };
        let values: Vec<T> =
            (0..LENGTH).map(|index| T::decode(input, first, first + index * T::HEAD)).collect();
        values.try_into().expect("as many as were asked for")
    }

    fn encode(&self, out: &mut Vec<u8>, base: usize, at: usize) {
        let first = if T::DYNAMIC {
            put_number(out, at, out.len() - base);
            reserve(out, LENGTH * T::HEAD)
        } else {
            at
        };
        for (index, value) in self.iter().enumerate() {
            value.encode(out, first, first + index * T::HEAD);
        }
    }

    fn fits(&self, bits: usize) -> bool {
        self.iter().all(|value| value.fits(bits))
    }
}

/// `result<list<u8>, cryptlet-error>` in memory (Canonical ABI: variants).
#[doc(hidden)]
#[repr(C)]
pub struct Wire {
    is_error: u8,
    first: u32,
    second: u32,
    third: u32,
}

/// Allocates what the host writes into this instance.
#[export_name = "cabi_realloc"]
unsafe extern "C" fn cabi_realloc(old: *mut u8, old_size: usize, align: usize, size: usize) -> *mut u8 {
    // Results are never given back: one call, one instance. Lists of bytes become vectors, which free them.
    let fresh = match (size, std::alloc::Layout::from_size_align(size, align)) {
        (0, _) => return align as *mut u8,
        (_, Ok(layout)) => std::alloc::alloc(layout),
        (_, Err(_)) => std::ptr::null_mut(),
    };
    if fresh.is_null() {
        std::process::abort();
    }
    if old_size > 0 {
        std::ptr::copy_nonoverlapping(old, fresh, old_size.min(size));
    }
    fresh
}

#[doc(hidden)]
pub unsafe fn handle(
    cryptlet: &impl Cryptlet,
    method: *const u8,
    method_size: usize,
    input: *const u8,
    input_size: usize,
) -> *const Wire {
    std::panic::set_hook(Box::new(|panic| log::error(&panic.to_string())));
    let method = std::str::from_utf8_unchecked(std::slice::from_raw_parts(method, method_size));
    let input = std::slice::from_raw_parts(input, input_size);
    let wire = match dispatch(cryptlet, method, input) {
        Ok(output) => {
            let output = Box::leak(output.into_boxed_slice());
            Wire { is_error: 0, first: output.as_ptr() as u32, second: output.len() as u32, third: 0 }
        }
        Err(error) => {
            let (kind, words) = error.parts();
            let words = Box::leak(words.into_boxed_str());
            Wire { is_error: 1, first: kind.into(), second: words.as_ptr() as u32, third: words.len() as u32 }
        }
    };
    Box::leak(Box::new(wire))
}

/// Makes a value of a type that implements [`Cryptlet`] the component's handler.
macro_rules! export {
    ($cryptlet:expr) => {
        #[export_name = "bletchley:cryptlet/handler@1.0.0#handle"]
        unsafe extern "C" fn cryptlet_handle(
            method: *const u8,
            method_size: usize,
            input: *const u8,
            input_size: usize,
        ) -> *const $crate::cryptlet::Wire {
            $crate::cryptlet::handle(&$cryptlet, method, method_size, input, input_size)
        }
    };
}
pub(crate) use export;

fn too_wide(name: &str, kind: &str) -> CryptletError {
    CryptletError::Internal(format!("output `{}` does not fit {}", name, kind))
}


/// Outside data; the answer is recorded with the call.
pub mod fetch {
    /// An answer over HTTP, whatever its status.
    #[derive(Clone, Debug)]
    pub struct Response {
        /// HTTP status.
        pub status: u16,
        /// Body, as it came.
        pub body: Vec<u8>,
    }

    /// A fetch without an answer over HTTP.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum FetchError {
        /// The manifest does not name this source, the host does not grant it, or the path is not allowed.
        Denied(String),
        /// The source did not answer.
        Unavailable(String),
        /// The body is longer than this many bytes.
        TooLarge(u64),
    }

    impl From<FetchError> for super::CryptletError {
        fn from(error: FetchError) -> Self {
            Self::Unavailable(match error {
                FetchError::Denied(words) | FetchError::Unavailable(words) => words,
                FetchError::TooLarge(max) => format!("the answer is longer than {} bytes", max),
            })
        }
    }

    #[link(wasm_import_module = "bletchley:cryptlet/fetch@1.0.0")]
    extern "C" {
        #[link_name = "get"]
        fn host_get(source: *const u8, source_size: usize, path: *const u8, path_size: usize, record: *mut u8);
    }

    /// GET a path of a source of the manifest.
    pub fn get(source: &str, path: &str) -> Result<Response, FetchError> {
        let mut record = super::Record([0; 24]);
        unsafe { host_get(source.as_ptr(), source.len(), path.as_ptr(), path.len(), record.0.as_mut_ptr()) };
        if record.0[0] == 0 {
            return Ok(Response { status: record.word(8) as u16, body: record.list(12) });
        }
        let words = || String::from_utf8(record.list(16)).unwrap_or_default();
        Err(match record.0[8] {
            0 => FetchError::Denied(words()),
            1 => FetchError::Unavailable(words()),
            _ => FetchError::TooLarge(record.number(16)),
        })
    }
}

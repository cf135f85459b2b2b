//! The cryptlet fabric: registry, container, recorded fetches, receipts and the Delegate; not the VM that calls it.
//!
//! ```
//! use bletchley_cryptlet::manifest::Manifest;
//! let manifest = Manifest::from_toml(
//!     r#"
//!     name = "hello"
//!     version = "1.0.0"
//!     publisher = "Example"
//!     language = "c"
//!     world = "utility"
//!     [limits]
//!     fuel = 1_000_000
//!     memory_bytes = 1_048_576
//!     timeout_ms = 1_000
//!     [[methods]]
//!     name = "greet"
//!     inputs = [{ name = "who", type = "string" }]
//!     outputs = [{ name = "greeting", type = "string" }]
//!     "#,
//! )
//! .unwrap();
//! let call = manifest.encode_call("greet", &serde_json::json!(["Ada"])).unwrap();
//! assert_eq!(manifest.decode_input("greet", &call).unwrap()["who"], "Ada");
//! ```

pub mod abi;
pub mod aot;
pub mod calls;
#[cfg(target_os = "linux")]
pub mod confined;
pub mod container;
pub mod content;
pub mod ecb;
pub mod fabric;
pub mod fetch;
pub mod header;
pub mod host;
pub mod isolation;
pub mod keys;
pub mod manifest;
pub mod package;
pub mod policy;
pub mod profile;
pub mod registry;
pub mod schema;
pub mod transcript;
#[cfg(target_os = "linux")]
pub mod worker;

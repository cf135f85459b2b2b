//! What a cryptlet developer works with: templates, builds, unit tests; not what runs or publishes a cryptlet.
//!
//! A developer writes `cryptlet.toml` and one source file with a function for each method. Everything between the
//! component's calling convention and those functions is generated from the manifest, into the folder
//! [`GENERATED_FOLDER`].
//!
//! ```
//! use bletchley_kit::{Language, Project, create};
//! let parent = tempfile::tempdir().unwrap();
//! let folder = parent.path().join("hello");
//! let files = create(&folder, "hello", Language::JavaScript).unwrap();
//! assert!(files.iter().any(|file| file.ends_with("src/main.js")));
//! let project = Project::open(&folder).unwrap();
//! assert_eq!(project.manifest().name, "hello");
//! ```

mod build;
mod case;
mod create;
mod generate;
mod language;
mod process;
mod project;
mod report;
mod test;
mod tools;

pub use build::BuildError;
pub use build::GenerateError;
pub use create::{CreateError, create};
pub use language::Language;
pub use project::{GENERATED_FOLDER, OUT_FOLDER, Project, ProjectError, TESTS_FOLDER};
pub use report::{BuildReport, CaseFuel, CaseReport, TestReport};
pub use test::CaseError;
pub use test::TestError;
pub use tools::{ToolError, Tools};

//! The languages that there is a template and a build for.

use serde::{Deserialize, Serialize};

/// A language that cryptlets are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// JavaScript, run by QuickJS.
    JavaScript,
    /// TypeScript, which becomes JavaScript.
    TypeScript,
    /// Python, run by CPython.
    Python,
    /// C, with the C library of WASI as far as it needs no system.
    C,
    /// Rust, for `wasm32-unknown-unknown`.
    Rust,
}

impl Language {
    /// Every language, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::JavaScript, Self::TypeScript, Self::Python, Self::C, Self::Rust];

    /// Every language, in the order in which they are shown.
    #[must_use]
    pub const fn all() -> &'static [Self] {
        &Self::ALL
    }

    /// The language of this name; `js`, `ts`, `py` and `rs` are understood too.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "javascript" | "js" => Some(Self::JavaScript),
            "typescript" | "ts" => Some(Self::TypeScript),
            "python" | "py" => Some(Self::Python),
            "c" => Some(Self::C),
            "rust" | "rs" => Some(Self::Rust),
            _ => None,
        }
    }

    /// Name in manifests and on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::Python => "python",
            Self::C => "c",
            Self::Rust => "rust",
        }
    }

    /// Where the developer's code is, relative to the project's folder.
    #[must_use]
    pub const fn source(self) -> &'static str {
        match self {
            Self::JavaScript => "src/main.js",
            Self::TypeScript => "src/main.ts",
            Self::Python => "src/main.py",
            Self::C => "src/main.c",
            // Where cargo and editors look for it.
            Self::Rust => "src/lib.rs",
        }
    }
}

/// The names of all languages, for messages.
pub(crate) fn names() -> String {
    Language::ALL.map(Language::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::Language;

    #[test]
    fn names_are_read_back() {
        for language in Language::all() {
            assert_eq!(Language::parse(language.name()), Some(*language));
        }
        assert_eq!(Language::parse("cobol"), None);
    }
}

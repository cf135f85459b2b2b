//! Rule `purity`: the rows below storage have no files, sockets, clock, randomness or runtime in their code.

use super::{Finding, SourceFile, rust_text};

/// Crates whose sources are looked at.
const PURE: &[&str] = &["primitives", "crypto", "ledger", "consensus"];
/// What would be an effect there.
const EFFECTS: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "SystemTime",
    "Instant::now",
    "tokio::",
    "getrandom",
    "OsRng",
    "thread_rng",
    "rand::rng(",
];

/// Effects in code that is not a test.
pub(crate) fn findings(files: &[SourceFile]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| is_pure(&file.path)) {
        let code = rust_text::without_tests(&rust_text::blanked(&file.text));
        for effect in EFFECTS {
            let count = code.matches(effect).count();
            if count > 0 {
                found.push(Finding {
                    rule: "purity",
                    item: format!("{} uses {effect}", file.path),
                    measure: u64::try_from(count).unwrap_or(u64::MAX),
                    advice: "the rows below storage have no effects: return them as values".to_owned(),
                });
            }
        }
    }
    found
}

fn is_pure(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["crates", name, "src", .., file] => {
            PURE.contains(name) && file.ends_with(".rs") && *file != "tests.rs"
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        findings(&[SourceFile { path: path.to_owned(), text: text.to_owned() }]).len()
    }

    #[test]
    fn effects_are_found_in_pure_crates_only() {
        assert_eq!(count("crates/ledger/src/lib.rs", "use std::fs::File;"), 1);
        assert_eq!(count("crates/storage/src/lib.rs", "use std::fs::File;"), 0);
    }

    #[test]
    fn comments_and_tests_are_free() {
        assert_eq!(
            count("crates/ledger/src/lib.rs", "// std::fs\n#[cfg(test)]\nmod tests { use std::fs; }"),
            0
        );
    }
}

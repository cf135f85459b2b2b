//! Rules `module_name` and `crate_doc`: every module is named for what it is, and every crate says so in its first line.

use super::{Finding, SourceFile};

/// Names that say nothing; whatever is in there has a better one.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc"];

/// Modules with empty names, and crates that do not say what they are.
pub(crate) fn findings(files: &[SourceFile]) -> Vec<Finding> {
    let modules =
        files.iter().filter(|file| is_code(&file.path) && has_empty_name(&file.path)).map(|file| Finding {
            rule: "module_name",
            item: file.path.clone(),
            measure: 1,
            advice: "name it after what is in it".to_owned(),
        });
    let docs =
        files.iter().filter(|file| is_crate_root(&file.path) && !starts_with_doc(&file.text)).map(|file| {
            Finding {
                rule: "crate_doc",
                item: file.path.clone(),
                measure: 1,
                advice: "begin with a `//!` line that says what the crate is, and what it is not".to_owned(),
            }
        });
    modules.chain(docs).collect()
}

fn is_code(path: &str) -> bool {
    [".rs", ".mjs", ".js", ".ts", ".py", ".sol"].iter().any(|extension| path.ends_with(extension))
}

fn has_empty_name(path: &str) -> bool {
    path.split('/').any(|part| EMPTY_NAMES.contains(&part.split('.').next().unwrap_or(part)))
}

fn is_crate_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(
        parts.as_slice(),
        ["crates", _, "src", "lib.rs" | "main.rs"] | ["xtask", "src", "main.rs"] | ["fuzz", "src", "lib.rs"]
    )
}

fn starts_with_doc(text: &str) -> bool {
    text.lines().next().and_then(|line| line.strip_prefix("//!")).is_some_and(|doc| doc.trim().len() >= 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        let file = SourceFile { path: path.to_owned(), text: text.to_owned() };
        findings(&[file]).into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn empty_names_are_found_as_files_and_folders() {
        assert_eq!(rules("crates/a/src/utils.rs", ""), ["module_name"]);
        assert_eq!(rules("crates/a/tests/common/mod.rs", ""), ["module_name"]);
        assert!(rules("crates/a/src/commons_fund.rs", "").is_empty());
    }

    #[test]
    fn a_crate_says_what_it_is() {
        assert_eq!(rules("crates/a/src/lib.rs", "use std::fmt;\n"), ["crate_doc"]);
        assert!(rules("crates/a/src/lib.rs", "//! Newtypes that every row shares.\n").is_empty());
        assert!(rules("crates/a/src/deeper/lib.rs", "use std::fmt;\n").is_empty());
    }
}

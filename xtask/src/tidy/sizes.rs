//! Rules `file_lines`, `function_lines`, `main_lines`: nothing that cannot be read in one sitting.

use super::{Finding, SourceFile, rust_text};

const FILE_LINES_MAX: u64 = 600;
const FUNCTION_LINES_MAX: u64 = 80;
/// A `main.rs` parses, wires and exits.
const MAIN_LINES_MAX: u64 = 59;
/// What people write and read by the file.
const EXTENSIONS: &[&str] = &["rs", "sol", "mjs", "js", "ts", "py", "wit", "c", "h", "html", "css"];

/// Files and functions that are too long.
pub(crate) fn findings(files: &[SourceFile]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| is_source(&file.path)) {
        let lines = u64::try_from(file.text.lines().count()).unwrap_or(u64::MAX);
        if lines > FILE_LINES_MAX {
            found.push(too_long("file_lines", &file.path, lines, FILE_LINES_MAX));
        }
        if !file.path.ends_with(".rs") {
            continue;
        }
        if file.path.ends_with("/main.rs") && lines > MAIN_LINES_MAX {
            found.push(too_long("main_lines", &file.path, lines, MAIN_LINES_MAX));
        }
        for function in rust_text::functions(&rust_text::blanked(&file.text)) {
            if function.lines > FUNCTION_LINES_MAX {
                let item = format!("{}::{}", file.path, function.name);
                found.push(too_long("function_lines", &item, function.lines, FUNCTION_LINES_MAX));
            }
        }
    }
    found
}

fn too_long(rule: &'static str, item: &str, lines: u64, max: u64) -> Finding {
    let advice = format!("{lines} lines, and {max} is the most; split it");
    Finding { rule, item: item.to_owned(), measure: lines, advice }
}

fn is_source(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, extension)| EXTENSIONS.contains(&extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        let file = SourceFile { path: path.to_owned(), text: text.to_owned() };
        findings(&[file]).into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn each_bound_is_inclusive() {
        assert!(rules("crates/a/src/lib.rs", &"\n".repeat(600)).is_empty());
        assert_eq!(rules("crates/a/src/lib.rs", &"\n".repeat(601)), ["file_lines"]);
        assert!(rules("crates/a/src/main.rs", &"\n".repeat(59)).is_empty());
        assert_eq!(rules("crates/a/src/main.rs", &"\n".repeat(60)), ["main_lines"]);
        let function = |lines: usize| format!("fn f() {{{}}}", "\n".repeat(lines - 1));
        assert!(rules("crates/a/src/lib.rs", &function(80)).is_empty());
        assert_eq!(rules("crates/a/src/lib.rs", &function(81)), ["function_lines"]);
    }

    #[test]
    fn data_is_not_measured() {
        assert!(rules("contracts/artifacts/A.json", &"\n".repeat(5000)).is_empty());
    }
}

//! Rules `reason`, `workspace_dependency` and `lints`: every dependency is declared once, with a reason, and every crate is linted.

use super::{Finding, SourceFile};

/// Dependencies without a reason, declared in a crate, or crates without the workspace's lints.
pub(crate) fn findings(files: &[SourceFile]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with("Cargo.toml")) {
        if file.path == "Cargo.toml" {
            found.extend(without_reason(&file.text).map(|name| Finding {
                rule: "reason",
                item: name.to_owned(),
                measure: 1,
                advice:
                    "say why it is needed, behind it or as the heading of its group in Cargo.toml".to_owned(),
            }));
        } else if is_member(&file.path) {
            found.extend(of_member(file));
        }
    }
    found
}

fn is_member(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts.as_slice(), ["crates", _, "Cargo.toml"] | ["xtask" | "fuzz", "Cargo.toml"])
}

fn of_member(file: &SourceFile) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut section = "";
    let mut is_linted = false;
    for line in file.text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section == "[lints]" && line.replace(' ', "") == "workspace=true" {
            is_linted = true;
        } else if section.ends_with("dependencies]") {
            let declares = line.split_once('=').filter(|_| !line.starts_with('#'));
            if let Some((name, _)) = declares.filter(|(name, value)| !inherits(name, value)) {
                found.push(Finding {
                    rule: "workspace_dependency",
                    item: format!("{} declares {}", file.path, name.trim()),
                    measure: 1,
                    advice: "declare it in the workspace's Cargo.toml and write `workspace = true` here"
                        .to_owned(),
                });
            }
        }
    }
    if !is_linted {
        found.push(Finding {
            rule: "lints",
            item: file.path.clone(),
            measure: 1,
            advice: "add `[lints]` with `workspace = true`".to_owned(),
        });
    }
    found
}

fn inherits(name: &str, value: &str) -> bool {
    name.trim().ends_with(".workspace") || value.replace(' ', "").contains("workspace=true")
}

/// Names in `[workspace.dependencies]` with no comment behind them and no comment at the head of their group; a blank line ends
/// a group.
fn without_reason(text: &str) -> impl Iterator<Item = &str> {
    let mut is_there = false;
    let mut has_heading = false;
    let mut is_first = true;
    text.lines().map(str::trim).filter_map(move |line| {
        if line.starts_with('[') {
            is_there = line == "[workspace.dependencies]";
            (has_heading, is_first) = (false, true);
            return None;
        }
        if line.is_empty() {
            (has_heading, is_first) = (false, true);
            return None;
        }
        if line.starts_with('#') {
            has_heading |= is_first;
            return None;
        }
        is_first = false;
        let (name, value) = line.split_once('=')?;
        (is_there && !has_heading && !has_comment(value)).then(|| name.trim())
    })
}

/// Whether a `#` stands outside of quotes.
fn has_comment(value: &str) -> bool {
    value.split('"').step_by(2).any(|outside| outside.contains('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stands_behind_or_above() {
        let text = "[workspace.dependencies]\n# A group.\na = \"1\"\nb = \"1\"\n\nc = \"1\" # why\nd = { version = \"1\", x = \"#\" }\n[other]\ne = \"1\"\n";
        assert_eq!(without_reason(text).collect::<Vec<_>>(), ["d"]);
    }

    #[test]
    fn members_inherit() {
        let text = "[lints]\nworkspace = true\n[dependencies]\na.workspace = true\nb = { workspace = true }\nc = \"1\"\n";
        let file = SourceFile { path: "crates/x/Cargo.toml".to_owned(), text: text.to_owned() };
        let items: Vec<String> = findings(&[file]).into_iter().map(|finding| finding.item).collect();
        assert_eq!(items, ["crates/x/Cargo.toml declares c"]);
    }

    #[test]
    fn members_are_linted() {
        let file = SourceFile { path: "xtask/Cargo.toml".to_owned(), text: String::new() };
        assert_eq!(findings(&[file]).into_iter().map(|finding| finding.rule).collect::<Vec<_>>(), ["lints"]);
    }
}

//! Rule `words`: nothing in the repository names one person's machine or one way to reach a registry.

use super::{Finding, SourceFile};

/// Absolute paths of some machine. Written in two halves, so that this file does not find itself.
const PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Use", "rs/")];
/// Hosts from which packages come: which one serves is each machine's own business.
const HOSTS: &[&str] = &[
    concat!("registry.npm", "js.org"),
    concat!("registry.yarn", "pkg.com"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("files.python", "hosted.org"),
    concat!("py", "pi.org"),
    concat!("deb.deb", "ian.org"),
];
/// Written by cargo, which names its registry there.
const EXEMPT: &[&str] = &["Cargo.lock"];

/// Places where such a word stands.
pub(crate) fn findings(files: &[SourceFile]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !EXEMPT.contains(&file.path.as_str())) {
        let paths = PATHS.iter().map(|word| (word, starts_of_paths(&file.text, word)));
        let hosts = HOSTS.iter().map(|word| (word, file.text.matches(word).count()));
        for (word, count) in paths.chain(hosts).filter(|(_, count)| *count > 0) {
            found.push(Finding {
                rule: "words",
                item: format!("{} has {word}", file.path),
                measure: u64::try_from(count).unwrap_or(u64::MAX),
                advice: "it is true on one machine only; take it out".to_owned(),
            });
        }
    }
    found
}

/// Occurrences that start a path, and do not stand in the middle of one.
fn starts_of_paths(text: &str, word: &str) -> usize {
    let starts = |at: &usize| {
        let before = text.get(..*at).and_then(|before| before.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/~}$)*>".contains(c))
    };
    text.match_indices(word).map(|(at, _)| at).filter(starts).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        findings(&[SourceFile { path: "README.md".to_owned(), text: text.to_owned() }]).len()
    }

    #[test]
    fn absolute_paths_and_hosts_are_found() {
        assert_eq!(count(concat!("see /ro", "ot/x")), 1);
        assert_eq!(count(concat!("from registry.npm", "js.org")), 1);
    }

    #[test]
    fn parts_of_longer_paths_are_not() {
        assert_eq!(count(concat!("state/ro", "ot/x and ./ho", "me/y")), 0);
    }
}

//! Whether a component is still what its sources build: a digest over everything that goes into it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::BuildError;
use crate::{Language, Project, generate::File};

/// Digest of the inputs, then of the component, in hexadecimal.
const MARK_FILE: &str = "built";
/// Files of the project's own folder that builds read.
const TOP_FILES: &[&str] = &["package.json", "package-lock.json", "tsconfig.json"];
/// Folders that builds read as a whole.
const FOLDERS: &[&str] = &["src", "packages"];
/// Most files that are looked at.
const FILES_MAX: usize = 10_000;

/// Digest over what was generated and what the developer wrote; `None` where the compiler itself knows best.
pub(super) fn digest(project: &Project, generated: &[File]) -> Result<Option<String>, BuildError> {
    // Cargo follows dependencies that are not in this folder.
    if project.language() == Language::Rust {
        return Ok(None);
    }
    let mut hasher = Sha256::new();
    let mut feed = |name: &str, bytes: &[u8]| {
        for part in [name.as_bytes(), bytes] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
    };
    feed("kit", env!("CARGO_PKG_VERSION").as_bytes());
    for file in generated {
        feed(file.path, file.text.as_bytes());
    }
    let mut files: Vec<PathBuf> = TOP_FILES.iter().map(|name| project.folder().join(name)).collect();
    for folder in FOLDERS {
        list(&project.folder().join(folder), &mut files);
    }
    for file in files.iter().filter(|file| file.is_file()) {
        feed(&file.to_string_lossy(), &super::read(file)?);
    }
    Ok(Some(hex::encode(hasher.finalize())))
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        if files.len() >= FILES_MAX {
            return;
        }
        // Python leaves what it compiled beside the source.
        if entry.file_name().is_some_and(|name| name == "__pycache__") {
            continue;
        }
        if entry.is_dir() && !entry.is_symlink() {
            list(&entry, files);
        } else {
            files.push(entry);
        }
    }
}

/// Whether the component was built from these inputs and has not been touched.
pub(super) fn is_current(project: &Project, digest: &Option<String>) -> bool {
    let (Some(digest), Ok(component)) = (digest, fs::read(project.component())) else { return false };
    fs::read_to_string(project.generated().join(MARK_FILE)).is_ok_and(|mark| mark == line(digest, &component))
}

/// Notes what a component was built from.
pub(super) fn mark(project: &Project, digest: &Option<String>, component: &[u8]) -> Result<(), BuildError> {
    match digest {
        Some(digest) => {
            super::replace(&project.generated().join(MARK_FILE), line(digest, component).as_bytes())
        }
        None => Ok(()),
    }
}

fn line(digest: &str, component: &[u8]) -> String {
    format!("{digest} {}\n", hex::encode(Sha256::digest(component)))
}

//! Not written yet.

use super::{File, GenerateError};
use bletchley_cryptlet::manifest::Manifest;

pub(super) fn files(_manifest: &Manifest) -> Result<Vec<File>, GenerateError> {
    Ok(Vec::new())
}

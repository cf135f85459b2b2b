//! Not written yet.

use super::BuildError;
use crate::{Project, Tools};

pub(super) fn component(
    project: &Project,
    _tools: &Tools,
    _progress: &dyn Fn(&str),
) -> Result<Vec<u8>, BuildError> {
    Err(BuildError::NotYet { language: project.language().name() })
}

//! Core modules become components: what C and Rust compile to, encoded for the manifest's world.

use bletchley_cryptlet::manifest::World;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::BuildError;
use crate::{Language, generate::WIT};

/// The component of a core module that follows the calling convention of `wit/cryptlet.wit`.
pub(super) fn encode(mut core: Vec<u8>, world: World, language: Language) -> Result<Vec<u8>, BuildError> {
    encoded(&mut core, world).map_err(|error| BuildError::World {
        source_file: language.source(),
        world: world.name(),
        words: plain(&error),
    })
}

fn encoded(core: &mut Vec<u8>, world: World) -> Result<Vec<u8>, String> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("cryptlet.wit", WIT).map_err(|error| format!("{error:#}"))?;
    let world = resolve.select_world(&[package], Some(world.name())).map_err(|error| format!("{error:#}"))?;
    embed_component_metadata(core, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| format!("{error:#}"))?;
    ComponentEncoder::default()
        .module(core)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| format!("{error:#}"))
}

/// The encoder's words for the commonest mistake, in ours.
fn plain(words: &str) -> String {
    if words.contains("wasi_snapshot_preview1") {
        return format!("a cryptlet has no files, environment, clock or network of a system ({words})");
    }
    words.to_owned()
}

//! `/v1/cryptlets`: what is registered.

use super::RestContext;
use super::answer::{Answer, Asked};
use super::publishing::unknown;
use axum::Json;
use axum::extract::{Path, State};
use bletchley_cryptlet::header;
use bletchley_cryptlet::package::PackageId;
use bletchley_cryptlet::registry::{HostEntry, RegistryView, Resolved};
use bletchley_primitives::keccak256;
use serde::Deserialize;
use serde_json::{Value, json};

/// What is looked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    #[serde(default)]
    text: String,
}

pub(super) async fn list(State(context): State<RestContext>, Asked(search): Asked<Search>) -> Answer {
    let anchor = context.registry.anchor();
    let wanted = search.text.to_lowercase();
    let list: Vec<Value> = context.registry.with_index(|index| {
        let found = index.packages(anchor.height).filter(|found| speaks_of(found, &wanted));
        found.map(|found| cryptlet(&found)).collect()
    });
    let hosts: Vec<Value> = context.registry.with_index(|index| {
        let host = |host: &HostEntry| json!({ "host": host.host, "member": host.member, "evidence": host.evidence, "profile": host.profile });
        index.hosts(anchor.height).map(|entry| host(&entry)).collect()
    });
    let anchor = json!({ "height": anchor.height, "block": anchor.block });
    Ok(Json(json!({ "anchor": anchor, "cryptlets": list, "hosts": hosts })))
}

/// Everything that the registry has of one name: the release that answers now, its header, and every version.
pub(super) async fn show(State(context): State<RestContext>, Path(name): Path<String>) -> Answer {
    let anchor = context.registry.anchor();
    let found = context.registry.resolve(keccak256(&name), anchor.height).ok_or_else(|| unknown(&name))?;
    let (release, manifest) = (&found.package.release, &found.package.manifest);
    let versions: Vec<Value> = context.registry.with_index(|index| {
        let same = index.packages(anchor.height).filter(|other| other.package.release.name == release.name);
        same.map(|other| {
            json!({ "version": other.package.manifest.version, "package": other.package.release.package,
                "publisher": other.package.release.publisher, "status": other.status.name() })
        })
        .collect()
    });
    let mut out = cryptlet(&found);
    if let Some(object) = out.as_object_mut() {
        object.insert("manifest".to_owned(), json!(manifest));
        object.insert("versions".to_owned(), json!(versions));
        object.insert("abi".to_owned(), header::json_abi_of(manifest));
        let solidity = header::solidity_of(manifest, PackageId(release.package));
        object.insert("solidity".to_owned(), solidity.into());
    }
    Ok(Json(out))
}

/// Whether a cryptlet's name, description, publisher, language or methods contain `wanted`, in lower case.
fn speaks_of(found: &Resolved, wanted: &str) -> bool {
    let manifest = &found.package.manifest;
    let methods = manifest.methods.iter().flat_map(|method| [&method.name, &method.description]);
    let texts = [&manifest.name, &manifest.description, &manifest.publisher, &manifest.language];
    texts.into_iter().chain(methods).any(|text| text.to_lowercase().contains(wanted))
}

fn cryptlet(found: &Resolved) -> Value {
    let (release, manifest) = (&found.package.release, &found.package.manifest);
    json!({
        "name": release.name, "version": manifest.version, "status": found.status.name(), "description": manifest.description,
        "language": manifest.language, "id": keccak256(&release.name), "package": release.package,
        "codeSha256": release.code_sha256, "codeSizeBytes": release.code_size_bytes, "publisher": release.publisher,
        "key": release.key, "methods": manifest.methods.iter().map(|m| m.name.clone()).collect::<Vec<_>>(),
    })
}

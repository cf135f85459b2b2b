//! `/v1/cryptlets`: what is registered.

use super::RestContext;
use super::answer::Answer;
use axum::Json;
use axum::extract::State;
use bletchley_cryptlet::registry::{HostEntry, RegistryView, Resolved};
use bletchley_primitives::keccak256;
use serde_json::{Value, json};

pub(super) async fn list(State(context): State<RestContext>) -> Answer {
    let anchor = context.registry.anchor();
    let list: Vec<Value> = context
        .registry
        .with_index(|index| index.packages(anchor.height).map(|found| cryptlet(&found)).collect());
    let hosts: Vec<Value> = context.registry.with_index(|index| {
        let host = |host: &HostEntry| json!({ "host": host.host, "member": host.member, "evidence": host.evidence, "profile": host.profile });
        index.hosts(anchor.height).map(|entry| host(&entry)).collect()
    });
    let anchor = json!({ "height": anchor.height, "block": anchor.block });
    Ok(Json(json!({ "anchor": anchor, "cryptlets": list, "hosts": hosts })))
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

//! The ready-made cryptlets in every container, with the ECB's real history: equal to the last bit.

use std::{path::PathBuf, sync::Arc};

use bletchley_cryptlet::{
    aot::{AotCache, AotSecret},
    confined::{ConfinedConfig, ConfinedContainer},
    container::{Container, Invocation, Outside, Status},
    host::WasmContainer,
    manifest::Isolation,
};
use serde_json::{Value, json};

use crate::support::{EcbFetcher, cryptlet, invocation};

fn compare(name: &str, calls: &[(&str, Value)]) {
    let package = cryptlet(name);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cryptlet-aot-shared");
    let cache = Arc::new(AotCache::open(&folder, AotSecret::new([8; 32].into())).unwrap());
    let config = ConfinedConfig::default();
    // What a worker compiled, the node's process loads from the cache.
    let confined = ConfinedContainer::open(config, Some(cache.clone()), Arc::new(EcbFetcher)).unwrap();
    let id = confined.load(&package, Isolation::Process).unwrap();
    let near = WasmContainer::open(Some(cache), Arc::new(EcbFetcher)).unwrap();
    near.load(&package, Isolation::InProcess).unwrap();
    for (method, values) in calls {
        let call = invocation(method, package.manifest().encode_call(method, values).unwrap());
        let expected = near.invoke(&id, &call);
        assert_eq!(expected.status, Status::Ok, "{method} {values}");
        assert_eq!(confined.invoke(&id, &call), expected, "{method} {values}");
        let outside = Outside::Recorded(Arc::new(expected.transcript.clone()));
        let repeated = Invocation { outside, ..call.clone() };
        assert_eq!(confined.invoke(&id, &repeated), expected, "{method} {values} from the record");
        let cut = Invocation { fuel_max: expected.fuel_used / 2, ..call };
        let half = near.invoke(&id, &cut);
        assert_ne!(half.status, Status::Ok);
        assert_eq!(confined.invoke(&id, &cut), half, "{method} {values} with half of the fuel");
    }
}

pub(crate) fn outcomes_of_the_ready_made_cryptlets() {
    compare(
        "calendar",
        &[
            ("nextBusinessDay", json!([20241225, "TARGET"])),
            ("isBusinessDay", json!([20241225, "US-FED"])),
            ("toUtc", json!([20240331, 7_200, "Europe/Berlin"])),
        ],
    );
    compare(
        "fx-rates",
        &[("rate", json!(["GBP", "JPY", 20240106])), ("rate", json!(["EUR", "USD", 20240105]))],
    );
}

#![allow(clippy::unwrap_used)]
use super::*;
use bletchley_consensus::{FixedSchedule, Validator, Validators};
use bletchley_primitives::{Address, B256, BlockHash, TimestampMs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn peer(number: u8) -> PeerId {
    PeerId(B256::repeat_byte(number))
}

struct World {
    observatory: Arc<Observatory>,
    running: Arc<AtomicBool>,
    /// Height that the node catches up from, to 4,000; 0 when it does not.
    syncing: Arc<AtomicU64>,
    connected: Arc<Mutex<BTreeSet<PeerId>>>,
}

fn world() -> World {
    let meters = Arc::new(Meters::new());
    let connected = Arc::new(Mutex::new([peer(2), peer(3), peer(4)].into_iter().collect::<BTreeSet<_>>()));
    let seen = connected.clone();
    let mut node = NodeSources::alone("trade", "bank-a", peer(1));
    node.connected = Arc::new(move || seen.lock().clone());
    node.peers = Arc::new(|| {
        vec![PeerStatus {
            name: "bank-b".to_owned(),
            peer: peer(2).to_string(),
            connected: true,
            ..PeerStatus::default()
        }]
    });
    node.extra =
        Arc::new(|| "# HELP theirs Theirs.\n# TYPE theirs counter\ntheirs_total 5\n# EOF\n".to_owned());
    let observatory = Observatory::new(meters.clone(), node);
    let (running, syncing) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let (runs, syncs) = (running.clone(), syncing.clone());
    let names = ["bank-a", "bank-b", "maker", "regulator"];
    let validators = (1..).zip(names).map(|(number, name)| Validator {
        name: name.to_owned(),
        peer: peer(number),
        address: Address::repeat_byte(number),
    });
    let schedule = FixedSchedule { epoch_blocks: 10, validators: Arc::new(Validators::new(validators)) };
    let head = Head {
        height: Height(25),
        hash: BlockHash(B256::repeat_byte(7)),
        state_root: B256::ZERO,
        time_ms: TimestampMs(0),
    };
    observatory.add(LedgerSources {
        name: "tokens".to_owned(),
        id: LedgerId::default(),
        machine: "utxo",
        engine: "simplex".to_owned(),
        schedule: Arc::new(schedule),
        meter: meters.ledger("tokens"),
        head: Arc::new(move || head),
        pool: Arc::new(|| PoolCounts { ready: 3, deferred: 1 }),
        running: Arc::new(move || runs.load(Ordering::Acquire)),
        round: Arc::new(|| Some(77)),
        certified: Arc::new(|| Some(Height(24))),
        syncing: Arc::new(move || match syncs.load(Ordering::Acquire) {
            0 => None,
            at => Some(SyncProgress {
                step: "fetch".to_owned(),
                from: Height(0),
                at: Height(at),
                to: Height(4_000),
                left_ms: None,
            }),
        }),
        heard: Arc::new(|| [(peer(2), (Height(24), Duration::from_secs(1)))].into_iter().collect()),
        anomalies: Arc::new(|| vec![("round_lost", 3)]),
    });
    World { observatory, running, syncing, connected }
}

#[test]
fn a_node_that_is_well_says_so() {
    let world = world();
    let report = world.observatory.report();
    assert!(report.ready && report.reasons.is_empty(), "{report:#?}");
    let ledger = report.ledgers.first().unwrap();
    assert_eq!((ledger.epoch, ledger.height, ledger.quorum), (2, Height(25), 3));
    assert_eq!(ledger.validators.iter().filter(|validator| validator.connected).count(), 4);
    assert_eq!(ledger.validators.iter().find(|validator| validator.this).unwrap().name, "bank-a");
    let heard = ledger.validators.iter().find(|validator| validator.name == "bank-b").unwrap();
    assert_eq!((heard.height, heard.last_seen_ms), (Some(Height(24)), Some(1_000)));
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<StatusReport>(&text).unwrap(), report);
}

#[test]
fn every_reason_is_named() {
    let world = world();
    world.running.store(false, Ordering::Release);
    world.syncing.store(1_200, Ordering::Release);
    *world.connected.lock() = [peer(3)].into_iter().collect();
    // As if the others had been away for longer than it takes to connect.
    for standing in world.observatory.ledgers.read().iter() {
        *standing.quorum_at.lock() = Some(Instant::now().checked_sub(2 * QUORUM_GRACE).unwrap());
    }
    let report = world.observatory.report();
    let reasons: Vec<&str> = report.reasons.iter().map(String::as_str).collect();
    assert_eq!(
        reasons,
        [
            "engine stopped: ledger tokens takes no more blocks; see the log, then restart the node",
            "syncing: 1,200 of 4,000 blocks of ledger tokens",
            "no quorum: waiting for bank-b and regulator (2 of 4 connected, 3 needed), on ledger tokens",
        ]
    );
    assert_eq!((world.observatory.operation("tokens").warning)(), None, "nobody has looked yet");
    world.observatory.watch_quorum();
    let warning = (world.observatory.operation("tokens").warning)();
    assert_eq!(warning.as_deref(), reasons.last().copied());
    let metrics = world.observatory.metrics();
    assert!(metrics.contains("bletchley_engine_quorum{ledger=\"tokens\"} 0\n"), "{metrics}");
    *world.connected.lock() = [peer(2), peer(3)].into_iter().collect();
    world.observatory.watch_quorum();
    assert_eq!((world.observatory.operation("tokens").warning)(), None);
    assert_eq!(world.observatory.report().reasons.len(), 2);
}

#[test]
fn one_scrape_has_ours_and_theirs() {
    let metrics = world().observatory.metrics();
    let scrape = prometheus_parse::Scrape::parse(metrics.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let has = |name: &str| scrape.samples.iter().any(|sample| sample.metric == name);
    for name in ["theirs_total", "bletchley_ledger_height", "bletchley_engine_round", "process_open_fds"] {
        assert!(has(name), "{name} is missing");
    }
    assert!(
        metrics.contains("bletchley_pool_transactions{ledger=\"tokens\",state=\"deferred\"} 1\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("bletchley_engine_anomalies_total{ledger=\"tokens\",kind=\"round_lost\"} 3\n"),
        "{metrics}"
    );
    assert!(metrics.contains("bletchley_certificate_missing_blocks{ledger=\"tokens\"} 1\n"), "{metrics}");
}

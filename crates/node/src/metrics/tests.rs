use super::*;
use bletchley_primitives::{Height, TimestampMs};

fn kept(height: u64, finality_ms: u64) -> Kept {
    Kept {
        height: Height(height),
        made_ms: TimestampMs(1_000),
        now_ms: TimestampMs(1_000 + finality_ms),
        transactions: 3,
        size_bytes: 5_000,
        execute: Duration::from_micros(300),
        append: Duration::from_millis(2),
        commit: Duration::from_micros(10),
    }
}

fn parsed(text: &str) -> prometheus_parse::Scrape {
    let lines = text.lines().map(|line| Ok(line.to_owned()));
    prometheus_parse::Scrape::parse(lines).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

#[test]
fn a_stranger_reads_what_was_counted() {
    let meters = Meters::new();
    let ledger = meters.ledger("tokens");
    (1..=4).for_each(|height| ledger.kept(&kept(height, height * 10)));
    meters.traffic("bank-b", "sync", Direction::In).count(700);
    meters.refuse(Some("bank-b"), Refused::Malformed);
    meters.refuse(None, Refused::Signature);
    meters.answered("rpc", "eth_call", "ok", 2);
    meters.introduce("trade", "bank \"a\"\n");
    let scrape = parsed(&meters.render());
    let value = |name: &str| {
        let sample = scrape.samples.iter().find(|sample| sample.metric == name);
        sample.unwrap_or_else(|| panic!("{name} is missing")).value.clone()
    };
    assert_eq!(value("bletchley_ledger_height"), prometheus_parse::Value::Gauge(4.0));
    assert_eq!(value("bletchley_ledger_transactions_total"), prometheus_parse::Value::Counter(12.0));
    assert_eq!(value("bletchley_net_message_bytes_total"), prometheus_parse::Value::Counter(700.0));
    assert_eq!(value("bletchley_api_requests_total"), prometheus_parse::Value::Counter(2.0));
    let refused: Vec<_> =
        scrape.samples.iter().filter(|s| s.metric == "bletchley_net_refused_total").collect();
    assert_eq!(refused.len(), 2);
    let finals = ledger.finals().unwrap_or_default();
    assert_eq!((finals.blocks, finals.p50_ms, finals.p99_ms), (4, 20, 40));
}

#[test]
fn labels_from_outside_are_bounded() {
    let meters = Meters::new();
    for number in 0..2 * METHOD_LABELS_MAX {
        meters.answered("rpc", &format!("method_{number}"), "ok", 1);
        meters.refuse(Some(&format!("peer-{number}")), Refused::Signature);
    }
    let scrape = parsed(&meters.render());
    let count = |name: &str| scrape.samples.iter().filter(|sample| sample.metric == name).count();
    assert!(count("bletchley_api_requests_total") <= METHOD_LABELS_MAX + 1);
    assert!(count("bletchley_net_refused_total") <= PEER_LABELS_MAX + 1);
}

#[test]
fn every_reason_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> = Refused::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), Refused::ALL.len());
}

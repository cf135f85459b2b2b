//! The committed `fx-rates` component against an independent computation from the ECB's real history.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::inconsistent_digit_grouping, reason = "2024_01_05 is a date")]

mod support;

use std::sync::Arc;

use alloy_primitives::U256;
use bletchley_cryptlet::{
    container::{Container, FailureKind, Outside, Status, UnavailableKind},
    fetch::NoFetcher,
    host::WasmContainer,
    manifest::Isolation,
    package::PackageId,
    transcript::Transcript,
};
use jiff::{ToSpan, civil::Date};
use serde_json::json;
use support::{EcbFetcher, HISTORY, call, container, cryptlet, invocation};

fn fx_rates() -> (WasmContainer, PackageId) {
    let container = container(Arc::new(EcbFetcher));
    let id = container.load(&cryptlet("fx-rates"), Isolation::InProcess).unwrap();
    (container, id)
}

fn number(date: Date) -> u32 {
    date.strftime("%Y%m%d").to_string().parse().unwrap()
}

/// The published value as an exact integer, times 10^12.
fn value_e12(currency: &str, date: Date) -> Option<U256> {
    if currency == "EUR" {
        return Some(U256::from(10u64.pow(12)));
    }
    let text = HISTORY.value(currency, &date.to_string())?;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    Some(format!("{whole}{part:0<12}").parse().unwrap())
}

/// The fixing rule, computed another way than the cryptlet does: day by day backwards, in one scale.
fn expected(base: &str, quote: &str, date: Date) -> Option<(U256, u32)> {
    (0..=10i64).map(|age| date.saturating_sub(age.days())).find_map(|day| {
        let (of_base, of_quote) = (value_e12(base, day)?, value_e12(quote, day)?);
        let scaled = of_quote * U256::from(10u64.pow(8));
        let (rate, rest) = (scaled / of_base, scaled % of_base);
        let up = rest * U256::from(2) >= of_base;
        Some((rate + U256::from(u8::from(up)), number(day)))
    })
}

#[test]
fn equals_the_history_over_many_dates_and_pairs() {
    let (container, id) = fx_rates();
    let pairs = [
        ("EUR", "USD"),
        ("USD", "EUR"),
        ("GBP", "JPY"),
        ("JPY", "GBP"),
        ("EUR", "ISK"),
        ("IDR", "TRL"),
        ("USD", "CHF"),
    ];
    let (mut compared, mut refused) = (0, 0);
    // A step coprime to 7 walks through every weekday; the range holds every holiday and the gaps of ISK and TRL.
    let dates = jiff::civil::date(1999, 1, 4)
        .series(23.days())
        .take_while(|date| *date <= jiff::civil::date(2026, 10, 30));
    for (at, date) in dates.enumerate() {
        let (base, quote) = pairs[at % pairs.len()];
        let answer = call(&container, &id, "rate", &json!([base, quote, number(date)]));
        match expected(base, quote, date) {
            Some((rate, fixing)) => {
                let (value, _) =
                    answer.unwrap_or_else(|failure| panic!("{base}/{quote} {date}: {failure:?}"));
                assert_eq!(
                    value,
                    json!({ "rateE8": rate.to_string(), "fixingDate": fixing }),
                    "{base}/{quote} {date}"
                );
                compared += 1;
            }
            None => {
                let (code, reason) = answer.unwrap_err();
                assert_eq!(code, FailureKind::InvalidInput.code());
                assert!(reason.contains("set no rate"), "{reason}");
                refused += 1;
            }
        }
    }
    assert!(compared > 350 && refused > 20, "{compared} {refused}");
}

#[test]
fn weekends_and_holidays_take_the_fixing_before() {
    let (container, id) = fx_rates();
    for (date, fixing) in [
        (2024_01_05, 2024_01_05),
        (2024_01_06, 2024_01_05),
        (2024_01_07, 2024_01_05),
        (2024_04_01, 2024_03_28), // Easter Monday, after Good Friday
        (2026_10_31, 2026_10_30),
    ] {
        let (value, _) = call(&container, &id, "rate", &json!(["EUR", "USD", date])).unwrap();
        assert_eq!(value["fixingDate"], fixing, "{date}");
    }
    let (value, _) = call(&container, &id, "rate", &json!(["EUR", "USD", 2024_01_05])).unwrap();
    assert_eq!(value["rateE8"], "109210000");
}

#[test]
fn what_cannot_be_answered_is_refused_in_plain_words() {
    let (container, id) = fx_rates();
    for (values, words) in [
        (json!(["EUR", "XXX", 2024_01_05]), "set no rate for XXX"),
        (json!(["EUR", "usd", 2024_01_05]), "not an ISO 4217 code"),
        (json!(["EUR", "USD&x=y", 2024_01_05]), "not an ISO 4217 code"),
        (json!(["", "USD", 2024_01_05]), "not an ISO 4217 code"),
        (json!(["EUR", "EUR", 2024_01_05]), "both EUR"),
        (json!(["EUR", "USD", 2024_02_30]), "not a date"),
        (json!(["EUR", "USD", 0]), "not a date"),
        (json!(["EUR", "USD", u32::MAX]), "not a date"),
        (json!(["EUR", "USD", 1999_01_03]), "first fixing"),
        (json!(["EUR", "USD", 2026_11_01]), "in the future"),
    ] {
        let (code, reason) = call(&container, &id, "rate", &values).unwrap_err();
        assert_eq!(code, FailureKind::InvalidInput.code(), "{values}: {reason}");
        assert!(reason.contains(words), "{values}: {reason}");
    }
}

#[test]
fn a_record_repeats_offline_and_no_other_record_does() {
    let (container, id) = fx_rates();
    let manifest = container.manifest(&id).unwrap();
    let mut asked =
        invocation("rate", manifest.encode_call("rate", &json!(["GBP", "JPY", 2024_01_06])).unwrap());
    let live = container.invoke(&id, &asked);
    assert_eq!(live.status, Status::Ok);
    assert_eq!(live.transcript.fetches.len(), 1);

    let offline = support::container(Arc::new(NoFetcher));
    offline.load(&cryptlet("fx-rates"), Isolation::InProcess).unwrap();
    let recorded = Transcript::decode(&live.transcript.encode()).unwrap();
    asked.outside = Outside::Recorded(Arc::new(recorded.clone()));
    assert_eq!(offline.invoke(&id, &asked), live);

    let mut other = recorded.clone();
    other.fetches[0].path.push('x');
    let mut longer = recorded.clone();
    longer.fetches.push(recorded.fetches[0].clone());
    for wrong in [other, longer, Transcript::default()] {
        asked.outside = Outside::Recorded(Arc::new(wrong));
        assert_eq!(offline.invoke(&id, &asked).status.code(), UnavailableKind::TranscriptMismatch.code());
    }

    let mut dearer = recorded;
    let body = String::from_utf8(dearer.fetches[0].body.to_vec()).unwrap().replace("0.86", "0.96");
    dearer.fetches[0].body = body.into_bytes().into();
    asked.outside = Outside::Recorded(Arc::new(dearer));
    let changed = offline.invoke(&id, &asked);
    assert_ne!(
        (changed.host_calls_digest, changed.transcript.digest()),
        (live.host_calls_digest, live.transcript.digest())
    );
}

#[test]
fn a_source_that_does_not_answer_is_no_result() {
    let container = container(Arc::new(NoFetcher));
    let id = container.load(&cryptlet("fx-rates"), Isolation::InProcess).unwrap();
    let (code, reason) = call(&container, &id, "rate", &json!(["EUR", "USD", 2024_01_05])).unwrap_err();
    assert_eq!(code, UnavailableKind::SourceUnavailable.code());
    assert!(reason.contains("cannot be asked"), "{reason}");
}

//! The committed `calendar` component against jiff's own time-zone data and the days the ECB really fixed rates on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::inconsistent_digit_grouping, reason = "2024_01_05 is a date")]

mod support;

use std::sync::Arc;

use bletchley_cryptlet::{
    container::{Container, FailureKind},
    fetch::NoFetcher,
    host::WasmContainer,
    manifest::Isolation,
    package::PackageId,
};
use jiff::{
    Timestamp, ToSpan,
    civil::{Date, Time, Weekday, date},
    tz::TimeZone,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{HISTORY, call, container, cryptlet};

struct Calendar {
    container: WasmContainer,
    id: PackageId,
}

impl Calendar {
    fn load() -> Self {
        let container = container(Arc::new(NoFetcher));
        let id = container.load(&cryptlet("calendar"), Isolation::InProcess).unwrap();
        Self { container, id }
    }

    fn ask(&self, method: &str, values: Value) -> Result<Value, (u8, String)> {
        let (value, outcome) = call(&self.container, &self.id, method, &values)?;
        assert!(outcome.transcript.is_empty());
        Ok(value)
    }

    /// The only output of a method.
    fn one(&self, method: &str, values: Value) -> Value {
        let answer = self
            .ask(method, values.clone())
            .unwrap_or_else(|failure| panic!("{method}{values}: {failure:?}"));
        answer.as_object().unwrap().values().next().unwrap().clone()
    }
}

fn number(date: Date) -> u32 {
    date.strftime("%Y%m%d").to_string().parse().unwrap()
}

fn days(first: Date, last: Date, step: i64) -> impl Iterator<Item = Date> {
    first.series(step.days()).take_while(move |date| *date <= last)
}

#[test]
fn target_is_open_exactly_on_the_days_the_ecb_fixed_rates() {
    let calendar = Calendar::load();
    let (mut open_days, mut closed_days) = (0, 0);
    for day in days(date(1999, 1, 4), date(2026, 10, 30), 1) {
        if matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday) {
            continue;
        }
        let open = calendar.one("isBusinessDay", json!([number(day), "TARGET"])).as_bool().unwrap();
        assert_eq!(open, HISTORY.value("USD", &day.to_string()).is_some(), "{day}");
        if open { open_days += 1 } else { closed_days += 1 }
    }
    assert!(open_days > 7000 && closed_days > 100, "{open_days} {closed_days}");
}

#[test]
fn the_next_business_day_is_the_first_open_one_from_the_date_on() {
    let calendar = Calendar::load();
    for (from, to) in [
        (2024_03_28, 2024_03_28),
        (2024_03_29, 2024_04_02), // Good Friday to after Easter Monday
        (2024_12_24, 2024_12_24),
        (2024_12_25, 2024_12_27),
        (2024_05_01, 2024_05_02),
        (2024_01_06, 2024_01_08),
    ] {
        assert_eq!(calendar.one("nextBusinessDay", json!([from, "TARGET"])), to, "{from}");
    }
    assert_eq!(calendar.one("nextBusinessDay", json!([2024_12_25, "WEEKEND"])), 2024_12_25);
    assert_eq!(calendar.one("nextBusinessDay", json!([2024_12_28, "WEEKEND"])), 2024_12_30);
}

#[test]
fn the_federal_reserve_keeps_the_holidays_it_announced() {
    let calendar = Calendar::load();
    // Federal Reserve Bank holiday schedules of 2021, 2022 and 2024; Saturdays are not moved, Sundays are.
    let closed = [
        2021_01_01, 2021_01_18, 2021_02_15, 2021_05_31, 2021_07_05, 2021_09_06, 2021_10_11, 2021_11_11,
        2021_11_25, 2022_01_17, 2022_02_21, 2022_05_30, 2022_06_20, 2022_07_04, 2022_09_05, 2022_10_10,
        2022_11_11, 2022_11_24, 2022_12_26, 2024_01_01, 2024_01_15, 2024_02_19, 2024_05_27, 2024_06_19,
        2024_07_04, 2024_09_02, 2024_10_14, 2024_11_11, 2024_11_28, 2024_12_25, 2023_01_02,
    ];
    for year in [2021, 2022, 2024] {
        for day in days(date(year, 1, 1), date(year, 12, 31), 1) {
            let weekend = matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
            let open = !weekend && !closed.contains(&number(day));
            assert_eq!(calendar.one("isBusinessDay", json!([number(day), "US-FED"])), open, "{day}");
        }
    }
}

#[test]
fn weekdays_sums_and_differences_agree_with_jiff() {
    let calendar = Calendar::load();
    let origin = date(2000, 2, 29);
    for (at, day) in days(date(1900, 1, 1), date(2399, 12, 31), 97).enumerate() {
        assert_eq!(
            calendar.one("weekday", json!([number(day)])),
            day.weekday().to_monday_one_offset(),
            "{day}"
        );
        let months = at as i64 % 500;
        assert_eq!(
            calendar.one("addMonths", json!([number(day), months])),
            number(day + months.months()),
            "{day} + {months}"
        );
        let count = (at as i64 * 7919) % 40_000 - 100;
        if day + count.days() >= date(1900, 1, 1) {
            assert_eq!(
                calendar.one("addDays", json!([number(day), count])),
                number(day + count.days()),
                "{day} + {count}"
            );
        }
        let between = (day - origin).get_days();
        assert_eq!(calendar.one("daysBetween", json!([number(origin), number(day)])), between, "{day}");
    }
    assert_eq!(calendar.one("addMonths", json!([2024_01_31, 1])), 2024_02_29);
    assert_eq!(calendar.one("addMonths", json!([2023_01_31, 1])), 2023_02_28);
    assert_eq!(calendar.one("addMonths", json!([2024_12_31, 2])), 2025_02_28);
}

/// Every name that the source of `calendar` holds.
fn names() -> Vec<String> {
    let source = include_str!("../../../cryptlets/calendar/zones.h");
    let lines = source.lines().filter_map(|line| line.trim().strip_prefix('"'));
    lines.map(|line| line.split("\\0").next().unwrap().to_owned()).collect()
}

fn agrees(calendar: &Calendar, zone: &TimeZone, name: &str, day: Date, seconds: u32) {
    let time = Time::midnight() + i64::from(seconds).seconds();
    // "Compatible" is the rule of RFC 5545: the earlier of two, moved on by the gap.
    let instant = zone.to_ambiguous_timestamp(day.to_datetime(time)).compatible().unwrap().as_second();
    let answer = calendar.ask("toUtc", json!([number(day), seconds, name]));
    if instant < 0 {
        assert_eq!(answer.unwrap_err().0, FailureKind::InvalidInput.code());
        return;
    }
    assert_eq!(answer.unwrap()["unixSeconds"], instant.to_string(), "{day} {time} {name}");
    let local = Timestamp::from_second(instant).unwrap().to_zoned(zone.clone()).datetime();
    let clock = local.time().duration_since(Time::midnight()).as_secs();
    let back = calendar.ask("fromUtc", json!([instant.to_string(), name])).unwrap();
    assert_eq!(back, json!({ "date": number(local.date()), "secondsOfDay": clock }), "{instant} {name}");
}

#[test]
fn every_zone_agrees_with_jiff_around_its_changes_and_between() {
    let calendar = Calendar::load();
    let names = names();
    assert!(names.len() > 590, "{}", names.len());
    let mut compared = 0;
    for (at, name) in names.iter().enumerate() {
        let zone = TimeZone::get(name).unwrap();
        // Around changes: skipped times, times shown twice, the last second before and the first after.
        let since = Timestamp::from_second(86_400 * (365 + 97 * at as i64 % 9000)).unwrap();
        for change in zone.following(since).take(3) {
            for shift in [-3601i64, -1, 0, 1800] {
                let local = (change.timestamp() + shift.seconds()).to_zoned(zone.clone()).datetime();
                for wall in [local, local + 1.hour(), local - 1.hour()] {
                    let seconds = wall.time().duration_since(Time::midnight()).as_secs() as u32;
                    agrees(&calendar, &zone, name, wall.date(), seconds);
                    compared += 1;
                }
            }
        }
        // Between and far ahead, where only the rule holds.
        for (step, day) in days(date(1970, 1, 1), date(2130, 1, 1), 7001).enumerate() {
            agrees(&calendar, &zone, name, day, (at as u32 * 977 + step as u32 * 13_577) % 86_400);
            compared += 1;
        }
    }
    assert!(compared > 15_000, "{compared}");
}

#[test]
fn gaps_and_doubled_hours_follow_the_rule_in_words() {
    let calendar = Calendar::load();
    // 2024-03-31 02:30 does not exist in Berlin: moved on to 03:30 summer time, which is 01:30 UTC.
    assert_eq!(calendar.one("toUtc", json!([2024_03_31, 9000, "Europe/Berlin"])), "1711848600");
    // 2024-10-27 02:30 is shown twice: the first is summer time, 00:30 UTC.
    assert_eq!(calendar.one("toUtc", json!([2024_10_27, 9000, "Europe/Berlin"])), "1729989000");
    assert_eq!(calendar.one("toUtc", json!([1970_01_01, 0, "UTC"])), "0");
}

#[test]
fn what_cannot_be_answered_is_refused_in_plain_words() {
    let calendar = Calendar::load();
    for (method, values, words) in [
        ("weekday", json!([2023_02_29]), "not a date"),
        ("weekday", json!([0]), "not a date"),
        ("weekday", json!([u32::MAX]), "not a date"),
        ("weekday", json!([1899_12_31]), "not a date"),
        ("addMonths", json!([2024_01_31, u32::MAX]), "not a date"),
        ("addDays", json!([9999_12_31, 1]), "not a date"),
        ("addDays", json!([1900_01_01, i32::MIN]), "not a date"),
        ("nextBusinessDay", json!([9999_12_31, "WEEKEND"]), ""),
        ("isBusinessDay", json!([2024_01_05, "Target"]), "unknown calendar"),
        ("isBusinessDay", json!([1998_01_05, "TARGET"]), "begins later"),
        ("toUtc", json!([2024_01_05, 86_400, "UTC"]), "86399"),
        ("toUtc", json!([2024_01_05, 0, "Europe/Bletchley"]), "unknown time zone"),
        ("toUtc", json!([2024_01_05, 0, ""]), "unknown time zone"),
        ("toUtc", json!([1969_12_31, 0, "UTC"]), "before 1970"),
        ("fromUtc", json!([u64::MAX.to_string(), "UTC"]), "after the year"),
    ] {
        match calendar.ask(method, values.clone()) {
            Err((code, reason)) => {
                assert_eq!(code, FailureKind::InvalidInput.code(), "{method}{values}: {reason}");
                assert!(reason.contains(words), "{method}{values}: {reason}");
            }
            // 9999-12-31 is a Friday.
            Ok(value) => assert!(words.is_empty(), "{method}{values}: {value}"),
        }
    }
}

#[test]
fn hostile_input_never_traps_it() {
    let calendar = Calendar::load();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let any = (any::<u32>(), any::<u32>(), ".{0,40}", any::<u64>());
    runner
        .run(&any, |(first, second, text, wide)| {
            for (method, values) in [
                ("toUtc", json!([first, second, text])),
                ("fromUtc", json!([wide.to_string(), "America/New_York"])),
                ("addMonths", json!([first, second])),
                ("addDays", json!([first, second as i32])),
                ("daysBetween", json!([first, second])),
                ("nextBusinessDay", json!([first, text])),
            ] {
                if let Err((code, reason)) = calendar.ask(method, values.clone()) {
                    prop_assert_eq!(
                        code,
                        FailureKind::InvalidInput.code(),
                        "{}{}: {}",
                        method,
                        values,
                        reason
                    );
                }
            }
            Ok(())
        })
        .unwrap();
}

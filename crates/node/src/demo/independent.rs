//! The loan's figures computed a second time, from the ECB's CSV alone: no contract, no cryptlet, other code for the
//! calendar. What the ledger says must equal this.

use jiff::civil::{Date, Weekday};
use std::collections::BTreeMap;

/// How far back a missing fixing is looked for; longer than any closure of the TARGET system.
const FIXING_LOOK_BACK_DAYS: u32 = 10;

/// Terms of a loan in euros repaid in another currency.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) principal_eur_cents: u64,
    pub(crate) annual_rate_bps: u64,
    pub(crate) first_date: Date,
    pub(crate) instalments: u64,
    pub(crate) currency: String,
}

/// One instalment as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) nominal: Date,
    pub(crate) business: Date,
    pub(crate) fixing: Date,
    pub(crate) rate_e8: u128,
    pub(crate) interest_eur_cents: u128,
    pub(crate) principal_eur_cents: u128,
    pub(crate) foreign_minor: u128,
}

/// The ECB's rates of one currency: units for one euro, times 10^8.
pub(crate) struct Rates(BTreeMap<Date, u128>);

impl Rates {
    /// Reads one currency's column of `eurofxref-hist.csv`.
    pub(crate) fn from_csv(csv: &str, currency: &str) -> Option<Self> {
        let mut lines = csv.lines();
        let column = lines.next()?.split(',').position(|name| name.trim() == currency)?;
        let rates = lines.filter_map(|line| {
            let mut cells = line.split(',');
            let date = cells.next()?.trim().parse().ok()?;
            Some((date, e8(cells.nth(column - 1)?.trim())?))
        });
        Some(Self(rates.collect()))
    }

    fn at(&self, date: Date) -> Option<(Date, u128)> {
        (0..=FIXING_LOOK_BACK_DAYS).find_map(|back| {
            let day = date.checked_sub(jiff::Span::new().days(i64::from(back))).ok()?;
            self.0.get(&day).map(|rate| (day, *rate))
        })
    }
}

/// A decimal as the CSV has it, times 10^8; none for `N/A`.
fn e8(text: &str) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 8 {
        return None;
    }
    let digits = format!("{whole}{fraction:0<8}");
    digits.parse().ok()
}

/// Whether the TARGET system is closed (ECB, long-term calendar since 2002).
fn target_closed(date: Date) -> bool {
    let easter = easter(date.year());
    let days_from_easter = easter.and_then(|easter| date.since(easter).ok()).map(|span| span.get_days());
    matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday)
        || matches!((date.month(), date.day()), (1 | 5, 1) | (12, 25 | 26))
        || matches!(days_from_easter, Some(-2 | 1))
}

/// Easter Sunday of the Gregorian calendar (Gauss, as corrected by Lichtenberg).
fn easter(year: i16) -> Option<Date> {
    let x = i32::from(year);
    let k = x / 100;
    let m = 15 + (3 * k + 3) / 4 - (8 * k + 13) / 25;
    let s = 2 - (3 * k + 3) / 4;
    let a = x % 19;
    let d = (19 * a + m) % 30;
    let r = (d + a / 11) / 29;
    let og = 21 + d - r;
    let sz = 7 - (x + x / 4 + s).rem_euclid(7);
    let day = og + (7 - (og - sz).rem_euclid(7));
    let march = Date::new(year, 3, 1).ok()?;
    march.checked_add(jiff::Span::new().days(day - 1)).ok()
}

fn half_up(numerator: u128, denominator: u128) -> u128 {
    (numerator + denominator / 2) / denominator
}

/// Every instalment of the loan; none when a fixing is missing.
pub(crate) fn schedule(terms: &Terms, rates: &Rates) -> Option<Vec<Expected>> {
    let (total, count) = (u128::from(terms.principal_eur_cents), u128::from(terms.instalments));
    let per_major = if terms.currency == "JPY" { 100 } else { 1 };
    (1..=count)
        .map(|n| {
            let months = i64::try_from(n - 1).ok()?;
            let nominal = terms.first_date.checked_add(jiff::Span::new().months(months)).ok()?;
            let mut business = nominal;
            while target_closed(business) {
                business = business.tomorrow().ok()?;
            }
            let (fixing, rate_e8) = rates.at(business)?;
            let before = total * (n - 1) / count;
            let principal_eur_cents = total * n / count - before;
            let interest_eur_cents = half_up((total - before) * u128::from(terms.annual_rate_bps), 120_000);
            let eur_cents = principal_eur_cents + interest_eur_cents;
            let foreign_minor = half_up(eur_cents * rate_e8, 100_000_000 * per_major);
            Some(Expected {
                nominal,
                business,
                fixing,
                rate_e8,
                interest_eur_cents,
                principal_eur_cents,
                foreign_minor,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use jiff::civil::date;

    #[test]
    fn easter_sundays_as_published() {
        for (year, month, day) in
            [(1999, 4, 4), (2000, 4, 23), (2008, 3, 23), (2024, 3, 31), (2025, 4, 20), (2038, 4, 25)]
        {
            assert_eq!(easter(year), Some(date(year, month, day)));
        }
    }

    #[test]
    fn reads_decimals_exactly() {
        assert_eq!(e8("1.0876"), Some(108_760_000));
        assert_eq!(e8("163"), Some(16_300_000_000));
        assert_eq!(e8("N/A"), None);
    }

    #[test]
    fn a_weekend_and_a_closing_day_move_the_payment() {
        let rates =
            Rates::from_csv("Date,USD,JPY,\n2024-04-02,1.0749,163.01,\n2024-03-28,1.0811,163.45,\n", "USD")
                .unwrap();
        let terms = Terms {
            principal_eur_cents: 24_000_000,
            annual_rate_bps: 350,
            first_date: date(2024, 3, 29),
            instalments: 1,
            currency: "USD".into(),
        };
        let [only] = schedule(&terms, &rates).unwrap().try_into().unwrap();
        assert_eq!(
            (only.business, only.fixing, only.rate_e8),
            (date(2024, 4, 2), date(2024, 4, 2), 107_490_000)
        );
        assert_eq!(only.interest_eur_cents, 70_000);
        assert_eq!(only.foreign_minor, half_up(24_070_000 * 107_490_000, 100_000_000));
    }
}

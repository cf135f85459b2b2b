//! Members side by side, as lines of text: what `status` prints once and `top` draws again and again.

use super::members::MemberView;
use super::report::{LedgerStatus, StatusReport, duration, grouped};
use super::table::{Column, Side, table};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

/// Values that a line of bars is drawn from.
const BARS_MAX: usize = 120;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Characters of a block's hash that are shown.
const HASH_CHARS: usize = 10;

/// How a line is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// A heading.
    Heading,
    /// All is well.
    Plain,
    /// Something is not.
    Bad,
    /// By the way.
    Dim,
}

/// A line of the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) tone: Tone,
    pub(crate) text: String,
}

fn line(tone: Tone, text: impl Into<String>) -> Line {
    Line { tone, text: text.into() }
}

const COLUMNS: [Column; 13] = [
    Column("MEMBER", Side::Left),
    Column("STATE", Side::Left),
    Column("LEDGER", Side::Left),
    Column("ENGINE", Side::Left),
    Column("HEIGHT", Side::Right),
    Column("EPOCH", Side::Right),
    Column("HEAD", Side::Left),
    Column("LAST BLOCK", Side::Right),
    Column("FINALITY p50/p99", Side::Right),
    Column("TX/S", Side::Right),
    Column("POOL", Side::Right),
    Column("CERTIFIED", Side::Right),
    Column("PEERS", Side::Right),
];

/// What is left out where there is no room, in this order.
const LEFT_OUT: [&str; 7] = ["HEAD", "ENGINE", "EPOCH", "CERTIFIED", "POOL", "LAST BLOCK", "TX/S"];

/// The table with every column, or with as many as a terminal of this width has room for.
fn fitting(cells: &[Vec<String>], width: usize) -> Vec<String> {
    let mut out = table(&COLUMNS, cells);
    for count in 1..=LEFT_OUT.len() {
        if out.iter().all(|line| line.chars().count() <= width) {
            break;
        }
        let absent = LEFT_OUT.get(..count).unwrap_or_default();
        let stays = |index: usize| COLUMNS.get(index).is_none_or(|column| !absent.contains(&column.0));
        let columns: Vec<Column> = COLUMNS.into_iter().filter(|column| !absent.contains(&column.0)).collect();
        let kept = |row: &Vec<String>| -> Vec<String> {
            row.iter().enumerate().filter(|(index, _)| stays(*index)).map(|(_, cell)| cell.clone()).collect()
        };
        out = table(&columns, &cells.iter().map(kept).collect::<Vec<_>>());
    }
    out
}

/// The board for a look at all members, on a terminal of this width.
pub(crate) fn board(views: &[MemberView], width: usize) -> Vec<Line> {
    let up = views.iter().filter(|view| view.state.is_ok()).count();
    let reports = || views.iter().filter_map(|view| view.state.as_ref().ok());
    let consortium = reports().next().map_or("no member answers", |report| report.consortium.as_str());
    let members = if views.len() == 1 { "member" } else { "members" };
    let mut lines = vec![line(Tone::Heading, format!("{consortium}: {} {members}, {up} up", views.len()))];
    let rows: Vec<(Tone, Vec<String>)> = views.iter().flat_map(rows).collect();
    let cells: Vec<Vec<String>> = rows.iter().map(|(_, cells)| cells.clone()).collect();
    let mut texts = fitting(&cells, width).into_iter();
    lines.extend(texts.next().map(|heading| line(Tone::Dim, heading)));
    lines.extend(texts.zip(&rows).map(|(text, (tone, _))| line(*tone, text)));
    lines.extend(remarks(views));
    lines
}

fn rows(view: &MemberView) -> Vec<(Tone, Vec<String>)> {
    let report = match &view.state {
        Ok(report) => report,
        Err(_) => return vec![(Tone::Bad, vec![view.name.clone(), "down".to_owned()])],
    };
    let first = [view.name.clone(), state(report).to_owned()];
    let tone = if report.ready { Tone::Plain } else { Tone::Bad };
    if report.ledgers.is_empty() {
        return vec![(tone, first.to_vec())];
    }
    let later = [String::new(), String::new()];
    let with = |(index, ledger): (usize, &LedgerStatus)| {
        let names = if index == 0 { first.clone() } else { later.clone() };
        (tone, names.into_iter().chain(cells(ledger)).collect())
    };
    report.ledgers.iter().enumerate().map(with).collect()
}

fn state(report: &StatusReport) -> &'static str {
    if report.ready {
        "ready"
    } else if report.ledgers.iter().any(|ledger| !ledger.running) {
        "stopped"
    } else if report.ledgers.iter().any(|ledger| ledger.syncing.is_some()) {
        "syncing"
    } else if report.ledgers.iter().any(|ledger| ledger.stalled.is_some()) {
        "no quorum"
    } else {
        "not ready"
    }
}

fn cells(ledger: &LedgerStatus) -> [String; 11] {
    let none = || "-".to_owned();
    let finality = |of: &super::RecentFinality| format!("{} / {}", duration(of.p50_ms), duration(of.p99_ms));
    let rate = |of: &super::RecentFinality| format!("{:.1}", of.transactions_per_second);
    let pool = &ledger.pool;
    let deferred =
        if pool.deferred > 0 { format!("{}+{}", pool.ready, pool.deferred) } else { pool.ready.to_string() };
    let connected = ledger.validators.iter().filter(|validator| validator.connected).count();
    [
        ledger.name.clone(),
        ledger.engine.clone(),
        grouped(ledger.height.0),
        ledger.epoch.to_string(),
        ledger.head.0.to_string().chars().take(HASH_CHARS).collect(),
        duration(ledger.last_block_age_ms),
        ledger.finality.as_ref().map_or_else(none, finality),
        ledger.finality.as_ref().map_or_else(none, rate),
        deferred,
        ledger.certified.map_or_else(none, |height| grouped(height.0)),
        format!("{connected}/{}", ledger.validators.len()),
    ]
}

/// What is wrong, in words; what all members say, once.
fn remarks(views: &[MemberView]) -> Vec<Line> {
    let mut said: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut lines = Vec::new();
    for view in views {
        match &view.state {
            Err(why) => lines.push(line(Tone::Bad, format!("{}: down: {why}", view.name))),
            Ok(report) => {
                for reason in report.reasons.iter().chain(&report.warnings) {
                    said.entry(reason).or_default().insert(&view.name);
                }
            }
        }
    }
    for (reason, names) in said {
        let names: Vec<&str> = names.into_iter().collect();
        lines.push(line(Tone::Bad, format!("{}: {reason}", names.join(", "))));
    }
    for (name, ledger) in split_ledgers(views) {
        lines.push(line(
            Tone::Bad,
            format!(
                "{name}: members have different blocks at height {ledger}: run `bletchley verify` on each"
            ),
        ));
    }
    lines
}

/// Ledgers of which two members show different hashes at one height, which must never be.
fn split_ledgers(views: &[MemberView]) -> BTreeSet<(String, u64)> {
    let mut heads: BTreeMap<(String, u64), bletchley_primitives::BlockHash> = BTreeMap::new();
    let mut split = BTreeSet::new();
    for ledger in views.iter().filter_map(|view| view.state.as_ref().ok()).flat_map(|report| &report.ledgers)
    {
        let place = (ledger.name.clone(), ledger.height.0);
        let head = heads.entry(place.clone()).or_insert(ledger.head);
        if *head != ledger.head {
            split.insert(place);
        }
    }
    split
}

/// Transactions in a second, by ledger, as seen between looks.
#[derive(Debug, Default)]
pub(crate) struct History {
    last: BTreeMap<(String, String), (Instant, u64)>,
    rates: BTreeMap<String, VecDeque<f64>>,
}

impl History {
    /// Takes in a look. What a ledger does is what its fastest member saw of it.
    pub(crate) fn note(&mut self, views: &[MemberView], now: Instant) {
        let mut fastest: BTreeMap<String, f64> = BTreeMap::new();
        for report in views.iter().filter_map(|view| view.state.as_ref().ok()) {
            for ledger in &report.ledgers {
                let rate = fastest.entry(ledger.name.clone()).or_default();
                let place = (report.member.clone(), ledger.name.clone());
                if let Some((then, before)) = self.last.insert(place, (now, ledger.transactions)) {
                    let count = u32::try_from(ledger.transactions.saturating_sub(before)).unwrap_or(0);
                    let seconds = now.duration_since(then).as_secs_f64().max(0.001);
                    *rate = rate.max(f64::from(count) / seconds);
                }
            }
        }
        for (ledger, rate) in fastest {
            let rates = self.rates.entry(ledger).or_default();
            if rates.len() >= BARS_MAX {
                rates.pop_front();
            }
            rates.push_back(rate);
        }
    }

    /// A line of bars for each ledger.
    pub(crate) fn lines(&self, width: usize) -> Vec<Line> {
        let name_width = self.rates.keys().map(String::len).max().unwrap_or(0);
        self.rates
            .iter()
            .map(|(ledger, rates)| {
                let highest = rates.iter().copied().fold(0.0, f64::max);
                let label =
                    format!("{ledger:<name_width$}  {:>8.1} tx/s  ", rates.back().copied().unwrap_or(0.0));
                let room = width.saturating_sub(label.chars().count()).min(BARS_MAX);
                let bars: String = rates
                    .iter()
                    .skip(rates.len().saturating_sub(room))
                    .map(|rate| bar(*rate, highest))
                    .collect();
                line(Tone::Plain, format!("{label}{bars}"))
            })
            .collect()
    }
}

fn bar(value: f64, highest: f64) -> char {
    let steps = BARS.iter().copied().enumerate();
    // The highest bar whose threshold the value reaches: eighths of the highest value.
    let mut reached = steps.filter(|(step, _)| {
        let threshold = f64::from(u32::try_from(*step).unwrap_or(0)) / 8.0;
        highest > 0.0 && value / highest > threshold
    });
    reached.next_back().map_or(' ', |(_, bar)| bar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_grow() {
        assert_eq!([0.0, 1.0, 4.0, 8.0].map(|value| bar(value, 8.0)), [' ', '▁', '▄', '█']);
        assert_eq!(bar(0.0, 0.0), ' ');
    }

    #[test]
    fn a_narrow_terminal_shows_what_matters_most() {
        let row: Vec<String> = COLUMNS.iter().map(|column| column.0.to_lowercase()).collect();
        let heading = |width| fitting(std::slice::from_ref(&row), width).first().cloned().unwrap_or_default();
        assert!(heading(usize::MAX).contains("HEAD ") && heading(usize::MAX).ends_with("PEERS"));
        let narrow = heading(80);
        assert!(narrow.chars().count() <= 80 && narrow.ends_with("PEERS"), "{narrow}");
        assert!(narrow.contains("FINALITY") && !narrow.contains("ENGINE"), "{narrow}");
        assert!(heading(10).contains("HEIGHT"), "what is needed stays, whatever the width");
    }

    #[test]
    fn who_is_down_is_shown_as_such() {
        let view = MemberView { name: "bank-b".to_owned(), state: Err("not running".to_owned()) };
        let lines: Vec<String> = board(&[view], usize::MAX).into_iter().map(|line| line.text).collect();
        assert_eq!(lines.first().map(String::as_str), Some("no member answers: 1 member, 0 up"));
        assert!(lines.iter().any(|line| line.starts_with("bank-b  down")), "{lines:#?}");
        assert!(lines.iter().any(|line| line == "bank-b: down: not running"), "{lines:#?}");
    }
}

//! The table: what was measured beside what is asked.

use serde_json::{Map, Value, json};

/// One row.
pub(crate) struct Row {
    /// Key in the JSON report.
    pub(crate) key: &'static str,
    /// What was measured.
    pub(crate) what: String,
    /// The figure.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// The least that is asked, where something is.
    pub(crate) least: Option<f64>,
    /// The goal, where there is one.
    pub(crate) goal: Option<f64>,
    /// Whether smaller is better.
    pub(crate) smaller: bool,
}

/// A row of which something is asked.
pub(crate) fn bounded(
    key: &'static str,
    what: &str,
    value: f64,
    unit: &'static str,
    least: f64,
    goal: f64,
    smaller: bool,
) -> Row {
    Row { key, what: what.to_owned(), value, unit, least: Some(least), goal: Some(goal), smaller }
}

impl Row {
    fn verdict(&self) -> &'static str {
        let reached = |bound: f64| if self.smaller { self.value <= bound } else { self.value >= bound };
        match (self.least, self.goal) {
            (_, Some(goal)) if reached(goal) => "goal",
            (Some(least), _) if reached(least) => "at least",
            (None, None) => "",
            _ => "missed",
        }
    }
}

/// All rows so far.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Adds a figure that nothing is asked of.
    pub(crate) fn figure(&mut self, key: &'static str, what: &str, value: f64, unit: &'static str) {
        self.push(Row { key, what: what.to_owned(), value, unit, least: None, goal: None, smaller: false });
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// The report for programs: each key with its value, and the rows in full.
    pub(crate) fn json(&self) -> Value {
        let mut object: Map<String, Value> =
            self.rows.iter().map(|row| (row.key.to_owned(), json!(row.value))).collect();
        let rows = self.rows.iter().map(|row| {
            json!({ "key": row.key, "what": row.what, "value": row.value, "unit": row.unit, "least": row.least,
                "goal": row.goal, "verdict": row.verdict() })
        });
        object.insert("rows".to_owned(), rows.collect());
        Value::Object(object)
    }

    /// The report for people.
    pub(crate) fn text(&self) -> String {
        let number =
            |value: f64| if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
        let optional = |value: Option<f64>| value.map(number).unwrap_or_default();
        let lines = self.rows.iter().map(|row| {
            format!(
                "{:<62} {:>10} {:<10} {:>9} {:>9}  {}",
                row.what,
                number(row.value),
                row.unit,
                optional(row.least),
                optional(row.goal),
                row.verdict()
            )
        });
        let head = format!("{:<62} {:>10} {:<10} {:>9} {:>9}", "work", "measured", "", "at least", "goal");
        std::iter::once(head).chain(lines).collect::<Vec<_>>().join("\n")
    }
}

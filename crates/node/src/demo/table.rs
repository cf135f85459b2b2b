//! Columns that line up.

use crate::output::Output;

/// Rows of text under a heading; a column whose name starts with `>` is aligned to the right.
pub(crate) struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[&'static str]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn print(&self, output: Output) {
        let names: Vec<&str> = self.columns.iter().map(|c| c.trim_start_matches('>')).collect();
        let widths: Vec<usize> = names
            .iter()
            .enumerate()
            .map(|(i, name)| {
                let cells = self.rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count());
                cells.chain([name.chars().count()]).max().unwrap_or(0)
            })
            .collect();
        let line = |cells: &[&str]| -> String {
            let padded = cells.iter().zip(&widths).zip(&self.columns).map(|((cell, width), column)| {
                if column.starts_with('>') { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            format!("  {}", padded.collect::<Vec<_>>().join("  ").trim_end())
        };
        output.line(output.dim(&line(&names)));
        for row in &self.rows {
            output.line(line(&row.iter().map(String::as_str).collect::<Vec<_>>()));
        }
    }
}

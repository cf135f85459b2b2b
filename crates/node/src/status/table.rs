//! Columns of text.

/// Which way a column leans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A column: its heading and side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column(pub(crate) &'static str, pub(crate) Side);

/// The heading and the rows, each column as wide as its widest cell.
pub(crate) fn table(columns: &[Column], rows: &[Vec<String>]) -> Vec<String> {
    let cells = |row: usize| rows.get(row).map(Vec::as_slice).unwrap_or_default();
    let width = |index: usize, heading: &str| {
        let widest = (0..rows.len()).filter_map(|row| cells(row).get(index)).map(|cell| cell.chars().count());
        widest.max().unwrap_or(0).max(heading.len())
    };
    let widths: Vec<usize> =
        columns.iter().enumerate().map(|(index, column)| width(index, column.0)).collect();
    let line = |texts: Vec<&str>| {
        let mut out = String::new();
        for ((text, column), width) in texts.into_iter().zip(columns).zip(&widths) {
            let gap = " ".repeat(width.saturating_sub(text.chars().count()));
            out.push_str(if out.is_empty() { "" } else { "  " });
            match column.1 {
                Side::Left => out.extend([text, &gap]),
                Side::Right => out.extend([&gap, text]),
            }
        }
        out.trim_end().to_owned()
    };
    let heading = line(columns.iter().map(|column| column.0).collect());
    let body = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    std::iter::once(heading).chain(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lean_right() {
        let columns = [Column("NAME", Side::Left), Column("N", Side::Right)];
        let rows = [vec!["bank-a".to_owned(), "7".to_owned()], vec!["é".to_owned(), "1,204".to_owned()]];
        assert_eq!(table(&columns, &rows), ["NAME        N", "bank-a      7", "é       1,204"]);
    }
}

//! Tables that fit the terminal.

use comfy_table::CellAlignment;

use super::super::output::{Output, Tone, columns};
use super::super::tables::{bare, finished};

/// The width that tables are made for when nobody says.
const USUAL_WIDTH: usize = 80;

/// A table: heads, rows, which columns hold numbers, and which are left out first when it is too wide.
#[derive(Clone, Debug)]
pub(super) struct Grid<'a> {
    pub(super) head: &'a [&'a str],
    pub(super) rows: Vec<Vec<String>>,
    pub(super) numbers: &'a [usize],
    pub(super) spare: &'a [usize],
}

impl Grid<'_> {
    /// The table as text. What still does not fit is cut at its longest column, off a terminal never.
    pub(super) fn text(&self, output: Output) -> String {
        let width = output.width.unwrap_or(USUAL_WIDTH);
        let fits = |text: &String| text.lines().all(|line| columns(line) <= width);
        let mut left_out: Vec<usize> = Vec::new();
        let mut text = self.made(&left_out, usize::MAX);
        for spare in self.spare {
            if output.width.is_none() || fits(&text) {
                break;
            }
            left_out.push(*spare);
            text = self.made(&left_out, usize::MAX);
        }
        if output.width.is_some() && !fits(&text) {
            let longest = text.lines().map(columns).max().unwrap_or(0);
            let cell = self.rows.iter().flatten().map(|cell| columns(cell)).max().unwrap_or(0);
            text = self.made(&left_out, cell.saturating_sub(longest - width).max(8));
        }
        let mut lines = text.lines();
        let head = lines.next().map(|head| output.paint.paint(Tone::Dim, head)).unwrap_or_default();
        std::iter::once(head).chain(lines.map(str::to_owned)).collect::<Vec<_>>().join("\n")
    }

    fn made(&self, left_out: &[usize], most: usize) -> String {
        let kept = |at: &usize| !left_out.contains(at);
        let shown: Vec<usize> = (0..self.head.len()).filter(kept).collect();
        let head: Vec<&str> = shown.iter().map(|at| self.head[*at]).collect();
        let mut table = bare(&head);
        for row in &self.rows {
            let cells = shown.iter().map(|at| row.get(*at).map_or("", String::as_str));
            table.add_row(cells.map(|cell| super::super::output::shortened(cell, most)));
        }
        for (place, at) in shown.iter().enumerate() {
            if self.numbers.contains(at)
                && let Some(column) = table.column_mut(place)
            {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        finished(&table)
    }
}

/// `1 node`, `2 nodes`.
pub(super) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Milliseconds as seconds.
pub(super) fn seconds(millis: u64) -> String {
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::super::super::output::Paint;
    use super::*;

    #[test]
    fn a_table_gives_up_spare_columns_and_then_long_cells() {
        let grid = Grid {
            head: &["NAME", "WHY", "N"],
            rows: vec![vec!["a".repeat(30), "b".repeat(20), "7".to_owned()]],
            numbers: &[2],
            spare: &[1],
        };
        let output = |width| Output { json: false, paint: Paint(false), terminal: true, width };
        let wide = grid.text(output(None));
        assert!(wide.contains(&"b".repeat(20)), "{wide}");
        let narrow = grid.text(output(Some(40)));
        assert!(!narrow.contains('b') && narrow.contains(&"a".repeat(30)), "{narrow}");
        let tiny = grid.text(output(Some(20)));
        assert!(tiny.lines().all(|line| columns(line) <= 20) && tiny.contains('…'), "{tiny}");
        assert_eq!([count(1, "node"), count(2, "node")], ["1 node", "2 nodes"]);
        assert_eq!(seconds(12_345), "12.3 s");
    }
}

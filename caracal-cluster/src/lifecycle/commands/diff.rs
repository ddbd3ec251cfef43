//! Line differences of rendered files, as `diff -u` shows them.

use std::fmt::Write as _;
use std::ops::Range;

/// Equal lines shown around a difference.
const CONTEXT: usize = 3;

/// One line of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Old(&'a str),
    New(&'a str),
}

/// The difference of two texts in unified form; none when they are equal.
///
/// ```
/// use caracal_cluster::lifecycle::commands::unified_diff;
///
/// let text = unified_diff("zoo.cfg", "a\nb\n", "a\nc\n").unwrap();
/// assert_eq!(text, "--- zoo.cfg (now)\n+++ zoo.cfg (planned)\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
/// assert_eq!(unified_diff("zoo.cfg", "a\n", "a\n"), None);
/// ```
pub fn unified_diff(name: &str, old: &str, new: &str) -> Option<String> {
    let lines = compare(&old.lines().collect::<Vec<_>>(), &new.lines().collect::<Vec<_>>());
    let hunks = hunks(&lines);
    if hunks.is_empty() {
        return None;
    }
    let mut text = format!("--- {name} (now)\n+++ {name} (planned)\n");
    for hunk in hunks {
        let before = |line: fn(&Line<'_>) -> bool| lines[..hunk.start].iter().filter(|l| line(l)).count();
        let within = |line: fn(&Line<'_>) -> bool| lines[hunk.clone()].iter().filter(|l| line(l)).count();
        let is_old: fn(&Line<'_>) -> bool = |line| !matches!(line, Line::New(_));
        let is_new: fn(&Line<'_>) -> bool = |line| !matches!(line, Line::Old(_));
        let (old, new) = (range(before(is_old), within(is_old)), range(before(is_new), within(is_new)));
        let _ = writeln!(text, "@@ -{old} +{new} @@");
        for line in &lines[hunk] {
            let (mark, line) = match line {
                Line::Same(line) => (' ', line),
                Line::Old(line) => ('-', line),
                Line::New(line) => ('+', line),
            };
            let _ = writeln!(text, "{mark}{line}");
        }
    }
    Some(text)
}

/// A range as unified diffs write it: an empty one names the line before it.
fn range(before: usize, count: usize) -> String {
    format!("{},{count}", if count == 0 { before } else { before + 1 })
}

/// The longest common subsequence, by the textbook's table: files here have some hundred lines.
fn compare<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let mut longest = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for (i, line) in old.iter().enumerate().rev() {
        for (j, other) in new.iter().enumerate().rev() {
            longest[i][j] = if line == other {
                longest[i + 1][j + 1] + 1
            } else {
                longest[i + 1][j].max(longest[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::with_capacity(old.len().max(new.len()));
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(Line::Same(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || longest[i + 1][j] >= longest[i][j + 1]) {
            lines.push(Line::Old(old[i]));
            i += 1;
        } else {
            lines.push(Line::New(new[j]));
            j += 1;
        }
    }
    lines
}

/// Ranges of lines around the differences; those that touch are one.
fn hunks(lines: &[Line<'_>]) -> Vec<Range<usize>> {
    let mut hunks: Vec<Range<usize>> = Vec::new();
    for (at, _) in lines.iter().enumerate().filter(|(_, line)| !matches!(line, Line::Same(_))) {
        let around = at.saturating_sub(CONTEXT)..(at + 1 + CONTEXT).min(lines.len());
        match hunks.last_mut() {
            Some(last) if around.start <= last.end => last.end = around.end,
            _ => hunks.push(around),
        }
    }
    hunks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn far_changes_are_hunks_of_their_own() {
        let old: String = (1..=20).map(|n| format!("{n}\n")).collect();
        let new = old.replace("2\n3\n", "2\nx\n").replace("18\n", "");
        let text = unified_diff("f", &old, &new).unwrap();
        assert_eq!(text.matches("@@ -").count(), 2, "{text}");
        assert!(text.contains("-3\n+x\n") && text.contains("-18\n"), "{text}");
    }

    #[test]
    fn a_new_file_is_all_plus() {
        assert_eq!(
            unified_diff("f", "", "a\n").unwrap(),
            "--- f (now)\n+++ f (planned)\n@@ -0,0 +1,1 @@\n+a\n"
        );
    }

    proptest! {
        #[test]
        fn both_sides_can_be_read_back(old in "[ab\n]{0,24}", new in "[ab\n]{0,24}") {
            let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
            let lines = compare(&old, &new);
            let left: Vec<_> = lines.iter().filter_map(|l| match l { Line::Same(l) | Line::Old(l) => Some(*l), Line::New(_) => None }).collect();
            let right: Vec<_> = lines.iter().filter_map(|l| match l { Line::Same(l) | Line::New(l) => Some(*l), Line::Old(_) => None }).collect();
            prop_assert_eq!(left, old);
            prop_assert_eq!(right, new);
        }
    }
}

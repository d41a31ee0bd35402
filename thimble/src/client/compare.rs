//! Two texts as a unified diff. Pure.

/// Lines around a change.
const CONTEXT: usize = 3;
/// Where the table of common lines would be larger, the texts differ as a whole.
const LARGEST: usize = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'t> {
    Same(&'t str),
    Gone(&'t str),
    New(&'t str),
}

/// The hunks, each with its heading; nothing if the texts are the same.
pub(super) fn unified(old: &str, new: &str) -> Vec<String> {
    let lines = edits(old, new);
    let changed: Vec<usize> =
        lines.iter().enumerate().filter(|(_, line)| !matches!(line, Line::Same(_))).map(|(number, _)| number).collect();
    let mut out = Vec::new();
    let mut rest = changed.as_slice();
    while let Some(first) = rest.first() {
        // Changes with few lines between them are one hunk.
        let near = |pair: &[usize]| matches!(pair, [one, next] if next - one <= 2 * CONTEXT + 1);
        let count = 1 + rest.windows(2).take_while(|pair| near(pair)).count();
        let last = rest.get(count - 1).unwrap_or(first);
        hunk(&lines, first.saturating_sub(CONTEXT), (last + CONTEXT + 1).min(lines.len()), &mut out);
        rest = rest.get(count..).unwrap_or_default();
    }
    out
}

fn hunk(lines: &[Line], from: usize, to: usize, out: &mut Vec<String>) {
    let is_old = |line: &&Line| !matches!(line, Line::New(_));
    let is_new = |line: &&Line| !matches!(line, Line::Gone(_));
    let (before, inside) = (lines.get(..from).unwrap_or_default(), lines.get(from..to).unwrap_or_default());
    let range = |start: usize, count: usize| {
        // A range without lines names the line before it.
        format!("{},{count}", if count == 0 { start } else { start + 1 })
    };
    let old = range(before.iter().filter(is_old).count(), inside.iter().filter(is_old).count());
    let new = range(before.iter().filter(is_new).count(), inside.iter().filter(is_new).count());
    out.push(format!("@@ -{old} +{new} @@"));
    out.extend(inside.iter().map(|line| match line {
        Line::Same(text) => format!(" {text}"),
        Line::Gone(text) => format!("-{text}"),
        Line::New(text) => format!("+{text}"),
    }));
}

fn edits<'t>(old: &'t str, new: &'t str) -> Vec<Line<'t>> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let before = old.iter().zip(&new).take_while(|(one, other)| one == other).count();
    let (old, new) = (old.as_slice(), new.as_slice());
    let (head, old) = old.split_at(before);
    let (_, new) = new.split_at(before);
    let after = old.iter().rev().zip(new.iter().rev()).take_while(|(one, other)| one == other).count();
    let (old, tail) = old.split_at(old.len() - after);
    let (new, _) = new.split_at(new.len() - after);
    let mut lines: Vec<Line> = head.iter().map(|text| Line::Same(text)).collect();
    lines.extend(middle(old, new));
    lines.extend(tail.iter().map(|text| Line::Same(text)));
    lines
}

/// By the longest common subsequence.
fn middle<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<Line<'t>> {
    let width = new.len() + 1;
    if (old.len() + 1).saturating_mul(width) > LARGEST {
        return old.iter().map(|text| Line::Gone(text)).chain(new.iter().map(|text| Line::New(text))).collect();
    }
    // How many lines the rests from here on have in common.
    let mut common = vec![0_u32; (old.len() + 1) * width];
    let at = |row: usize, column: usize| row * width + column;
    for (row, one) in old.iter().enumerate().rev() {
        for (column, other) in new.iter().enumerate().rev() {
            let value = |row, column| common.get(at(row, column)).copied().unwrap_or(0);
            let best =
                if one == other { value(row + 1, column + 1) + 1 } else { value(row + 1, column).max(value(row, column + 1)) };
            if let Some(cell) = common.get_mut(at(row, column)) {
                *cell = best;
            }
        }
    }
    let value = |row, column| common.get(at(row, column)).copied().unwrap_or(0);
    let (mut lines, mut row, mut column) = (Vec::new(), 0, 0);
    loop {
        match (old.get(row), new.get(column)) {
            (Some(one), Some(other)) if one == other => {
                lines.push(Line::Same(one));
                (row, column) = (row + 1, column + 1);
            }
            (Some(one), None) => {
                lines.push(Line::Gone(one));
                row += 1;
            }
            (Some(one), Some(_)) if value(row + 1, column) >= value(row, column + 1) => {
                lines.push(Line::Gone(one));
                row += 1;
            }
            (_, Some(other)) => {
                lines.push(Line::New(other));
                column += 1;
            }
            (None, None) => return lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn changes_have_their_lines_around_them() {
        let numbers = |range: std::ops::Range<u32>| range.map(|number| format!("{number}\n")).collect::<String>();
        let old = numbers(0..20);
        for (case, new, expected) in [
            ("the same", old.clone(), &[][..]),
            (
                "one line",
                old.replace("\n5\n", "\nfive\n"),
                &["@@ -3,7 +3,7 @@", " 2", " 3", " 4", "-5", "+five", " 6", " 7", " 8"],
            ),
            ("a line at the end", format!("{old}20\n"), &["@@ -18,3 +18,4 @@", " 17", " 18", " 19", "+20"]),
            ("the first line", numbers(1..20), &["@@ -1,4 +1,3 @@", "-0", " 1", " 2", " 3"]),
        ] {
            assert_eq!(unified(&old, &new), expected, "{case}");
        }
        assert_eq!(unified("", "a\n"), ["@@ -0,0 +1,1 @@", "+a"]);
        let both = old.replace("\n3\n", "\nthree\n").replace("\n16\n", "\nsixteen\n");
        assert_eq!(unified(&old, &both).iter().filter(|line| line.starts_with("@@")).count(), 2);
    }

    proptest! {
        #[test]
        fn a_diff_leads_from_one_text_to_the_other(
            old in proptest::collection::vec("[ab]{0,1}", 0..12), new in proptest::collection::vec("[ab]{0,1}", 0..12)
        ) {
            let text = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            let (old, new) = (text(&old), text(&new));
            let lines = edits(&old, &new);
            let side = |gone: bool| lines.iter().filter_map(|line| match line {
                Line::Same(text) => Some(*text),
                Line::Gone(text) => gone.then_some(*text),
                Line::New(text) => (!gone).then_some(*text),
            }).map(|line| format!("{line}\n")).collect::<String>();
            prop_assert_eq!((side(true), side(false)), (old, new));
        }
    }
}

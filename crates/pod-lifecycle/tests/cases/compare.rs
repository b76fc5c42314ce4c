//! Two lists of lines beside each other.

/// Lines that are only in one of them are marked with `-` and `+`.
pub(crate) fn side_by_side(expected: &[String], actual: &[String]) -> String {
    let width = expected.iter().map(|line| line.chars().count()).max().unwrap_or(0).max("expected".len());
    let row = |mark: &str, left: &str, right: &str| {
        format!("{mark} {left:<width$} | {right}").trim_end().to_owned()
    };
    let mut rows = vec![row(" ", "expected", "actual")];
    let common = common(expected, actual);
    let (mut i, mut j) = (0, 0);
    while i < expected.len() || j < actual.len() {
        if i < expected.len() && j < actual.len() && expected[i] == actual[j] {
            rows.push(row(" ", &expected[i], &actual[j]));
            (i, j) = (i + 1, j + 1);
        } else if j == actual.len() || i < expected.len() && common[i + 1][j] >= common[i][j + 1] {
            rows.push(row("-", &expected[i], ""));
            i += 1;
        } else {
            rows.push(row("+", "", &actual[j]));
            j += 1;
        }
    }
    rows.join("\n")
}

/// The length of the longest common subsequence of every pair of tails.
fn common(a: &[String], b: &[String]) -> Vec<Vec<usize>> {
    let mut lengths = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            lengths[i][j] = if a[i] == b[j] {
                lengths[i + 1][j + 1] + 1
            } else {
                lengths[i + 1][j].max(lengths[i][j + 1])
            };
        }
    }
    lengths
}

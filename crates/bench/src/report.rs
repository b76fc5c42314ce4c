//! The table on the terminal and in `BUDGETS.md`.
//!
//! The file has a section for each suite. A run of some suites replaces their sections and leaves the others.

use std::path::Path;

use crate::budget::{Promise, Row};
use crate::error::Error;
use crate::suites::{SUITES, Suite};

const HEAD: &str = "# Budgets\n\nWhat is promised, and what was measured. `cargo xtask bench` writes this file, \
    `cargo xtask bench SUITE` one\nsection of it, and either ends with an error if a promise is broken; `--report` \
    only prints.\n";

/// Rows as a table.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text =
        String::from("| what | promised | aim | measured | kept | more |\n|---|---|---|---|---|---|\n");
    for row in rows {
        let promised = match row.promise {
            Promise::AtMost(limit) => format!("≤ {}", number(limit, row.unit)),
            Promise::AtLeast(limit) => format!("≥ {}", number(limit, row.unit)),
            Promise::None => String::new(),
        };
        let aim = row.aim.map(|aim| number(aim, row.unit)).unwrap_or_default();
        let kept = match (row.promise, row.is_kept()) {
            (Promise::None, _) => "",
            (_, true) => "yes",
            (_, false) => "**no**",
        };
        let measured = number(row.measured, row.unit);
        text += &format!("| {} | {promised} | {aim} | {measured} | {kept} | {} |\n", row.what, row.note);
    }
    text
}

/// Three figures are more than the noise allows.
fn number(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        _ if value.fract() == 0.0 => 0,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    let space = if unit.is_empty() || unit.starts_with('/') { "" } else { " " };
    format!("{value:.digits$}{space}{unit}")
}

/// Writes the file.
pub(crate) fn write(path: &Path, machine: &str, sections: &[(&Suite, Vec<Row>)]) -> Result<(), Error> {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    std::fs::write(path, render(&old, machine, sections))
        .map_err(Error::doing(format!("write {}", path.display())))
}

fn render(old: &str, machine: &str, sections: &[(&Suite, Vec<Row>)]) -> String {
    let mut text = HEAD.to_owned();
    for suite in SUITES {
        let new = sections.iter().find(|(measured, _)| measured.name == suite.name);
        let body = match new {
            Some((_, rows)) => Some(format!("{}.\n\n{}\n{machine}\n", suite.about, table(rows))),
            None => section(old, suite.name),
        };
        if let Some(body) = body {
            text += &format!("\n## {}\n\n{}\n", suite.name, body.trim());
        }
    }
    text
}

/// What an earlier run wrote about a suite.
fn section(text: &str, name: &str) -> Option<String> {
    let body = text.split("\n## ").skip(1).find_map(|part| part.strip_prefix(&format!("{name}\n")))?;
    Some(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(name: &str) -> &'static Suite {
        SUITES.iter().find(|suite| suite.name == name).expect("there is one")
    }

    #[test]
    fn a_run_of_one_suite_leaves_the_others_as_they_were() {
        let (start, store) = (suite("start"), suite("store"));
        let rows = |value| vec![Row::new("a thing", value, "ms").at_most(10.0).aim(5.0).note("n 3")];
        let both = render("", "machine one", &[(start, rows(1.0)), (store, rows(11.5))]);
        assert!(both.contains("| a thing | ≤ 10 ms | 5 ms | 11.5 ms | **no** | n 3 |"), "{both}");
        let again = render(&both, "machine two", &[(start, rows(2.25))]);
        assert!(again.contains("2.25 ms") && again.contains("11.5 ms"), "{again}");
        assert!(again.contains("machine one") && again.contains("machine two"), "{again}");
        assert_eq!(render(&again, "", &[]), again);
    }

    #[test]
    fn numbers_have_three_figures_and_their_unit() {
        let shown: Vec<String> = [1.234, 12.34, 1234.5, 40.0].map(|value| number(value, "ms")).to_vec();
        assert_eq!(shown, ["1.23 ms", "12.3 ms", "1234 ms", "40 ms"]);
        assert_eq!([number(5940.0, "/s"), number(0.0, "")], ["5940/s", "0"]);
    }
}

//! Which rules of the rule books have a test that names them.
//!
//! A rule counts as proved when its id stands in test code: a file under `tests/`, a file named `tests.rs` or
//! `*_tests.rs`, or the part of a source file after `#[cfg(test)]`. Ids of two books that look alike (`N4` of the
//! node, `N4` of the controllers) are told apart by the crate the test stands in.
//!
//! `docs/spec/untested.md` names the few rules that no test here can prove, each with the reason. They are counted
//! apart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::run::root;
use crate::{Failure, graph};

/// How much to print.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// One line per rule book.
    Shares,
    /// Also the rules without a test.
    Missing,
}

struct Book {
    name: &'static str,
    /// Crates whose tests speak of this book.
    crates: &'static [&'static str],
}

const NODE_SIDE: &[&str] = &[
    "pod-lifecycle",
    "simulator",
    "kubelet",
    "runtime",
    "shim",
    "shim-protocol",
    "images",
    "network",
    "outrigger",
];
const BOOKS: &[Book] = &[
    Book { name: "pod-lifecycle", crates: &[] },
    Book { name: "node", crates: &["kubelet", "outrigger"] },
    Book {
        name: "api-server",
        crates: &[
            "api",
            "schema",
            "admission",
            "store",
            "streaming",
            "apiserver",
            "scheduling",
            "scheduler",
            "controllers",
            "workloads",
            "outrigger",
        ],
    },
    Book { name: "mesh", crates: &["mesh", "mesh-policy", "proxy"] },
];

/// Rules of one book that may go without a test.
const MOST_EXCUSED: usize = 9;

/// Prints the shares.
pub(crate) fn run(detail: Detail) -> Result<(), Failure> {
    let named = named_by_tests()?;
    let path = root().join("docs/spec/untested.md");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let excused = excused_in(&text);
    println!(
        "{:<15} {:>6} {:>10} {:>9} {:>8} {:>7}",
        "rule book", "rules", "with test", "said why", "without", "share"
    );
    for book in BOOKS {
        let path = root().join(format!("docs/spec/{}.md", book.name));
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let rules = rules_in(&text);
        let (with, without): (Vec<&String>, Vec<&String>) =
            rules.iter().partition(|rule| proved(book, rule, &named));
        let none = BTreeSet::new();
        let excused = excused.get(book.name).unwrap_or(&none);
        check_excuses(book.name, excused, &without)?;
        let without: Vec<&String> = without.into_iter().filter(|rule| !excused.contains(*rule)).collect();
        let share = 100.0 * ratio(with.len(), rules.len());
        println!(
            "{:<15} {:>6} {:>10} {:>9} {:>8} {share:>6.1}%",
            book.name,
            rules.len(),
            with.len(),
            excused.len(),
            without.len()
        );
        if detail == Detail::Missing {
            println!("  without: {}", without.iter().map(|rule| rule.as_str()).collect::<Vec<_>>().join(" "));
        }
    }
    Ok(())
}

/// An excuse is for a rule that is there and has no test, and there are few.
fn check_excuses(book: &str, excused: &BTreeSet<String>, without: &[&String]) -> Result<(), Failure> {
    if let Some(idle) = excused.iter().find(|rule| !without.contains(rule)) {
        return Err(format!("docs/spec/untested.md: {idle} of {book} has a test, or is no rule"));
    }
    if excused.len() > MOST_EXCUSED {
        return Err(format!("docs/spec/untested.md: more than {MOST_EXCUSED} rules of {book}"));
    }
    Ok(())
}

/// By rule book: under a heading with its name, the rules at the start of table rows.
fn excused_in(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut excused: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut book = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            name.trim().clone_into(&mut book);
        } else if line.starts_with('|') {
            excused.entry(book.clone()).or_default().extend(rules_in(line));
        }
    }
    excused
}

fn proved(book: &Book, rule: &str, named: &BTreeMap<String, BTreeSet<String>>) -> bool {
    // R-rules and scenario rows exist in one book only; any crate may prove them.
    let unmistakable = book.name == "pod-lifecycle" && rule.starts_with('R');
    named.iter().any(|(krate, ids)| {
        let speaks = match book.name {
            "pod-lifecycle" => unmistakable || NODE_SIDE.contains(&krate.as_str()),
            _ => book.crates.contains(&krate.as_str()),
        };
        speaks && ids.contains(rule)
    })
}

fn ratio(part: usize, whole: usize) -> f64 {
    let small = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    if whole == 0 { 0.0 } else { small(part) / small(whole) }
}

/// The ids a rule book defines: at the start of a line, a list item or a table row.
fn rules_in(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| {
            let line = line.trim_start_matches(['-', '|', ' ', '*']);
            let word = line.split([' ', '|', ':']).next()?.trim_end_matches(['.', '*']);
            is_rule(word).then(|| word.to_owned())
        })
        .collect()
}

/// `R3.4`, `R25a`, `F2m`, `N12`, `0.4`, `API-07`.
fn is_rule(word: &str) -> bool {
    let letters = word.chars().take_while(char::is_ascii_uppercase).count();
    let rest = word[letters..].trim_start_matches('-');
    let digits = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').count();
    let tail = &rest[digits..];
    let numbered = rest.starts_with(|c: char| c.is_ascii_digit()) && !rest[..digits].ends_with('.');
    let prefixed = (1..=4).contains(&letters) || (letters == 0 && word.starts_with("0.") && word.len() > 2);
    numbered && prefixed && tail.len() <= 1 && tail.chars().all(|c| c.is_ascii_lowercase())
}

/// Per crate, the rule ids its test code names.
/// By crate. Only crates of the workspace count: a test nobody runs proves nothing.
fn named_by_tests() -> Result<BTreeMap<String, BTreeSet<String>>, Failure> {
    let members = graph::members()?;
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    walk(&root().join("crates"), &mut |path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let relative = path.strip_prefix(root().join("crates")).unwrap_or(path);
        let Some(krate) = relative.iter().next().and_then(|name| name.to_str()) else { return };
        if krate != "xtask" && members.contains(krate) {
            named.entry(krate.to_owned()).or_default().extend(ids_in(test_code(relative, &text)));
        }
    })?;
    Ok(named)
}

fn test_code<'a>(path: &Path, text: &'a str) -> &'a str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let whole = path.iter().any(|part| part == "tests" || part == "cases")
        || name == "tests.rs"
        || name.ends_with("_tests.rs")
        || name.ends_with("_test.rs");
    if whole { text } else { text.find("#[cfg(test)]").map_or("", |at| &text[at..]) }
}

fn ids_in(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-'))
        .map(|word| word.trim_matches(['.', '-']))
        .filter(|word| is_rule(word))
        .map(str::to_owned)
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) -> Result<(), Failure> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" {
            walk(&path, visit)?;
        } else if path
            .extension()
            .is_some_and(|kind| kind == "rs" || kind == "case" || kind == "txt" || kind == "yaml")
        {
            visit(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_ids_are_recognised() {
        for id in ["Q3.4", "Q13.25a", "Q2m", "Q20", "0.4", "QAP-07"] {
            assert!(is_rule(id), "{id}");
        }
        for other in ["Pod", "v1", "R", "1.36", "0.", "HTTP", "S3Bucket", "UTF-8x9"] {
            assert!(!is_rule(other), "{other}");
        }
    }

    #[test]
    fn rules_stand_at_the_start_of_lines() {
        let text = "- Q1.1 one\n| Q1.2 | two |\nQ1. three, see Q9\n- **Q4** four\nplain Q5\n";
        let rules: Vec<_> = rules_in(text).into_iter().collect();
        assert_eq!(rules, ["Q1", "Q1.1", "Q1.2", "Q4"]);
    }

    #[test]
    fn excuses_belong_to_a_book() {
        let text = "# Title\n## one\n| Rule | Why |\n|---|---|\n| Q1 | so, see Q9 |\n## two\n| Q2 | thus |\n";
        let excused = excused_in(text);
        assert_eq!(excused["one"], BTreeSet::from(["Q1".to_owned()]));
        let (q1, q2) = ("Q1".to_owned(), "Q2".to_owned());
        assert!(check_excuses("one", &excused["one"], &[&q1, &q2]).is_ok());
        assert!(check_excuses("one", &excused["one"], &[&q2]).is_err());
    }

    #[test]
    fn only_test_code_counts() {
        let text = "// Q1 in prose\n#[cfg(test)]\nmod tests { /* Q2 */ }\n";
        assert_eq!(ids_in(test_code(Path::new("a/src/b.rs"), text)).collect::<Vec<_>>(), ["Q2"]);
        assert_eq!(ids_in(test_code(Path::new("a/tests/b.rs"), text)).count(), 2);
    }
}

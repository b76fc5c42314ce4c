//! The rule book's scenarios as text: each `*.case` file beside this one is a Pod, a script and the timeline that must
//! follow, played on the simulated node. `README.md` explains the format. `UPDATE_CASES=1 cargo test --test cases`
//! writes the timelines anew; read the difference before you keep it.

mod case;
mod compare;
mod facts;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use case::Case;

/// Rows of section 17 that are not about a node's decision, and where they are proved instead.
const ELSEWHERE: &[(&str, &str)] = &[
    ("S24", "the API server alone: crates/apiserver, deletion"),
    ("S56", "tests/lifecycle/resize.rs"),
    ("S58", "reading the message is the kubelet's: pod-lifecycle `message`, crates/kubelet"),
    ("S59", "the Job controller's"),
];

fn files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let all = fs::read_dir(folder).expect("the folder of cases").flatten().map(|entry| entry.path());
    let mut cases: Vec<PathBuf> =
        all.filter(|path| path.extension().is_some_and(|it| it == "case")).collect();
    cases.sort();
    cases
}

#[test]
fn every_case_plays_as_written() {
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let mut failed = Vec::new();
    for path in files() {
        let text = fs::read_to_string(&path).expect("a case");
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let case = Case::parse(&text).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        let played = case.play();
        if update {
            fs::write(&path, case.with_timeline(&played.lines)).expect("the case is written");
        }
        if played.lines != case.timeline && !update {
            let table = compare::side_by_side(&case.timeline, &played.lines);
            failed.push(format!("{name}: {}\n\n{table}", case.title));
        }
        if let Some(broken) = played.broken {
            failed.push(format!("{name}: {}\n\n{broken}\n\n{}", case.title, played.lines.join("\n")));
        }
    }
    assert!(failed.is_empty(), "{} cases differ\n\n{}", failed.len(), failed.join("\n\n"));
}

#[test]
fn every_fact_is_seen() {
    let mut cases = BTreeMap::new();
    for path in files() {
        let case = Case::parse(&fs::read_to_string(&path).expect("a case")).expect("a readable case");
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        cases.insert(name, case.timeline);
    }
    let problems = facts::wrong(include_str!("facts.txt"), &cases);
    assert!(problems.is_empty(), "{} facts are not so\n\n{}", problems.len(), problems.join("\n\n"));
}

#[test]
fn every_scenario_has_a_case() {
    let rows: BTreeSet<String> = (1..=64).map(|row| format!("S{row}")).collect();
    let mut have: BTreeSet<String> = ELSEWHERE.iter().map(|(row, _)| (*row).to_owned()).collect();
    for path in files() {
        let text = fs::read_to_string(&path).expect("a case");
        let case = Case::parse(&text).expect("a readable case");
        have.extend(case.title.split([' ', ':']).filter(|word| word.starts_with('S')).map(str::to_owned));
    }
    assert_eq!(
        rows.difference(&have).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "rows of section 17 without a case"
    );
}

#[test]
fn a_difference_is_shown_side_by_side() {
    let lines = |text: &[&str]| text.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let (expected, actual) = (lines(&["0 a", "1 b", "2 c"]), lines(&["0 a", "2 c", "3 d"]));
    let table = compare::side_by_side(&expected, &actual);
    let want = "  expected | actual\n  0 a      | 0 a\n- 1 b      |\n  2 c      | 2 c\n+          | 3 d";
    assert_eq!(table, want);
}

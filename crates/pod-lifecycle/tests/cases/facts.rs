//! `facts.txt`: rules that are a line or two of a case that is about something else.
//!
//! A fact is a rule with what it says, and below it, indented, where that is seen: a case and texts that stand in its
//! timeline in this order. `!` in front of a text: it stands in no line after the one found before it. Each line of a
//! timeline is looked at with its time in front, so a text that begins with a number says when.

use std::collections::BTreeMap;

/// What is wrong with the facts in `text`, given the lines of each case.
pub(crate) fn wrong(text: &str, cases: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut rule = "";
    let mut problems = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some(fact) = line.strip_prefix("    ") else {
            rule = line;
            continue;
        };
        let problem = match fact.split_once(": ") {
            None => Err("no colon".to_owned()),
            Some((case, texts)) => match cases.get(case) {
                None => Err("no such case".to_owned()),
                Some(lines) => check(texts, lines),
            },
        };
        if let Err(problem) = problem {
            problems.push(format!("{rule}\n    {fact}\n    -> {problem}"));
        }
    }
    problems
}

fn check(texts: &str, lines: &[String]) -> Result<(), String> {
    let dated = with_times(lines);
    let mut rest = dated.as_slice();
    let mut last = None;
    for text in texts.split(" > ") {
        let wanted = text.trim_start_matches('!');
        let begins = wanted.starts_with(|c: char| c.is_ascii_digit());
        let has = |line: &&String| if begins { line.starts_with(wanted) } else { line.contains(wanted) };
        match (text.starts_with('!'), rest.iter().position(|line| has(&line))) {
            (true, None) => {}
            (true, Some(at)) => return Err(format!("it does: {}", rest[at])),
            // What follows may stand in the same line.
            (false, _) if last.as_ref().is_some_and(has) => {}
            (false, Some(at)) => {
                last = rest.get(at);
                rest = &rest[at + 1..];
            }
            (false, None) => return Err(format!("not found: {text}")),
        }
    }
    Ok(())
}

/// Timelines tell a time only where it changes.
fn with_times(lines: &[String]) -> Vec<String> {
    let mut time = "";
    let dated = lines.iter().map(|line| {
        let text = line.trim_start();
        if text.len() == line.len() {
            let (at, text) = text.split_once(' ').unwrap_or((text, ""));
            time = at;
            return format!("{at} {}", text.trim_start());
        }
        format!("{time} {text}")
    });
    dated.collect()
}

//! A timeline as lines a person reads: what the node does, one thing a line, and below it, after `=`, what clients then see.

use crate::timeline::{Entry, What, seconds};

/// The width of the time column.
const TIME: usize = 7;

/// The lines of a timeline. Between two things the node does, only the last value of everything clients see is told.
pub fn story(entries: &[Entry]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut seen: Vec<&What> = Vec::new();
    let (mut shown_at, mut seen_at) = (None, None);
    for entry in entries {
        if is_seen(&entry.what) {
            if seen_at.is_some_and(|at| at != entry.at) {
                flush(&mut lines, &mut seen, seen_at.take(), &mut shown_at);
            }
            seen.retain(|before| key(before) != key(&entry.what));
            seen.push(&entry.what);
            seen_at = Some(entry.at);
        } else if !matches!(entry.what, What::Condition { .. }) {
            flush(&mut lines, &mut seen, seen_at.take(), &mut shown_at);
            push(&mut lines, entry.at, &entry.what.to_string(), &mut shown_at);
        }
    }
    flush(&mut lines, &mut seen, seen_at, &mut shown_at);
    lines
}

type At = Option<std::time::Duration>;

fn flush(lines: &mut Vec<String>, seen: &mut Vec<&What>, at: At, shown_at: &mut At) {
    let Some(at) = at else { return };
    seen.sort_by_key(|what| rank(what));
    let words: Vec<String> = seen.drain(..).map(words).collect();
    push(lines, at, &format!("= {}", words.join("; ")), shown_at);
}

fn push(lines: &mut Vec<String>, at: std::time::Duration, text: &str, shown_at: &mut At) {
    let time = if *shown_at == Some(at) { String::new() } else { seconds(at) };
    *shown_at = Some(at);
    lines.push(format!("{time:<TIME$}{text}"));
}

/// Whether it is something a client sees. `ContainersReady` and `PodScheduled` follow from what is told anyway.
fn is_seen(what: &What) -> bool {
    match what {
        What::Phase(_) | What::State { .. } | What::Row { .. } => true,
        What::Condition { ty, .. } => !matches!(ty.as_str(), "PodScheduled" | "ContainersReady"),
        _ => false,
    }
}

/// Later values of the same thing replace earlier ones.
fn key(what: &What) -> String {
    match what {
        What::Condition { ty, .. } => format!("condition {ty}"),
        What::State { container, .. } => format!("state {container}"),
        What::Phase(_) => "phase".into(),
        _ => "row".into(),
    }
}

const fn rank(what: &What) -> u8 {
    match what {
        What::State { .. } => 0,
        What::Condition { .. } => 1,
        What::Phase(_) => 2,
        _ => 3,
    }
}

fn words(what: &What) -> String {
    match what {
        What::Condition { ty, status, reason } => match reason {
            Some(reason) => format!("{ty}={status}/{reason}"),
            None => format!("{ty}={status}"),
        },
        what => what.to_string(),
    }
}

//! Style rules a compiler does not know: file and function length, and words that do not belong in the tree.

use std::path::{Path, PathBuf};

use crate::Failure;
use crate::run::{capture, root};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// Files that may be longer, each with the reason. Tables of data are long because the world is.
const LONG_FILES: &[(&str, &str)] = &[];

/// Fails with every finding in the tracked Rust sources.
pub(crate) fn check() -> Result<(), Failure> {
    let mut findings = Vec::new();
    for path in sources()? {
        let text = std::fs::read_to_string(root().join(&path))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        findings.extend(findings_in(&path, &text));
    }
    if findings.is_empty() { Ok(()) } else { Err(format!("tidy:\n  {}", findings.join("\n  "))) }
}

/// The Rust files git tracks.
pub(crate) fn sources() -> Result<Vec<PathBuf>, Failure> {
    let list = capture(std::process::Command::new("git").current_dir(root()).args(["ls-files", "*.rs"]))?;
    Ok(list.lines().map(PathBuf::from).collect())
}

fn findings_in(path: &Path, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    let allowed = LONG_FILES.iter().any(|(long, _)| Path::new(long) == path);
    if lines > FILE_LINES && !allowed {
        findings.push(format!("{}: {lines} lines; split it by meaning (limit {FILE_LINES})", path.display()));
    }
    for (name, at, length) in functions(text) {
        if length > FUNCTION_LINES {
            findings.push(format!(
                "{}:{at}: fn {name} has {length} lines (limit {FUNCTION_LINES})",
                path.display()
            ));
        }
    }
    findings
}

/// Every function's name, first line and length. Relies on rustfmt: a body ends at the first line that closes it
/// at the indentation it was opened at.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let end = lines[index..].iter().position(|later| {
            later.len() - later.trim_start().len() == indent
                && (later.trim() == "}" || later.trim_end().ends_with(';'))
        });
        if let Some(end) = end.filter(|end| *end > 0) {
            found.push((name.to_owned(), index + 1, end + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.trim_start();
    for prefix in ["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "unsafe ", "extern \"C\" "] {
        words = words.strip_prefix(prefix).unwrap_or(words);
    }
    let rest = words.strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured() {
        let text = "impl X {\n    pub fn one(&self) -> u8 {\n        1\n    }\n\n    fn two();\n}\nasync fn three() {\n}\n";
        let lengths: Vec<_> = functions(text);
        assert_eq!(lengths, [("one".to_owned(), 2, 3), ("three".to_owned(), 8, 2)]);
    }

    #[test]
    fn a_long_file_is_named() {
        let findings = findings_in(Path::new("a.rs"), &"x\n".repeat(501));
        assert_eq!(findings, ["a.rs: 501 lines; split it by meaning (limit 500)"]);
    }
}

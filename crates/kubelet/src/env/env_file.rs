//! Environment files read by `fileKeyRef` (R11.7): lines `KEY='value'`, where the value may span lines.

/// Why a variable cannot be taken from a file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvFileError {
    /// The volume is not an emptyDir of the Pod.
    #[error("cannot find the volume \"{0}\" referenced by fileKeyRef")]
    Volume(String),
    /// The file cannot be read.
    #[error("couldn't parse env file: {0}")]
    Read(String),
    /// Not of the form `KEY='value'`.
    #[error("couldn't parse env file: invalid environment variable format at line {0}")]
    Line(usize),
    /// The file has no such key.
    #[error("environment variable key \"{key}\" not found in file \"{path}\"")]
    Key {
        /// The key asked for.
        key: String,
        /// The file, relative to its volume.
        path: String,
    },
}

/// The value of `key` in the text of an environment file; `None` if the file does not set it.
///
/// # Errors
/// If a line before the key is not of the form `KEY='value'`.
pub(crate) fn value_of(text: &str, key: &str) -> Result<Option<String>, EnvFileError> {
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let (current, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let trimmed = current.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            rest = after;
            line += 1;
            continue;
        }
        let (name, quoted) = rest.split_once('=').ok_or(EnvFileError::Line(line))?;
        let name = name.trim_start();
        let well_named = !name.is_empty() && !name.contains(char::is_whitespace);
        let opened = quoted.strip_prefix('\'').filter(|_| well_named).ok_or(EnvFileError::Line(line))?;
        let (value, behind) = opened.split_once('\'').ok_or(EnvFileError::Line(line))?;
        let (tail, after) = behind.split_once('\n').unwrap_or((behind, ""));
        let tail = tail.trim();
        if !tail.is_empty() && !tail.starts_with('#') {
            return Err(EnvFileError::Line(line));
        }
        if name == key {
            return Ok(Some(value.to_owned()));
        }
        line += value.matches('\n').count() + 1;
        rest = after;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R11.7
    #[test]
    fn values_are_quoted_and_may_span_lines() {
        let text = "# made by init\nA='one'\n\nB='two\nlines' # why not\nC='='";
        assert_eq!(value_of(text, "A"), Ok(Some("one".into())));
        assert_eq!(value_of(text, "B"), Ok(Some("two\nlines".into())));
        assert_eq!(value_of(text, "C"), Ok(Some("=".into())));
        assert_eq!(value_of(text, "D"), Ok(None));
    }

    /// R11.7: no blank before `=`, and quotes are required.
    #[test]
    fn malformed_lines_are_refused_with_their_number() {
        for (text, line) in
            [("A=1", 1), ("A ='1'", 1), ("X='1'\nA='open", 2), ("noise", 1), ("X='a\nb'\nA='1' x", 3)]
        {
            assert_eq!(value_of(text, "A"), Err(EnvFileError::Line(line)), "{text:?}");
        }
    }
}

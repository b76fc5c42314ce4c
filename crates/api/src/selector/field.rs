//! Field selectors: `path=value`, `path==value`, `path!=value`, joined by commas (E18).

use super::InvalidSelector;

/// All of its requirements must hold; none is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// In the order they were written.
    pub requirements: Vec<FieldRequirement>,
}

/// One demand on one field. Values compare as text (E20).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    /// `metadata.name`.
    pub path: String,
    /// What it must, or must not, be.
    pub value: String,
    /// Whether it must be `value`, or anything else.
    pub equal: bool,
}

impl FieldSelector {
    /// Reads the text form.
    ///
    /// # Errors
    /// If a part has no operator or an escape is unfinished.
    pub fn parse(text: &str) -> Result<Self, InvalidSelector> {
        let parts = split(text, ',').into_iter().filter(|part| !part.is_empty());
        let requirements = parts.map(|part| requirement(text, part)).collect::<Result<_, _>>()?;
        Ok(Self { requirements })
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object whose fields `field` looks up is selected; an absent field is the empty text.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> &'a str) -> bool {
        self.requirements.iter().all(|wanted| (field(&wanted.path) == wanted.value) == wanted.equal)
    }

    /// The value a field must have, if the selector leaves only one (E22).
    pub fn exact(&self, path: &str) -> Option<&str> {
        let mut demands = self.requirements.iter().filter(|one| one.equal && one.path == path);
        demands.next().map(|one| one.value.as_str())
    }
}

/// Splits at every unescaped `separator`.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        if c == separator && !escaped {
            parts.push(&text[begin..at]);
            begin = at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(&text[begin..]);
    parts
}

fn requirement(whole: &str, part: &str) -> Result<FieldRequirement, InvalidSelector> {
    let unreadable = || InvalidSelector(format!("invalid selector: '{whole}'; can't understand '{part}'"));
    let at = split(part, '=').first().map_or(0, |path| path.len());
    let rest = part.get(at + 1..).ok_or_else(unreadable)?;
    let (path, equal) = match part[..at].strip_suffix('!') {
        Some(path) => (path, false),
        None => (&part[..at], true),
    };
    // `==` means the same as `=`, but `!==` begins a value with `=`, which would have to be escaped.
    let value = if equal { rest.strip_prefix('=').unwrap_or(rest) } else { rest };
    Ok(FieldRequirement { path: path.to_owned(), value: unescape(value)?, equal })
}

fn unescape(value: &str) -> Result<String, InvalidSelector> {
    let invalid = || InvalidSelector(format!("invalid field selector: invalid escape sequence: {value}"));
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let escaped = chars.next().filter(|c| matches!(c, '\\' | ',' | '='));
                plain.push(escaped.ok_or_else(invalid)?);
            }
            '=' => return Err(invalid()),
            c => plain.push(c),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// E18, E20, E22.
    #[test]
    fn fields_are_compared_as_text() {
        let selector = FieldSelector::parse("metadata.name=a,spec.nodeName!=,status.phase==Running").unwrap();
        let fields = |phase: &'static str| {
            move |path: &str| match path {
                "metadata.name" => "a",
                "spec.nodeName" => "n",
                "status.phase" => phase,
                _ => "",
            }
        };
        assert!(selector.matches(fields("Running")));
        assert!(!selector.matches(fields("Pending")));
        assert_eq!(selector.exact("metadata.name"), Some("a"));
        assert_eq!(selector.exact("spec.nodeName"), None);
        assert!(FieldSelector::parse("").unwrap().is_empty());
        assert_eq!(FieldSelector::parse("spec.nodeName=").unwrap().exact("spec.nodeName"), Some(""));
    }

    /// E18: separators in values are escaped; what has no operator is refused in upstream's words.
    #[test]
    fn escapes_and_refusals() {
        let selector = FieldSelector::parse(r"metadata.name=a\,b\=c\\d").unwrap();
        assert_eq!(selector.exact("metadata.name"), Some(r"a,b=c\d"));
        let refused = FieldSelector::parse("foo").unwrap_err().to_string();
        assert_eq!(refused, "invalid selector: 'foo'; can't understand 'foo'");
        FieldSelector::parse(r"a=b\x").unwrap_err();
        FieldSelector::parse("a=b=c").unwrap_err();
    }
}

//! `$(NAME)` references (R11.2, R11.3).

/// Replaces each `$(NAME)` that `lookup` knows; unknown references stay as written.
///
/// `$$` yields one `$` and so protects what follows; a lone `$` and an unclosed `$(` are kept. There is no nesting
/// and no second round over the result.
pub(crate) fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(value),
                None => out.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::expand;

    fn ab(text: &str) -> String {
        expand(text, |name| match name {
            "A" => Some("1"),
            "B" => Some("$(A)"),
            "EMPTY" => Some(""),
            _ => None,
        })
    }

    /// R11.2
    #[test]
    fn references_expand_once_and_unknown_ones_stay() {
        let cases = [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(B)", "$(A)"),
            ("$(EMPTY)", ""),
            ("$(NO)", "$(NO)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$$$$(A)", "$$(A)"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
            ("$()", "$()"),
            ("$($(A))", "$($(A))"),
            ("a$$b", "a$b"),
            ("ü$(A)ü", "ü1ü"),
        ];
        for (text, want) in cases {
            assert_eq!(ab(text), want, "{text}");
        }
    }
}

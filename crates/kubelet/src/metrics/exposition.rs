//! Prometheus' text format for samples taken at the moment of a scrape (N20, N24). What is counted over time is kept
//! by `prometheus-client`; that crate has no way to give a sample the time it was taken at.

use std::fmt::Write as _;

use outrigger_api::WallTime;

/// The content type of the text format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metric families, written one after the other.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
    family: String,
}

impl Exposition {
    /// Begins a family; the samples that follow belong to it. `kind` is `counter`, `gauge` or `untyped`.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) -> &mut Self {
        name.clone_into(&mut self.family);
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self
    }

    /// One sample of the family begun last.
    pub(crate) fn sample(
        &mut self,
        labels: &[(&str, &str)],
        value: impl std::fmt::Display,
        at: Option<WallTime>,
    ) -> &mut Self {
        self.text.push_str(&self.family);
        for (at, (name, value)) in labels.iter().enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{name}=\"");
            for letter in value.chars() {
                match letter {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = write!(self.text, " {value}");
        if let Some(at) = at {
            let _ = write!(self.text, " {}", at.as_millisecond());
        }
        self.text.push('\n');
        self
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// Nanoseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "beyond 104 days a nanosecond is not worth a digit")]
pub(crate) fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A reader that accepts nothing but the format: every sample belongs to the family announced before it, no
    /// series comes twice, every value is a number. Gives `name{labels}` and value of every sample.
    pub(crate) fn read_strictly(text: &str) -> Vec<(String, f64)> {
        let (mut family, mut kind, mut seen) = (String::new(), String::new(), Vec::new());
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                rest.split_once(' ').expect("a help text").0.clone_into(&mut family);
                continue;
            }
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, of) = rest.split_once(' ').expect("a type");
                assert_eq!(name, family, "TYPE without HELP");
                assert!(["counter", "gauge", "histogram", "untyped"].contains(&of), "{line}");
                of.clone_into(&mut kind);
                continue;
            }
            let end = line.rfind('}').map_or_else(|| line.find(' ').unwrap(), |at| at + 1);
            let (series, rest) = line.split_at(end);
            let name = series.split('{').next().unwrap();
            let suffix = name.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{line} in {family}"));
            let allowed: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(allowed.contains(&suffix), "{line} in {family}");
            let mut words = rest.split_whitespace();
            let value: f64 = words.next().unwrap().parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(words.next().is_none_or(|at| at.parse::<i64>().is_ok()), "{line}");
            assert!(!seen.iter().any(|(known, _)| known == series), "{series} comes twice");
            seen.push((series.to_owned(), value));
        }
        seen
    }

    /// N20: labels are quoted, times are milliseconds.
    #[test]
    fn samples_are_quoted_and_timed() {
        let mut page = Exposition::default();
        let at = "2026-01-02T03:04:05.678Z".parse().unwrap();
        page.family("a_total", "counter", "Help.").sample(&[("x", "q\"\\\n"), ("y", "z")], 1.5, Some(at));
        page.family("b", "gauge", "Help.").sample(&[], 2, None);
        let text = page.finish();
        assert!(text.contains("a_total{x=\"q\\\"\\\\\\n\",y=\"z\"} 1.5 1767323045678\n"), "{text}");
        assert_eq!(read_strictly(&text).len(), 2);
    }
}

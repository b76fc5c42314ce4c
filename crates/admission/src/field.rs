//! Findings of validation and the 422 they become (D31-D35, R1.11, R1.12).

use outrigger_api::status::{Cause, Reason};
use outrigger_api::{KindInfo, StatusError};
use serde_json::Value;

/// What is wrong with a field (D32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Absent, and must not be.
    Required,
    /// Not acceptable.
    Invalid,
    /// Not one of the known words.
    NotSupported,
    /// Must not be set, or not changed.
    Forbidden,
    /// Said twice.
    Duplicate,
    /// Refers to nothing.
    NotFound,
    /// More bytes than allowed.
    TooLong,
    /// More items than allowed.
    TooMany,
}

impl Problem {
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Required => ("Required value", "FieldValueRequired"),
            Self::Invalid => ("Invalid value", "FieldValueInvalid"),
            Self::NotSupported => ("Unsupported value", "FieldValueNotSupported"),
            Self::Forbidden => ("Forbidden", "FieldValueForbidden"),
            Self::Duplicate => ("Duplicate value", "FieldValueDuplicate"),
            Self::NotFound => ("Not found", "FieldValueNotFound"),
            Self::TooLong => ("Too long", "FieldValueTooLong"),
            Self::TooMany => ("Too many", "FieldValueTooMany"),
        }
    }
}

/// Findings in the order they were made.
#[derive(Debug, Default)]
pub struct Findings(Vec<Cause>);

impl Findings {
    /// Notes a finding; `value` is printed where the problem prints one (D32).
    pub fn add(&mut self, problem: Problem, field: &str, value: Option<&Value>, detail: &str) {
        let (words, reason) = problem.words();
        let mut message = words.to_owned();
        if let Some(value) = value {
            message.push_str(": ");
            message.push_str(&value.to_string());
        }
        if !detail.is_empty() {
            message.push_str(": ");
            message.push_str(detail);
        }
        self.0.push(Cause { reason: reason.to_owned(), message, field: field.to_owned() });
    }

    /// A value is missing.
    pub fn required(&mut self, field: &str, detail: &str) {
        self.add(Problem::Required, field, None, detail);
    }

    /// A value is not acceptable.
    pub fn invalid(&mut self, field: &str, value: impl Into<Value>, detail: &str) {
        self.add(Problem::Invalid, field, Some(&value.into()), detail);
    }

    /// The same with the value's own text.
    pub fn invalid_text(&mut self, field: &str, value: &str, detail: &str) {
        let (words, reason) = Problem::Invalid.words();
        let message = format!("{words}: {value}: {detail}");
        self.0.push(Cause { reason: reason.to_owned(), message, field: field.to_owned() });
    }

    /// A value must not be there.
    pub fn forbidden(&mut self, field: &str, detail: &str) {
        self.add(Problem::Forbidden, field, None, detail);
    }

    /// A value was there before.
    pub fn duplicate(&mut self, field: &str, value: impl Into<Value>) {
        self.add(Problem::Duplicate, field, Some(&value.into()), "");
    }

    /// A reference leads nowhere.
    pub fn not_found(&mut self, field: &str, value: impl Into<Value>) {
        self.add(Problem::NotFound, field, Some(&value.into()), "");
    }

    /// A word is none of `supported`, which is printed as given (R1.12: sort it unless a rule says otherwise).
    pub fn unsupported(&mut self, field: &str, value: &str, supported: &[&str]) {
        let list: Vec<String> = supported.iter().map(|word| format!("\"{word}\"")).collect();
        self.add(
            Problem::NotSupported,
            field,
            Some(&value.into()),
            &format!("supported values: {}", list.join(", ")),
        );
    }

    /// Too many bytes.
    pub fn too_long(&mut self, field: &str, most: usize) {
        self.add(Problem::TooLong, field, None, &format!("may not be more than {most} bytes"));
    }

    /// Too many items.
    pub fn too_many(&mut self, field: &str, count: usize, most: usize) {
        self.add(Problem::TooMany, field, Some(&count.into()), &format!("must have at most {most} items"));
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was found.
    pub fn causes(&self) -> &[Cause] {
        &self.0
    }

    /// The 422, if anything was found (D31, D35).
    ///
    /// # Errors
    /// If anything was found.
    pub fn into_result(self, kind: &KindInfo, name: &str) -> Result<(), StatusError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut lines: Vec<String> = Vec::new();
        for cause in &self.0 {
            let line = format!("{}: {}", cause.field, cause.message);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        let all = if let [one] = lines.as_slice() { one.clone() } else { format!("[{}]", lines.join(", ")) };
        let what = outrigger_api::status::qualified(&kind.kind, &kind.group);
        let mut error = StatusError::new(
            422,
            Reason::Invalid,
            format!("{what} \"{name}\" is invalid: {all}"),
        )
        .about(&kind.kind, &kind.group, name);
        if let Some(details) = &mut error.details {
            details.causes = self.0;
        }
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(findings: Findings) -> StatusError {
        let pods = outrigger_api::Registry::builtin().by_kind("", "v1", "Pod").expect("built in").clone();
        findings.into_result(&pods, "p").expect_err("something was found")
    }

    /// R1.11: 422 `Invalid`; one finding stands bare, several in brackets, the same one once.
    #[test]
    fn findings_become_one_answer() {
        let mut one = Findings::default();
        one.required("spec.containers", "");
        let error = refusal(one);
        assert_eq!((error.code, error.reason), (422, Some(Reason::Invalid)));
        assert_eq!(error.message, "Pod \"p\" is invalid: spec.containers: Required value");
        let mut two = Findings::default();
        two.forbidden("spec.a", "no");
        two.not_found("spec.b", "x");
        two.forbidden("spec.a", "no");
        let message = refusal(two).message;
        assert_eq!(message, "Pod \"p\" is invalid: [spec.a: Forbidden: no, spec.b: Not found: \"x\"]");
    }

    /// R1.11, R1.12: each kind of finding, with what it prints.
    #[test]
    fn kinds_of_findings() {
        let mut all = Findings::default();
        all.required("f", "why");
        all.invalid("f", json!({"a": 1}), "why");
        all.invalid("f", "", "why");
        all.unsupported("f", "x", &["A", "B"]);
        all.forbidden("f", "why");
        all.duplicate("f", "x");
        all.not_found("f", "x");
        all.too_long("f", 64);
        all.too_many("f", 21, 20);
        let messages: Vec<&str> = all.causes().iter().map(|cause| cause.message.as_str()).collect();
        let expected = [
            "Required value: why",
            "Invalid value: {\"a\":1}: why",
            "Invalid value: \"\": why",
            "Unsupported value: \"x\": supported values: \"A\", \"B\"",
            "Forbidden: why",
            "Duplicate value: \"x\"",
            "Not found: \"x\"",
            "Too long: may not be more than 64 bytes",
            "Too many: 21: must have at most 20 items",
        ];
        assert_eq!(messages, expected);
    }
}

//! What users are told (N1).

/// An event about the object a decision is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether something went wrong.
    pub warning: bool,
    /// `CamelCase`.
    pub reason: String,
    /// The sentence.
    pub message: String,
}

impl Note {
    /// Something expected.
    pub fn normal(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.into(), message: message.into() }
    }

    /// Something that went wrong.
    pub fn warning(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { warning: true, reason: reason.into(), message: message.into() }
    }
}

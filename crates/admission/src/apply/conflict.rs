//! Fields that somebody else owns and an apply would change (F4e, F4j).

use outrigger_api::StatusError;
use outrigger_api::status::{Cause, Details, Reason};

use super::managed::Manager;
use super::set::FieldSet;

/// What an apply would take from one manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    pub(super) manager: Manager,
    pub(super) fields: FieldSet,
}

/// The 409 that tells of all conflicts.
pub(super) fn refusal(mut conflicts: Vec<Conflict>) -> StatusError {
    conflicts.sort_by(|a, b| key(&a.manager).cmp(&key(&b.manager)));
    let mut causes = Vec::new();
    let mut lines = Vec::new();
    for conflict in &conflicts {
        let manager = conflict.manager.printed();
        lines.push(format!("conflicts with {manager}:"));
        for path in conflict.fields.leaves() {
            let field: String = path.iter().map(ToString::to_string).collect();
            lines.push(format!("- {field}"));
            causes.push(Cause {
                reason: "FieldManagerConflict".to_owned(),
                message: format!("conflict with {manager}"),
                field,
            });
        }
    }
    let message = match causes.as_slice() {
        [only] => format!("Apply failed with 1 conflict: {}: {}", only.message, only.field),
        many => format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n")),
    };
    let mut error = StatusError::new(409, Reason::Conflict, message);
    error.details = Some(Details { causes, ..Details::default() });
    error
}

fn key(manager: &Manager) -> (&str, &str, &str, &str) {
    (&manager.name, manager.operation.word(), &manager.api_version, &manager.subresource)
}

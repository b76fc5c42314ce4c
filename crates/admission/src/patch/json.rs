//! JSON patch, RFC 6902, with the leniencies and limits of the reference server (F1b, B14).

use std::fmt;

use json_patch::jsonptr::PointerBuf;
use json_patch::{
    AddOperation, CopyOperation, MoveOperation, PatchOperation, RemoveOperation, ReplaceOperation,
    TestOperation,
};
use outrigger_api::StatusError;
use outrigger_api::status::Reason;
use serde_json::Value;

use super::cannot_apply;

/// Most operations of one patch (B14).
pub const MAX_OPERATIONS: usize = 10_000;
/// Most bytes all `copy` operations of one patch may add together (B14).
pub const MAX_COPIED_BYTES: usize = 3 * 1024 * 1024;

/// One operation of a JSON patch.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation(PatchOperation);

impl Operation {
    /// Whether it writes `metadata.resourceVersion`, which makes the patch conditional (D7).
    pub(super) fn touches_resource_version(&self) -> bool {
        let writes =
            matches!(self.0, PatchOperation::Add(_) | PatchOperation::Replace(_) | PatchOperation::Test(_));
        writes && self.0.path().as_str() == "/metadata/resourceVersion"
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// Parses a patch body.
pub(super) fn parse(body: &[u8]) -> Result<Vec<Operation>, StatusError> {
    let parsed: Value = serde_json::from_slice(body).map_err(|cause| bad(&cause.to_string()))?;
    let Value::Array(items) = parsed else { return Err(bad("a JSON patch is a list of operations")) };
    if items.len() > MAX_OPERATIONS {
        let count = items.len();
        let text = format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {count}"
        );
        return Err(StatusError::new(413, Reason::RequestEntityTooLarge, text));
    }
    items.iter().map(parse_operation).collect()
}

/// How many unknown members are told.
const TOLD: usize = 100;

/// Members no operation has, in the words of strict field validation (D14); at most a hundred, as one message has to
/// hold them all.
pub fn unknown_members(body: &[u8]) -> Vec<String> {
    let Ok(Value::Array(items)) = serde_json::from_slice(body) else { return Vec::new() };
    let mut found = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let members = item.as_object().into_iter().flat_map(serde_json::Map::keys);
        let unknown = members.filter(|member| !matches!(member.as_str(), "op" | "path" | "from" | "value"));
        found.extend(unknown.map(|member| format!("json patch unknown field \"[{index}].{member}\"")));
        if found.len() >= TOLD {
            found.truncate(TOLD);
            break;
        }
    }
    found
}

/// Applies all operations, or none.
pub(super) fn apply(current: &Value, operations: &[Operation]) -> Result<Value, StatusError> {
    let mut document = current.clone();
    let mut copied = 0;
    for Operation(operation) in operations {
        if let PatchOperation::Copy(copy) = operation {
            copied += document.pointer(copy.from.as_str()).map_or(0, |value| value.to_string().len());
            if copied > MAX_COPIED_BYTES {
                return Err(cannot_apply(format!(
                    "Unable to complete the copy, the accumulated size increase of copy operation is {copied}, \
                     exceeding the limit {MAX_COPIED_BYTES}"
                )));
            }
        }
        let operation = lenient(&document, operation);
        json_patch::patch(&mut document, std::slice::from_ref(&operation))
            .map_err(|cause| cannot_apply(cause.to_string()))?;
    }
    Ok(document)
}

/// F1b: replacing a missing object member adds it.
fn lenient(document: &Value, operation: &PatchOperation) -> PatchOperation {
    match operation {
        PatchOperation::Replace(replace) if document.pointer(replace.path.as_str()).is_none() => {
            let parent = replace.path.parent().and_then(|parent| document.pointer(parent.as_str()));
            if parent.is_some_and(Value::is_object) {
                PatchOperation::Add(AddOperation { path: replace.path.clone(), value: replace.value.clone() })
            } else {
                operation.clone()
            }
        }
        PatchOperation::Replace(_)
        | PatchOperation::Add(_)
        | PatchOperation::Remove(_)
        | PatchOperation::Move(_)
        | PatchOperation::Copy(_)
        | PatchOperation::Test(_) => operation.clone(),
    }
}

fn parse_operation(item: &Value) -> Result<Operation, StatusError> {
    let pointer = |member: &str| -> Result<PointerBuf, StatusError> {
        let text = item.get(member).and_then(Value::as_str);
        let text = text.ok_or_else(|| bad(&format!("an operation lacks its \"{member}\"")))?;
        PointerBuf::parse(text).map_err(|_| bad(&format!("\"{text}\" is no JSON pointer")))
    };
    // An `add` without a value sets null (F1b).
    let value = || item.get("value").cloned().unwrap_or_default();
    let operation = match item.get("op").and_then(Value::as_str).unwrap_or_default() {
        "add" => PatchOperation::Add(AddOperation { path: pointer("path")?, value: value() }),
        "remove" => PatchOperation::Remove(RemoveOperation { path: pointer("path")? }),
        "replace" => PatchOperation::Replace(ReplaceOperation { path: pointer("path")?, value: value() }),
        "move" => PatchOperation::Move(MoveOperation { from: pointer("from")?, path: pointer("path")? }),
        "copy" => PatchOperation::Copy(CopyOperation { from: pointer("from")?, path: pointer("path")? }),
        "test" => PatchOperation::Test(TestOperation { path: pointer("path")?, value: value() }),
        unknown => return Err(cannot_apply(format!("Unexpected kind: {unknown}"))),
    };
    Ok(Operation(operation))
}

fn bad(cause: &str) -> StatusError {
    StatusError::bad_request(format!("error decoding patch: {cause}"))
}

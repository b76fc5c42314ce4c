//! Values the server fills in where the client gave none (R1.1-R1.8, K5-K7, K12-K41).
//!
//! Idempotent, so that it may also run over objects read from the store. Refuses to look at other objects; what
//! depends on those is in [`crate::plugins`].

mod extension;
mod kinds;
mod pod;
mod service;
#[cfg(test)]
mod tests;

use outrigger_api::{KindInfo, Object};
use serde_json::Value;

pub(crate) use pod::aggregate_requests;

/// Fills in defaults on a decoded object of a built-in kind.
pub fn apply(kind: &KindInfo, object: &mut Object) {
    let mut tree = Value::Object(std::mem::take(&mut object.0));
    match (&*kind.group, &*kind.kind) {
        ("", "Pod") => pod::pod(&mut tree),
        ("", "Service") => service::service(&mut tree),
        _ => kinds::apply(kind, &mut tree),
    }
    if let Value::Object(map) = tree {
        object.0 = map;
    }
}

/// What depends on values the plug-ins set: a limit range may add limits, and requests follow limits (R1.6).
pub(crate) fn after_plugins(kind: &KindInfo, object: &mut Object) {
    if (&*kind.group, &*kind.kind) == ("", "Pod") {
        apply(kind, object);
    }
}

/// Puts back what old clients drop from a PUT, before defaults would fill it with something else (K13, K14).
pub(crate) fn carry_over(kind: &KindInfo, new: &mut Object, old: &Object) {
    if (&*kind.group, &*kind.kind) == ("", "Service") {
        service::carry_over(new, old);
    }
}

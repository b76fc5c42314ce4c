//! One request from decoded object to storable object: the whole order of I31 in one place.
//!
//! What changes an object and what only judges it are two steps, because whoever has the network at hand asks webhooks in
//! between: [`mutate_create`], webhooks, [`finish_create`], and the same for updates.

use std::collections::BTreeMap;

use outrigger_api::{KindInfo, Object, StatusError, WallTime};

use crate::apply::{self, Managed, Ownership};
use crate::plugins::{self, Lookup};
use crate::strategy::{self, CreateInput, DeleteDecision, DeleteOptions, Endpoint};
use crate::warnings::{self, Warning};
use crate::{defaults, validation};

/// What a create needs besides the object.
#[derive(Clone, Copy, Debug)]
pub struct CreateContext<'a> {
    /// The namespace of the request; empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// The time.
    pub now: WallTime,
    /// A fresh random v4 uid.
    pub uid: &'a str,
    /// Five random characters of `bcdfghjklmnpqrstvwxz2456789`; used for generated names (C3) and the name of the
    /// token volume (I36).
    pub suffix: &'a str,
    /// Nothing will be stored.
    pub dry_run: bool,
    /// Other objects the plug-ins ask for.
    pub lookup: &'a dyn Lookup,
    /// Who owns what is written (F5).
    pub ownership: Ownership<'a>,
}

/// What an update needs besides the two objects.
#[derive(Clone, Copy, Debug)]
pub struct UpdateContext<'a> {
    /// The time.
    pub now: WallTime,
    /// Whether `new` is the request's own body (PUT). The preconditions it carries are checked as C15, D5 and D6
    /// say; the result of a patch answers a foreign uid by validation instead.
    pub is_put: bool,
    /// Other objects the plug-ins ask for.
    pub lookup: &'a dyn Lookup,
    /// Who owns what is written (F5).
    pub ownership: Ownership<'a>,
}

/// What a delete needs besides the object.
#[derive(Clone, Copy, Debug)]
pub struct DeleteContext<'a> {
    /// The time.
    pub now: WallTime,
    /// What the request asks for.
    pub options: &'a DeleteOptions,
}

/// What admission says besides its verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// For the client (D15).
    pub warnings: Vec<Warning>,
    /// For the audit log: annotations by key.
    pub audit: BTreeMap<String, String>,
}

/// Turns a decoded object into the one to store, or refuses it. Rules C1-C4, C10-C16, D4, I31-I48, K5-K41, R1.*.
///
/// # Errors
/// 422 by validation, 403 or 404 by a plug-in, 500 where upstream answers so (C4).
pub fn admit_create(
    kind: &KindInfo,
    object: &mut Object,
    context: &CreateContext<'_>,
) -> Result<Vec<Warning>, StatusError> {
    let mut notes = Notes::default();
    mutate_create(kind, object, context, &mut notes)?;
    finish_create(kind, object, context, &mut notes)?;
    Ok(notes.warnings)
}

/// The first half of a create: defaults, ownership and the plug-ins that change the object. A name that is to be
/// generated is not there yet.
///
/// # Errors
/// 403 or 404 by a plug-in.
pub fn mutate_create(
    kind: &KindInfo,
    object: &mut Object,
    context: &CreateContext<'_>,
    notes: &mut Notes,
) -> Result<(), StatusError> {
    notes.warnings.extend(warnings::normalise(object));
    redefault(kind, object);
    let managed = managed(kind, None, object, &context.ownership);
    managed.unwrap_or_default().write_to(object);
    plugins::admit_create(kind, object, context)?;
    if !kind.custom {
        defaults::after_plugins(kind, object);
    }
    Ok(())
}

/// The plug-ins that change an object once more, after something outside has changed it (I55).
///
/// # Errors
/// As [`mutate_create`].
pub fn remutate_create(
    kind: &KindInfo,
    object: &mut Object,
    context: &CreateContext<'_>,
) -> Result<(), StatusError> {
    redefault(kind, object);
    plugins::admit_create(kind, object, context)?;
    redefault(kind, object);
    Ok(())
}

fn redefault(kind: &KindInfo, object: &mut Object) {
    if !kind.custom {
        defaults::apply(kind, object);
    }
}

/// The second half of a create: identity, validation and the plug-ins that judge.
///
/// On a name collision of a generated name, call it again with the mutated object and a new suffix (C3).
///
/// # Errors
/// 422 by validation, 403 by a plug-in, 500 where upstream answers so (C4).
pub fn finish_create(
    kind: &KindInfo,
    object: &mut Object,
    context: &CreateContext<'_>,
    notes: &mut Notes,
) -> Result<(), StatusError> {
    let input = CreateInput {
        namespace: context.namespace,
        now: context.now,
        uid: context.uid,
        name_suffix: context.suffix,
        dry_run: context.dry_run,
    };
    strategy::prepare_create(kind, object, &input)?;
    validation::create(kind, object)?;
    plugins::validate_create(kind, object, context, notes)?;
    notes.warnings.extend(warnings::of_object(kind, object));
    Ok(())
}

/// Turns `new`, a decoded PUT body or the result of a patch, into the object to store, or refuses it.
///
/// The caller then asks [`strategy::is_no_op`] (D8) and [`strategy::completes_deletion`] (C12).
///
/// # Errors
/// 409 if a precondition does not hold, 422 by validation, 403 by a plug-in.
pub fn admit_update(
    kind: &KindInfo,
    endpoint: Endpoint,
    new: &mut Object,
    old: &Object,
    context: &UpdateContext<'_>,
) -> Result<Vec<Warning>, StatusError> {
    let mut notes = Notes::default();
    mutate_update(kind, endpoint, new, old, context, &mut notes)?;
    finish_update(kind, endpoint, new, old, context, &mut notes)?;
    Ok(notes.warnings)
}

/// The first half of an update: preconditions, defaults, ownership and the plug-ins that change the object.
///
/// # Errors
/// 409 if a precondition does not hold, 403 by a plug-in.
pub fn mutate_update(
    kind: &KindInfo,
    endpoint: Endpoint,
    new: &mut Object,
    old: &Object,
    context: &UpdateContext<'_>,
    notes: &mut Notes,
) -> Result<(), StatusError> {
    if context.is_put {
        strategy::check_preconditions(kind, new, old)?;
    } else {
        strategy::check_version(kind, new, old)?;
    }
    notes.warnings.extend(warnings::normalise(new));
    if !kind.custom {
        defaults::carry_over(kind, new, old);
        defaults::apply(kind, new);
    }
    let managed = managed(kind, Some(old), new, &context.ownership);
    strategy::prepare_update(kind, endpoint, new, old);
    if let Some(managed) = managed {
        managed.write_to(new);
    }
    plugins::admit_update(kind, endpoint, new, old, context)
}

/// What [`mutate_update`] does besides ownership once more, after something outside has changed the object (I55).
///
/// # Errors
/// 403 by a plug-in.
pub fn remutate_update(
    kind: &KindInfo,
    endpoint: Endpoint,
    new: &mut Object,
    old: &Object,
    context: &UpdateContext<'_>,
) -> Result<(), StatusError> {
    redefault(kind, new);
    strategy::prepare_update(kind, endpoint, new, old);
    plugins::admit_update(kind, endpoint, new, old, context)
}

/// The second half of an update: validation and the plug-ins that judge.
///
/// # Errors
/// 422 by validation, 403 by a plug-in.
pub fn finish_update(
    kind: &KindInfo,
    endpoint: Endpoint,
    new: &Object,
    old: &Object,
    context: &UpdateContext<'_>,
    notes: &mut Notes,
) -> Result<(), StatusError> {
    validation::update(kind, endpoint, new, old)?;
    plugins::validate_update(kind, endpoint, new, old, context, notes)?;
    if endpoint == Endpoint::Main {
        notes.warnings.extend(warnings::of_object(kind, new));
    }
    Ok(())
}

/// F5g: before the server's own steps and the plug-ins, whose changes belong to nobody. `None` if the record stays as
/// it is.
fn managed(
    kind: &KindInfo,
    old: Option<&Object>,
    new: &Object,
    ownership: &Ownership<'_>,
) -> Option<Managed> {
    match ownership {
        Ownership::Written(writer) => Some(apply::record(kind, old, new, writer)),
        Ownership::Applied(managed) => Some((*managed).clone()),
        Ownership::Kept => None,
    }
}

/// [`admit_update`] for `/status`.
///
/// # Errors
/// As [`admit_update`].
pub fn admit_status_update(
    kind: &KindInfo,
    new: &mut Object,
    old: &Object,
    context: &UpdateContext<'_>,
) -> Result<Vec<Warning>, StatusError> {
    admit_update(kind, Endpoint::Status, new, old, context)
}

/// Decides a delete (D17-D25, I34); the warnings go with the answer (C16).
///
/// # Errors
/// 403 for a namespace that must stay (I34); 409 if a precondition does not hold (D19).
pub fn admit_delete(
    kind: &KindInfo,
    object: &Object,
    context: &DeleteContext<'_>,
) -> Result<(DeleteDecision, Vec<Warning>), StatusError> {
    plugins::admit_delete(kind, object)?;
    let decision = strategy::before_delete(kind, object, context.options, context.now)?;
    Ok((decision, warnings::of_delete(kind, context.options)))
}

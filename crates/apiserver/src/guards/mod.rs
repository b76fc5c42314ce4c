//! Who else is asked about a write: webhooks (I50-I57).
//!
//! What a configuration means and what an answer means is decided by `outrigger-admission`; here they are read
//! (`configs`), called (`call`), and put in order: mutating ones one after the other ([`mutate`]), validating ones all at
//! once ([`validate`]).

mod call;
mod configs;
mod tls;

use std::collections::BTreeMap;
use std::sync::Arc;

use outrigger_admission::Notes;
use outrigger_admission::rules::{Operation, Request, is_exempt};
use outrigger_admission::webhook::review::{Answer, Circumstances, User, denial, patched, request, review};
use outrigger_admission::webhook::{failed, no_dry_run};
use outrigger_api::{KindInfo, Object, StatusError};
use serde_json::{Value, json};

pub(crate) use configs::Guards;

use self::configs::Callee;
use crate::codec::{self, FieldValidation};
use crate::handler::Call;
use crate::pipeline::{Write, WriteOptions, lookup};
use crate::server::Api;
use crate::storage::to_version;

/// What admission notes for the audit log; travels with the response.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuditAnnotations(pub(crate) BTreeMap<String, String>);

/// Brings an object back into shape after a webhook changed it.
pub(crate) type Again<'a> = dyn Fn(&mut Object) -> Result<(), StatusError> + Sync + 'a;

/// Something of a kind was written: webhooks may be others now.
pub(crate) fn changed(api: &Api, kind: &KindInfo) {
    if is_exempt(kind) {
        api.guards.forget();
    }
}

/// Has mutating webhooks change an object (I50, I55).
///
/// # Errors
/// What a webhook says; 500 if one cannot be asked and that is not a yes.
pub(crate) async fn mutate(
    write: &Write<'_>,
    operation: Operation,
    object: &mut Object,
    old: Option<&Object>,
    again: &Again<'_>,
    notes: &mut Notes,
) -> Result<(), StatusError> {
    if !write.guarded || is_exempt(write.kind) {
        return Ok(());
    }
    let guards = write.api.guards.current(write.api).await?;
    if guards.mutating.is_empty() {
        return Ok(());
    }
    let asked = Asked::of(write, operation).await?;
    // Those that want to see what others change after them, and whether somebody did.
    let mut stale: Vec<(usize, bool)> = Vec::new();
    for (index, callee) in guards.mutating.iter().enumerate() {
        let before = object.clone();
        if !asked.change(callee, (0, index), object, old, again, notes).await? {
            continue;
        }
        if *object != before {
            stale.iter_mut().for_each(|(_, is_stale)| *is_stale = true);
        }
        if callee.webhook.reinvoked {
            stale.push((index, false));
        }
    }
    for (index, _) in stale.into_iter().filter(|(_, is_stale)| *is_stale) {
        if let Some(callee) = guards.mutating.get(index) {
            asked.change(callee, (1, index), object, old, again, notes).await?;
        }
    }
    Ok(())
}

/// Asks validating webhooks (I50).
///
/// # Errors
/// What the first of them that refuses says; 500 if one cannot be asked and that is not a yes.
pub(crate) async fn validate(
    write: &Write<'_>,
    operation: Operation,
    object: Option<&Object>,
    old: Option<&Object>,
    notes: &mut Notes,
) -> Result<(), StatusError> {
    if !write.guarded || is_exempt(write.kind) {
        return Ok(());
    }
    let guards = write.api.guards.current(write.api).await?;
    if guards.validating.is_empty() {
        return Ok(());
    }
    let asked = Asked::of(write, operation).await?;
    let calls = guards.validating.iter().map(|callee| asked.ask(callee, object, old, false));
    let answers = futures::future::join_all(calls).await;
    let mut refusal = None;
    for (index, (callee, answer)) in guards.validating.iter().zip(answers).enumerate() {
        match asked.settle(callee, (0, index), answer, notes) {
            Ok(_) => {}
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    refusal.map_or(Ok(()), Err)
}

/// Asks about a connection (I32): what is asked for stands in the query.
///
/// # Errors
/// As [`validate`].
pub(crate) async fn connect(api: &Api, call: &Call) -> Result<(), StatusError> {
    let Some(sub) = call.kind.subresource(&call.path.subresource) else { return Ok(()) };
    let mut options = Object::default();
    for (key, value) in call.query.pairs() {
        let value = match value {
            "true" | "1" => json!(true),
            "false" | "0" => json!(false),
            text => json!(text),
        };
        match options.0.get_mut(key) {
            Some(Value::Array(list)) => list.push(value),
            _ if key == "command" => drop(options.0.insert(key.to_owned(), json!([value]))),
            _ => drop(options.0.insert(key.to_owned(), value)),
        }
    }
    options.0.insert("apiVersion".to_owned(), json!("v1"));
    options.0.insert("kind".to_owned(), json!(sub.kind));
    let write = call.write(api, WriteOptions::default());
    validate(&write, Operation::Connect, Some(&options), None, &mut Notes::default()).await
}

/// How asking a webhook went.
enum Asking {
    /// It does not want to see this.
    Unwanted,
    /// It must not be asked: a dry run.
    Refused(StatusError),
    /// It could not be asked.
    Failed(String),
    Answered(Answer, Arc<KindInfo>),
}

/// A request, with what all webhooks are told of it.
struct Asked<'a> {
    write: &'a Write<'a>,
    operation: Operation,
    surroundings: Option<Object>,
    views: Vec<Arc<KindInfo>>,
    options: Value,
}

impl<'a> Asked<'a> {
    async fn of(write: &'a Write<'a>, operation: Operation) -> Result<Self, StatusError> {
        let Write { api, kind, namespace, .. } = *write;
        let surroundings = if namespace.is_empty() {
            None
        } else {
            lookup::one(api, "", "namespaces", "", namespace).await?
        };
        let table = api.registry.snapshot();
        let same = |row: &&Arc<KindInfo>| row.is_stored() && row.storage == kind.storage;
        let views = table.kinds().filter(same).cloned().collect();
        Ok(Self { write, operation, surroundings, views, options: options(write, operation) })
    }

    fn circumstances(&self) -> Circumstances<'_> {
        Circumstances { user: user(self.write), dry_run: self.write.options.dry_run, options: &self.options }
    }

    /// Asks one webhook, if it wants to.
    async fn ask(
        &self,
        callee: &Callee,
        object: Option<&Object>,
        old: Option<&Object>,
        may_patch: bool,
    ) -> Asking {
        let Write { api, kind, namespace, name, subresource, options, .. } = *self.write;
        let name = if name.is_empty() { object.map_or("", Object::name) } else { name };
        let asked = Request {
            kind,
            subresource,
            operation: self.operation,
            namespace,
            name,
            object,
            old,
            surroundings: self.surroundings.as_ref(),
            views: &self.views,
        };
        let webhook = &callee.webhook;
        let view = match webhook.constraints.wants(&asked) {
            Ok(Some(view)) => view,
            Ok(None) => return Asking::Unwanted,
            Err(why) => return Asking::Failed(why),
        };
        // I51: whom a condition lets through cannot be told yet, so the webhook's own policy decides.
        if !webhook.match_conditions.is_empty() {
            return Asking::Failed("matchConditions cannot be evaluated by this server yet".to_owned());
        }
        if options.dry_run && !webhook.takes_dry_runs {
            return Asking::Refused(no_dry_run(&webhook.name));
        }
        let Some(version) = webhook.version else {
            return Asking::Failed("webhook does not accept known AdmissionReview versions".to_owned());
        };
        let uid = uuid::Uuid::new_v4().to_string();
        let told = request(&asked, view, &self.circumstances());
        let viewed = |object: &Object| shown(object, view).into_value();
        let body = review(version, &uid, told, object.map(viewed), old.map(viewed));
        match call::call(api, callee, &body).await {
            Err(cause) => Asking::Failed(cause),
            Ok(bytes) => match outrigger_admission::webhook::review::read(&bytes, version, &uid, may_patch) {
                Err(cause) => Asking::Failed(cause),
                Ok(answer) => Asking::Answered(answer, Arc::new(view.clone())),
            },
        }
    }

    /// What an asking means for the request; the answer if there is one and it is a yes.
    fn settle(
        &self,
        callee: &Callee,
        (round, index): (usize, usize),
        asking: Asking,
        notes: &mut Notes,
    ) -> Result<Option<(Answer, Arc<KindInfo>)>, StatusError> {
        let webhook = &callee.webhook;
        match asking {
            Asking::Unwanted => Ok(None),
            Asking::Refused(error) => Err(error),
            Asking::Failed(cause) if webhook.fails_open => {
                tracing::warn!(
                    webhook = webhook.name,
                    cause,
                    "a webhook could not be asked, which counts as a yes"
                );
                let phase = if callee.mutates { "mutation" } else { "validating" };
                let key = format!("failed-open.{phase}.webhook.admission.k8s.io/round_{round}_index_{index}");
                notes.audit.insert(key, webhook.name.clone());
                Ok(None)
            }
            Asking::Failed(cause) => Err(failed(&webhook.name, &cause)),
            Asking::Answered(answer, view) => {
                notes.warnings.extend(answer.warnings.iter().cloned());
                for (key, text) in &answer.audit {
                    notes.audit.insert(format!("{}/{key}", webhook.name), text.clone());
                }
                if answer.allowed {
                    Ok(Some((answer, view)))
                } else {
                    Err(denial(&webhook.name, &answer.status))
                }
            }
        }
    }

    /// Has one webhook change the object; whether it was asked.
    async fn change(
        &self,
        callee: &Callee,
        turn: (usize, usize),
        object: &mut Object,
        old: Option<&Object>,
        again: &Again<'_>,
        notes: &mut Notes,
    ) -> Result<bool, StatusError> {
        let asking = self.ask(callee, Some(object), old, true).await;
        let was_asked = matches!(asking, Asking::Answered(..));
        let Some((answer, view)) = self.settle(callee, turn, asking, notes)? else { return Ok(was_asked) };
        let Some(patch) = &answer.patch else { return Ok(true) };
        let kind = self.write.kind;
        let changed = patched(&view, &shown(object, &view), patch)?;
        let decoded = codec::patched(&view, changed, Vec::new(), FieldValidation::Ignore)
            .map_err(|error| StatusError::internal(error.message))?;
        *object = shown(&decoded.object, kind);
        again(object)?;
        Ok(true)
    }
}

/// Who asks, as reviews and certificate requests name them.
pub(crate) fn user<'a>(write: &Write<'a>) -> User<'a> {
    let who = write.identity;
    User { name: &who.user, uid: &who.uid, groups: &who.groups, extra: &who.extra }
}

/// The object as a view has it. What is sent to a subresource is of a kind of its own.
fn shown(object: &Object, view: &KindInfo) -> Object {
    if object.kind() != view.kind {
        return object.clone();
    }
    to_version(object.clone(), &view.kind, &view.group, &view.version)
}

/// The options of a request as a webhook is told them.
fn options(write: &Write<'_>, operation: Operation) -> Value {
    let kind = match operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
        Operation::Connect => return Value::Null,
    };
    let mut options = json!({ "kind": kind, "apiVersion": "meta.k8s.io/v1" });
    if write.options.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    if operation != Operation::Delete {
        options["fieldManager"] = json!(write.manager);
    }
    options
}

//! One request, from headers to response: who asks, for what, may they, and then to the right verb (I1).
//!
//! This file is the order of things. Reads go to `read`, writes to `pipeline`, everything with a verb of its own to
//! `subresource`; what is about no object is in `non_resource`.

use std::sync::Arc;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use outrigger_admission::apply::ApiType;
use outrigger_admission::patch::unknown_members;
use outrigger_admission::warnings::deprecated_read;
use outrigger_admission::{DeleteOptions, Endpoint, Patch, PatchType};
use outrigger_api::status::{Details, Reason};
use outrigger_api::{KindInfo, StatusError};

use crate::auth::{Attributes, Identity, Peer, authenticate, authorize};
use crate::codec;
use crate::negotiate::{Accepted, Endpoint as Negotiated, Protobuf, negotiate};
use crate::pipeline::{self, ApplyBody, Deleted, Write, WriteOptions, Written};
use crate::present::{IncludeObject, View};
use crate::request::{Query, ResourcePath, Target, Verb, method_not_allowed};
use crate::respond::{self, Body, Layout};
use crate::server::Api;
use crate::storage::ListRequest;
use crate::{compress, guards, impersonation, non_resource, read, reviews, subresource};

/// The body of a server-side apply (F4a).
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

/// Everything about a request that was found out before its verb runs.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) identity: Identity,
    pub(crate) kind: Arc<KindInfo>,
    pub(crate) path: ResourcePath,
    pub(crate) verb: Verb,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    /// Who writes, as the record of owners names it.
    pub(crate) manager: String,
}

/// Answers one request. Failures are answers too.
pub(crate) async fn handle(api: Arc<Api>, peer: Peer, request: Request<Body>) -> Response<Body> {
    let audit_id = request.headers().get("audit-id").cloned();
    let (observed, began) = (api.metrics.begin(&api.registry, &request), api.config.clock.now().mono);
    let gzip = compress::is_wanted(request.headers());
    let answer = route(&api, peer, request).await;
    let mut response = answer.unwrap_or_else(|error| respond::status(&error, Layout::Compact));
    if let Some(guards::AuditAnnotations(notes)) = response.extensions().get()
        && !notes.is_empty()
    {
        tracing::debug!(?notes, "what admission noted");
    }
    observed.answered(response.status().as_u16(), api.config.clock.now().mono.since(began));
    if observed.is_long_running() {
        // Under way until nothing more can come.
        response = response.map(|body| respond::held_by(body, observed));
    } else if gzip {
        response = compress::gzip(response).await;
    }
    let audit_id = audit_id.unwrap_or_else(|| {
        HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).expect("a uuid is plain ASCII")
    });
    response.headers_mut().insert(HeaderName::from_static("audit-id"), audit_id);
    response
}

async fn route(api: &Arc<Api>, peer: Peer, request: Request<Body>) -> Result<Response<Body>, StatusError> {
    let identity = authenticate(api, &peer, request.headers()).await?;
    let query = Query::of(request.uri());
    let Target::Resource(path) = Target::parse(request.uri().path()) else {
        let wanted = non_resource::attributes(&request);
        let identity = impersonation::apply(api, identity, request.headers(), &wanted).await?;
        return non_resource::answer(api, &identity, request, &query).await;
    };
    let Some(kind) = api.registry.find(&path.group, &path.version, &path.resource) else {
        return Err(unknown_resource(api, &path));
    };
    let verb = path.verb(request.method(), &query)?;
    let wanted = attributes(&path, verb, &query, &kind);
    let identity = impersonation::apply(api, identity, request.headers(), &wanted).await?;
    authorize(api, &identity, &wanted).await?;
    let headers = request.headers().clone();
    let manager = field_manager(&query, &headers);
    let call = Call { identity, kind, path, verb, query, headers, manager };
    if call.path.subresource.is_empty() || is_plain(&call) {
        main_resource(api, &call, request).await
    } else {
        subresource::answer(api, &call, request).await
    }
}

/// Subresources that are views of the object itself (H1, H3, H42).
fn is_plain(call: &Call) -> bool {
    matches!(
        call.path.subresource.as_str(),
        "status" | "ephemeralcontainers" | "resize" | "finalize" | "approval"
    ) && call.kind.subresource(&call.path.subresource).is_some()
}

/// A4, A44.
fn unknown_resource(api: &Api, path: &ResourcePath) -> StatusError {
    let table = api.registry.snapshot();
    let known = table.group(&path.group).is_some();
    let message = "the server could not find the requested resource";
    let mut error = StatusError::new(404, Reason::NotFound, message);
    error.details = Some(Details::default());
    if !known {
        tracing::debug!(group = path.group, "no such API group");
    }
    error
}

/// I17, B2.
fn attributes(path: &ResourcePath, verb: Verb, query: &Query, kind: &KindInfo) -> Attributes {
    let mut name = path.name.clone();
    let mut node_selector = String::new();
    if name.is_empty() && matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection) {
        let selector = outrigger_api::selector::FieldSelector::parse(query.get("fieldSelector")).ok();
        let exact = |field: &str| selector.as_ref().and_then(|it| it.exact(field)).unwrap_or_default();
        name = exact("metadata.name").to_owned();
        let of_node = if kind.plural == "pods" { "spec.nodeName" } else { "nodeName" };
        node_selector = exact(of_node).to_owned();
    }
    // H19: whatever the method, these are made.
    let connects = matches!(path.subresource.as_str(), "exec" | "attach" | "portforward");
    let verb = if connects && kind.plural == "pods" { "create" } else { verb.word() };
    Attributes {
        verb: verb.to_owned(),
        group: path.group.clone(),
        resource: path.resource.clone(),
        subresource: path.subresource.clone(),
        namespace: path.namespace.clone(),
        name,
        node_selector,
        path: None,
    }
}

/// Verbs on objects and their views.
async fn main_resource(
    api: &Arc<Api>,
    call: &Call,
    request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    let Call { kind, path, verb, .. } = call;
    check_shape(call, request.method())?;
    if !kind.is_stored() {
        return reviews::answer(api, call, request).await;
    }
    if matches!(verb, Verb::Get | Verb::List | Verb::Watch) {
        let mut response = match verb {
            Verb::Get => read::get(api, call).await?,
            Verb::List => read::list(api, call).await?,
            _ => read::watch(api, call, request).await?,
        };
        let warnings: Vec<String> = deprecated_read(kind).map(str::to_owned).into_iter().collect();
        respond::warn(&mut response, &warnings);
        return Ok(response);
    }
    match verb {
        Verb::Get | Verb::List | Verb::Watch => Err(method_not_allowed()),
        Verb::Create => create(api, call, request).await,
        Verb::Update | Verb::Patch if path.name.is_empty() => Err(method_not_allowed()),
        Verb::Update => update(api, call, request).await,
        Verb::Patch => patch(api, call, request).await,
        Verb::Delete => delete(api, call, request).await,
        Verb::DeleteCollection => delete_collection(api, call, request).await,
    }
}

/// B16, and verbs the kind or its view does not have.
fn check_shape(call: &Call, method: &Method) -> Result<(), StatusError> {
    let Call { kind, path, verb, .. } = call;
    let supported = match kind.subresource(&path.subresource) {
        Some(sub) => sub.verbs.iter().any(|word| word == verb.word()),
        None => kind.verbs.words().contains(&verb.word()),
    };
    let misplaced = kind.namespaced
        && path.namespace.is_empty()
        && (!path.name.is_empty() || method == Method::POST)
        && kind.is_stored();
    let named_post = method == Method::POST && !path.name.is_empty();
    if !supported || misplaced || named_post { Err(method_not_allowed()) } else { Ok(()) }
}

impl Call {
    /// What the client wants the answer in.
    pub(crate) fn accepted(&self, endpoint: Negotiated) -> Result<Accepted, StatusError> {
        negotiate(&self.headers, &self.query, endpoint, Protobuf::of(&self.kind))
    }

    /// The view a write or read of one object answers with.
    pub(crate) fn view(&self, api: &Api, endpoint: Negotiated) -> Result<View<'_>, StatusError> {
        let accepted = self.accepted(endpoint)?;
        let include = match accepted.shape {
            crate::negotiate::Shape::Table(_) => IncludeObject::parse(self.query.get("includeObject"))?,
            _ => IncludeObject::Metadata,
        };
        Ok(View { kind: &self.kind, accepted, include, now: api.now() })
    }

    /// What a list, watch or deletecollection asks for.
    pub(crate) fn list_request(&self) -> Result<ListRequest, StatusError> {
        let limit = self.query.int("limit")?.unwrap_or(0);
        let text = |key: &str| self.query.get(key).to_owned();
        Ok(ListRequest {
            namespace: if self.kind.namespaced { self.path.namespace.clone() } else { String::new() },
            selection: self.selection()?,
            limit: usize::try_from(limit).unwrap_or(0),
            continue_token: text("continue"),
            resource_version: text("resourceVersion"),
            resource_version_match: text("resourceVersionMatch"),
        })
    }

    pub(crate) fn selection(&self) -> Result<crate::storage::Selection, StatusError> {
        let mut fields = self.query.get("fieldSelector").to_owned();
        if self.path.watch_prefix && !self.path.name.is_empty() {
            // B3, E22
            let own = format!("metadata.name={}", self.path.name);
            let other = outrigger_api::selector::FieldSelector::parse(&fields).ok();
            if other.is_some_and(|it| it.exact("metadata.name").is_some_and(|name| name != self.path.name)) {
                return Err(StatusError::bad_request(
                    "fieldSelector metadata.name doesn't match requested name",
                ));
            }
            fields = if fields.is_empty() { own } else { format!("{fields},{own}") };
        }
        crate::storage::Selection::parse(&self.kind, self.query.get("labelSelector"), &fields)
    }

    /// Where this call's write goes.
    pub(crate) fn write<'a>(&'a self, api: &'a Api, options: WriteOptions) -> Write<'a> {
        let endpoint = Endpoint::from_subresource(&self.path.subresource).unwrap_or(Endpoint::Main);
        let namespace = if self.kind.namespaced { self.path.namespace.as_str() } else { "" };
        Write {
            api,
            kind: &self.kind,
            namespace,
            name: &self.path.name,
            endpoint,
            manager: &self.manager,
            subresource: &self.path.subresource,
            identity: &self.identity,
            guarded: true,
            options,
        }
    }
}

async fn create(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Response<Body>, StatusError> {
    let view = call.view(api, Negotiated::Object)?;
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let bytes = codec::read(request.into_body()).await?;
    let mut decoded = codec::object(&call.kind, &call.headers, &bytes, options.validation)?;
    let write = call.write(api, options);
    codec::agree_with_url(&call.kind, &mut decoded.object, write.namespace, "")?;
    let written = pipeline::create(&write, decoded.object).await?;
    Ok(answer(&view, written, decoded.warnings))
}

async fn update(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Response<Body>, StatusError> {
    let view = call.view(api, Negotiated::Object)?;
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let bytes = codec::read(request.into_body()).await?;
    let mut decoded = codec::object(&call.kind, &call.headers, &bytes, options.validation)?;
    let write = call.write(api, options);
    codec::agree_with_url(&call.kind, &mut decoded.object, write.namespace, write.name)?;
    let written = pipeline::put(&write, decoded.object).await?;
    Ok(answer(&view, written, decoded.warnings))
}

async fn patch(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Response<Body>, StatusError> {
    let view = call.view(api, Negotiated::Object)?;
    let format = match codec::media_type(&call.headers).as_deref() {
        Some(APPLY) => return apply(api, call, &view, request).await,
        Some("application/json-patch+json") => PatchType::Json,
        Some("application/merge-patch+json") => PatchType::Merge,
        Some("application/strategic-merge-patch+json") if !call.kind.custom => PatchType::Strategic,
        _ => {
            let mut error =
                StatusError::new(415, Reason::UnsupportedMediaType, "415: Unsupported Media Type");
            error.details = Some(Details::default());
            return Err(error);
        }
    };
    if call.query.find("force").is_some() {
        let finding = "Forbidden: may not be specified for non-apply patch";
        return Err(codec::invalid(
            "PatchOptions",
            "meta.k8s.io",
            "",
            "force",
            "FieldValueForbidden",
            finding,
        ));
    }
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    let bytes = codec::read(request.into_body()).await?;
    let patch = Patch::parse(format, &bytes)?;
    let strange = if format == PatchType::Json { unknown_members(&bytes) } else { Vec::new() };
    let written = pipeline::patch(&call.write(api, options), &patch, &strange).await?;
    Ok(answer(&view, written, Vec::new()))
}

/// Server-side apply (F4).
async fn apply(
    api: &Arc<Api>,
    call: &Call,
    view: &View<'_>,
    request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    pipeline::require_manager(&call.query)?;
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    let bytes = codec::read(request.into_body()).await?;
    let body =
        ApplyBody::parse(ApiType::of(&call.kind), &bytes, call.query.flag("force"), options.validation)?;
    let write = call.write(api, options);
    for _ in 0..pipeline::RACES {
        if let Some(written) = pipeline::apply(&write, &body).await? {
            return Ok(answer(view, written, Vec::new()));
        }
        let create = Attributes {
            verb: Verb::Create.word().to_owned(),
            ..attributes(&call.path, call.verb, &call.query, &call.kind)
        };
        authorize(api, &call.identity, &create).await?;
        match pipeline::apply_new(&write, &body).await {
            // Somebody else made it meanwhile: it is there to be applied to.
            Err(error) if error.is(Reason::AlreadyExists) && !options.dry_run => {}
            written => return Ok(answer(view, written?, Vec::new())),
        }
    }
    Err(pipeline::contended(&call.kind, &call.path.name))
}

/// F5a: the parameter, or the program's name at the front of its User-Agent.
fn field_manager(query: &Query, headers: &HeaderMap) -> String {
    let named = query.get("fieldManager");
    if !named.is_empty() {
        return named.to_owned();
    }
    let agent =
        headers.get(http::header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let program = agent.split('/').next().unwrap_or_default();
    program.chars().filter(|c| !c.is_control()).take(pipeline::MANAGER_LIMIT).collect()
}

/// A written object as a response (B22, D15).
pub(crate) fn answer(view: &View<'_>, written: Written, mut warnings: Vec<String>) -> Response<Body> {
    warnings.extend(written.warnings);
    let mut response = view.object(if written.created { 201 } else { 200 }, &written.stored);
    respond::warn(&mut response, &warnings);
    response.extensions_mut().insert(guards::AuditAnnotations(written.audit));
    response
}

/// D17: from the body, or with an empty one from the query.
async fn delete_options(call: &Call, request: Request<Body>) -> Result<DeleteOptions, StatusError> {
    let bytes = codec::read(request.into_body()).await?;
    if bytes.is_empty() {
        return DeleteOptions::from_query(call.query.pairs());
    }
    let parsed = codec::tree(&call.headers, &bytes, "DeleteOptions", codec::Formats::of(&call.kind))?;
    let mut options = DeleteOptions::from_body(&parsed.value)?;
    options.dry_run |= call.query.find("dryRun").is_some_and(|word| !word.is_empty());
    Ok(options)
}

async fn delete(api: &Arc<Api>, call: &Call, request: Request<Body>) -> Result<Response<Body>, StatusError> {
    let view = call.view(api, Negotiated::Object)?;
    let options = delete_options(call, request).await?;
    let write = call.write(api, WriteOptions { dry_run: options.dry_run, ..WriteOptions::default() });
    let deleted = pipeline::delete(&write, &options).await?;
    deletion(&view, &deleted)
}

/// D22.
pub(crate) fn deletion(view: &View<'_>, deleted: &Deleted) -> Result<Response<Body>, StatusError> {
    let mut response = if deleted.gone && !view.kind.strategy.returns_deleted {
        let object = deleted.last.object()?;
        let status = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": details(view.kind, &object),
        });
        respond::value(200, view.accepted.layout, &status)
    } else {
        view.object(200, &deleted.last)
    };
    respond::warn(&mut response, &deleted.warnings);
    response.extensions_mut().insert(guards::AuditAnnotations(deleted.audit.clone()));
    Ok(response)
}

fn details(kind: &KindInfo, object: &outrigger_api::Object) -> Details {
    Details {
        name: object.name().to_owned(),
        group: kind.group.to_string(),
        kind: kind.plural.to_string(),
        uid: object.uid().to_owned(),
        ..Details::default()
    }
}

async fn delete_collection(
    api: &Arc<Api>,
    call: &Call,
    request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    let view = call.view(api, Negotiated::List)?;
    let list = call.list_request()?;
    let options = delete_options(call, request).await?;
    let write = call.write(api, WriteOptions { dry_run: options.dry_run, ..WriteOptions::default() });
    let (page, warnings) = pipeline::delete_collection(&write, &list, &options).await?;
    let mut response = view.page(&page)?;
    respond::warn(&mut response, &warnings);
    Ok(response)
}

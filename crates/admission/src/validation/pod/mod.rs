//! Pods and Pod templates (R1.13-R1.51, K9-K11).
//!
//! Checks run in the order upstream makes them, because one answer lists all findings and people compare it. Start
//! at [`spec`]: volumes, containers, pod-level resources, then what concerns the whole Pod.

mod containers;
mod env;
mod ephemeral;
mod host;
mod mounts;
mod probes;
mod resize;
mod resources;
mod scheduling;
mod security;
mod status;
#[cfg(test)]
mod tests;
mod update;
mod volumes;

use outrigger_api::Object;
use serde_json::Value;

use super::ABSENT;
use crate::field::Findings;
use crate::tree;

pub(super) use ephemeral::update as ephemeral_update;
pub(super) use resize::update as resize_update;
pub(super) use scheduling::node_selector;
pub(super) use status::update as status_update;
pub(super) use update::update;

/// A Pod spec and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    /// The spec.
    pub spec: &'a Value,
    /// Its path: `spec`, or `spec.template.spec`.
    pub base: &'a str,
    /// Whether it is only a template: what a Pod's defaults would have completed is not asked for.
    pub template: bool,
    /// Whether the Pod is stored already.
    pub stored: bool,
}

impl Scope<'_> {
    /// The path of a member.
    fn at(&self, member: &str) -> String {
        format!("{}.{member}", self.base)
    }

    /// Seconds the Pod has to stop.
    fn grace(&self) -> i64 {
        tree::int(self.spec, "terminationGracePeriodSeconds").unwrap_or(30)
    }

    /// Whether the Pod has a user namespace of its own.
    fn has_own_users(&self) -> bool {
        self.spec.get("hostUsers").and_then(Value::as_bool) == Some(false)
    }
}

/// A new Pod.
pub(super) fn create(pod: &Object, findings: &mut Findings) {
    let of =
        Scope { spec: pod.0.get("spec").unwrap_or(ABSENT), base: "spec", template: false, stored: false };
    spec(&of, findings);
    if !tree::list(of.spec, "ephemeralContainers").is_empty() {
        findings.forbidden("spec.ephemeralContainers", "cannot be set on create"); // R1.47
    }
    let gated = !tree::list(of.spec, "schedulingGates").is_empty();
    if gated && !tree::text(of.spec, "nodeName").is_empty() {
        findings.forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared");
    }
}

/// The template of a workload, at `path`.
pub(super) fn template(template: &Value, path: &str, findings: &mut Findings) {
    let metadata = template.get("metadata").unwrap_or(ABSENT);
    super::meta::labels(metadata, &format!("{path}.labels"), findings);
    super::meta::annotations(metadata, &format!("{path}.annotations"), findings);
    let base = format!("{path}.spec");
    let of =
        Scope { spec: template.get("spec").unwrap_or(ABSENT), base: &base, template: true, stored: false };
    spec(&of, findings);
    if !tree::list(of.spec, "ephemeralContainers").is_empty() {
        let field = of.at("ephemeralContainers");
        findings.forbidden(&field, "ephemeral containers not allowed in pod template"); // R1.47
    }
}

/// Everything that holds for a Pod spec by itself.
fn spec(of: &Scope<'_>, findings: &mut Findings) {
    let volumes = volumes::check(of, findings);
    containers::check(of, &volumes, findings);
    resources::of_pod(of, findings);
    host::ports(of, findings);
    host::policies(of, findings);
    security::of_pod(of, findings);
    scheduling::affinity(of, findings);
    host::dns_config(of, findings);
    scheduling::rest(of, findings);
    host::names(of, findings);
}

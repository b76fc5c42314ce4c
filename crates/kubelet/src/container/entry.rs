//! Every container of a Pod under one type, whichever list it stands in.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod};
use outrigger_pod_lifecycle::{Role, init_role};

/// One container of the spec with its role. Ephemeral ones are shown as containers that lack what they may not have.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    /// Which list it stands in, and sidecar or not.
    pub role: Role,
    /// Its definition.
    pub container: Cow<'a, Container>,
    /// `targetContainerName` (R14.3).
    pub target: Option<String>,
}

impl Entry<'_> {
    /// The same for a task that outlives the Pod object at hand.
    pub(crate) fn into_owned(self) -> Entry<'static> {
        Entry { role: self.role, container: Cow::Owned(self.container.into_owned()), target: self.target }
    }
}

/// The container called `name`.
pub(crate) fn find<'a>(pod: &'a Pod, name: &str) -> Option<Entry<'a>> {
    entries(pod).find(|entry| entry.container.name == name)
}

/// All of them: init entries, app containers, ephemeral ones.
pub(crate) fn entries(pod: &Pod) -> impl Iterator<Item = Entry<'_>> {
    let spec = pod.spec.as_ref();
    let init = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let app = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let ephemeral = spec.and_then(|spec| spec.ephemeral_containers.as_deref()).unwrap_or_default();
    let init = init.iter().map(|c| Entry { role: init_role(c), container: Cow::Borrowed(c), target: None });
    let app = app.iter().map(|c| Entry { role: Role::App, container: Cow::Borrowed(c), target: None });
    init.chain(app).chain(ephemeral.iter().map(from_ephemeral))
}

fn from_ephemeral(ephemeral: &EphemeralContainer) -> Entry<'_> {
    let e = ephemeral.clone();
    let container = Container {
        name: e.name,
        image: e.image,
        image_pull_policy: e.image_pull_policy,
        command: e.command,
        args: e.args,
        env: e.env,
        env_from: e.env_from,
        working_dir: e.working_dir,
        volume_mounts: e.volume_mounts,
        volume_devices: e.volume_devices,
        security_context: e.security_context,
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        tty: e.tty,
        termination_message_path: e.termination_message_path,
        termination_message_policy: e.termination_message_policy,
        ..Container::default()
    };
    Entry {
        role: Role::Ephemeral,
        container: Cow::Owned(container),
        target: e.target_container_name.filter(|name| !name.is_empty()),
    }
}

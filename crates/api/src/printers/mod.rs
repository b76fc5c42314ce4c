//! What `kubectl get` shows of each kind: columns and cells of server-side Tables (section G).
//!
//! A kind is one entry in [`table`]: its columns, and a function from object to cells. Kinds without an entry get the
//! default of G6. Start at [`columns`] and [`cells`].

mod autoscaler;
mod cluster;
mod devices;
mod network;
mod node;
mod pod;
mod policy;
mod tree;
mod workloads;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::KindInfo;
use tree::Tree;

/// One column of a Table (G4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// `Restarts`.
    pub name: &'static str,
    /// `string`, `integer`, `boolean`, `date`.
    pub kind: &'static str,
    /// `name` for the name column.
    pub format: &'static str,
    /// For people.
    pub description: &'static str,
    /// Above 0: shown only when asked for more (`-o wide`).
    pub priority: i32,
}

/// How a kind is printed.
#[derive(Clone, Copy)]
struct Printer {
    columns: &'static [Column],
    /// The cells after the name.
    cells: fn(Tree<'_>, Timestamp) -> Vec<Value>,
}

/// The columns of a kind.
pub fn columns(kind: &KindInfo) -> &'static [Column] {
    printer(kind).columns
}

/// The cells of one object, one for each column.
pub fn cells(kind: &KindInfo, object: &Value, now: Timestamp) -> Vec<Value> {
    let object = Tree(object);
    let printer = printer(kind);
    let mut cells = (printer.cells)(object, now);
    // Events alone do not begin with their name.
    if printer.columns.first() == Some(&NAME) {
        cells.insert(0, json!(object.text("metadata.name")));
    }
    cells
}

const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: "Name must be unique within a namespace.",
    priority: 0,
};
const AGE: Column = text("Age");
const CONTAINERS: Column = text("Containers").wide();
const IMAGES: Column = text("Images").wide();
const SELECTOR: Column = text("Selector").wide();

const fn text(name: &'static str) -> Column {
    Column { name, kind: "string", format: "", description: "", priority: 0 }
}

const fn integer(name: &'static str) -> Column {
    Column { kind: "integer", ..text(name) }
}

const fn boolean(name: &'static str) -> Column {
    Column { kind: "boolean", ..text(name) }
}

impl Column {
    const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }
}

/// G6.
const DEFAULT: Printer = Printer {
    columns: &[NAME, Column { kind: "date", ..text("Created At") }],
    cells: |object, _| vec![json!(object.text("metadata.creationTimestamp"))],
};

const NAME_AND_AGE: Printer = Printer { columns: &[NAME, AGE], cells: |object, now| vec![object.age(now)] };

fn printer(kind: &KindInfo) -> Printer {
    if kind.custom { DEFAULT } else { table(&kind.group, &kind.kind).unwrap_or(DEFAULT) }
}

/// G3.
fn table(group: &str, kind: &str) -> Option<Printer> {
    Some(match (group, kind) {
        ("", "Pod") => pod::POD,
        ("", "Node") => node::NODE,
        ("", "Event") => cluster::CORE_EVENT,
        ("events.k8s.io", "Event") => cluster::EVENT,
        ("", "Namespace") => cluster::NAMESPACE,
        ("", "ConfigMap") => cluster::CONFIG_MAP,
        ("", "Secret") => cluster::SECRET,
        ("", "ServiceAccount") => NAME_AND_AGE,
        ("", "ResourceQuota") => cluster::RESOURCE_QUOTA,
        ("", "PersistentVolume") => cluster::PERSISTENT_VOLUME,
        ("", "PersistentVolumeClaim") => cluster::PERSISTENT_VOLUME_CLAIM,
        ("", "ComponentStatus") => cluster::COMPONENT_STATUS,
        ("", "ReplicationController") | ("apps", "ReplicaSet") => workloads::REPLICA_SET,
        ("", "PodTemplate") => workloads::POD_TEMPLATE,
        ("", "Service") => network::SERVICE,
        ("", "Endpoints") => network::ENDPOINTS,
        ("discovery.k8s.io", "EndpointSlice") => network::ENDPOINT_SLICE,
        ("networking.k8s.io", "Ingress") => network::INGRESS,
        ("networking.k8s.io", "IngressClass") => network::INGRESS_CLASS,
        ("networking.k8s.io", "NetworkPolicy") => network::NETWORK_POLICY,
        ("networking.k8s.io", "ServiceCIDR") => network::SERVICE_CIDR,
        ("networking.k8s.io", "IPAddress") => network::IP_ADDRESS,
        ("apps", "Deployment") => workloads::DEPLOYMENT,
        ("apps", "StatefulSet") => workloads::STATEFUL_SET,
        ("apps", "DaemonSet") => workloads::DAEMON_SET,
        ("apps", "ControllerRevision") => workloads::CONTROLLER_REVISION,
        ("batch", "Job") => workloads::JOB,
        ("batch", "CronJob") => workloads::CRON_JOB,
        ("policy", "PodDisruptionBudget") => workloads::POD_DISRUPTION_BUDGET,
        ("scheduling.k8s.io", "PriorityClass") => cluster::PRIORITY_CLASS,
        ("node.k8s.io", "RuntimeClass") => cluster::RUNTIME_CLASS,
        ("coordination.k8s.io", "Lease") => cluster::LEASE,
        ("storage.k8s.io", "StorageClass") => cluster::STORAGE_CLASS,
        ("storage.k8s.io", "CSINode") => cluster::CSI_NODE,
        ("storage.k8s.io", "CSIDriver") => devices::CSI_DRIVER,
        ("storage.k8s.io", "VolumeAttachment") => devices::VOLUME_ATTACHMENT,
        ("storage.k8s.io", "VolumeAttributesClass") => devices::VOLUME_ATTRIBUTES_CLASS,
        ("resource.k8s.io", "ResourceClaim") => devices::RESOURCE_CLAIM,
        ("resource.k8s.io", "ResourceSlice") => devices::RESOURCE_SLICE,
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler::AUTOSCALER,
        ("certificates.k8s.io", "CertificateSigningRequest") => policy::CERTIFICATE_SIGNING_REQUEST,
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => policy::FLOW_SCHEMA,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => policy::PRIORITY_LEVEL,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => policy::VALIDATING_POLICY,
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => policy::MUTATING_POLICY,
        (
            "admissionregistration.k8s.io",
            "MutatingAdmissionPolicyBinding" | "ValidatingAdmissionPolicyBinding",
        ) => policy::POLICY_BINDING,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => cluster::ROLE_BINDING,
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => cluster::WEBHOOKS,
        ("apiregistration.k8s.io", "APIService") => cluster::API_SERVICE,
        ("resource.k8s.io", "DeviceClass" | "ResourceClaimTemplate") => NAME_AND_AGE,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;

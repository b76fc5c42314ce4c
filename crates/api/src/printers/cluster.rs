//! Everything that neither runs nor connects Pods: configuration, storage, events, access.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::tree::Tree;
use super::{AGE, NAME, Printer, boolean, integer, text};
use crate::age::age;

pub(super) const NAMESPACE: Printer = Printer {
    columns: &[NAME, text("Status"), AGE],
    cells: |namespace, now| vec![json!(namespace.text("status.phase")), namespace.age(now)],
};

pub(super) const CONFIG_MAP: Printer = Printer {
    columns: &[NAME, integer("Data"), AGE],
    cells: |map, now| vec![json!(map.count("data") + map.count("binaryData")), map.age(now)],
};

pub(super) const SECRET: Printer = Printer {
    columns: &[NAME, text("Type"), integer("Data"), AGE],
    cells: |secret, now| vec![json!(secret.text("type")), json!(secret.count("data")), secret.age(now)],
};

pub(super) const RESOURCE_QUOTA: Printer = Printer {
    columns: &[NAME, text("Request"), text("Limit"), AGE],
    cells: |quota, now| {
        let print = |limits: bool| {
            let of = quota.members("status.hard").filter(|(name, _)| name.starts_with("limits.") == limits);
            let used = quota.at("status.used");
            let text = of.map(|(name, hard)| {
                let hard = hard.0.as_str().unwrap_or_default();
                format!("{name}: {}/{hard}", used.member(name).0.as_str().unwrap_or("0"))
            });
            json!(text.collect::<Vec<_>>().join(", "))
        };
        vec![print(false), print(true), quota.age(now)]
    },
};

pub(super) const COMPONENT_STATUS: Printer = Printer {
    columns: &[NAME, text("Status"), text("Message"), text("Error")],
    cells: |component, _| {
        let condition = component.list("conditions").find(|it| it.text("type") == "Healthy");
        let text = |member: &str| condition.map_or("", |it| it.text(member)).to_owned();
        let status = match text("status").as_str() {
            "True" => "Healthy",
            "False" => "Unhealthy",
            _ => "Unknown",
        };
        vec![json!(status), json!(text("message")), json!(text("error"))]
    },
};

pub(super) const PERSISTENT_VOLUME: Printer = Printer {
    columns: &[
        NAME,
        text("Capacity"),
        text("Access Modes"),
        text("Reclaim Policy"),
        text("Status"),
        text("Claim"),
        text("StorageClass"),
        text("VolumeAttributesClass"),
        text("Reason"),
        AGE,
        text("VolumeMode").wide(),
    ],
    cells: |volume, now| {
        let claim = volume.at("spec.claimRef");
        let claim = if claim.is_null() {
            String::new()
        } else {
            format!("{}/{}", claim.text("namespace"), claim.text("name"))
        };
        vec![
            json!(volume.text("spec.capacity.storage")),
            json!(access_modes(volume.at("spec"))),
            json!(volume.text("spec.persistentVolumeReclaimPolicy")),
            json!(phase(volume)),
            json!(claim),
            json!(storage_class(volume)),
            json!(volume.text_or("spec.volumeAttributesClassName", "<unset>")),
            json!(volume.text("status.reason")),
            volume.age(now),
            json!(volume.text_or("spec.volumeMode", "<unset>")),
        ]
    },
};

pub(super) const PERSISTENT_VOLUME_CLAIM: Printer = Printer {
    columns: &[
        NAME,
        text("Status"),
        text("Volume"),
        text("Capacity"),
        text("Access Modes"),
        text("StorageClass"),
        text("VolumeAttributesClass"),
        AGE,
        text("VolumeMode").wide(),
    ],
    cells: |claim, now| {
        let bound = !claim.text("spec.volumeName").is_empty();
        let if_bound = |text: String| if bound { text } else { String::new() };
        vec![
            json!(phase(claim)),
            json!(claim.text("spec.volumeName")),
            json!(if_bound(claim.text("status.capacity.storage").to_owned())),
            json!(if_bound(access_modes(claim.at("status")))),
            json!(storage_class(claim)),
            json!(claim.text_or("spec.volumeAttributesClassName", "<unset>")),
            claim.age(now),
            json!(claim.text_or("spec.volumeMode", "<unset>")),
        ]
    },
};

/// G20.
fn phase(object: Tree<'_>) -> String {
    let deleting = !object.at("metadata.deletionTimestamp").is_null();
    if deleting { "Terminating".to_owned() } else { object.text("status.phase").to_owned() }
}

fn access_modes(of: Tree<'_>) -> String {
    let words = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| of.list("accessModes").any(|one| one.0 == mode);
    words.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

fn storage_class(object: Tree<'_>) -> String {
    let annotation =
        object.at("metadata.annotations").member("volume.beta.kubernetes.io/storage-class").0.as_str();
    annotation.unwrap_or(object.text("spec.storageClassName")).to_owned()
}

pub(super) const STORAGE_CLASS: Printer = Printer {
    columns: &[
        NAME,
        text("Provisioner"),
        text("ReclaimPolicy"),
        text("VolumeBindingMode"),
        boolean("AllowVolumeExpansion"),
        AGE,
    ],
    cells: |class, now| {
        vec![
            json!(class.text("provisioner")),
            json!(class.text_or("reclaimPolicy", "Delete")),
            json!(class.text_or("volumeBindingMode", "Immediate")),
            json!(class.flag("allowVolumeExpansion")),
            class.age(now),
        ]
    },
};

pub(super) const CSI_NODE: Printer = Printer {
    columns: &[NAME, integer("Drivers"), AGE],
    cells: |node, now| vec![json!(node.count("spec.drivers")), node.age(now)],
};

pub(super) const PRIORITY_CLASS: Printer = Printer {
    columns: &[NAME, integer("Value"), boolean("Global-Default"), AGE, text("PreemptionPolicy")],
    cells: |class, now| {
        vec![
            json!(class.int("value")),
            json!(class.flag("globalDefault")),
            class.age(now),
            json!(class.text_or("preemptionPolicy", "PreemptLowerPriority")),
        ]
    },
};

pub(super) const RUNTIME_CLASS: Printer = Printer {
    columns: &[NAME, text("Handler"), AGE],
    cells: |class, now| vec![json!(class.text("handler")), class.age(now)],
};

pub(super) const LEASE: Printer = Printer {
    columns: &[NAME, text("Holder"), AGE],
    cells: |lease, now| vec![json!(lease.text("spec.holderIdentity")), lease.age(now)],
};

pub(super) const WEBHOOKS: Printer = Printer {
    columns: &[NAME, integer("Webhooks"), AGE],
    cells: |hooks, now| vec![json!(hooks.count("webhooks")), hooks.age(now)],
};

pub(super) const API_SERVICE: Printer = Printer {
    columns: &[NAME, text("Service"), text("Available"), AGE],
    cells: |service, now| {
        let backend = service.at("spec.service");
        let backend = if backend.is_null() {
            "Local".to_owned()
        } else {
            format!("{}/{}", backend.text("namespace"), backend.text("name"))
        };
        let available = match service.condition("Available") {
            Some(condition) if condition.text("status") == "True" => "True".to_owned(),
            Some(condition) => format!("{} ({})", condition.text("status"), condition.text("reason")),
            None => "Unknown".to_owned(),
        };
        vec![json!(backend), json!(available), service.age(now)]
    },
};

pub(super) const ROLE_BINDING: Printer = Printer {
    columns: &[
        NAME,
        text("Role"),
        AGE,
        text("Users").wide(),
        text("Groups").wide(),
        text("ServiceAccounts").wide(),
    ],
    cells: |binding, now| {
        let subjects = |kind: &'static str| {
            let of = binding.list("subjects").filter(move |subject| subject.text("kind") == kind);
            let name = |subject: Tree<'_>| match (kind, subject.text("namespace")) {
                ("ServiceAccount", namespace) => format!("{namespace}/{}", subject.text("name")),
                _ => subject.text("name").to_owned(),
            };
            json!(of.map(name).collect::<Vec<_>>().join(", "))
        };
        let role = binding.at("roleRef");
        vec![
            json!(format!("{}/{}", role.text("kind"), role.text("name"))),
            binding.age(now),
            subjects("User"),
            subjects("Group"),
            subjects("ServiceAccount"),
        ]
    },
};

const EVENT_COLUMNS: &[super::Column] = &[
    text("Last Seen"),
    text("Type"),
    text("Reason"),
    text("Object"),
    text("Subobject").wide(),
    text("Source").wide(),
    text("Message"),
    text("First Seen").wide(),
    integer("Count").wide(),
    super::Column { format: "name", ..text("Name").wide() },
];

pub(super) const CORE_EVENT: Printer = Printer { columns: EVENT_COLUMNS, cells: core_event };
pub(super) const EVENT: Printer = Printer { columns: EVENT_COLUMNS, cells: new_event };

fn core_event(event: Tree<'_>, now: Timestamp) -> Vec<Value> {
    let names = Names {
        object: "involvedObject",
        message: "message",
        component: "reportingComponent",
        source: "source",
        first: "firstTimestamp",
        last: "lastTimestamp",
        count: "count",
    };
    event_cells(event, &names, now)
}

fn new_event(event: Tree<'_>, now: Timestamp) -> Vec<Value> {
    let names = Names {
        object: "regarding",
        message: "note",
        component: "reportingController",
        source: "deprecatedSource",
        first: "deprecatedFirstTimestamp",
        last: "deprecatedLastTimestamp",
        count: "deprecatedCount",
    };
    event_cells(event, &names, now)
}

/// What the members are called in one of the two Event kinds.
struct Names {
    object: &'static str,
    message: &'static str,
    component: &'static str,
    source: &'static str,
    first: &'static str,
    last: &'static str,
    count: &'static str,
}

fn event_cells(event: Tree<'_>, names: &Names, now: Timestamp) -> Vec<Value> {
    let first = event.time(names.first).or(event.time("eventTime"));
    let mut last = event.time(names.last).or(first);
    let mut count = event.int(names.count).max(1);
    if !event.at("series").is_null() {
        last = event.time("series.lastObservedTime").or(last);
        count = event.int("series.count");
    }
    let object = event.at(names.object);
    let kind = object.text("kind").to_ascii_lowercase();
    let about = if kind.is_empty() {
        object.text("name").to_owned()
    } else {
        format!("{kind}/{}", object.text("name"))
    };
    let source = event.at(names.source);
    let mut from = source.text_or("component", event.text(names.component)).to_owned();
    let host = source.text_or("host", event.text("reportingInstance"));
    if !host.is_empty() && host != from {
        from = format!("{from}, {host}");
    }
    vec![
        json!(age(last, now)),
        json!(event.text("type")),
        json!(event.text("reason")),
        json!(about),
        json!(object.text("fieldPath")),
        json!(from),
        json!(event.text(names.message).trim()),
        json!(age(first, now)),
        json!(count),
        json!(event.text("metadata.name")),
    ]
}

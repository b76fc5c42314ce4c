//! Workloads: what keeps Pods running (G12, G13, G16).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::tree::Tree;
use super::{AGE, CONTAINERS, IMAGES, NAME, Printer, SELECTOR, integer, text};
use crate::age::{age, duration};

pub(super) const REPLICA_SET: Printer = Printer {
    columns: &[
        NAME,
        integer("Desired"),
        integer("Current"),
        integer("Ready"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |object, now| {
        let [names, images] = object.containers("spec.template.spec");
        // A ReplicationController's selector is a plain set of labels.
        let plain = object.at("spec.selector.matchLabels").is_null()
            && object.at("spec.selector.matchExpressions").is_null();
        let selector = if plain {
            object.label_set("spec.selector")
        } else {
            object.selector("spec.selector", "<none>")
        };
        vec![
            json!(object.int("spec.replicas")),
            json!(object.int("status.replicas")),
            json!(object.int("status.readyReplicas")),
            object.age(now),
            names,
            images,
            json!(selector),
        ]
    },
};

pub(super) const POD_TEMPLATE: Printer = Printer {
    columns: &[NAME, text("Containers"), text("Images"), text("Pod Labels")],
    cells: |object, _| {
        let [names, images] = object.containers("template.spec");
        vec![names, images, json!(object.label_set("template.metadata.labels"))]
    },
};

pub(super) const DEPLOYMENT: Printer = Printer {
    columns: &[
        NAME,
        text("Ready"),
        integer("Up-to-date"),
        integer("Available"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |object, now| {
        let [names, images] = object.containers("spec.template.spec");
        vec![
            json!(format!("{}/{}", object.int("status.readyReplicas"), object.int("spec.replicas"))),
            json!(object.int("status.updatedReplicas")),
            json!(object.int("status.availableReplicas")),
            object.age(now),
            names,
            images,
            json!(object.selector_or("spec.selector", "", "<invalid>")),
        ]
    },
};

pub(super) const STATEFUL_SET: Printer = Printer {
    columns: &[NAME, text("Ready"), AGE, CONTAINERS, IMAGES],
    cells: |object, now| {
        let [names, images] = object.containers("spec.template.spec");
        let ready = format!("{}/{}", object.int("status.readyReplicas"), object.int("spec.replicas"));
        vec![json!(ready), object.age(now), names, images]
    },
};

pub(super) const DAEMON_SET: Printer = Printer {
    columns: &[
        NAME,
        integer("Desired"),
        integer("Current"),
        integer("Ready"),
        integer("Up-to-date"),
        integer("Available"),
        text("Node Selector"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |object, now| {
        let [names, images] = object.containers("spec.template.spec");
        vec![
            json!(object.int("status.desiredNumberScheduled")),
            json!(object.int("status.currentNumberScheduled")),
            json!(object.int("status.numberReady")),
            json!(object.int("status.updatedNumberScheduled")),
            json!(object.int("status.numberAvailable")),
            json!(object.label_set("spec.template.spec.nodeSelector")),
            object.age(now),
            names,
            images,
            json!(object.selector("spec.selector", "<none>")),
        ]
    },
};

pub(super) const CONTROLLER_REVISION: Printer = Printer {
    columns: &[NAME, text("Controller"), integer("Revision"), AGE],
    cells: |object, now| {
        let owner = object.list("metadata.ownerReferences").find(|owner| owner.flag("controller"));
        let controller = owner.map_or("<none>".to_owned(), |owner| {
            let group = owner.text("apiVersion").split_once('/').map_or("", |(group, _)| group);
            let kind = owner.text("kind").to_ascii_lowercase();
            let kind = if group.is_empty() { kind } else { format!("{kind}.{group}") };
            format!("{kind}/{}", owner.text("name"))
        });
        vec![json!(controller), json!(object.int("revision")), object.age(now)]
    },
};

pub(super) const JOB: Printer = Printer {
    columns: &[
        NAME,
        text("Status"),
        text("Completions"),
        text("Duration"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: job,
};

/// G16.
fn job(object: Tree<'_>, now: Timestamp) -> Vec<Value> {
    let holds = |ty: &str| object.condition(ty).is_some_and(|condition| condition.text("status") == "True");
    let status = if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if !object.at("metadata.deletionTimestamp").is_null() {
        "Terminating"
    } else {
        let rest = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];
        rest.into_iter().find(|ty| holds(ty)).unwrap_or("Running")
    };
    let succeeded = object.int("status.succeeded");
    let parallelism = object.int("spec.parallelism");
    let completions = if !object.at("spec.completions").is_null() {
        format!("{succeeded}/{}", object.int("spec.completions"))
    } else if parallelism > 1 {
        format!("{succeeded}/1 of {parallelism}")
    } else {
        format!("{succeeded}/1")
    };
    let took = object.time("status.startTime").map_or(String::new(), |start| {
        let end = object.time("status.completionTime").unwrap_or(now);
        duration(end.duration_since(start).as_secs(), false)
    });
    let [names, images] = object.containers("spec.template.spec");
    vec![
        json!(status),
        json!(completions),
        json!(took),
        object.age(now),
        names,
        images,
        json!(object.selector("spec.selector", "<none>")),
    ]
}

pub(super) const CRON_JOB: Printer = Printer {
    columns: &[
        NAME,
        text("Schedule"),
        text("Timezone"),
        super::boolean("Suspend"),
        integer("Active"),
        text("Last Schedule"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |object, now| {
        let [names, images] = object.containers("spec.jobTemplate.spec.template.spec");
        let last = object.time("status.lastScheduleTime");
        vec![
            json!(object.text("spec.schedule")),
            json!(object.text_or("spec.timeZone", "<none>")),
            json!(if object.flag("spec.suspend") { "True" } else { "False" }),
            json!(object.count("status.active")),
            json!(last.map_or("<none>".to_owned(), |last| age(Some(last), now))),
            object.age(now),
            names,
            images,
            json!(object.selector("spec.jobTemplate.spec.selector", "<none>")),
        ]
    },
};

pub(super) const POD_DISRUPTION_BUDGET: Printer = Printer {
    columns: &[NAME, text("Min Available"), text("Max Unavailable"), integer("Allowed Disruptions"), AGE],
    cells: |object, now| {
        vec![
            json!(object.print_or("spec.minAvailable", "N/A")),
            json!(object.print_or("spec.maxUnavailable", "N/A")),
            json!(object.int("status.disruptionsAllowed")),
            object.age(now),
        ]
    },
};

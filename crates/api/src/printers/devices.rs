//! What a Pod may ask for besides a container: drivers, volumes and devices.

use serde_json::json;

use super::{AGE, NAME, Printer, boolean, text};

pub(super) const VOLUME_ATTRIBUTES_CLASS: Printer = Printer {
    columns: &[NAME, text("DriverName"), AGE],
    cells: |class, now| vec![json!(class.text("driverName")), class.age(now)],
};

pub(super) const VOLUME_ATTACHMENT: Printer = Printer {
    columns: &[NAME, text("Attacher"), text("PV"), text("Node"), boolean("Attached"), AGE],
    cells: |attachment, now| {
        vec![
            json!(attachment.text("spec.attacher")),
            json!(attachment.text("spec.source.persistentVolumeName")),
            json!(attachment.text("spec.nodeName")),
            json!(attachment.flag("status.attached")),
            attachment.age(now),
        ]
    },
};

pub(super) const CSI_DRIVER: Printer = Printer {
    columns: &[
        NAME,
        boolean("AttachRequired"),
        boolean("PodInfoOnMount"),
        boolean("StorageCapacity"),
        text("TokenRequests"),
        boolean("RequiresRepublish"),
        text("Modes"),
        AGE,
    ],
    cells: |driver, now| {
        let or = |list: Vec<&str>, none: &str| if list.is_empty() { none.to_owned() } else { list.join(",") };
        let audiences = driver.list("spec.tokenRequests").map(|request| request.text("audience")).collect();
        let modes = driver.list("spec.volumeLifecycleModes").filter_map(|mode| mode.0.as_str()).collect();
        vec![
            // K34: attaching is what a driver needs unless it says otherwise.
            json!(driver.at("spec.attachRequired").0.as_bool().unwrap_or(true)),
            json!(driver.flag("spec.podInfoOnMount")),
            json!(driver.flag("spec.storageCapacity")),
            json!(or(audiences, "<unset>")),
            json!(driver.flag("spec.requiresRepublish")),
            json!(or(modes, "<none>")),
            driver.age(now),
        ]
    },
};

pub(super) const RESOURCE_CLAIM: Printer = Printer {
    columns: &[NAME, text("State"), AGE],
    cells: |claim, now| {
        let deleted = !claim.at("metadata.deletionTimestamp").is_null();
        let allocated = !claim.at("status.allocation").is_null();
        let states = [
            ("deleted", deleted),
            ("pending", !allocated && !deleted),
            ("allocated", allocated),
            ("reserved", allocated && claim.count("status.reservedFor") > 0),
        ];
        let states: Vec<&str> = states.iter().filter(|(_, holds)| *holds).map(|(state, _)| *state).collect();
        vec![json!(states.join(",")), claim.age(now)]
    },
};

pub(super) const RESOURCE_SLICE: Printer = Printer {
    columns: &[NAME, text("Node"), text("Driver"), text("Pool"), AGE],
    cells: |slice, now| {
        vec![
            json!(slice.text("spec.nodeName")),
            json!(slice.text("spec.driver")),
            json!(slice.text("spec.pool.name")),
            slice.age(now),
        ]
    },
};

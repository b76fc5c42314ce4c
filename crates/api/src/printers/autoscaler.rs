//! HorizontalPodAutoscalers (G19), in both versions.

use serde_json::json;

use super::tree::{Tree, shortened};
use super::{AGE, NAME, Printer, integer, text};

const UNKNOWN: &str = "<unknown>";

pub(super) const AUTOSCALER: Printer = Printer {
    columns: &[
        NAME,
        text("Reference"),
        text("Targets"),
        text("MinPods"),
        integer("MaxPods"),
        integer("Replicas"),
        AGE,
    ],
    cells: |scaler, now| {
        let target = scaler.at("spec.scaleTargetRef");
        vec![
            json!(format!("{}/{}", target.text("kind"), target.text("name"))),
            json!(targets(scaler)),
            json!(scaler.print_or("spec.minReplicas", "<unset>")),
            json!(scaler.int("spec.maxReplicas")),
            json!(scaler.int("status.currentReplicas")),
            scaler.age(now),
        ]
    },
};

fn targets(scaler: Tree<'_>) -> String {
    let mut measured = scaler.list("status.currentMetrics");
    let mut all: Vec<String> =
        scaler.list("spec.metrics").map(|metric| of_metric(metric, measured.next())).collect();
    // The first version knows one metric and has members of its own for it.
    if let Some(wanted) = scaler.at("spec.targetCPUUtilizationPercentage").0.as_i64() {
        let current = percent(scaler.at("status.currentCPUUtilizationPercentage"), UNKNOWN);
        all.push(format!("cpu: {current}/{wanted}%"));
    }
    if all.is_empty() { "<none>".to_owned() } else { shortened(&all, 2, ", ", "more...") }
}

/// A metric and what was measured of it, which stands at the same place of the status.
fn of_metric(metric: Tree<'_>, measured: Option<Tree<'_>>) -> String {
    let member = match metric.text("type") {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        _ => return "<unknown type>".to_owned(),
    };
    let wanted = metric.member(member).at("target");
    let current = |what: &str, none: &str| {
        measured.map_or(none.to_owned(), |it| it.member(member).at("current").print_or(what, none))
    };
    let average = !wanted.at("averageValue").is_null();
    match member {
        "resource" | "containerResource" => {
            let name = metric.member(member).text("name");
            if average {
                let current = current("averageValue", UNKNOWN);
                return format!("{name}: {current}/{}", wanted.print_or("averageValue", ""));
            }
            let current = measured.map_or(UNKNOWN.to_owned(), |it| {
                percent(it.member(member).at("current.averageUtilization"), UNKNOWN)
            });
            format!("{name}: {current}/{}", percent(wanted.at("averageUtilization"), "<auto>"))
        }
        // Always an average, so nothing is said of it.
        "pods" => format!("{}/{}", current("averageValue", UNKNOWN), wanted.print_or("averageValue", "")),
        _ if average => {
            format!("{}/{} (avg)", current("averageValue", UNKNOWN), wanted.print_or("averageValue", ""))
        }
        _ => format!("{}/{}", current("value", UNKNOWN), wanted.print_or("value", "")),
    }
}

fn percent(value: Tree<'_>, none: &str) -> String {
    value.0.as_i64().map_or_else(|| none.to_owned(), |number| format!("{number}%"))
}

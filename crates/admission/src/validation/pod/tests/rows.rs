//! Plays `rows.case`: the sections 1C and 1D of the rule book, row by row.

use serde_json::Value;

use super::{init, lines, one, plain, pod};
use crate::field::Findings;
use outrigger_api::Object;

/// What a row's Pod is made of: the whole spec, members of one container, a mount of its one volume; `raw` is a
/// spec that gets no defaults.
fn spec(kind: &str, json: &str) -> Object {
    match kind {
        "spec" => pod(json),
        "one" => pod(&one(json)),
        "init" => pod(&init(json)),
        "sidecar" => pod(&init(&format!("\"restartPolicy\": \"Always\", {json}"))),
        "mount" => {
            let mounts = one(&format!("\"volumeMounts\": [{json}]"));
            pod(&mounts.replacen('{', "{\"volumes\": [{\"name\": \"v\"}], ", 1))
        }
        "raw" => raw(json),
        other => panic!("no row begins with {other}"),
    }
}

fn raw(json: &str) -> Object {
    let given: Value = serde_json::from_str(json).expect(json);
    let mut tree = plain();
    for (key, value) in [("restartPolicy", "Always"), ("dnsPolicy", "ClusterFirst")] {
        tree["spec"][key] = value.into();
    }
    json_patch::merge(&mut tree["spec"], &given);
    Object::from_value(tree).expect("an object")
}

/// Every row says exactly what is found, and in which order.
#[test]
fn every_row_has_its_text() {
    let rows = include_str!("rows.case").split("\n\n").skip(1);
    let mut wrong = Vec::new();
    for row in rows {
        let mut parts = row.lines();
        let title = parts.next().expect("a title");
        let (kind, json) = parts.next().and_then(|line| line.split_once(' ')).expect(title);
        let expected: Vec<&str> = parts.map(|line| line.strip_prefix("! ").expect(line)).collect();
        let mut findings = Findings::default();
        super::super::create(&spec(kind, json), &mut findings);
        let found = lines(&findings);
        if found != expected {
            wrong.push(format!("{title}\n  expected {expected:#?}\n  found {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

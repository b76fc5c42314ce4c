//! The written form of sets.

use super::*;
use crate::apply::{FieldSet, Step};

/// F5c, F5d: reading and writing the format changes nothing.
#[test]
fn the_format_is_read_and_written_alike() {
    for fields in [
        json!({}),
        json!({"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:ports":{".":{},
            "k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{},"f:targetPort":{}}}}}),
        json!({"f:metadata":{"f:finalizers":{"v:\"a/b\"":{}, "i:3": {}}}}),
    ] {
        assert_eq!(FieldSet::decode(&fields).unwrap().encode(), fields);
    }
}

/// F5c: key members are sorted whatever order they come in; steps nobody knows are skipped.
#[test]
fn keys_are_canonical_and_unknown_steps_skipped() {
    let read = FieldSet::decode(&json!({"k:{\"b\": 1, \"a\": \"x\"}": {}, "z:new": {}})).unwrap();
    assert_eq!(read.encode(), json!({"k:{\"a\":\"x\",\"b\":1}": {}}));
    for wrong in
        [json!([]), json!({"nocolon": {}}), json!({"k:[1]": {}}), json!({"i:x": {}}), json!({"f:a": 1})]
    {
        assert!(FieldSet::decode(&wrong).is_err(), "{wrong}");
    }
}

/// F4j: how paths print.
#[test]
fn paths_print_as_users_know_them() {
    let fields = json!({"f:spec": {"f:replicas": {}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {"f:name": {}}}},
        "f:metadata": {"f:finalizers": {"v:\"x\"": {}}}, "f:list": {"i:2": {}}});
    let leaves = FieldSet::decode(&fields).unwrap().leaves();
    let printed: Vec<String> =
        leaves.iter().map(|path| path.iter().map(ToString::to_string).collect()).collect();
    assert_eq!(
        printed,
        [
            ".list[2]",
            ".metadata.finalizers[\"x\"]",
            ".spec.ports[port=80,protocol=\"TCP\"].name",
            ".spec.replicas"
        ]
    );
}

/// F5e, F4e: the arithmetic of sets.
#[test]
fn sets_are_added_taken_away_and_cut() {
    let set = |value: Value| FieldSet::decode(&value).unwrap();
    let whole = set(json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}}));
    let part = set(json!({"f:a": {".": {}, "f:b": {}}, "f:e": {}}));
    assert_eq!(whole.difference(&part).encode(), json!({"f:a": {"f:c": {}}, "f:d": {}}));
    assert_eq!(whole.intersection(&part).encode(), json!({"f:a": {".": {}, "f:b": {}}}));
    assert_eq!(whole.outside(&part).encode(), json!({"f:d": {}}));
    let mut both = part;
    both.extend(whole.clone());
    assert_eq!(both.encode(), json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}, "f:e": {}}));
    assert!(whole.difference(&whole).is_empty());
    let mut one = FieldSet::default();
    one.insert(&[Step::field("a"), Step::field("b")]);
    assert_eq!(one.encode(), json!({"f:a": {"f:b": {}}}));
}

//! Messages of the generated types, made by the crate that has them, are what is read and written here (B4).

use k8s_pb::api::apps::v1 as apps;
use k8s_pb::api::core::v1 as core;
use k8s_pb::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_pb::apimachinery::pkg::api::resource::Quantity;
use k8s_pb::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_pb::apimachinery::pkg::util::intstr::IntOrString;
use prost::Message as _;
use serde_json::json;

use super::*;

fn definition(kind: &str) -> Definition {
    ["v1", "apps/v1", "apiextensions.k8s.io/v1", "authorization.k8s.io/v1"]
        .iter()
        .find_map(|gv| {
            let (group, version) = gv.split_once('/').unwrap_or(("", gv));
            Definition::of_kind(group, version, kind)
        })
        .unwrap()
}

fn decoded(kind: &str, message: &impl prost::Message) -> Value {
    Value::Object(decode(definition(kind), message.encode_to_vec().into()).unwrap())
}

/// Both ways: the tree's message is one the generated type reads as the original, and reads back as the tree.
fn round_trip<M: prost::Message + Default + PartialEq>(kind: &str, tree: Value) -> M {
    let bytes = encode(definition(kind), tree.as_object().unwrap());
    assert_eq!(Value::Object(decode(definition(kind), bytes.clone()).unwrap()), tree);
    M::decode(bytes).unwrap()
}

fn text(word: &str) -> Option<String> {
    Some(word.to_owned())
}

/// A container as a typed client writes it: plain fields are there though zero.
fn container_as_go_writes_it() -> core::Container {
    let handler = core::ProbeHandler {
        http_get: Some(core::HttpGetAction {
            port: Some(IntOrString { r#type: Some(1), int_val: Some(0), str_val: text("web") }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let key = core::SecretKeySelector {
        local_object_reference: Some(core::LocalObjectReference { name: text("s") }),
        key: text("k"),
        optional: Some(false),
    };
    let port = core::ContainerPort { container_port: Some(80), host_port: Some(0), ..Default::default() };
    core::Container {
        name: text("c"),
        ports: vec![port],
        resources: Some(core::ResourceRequirements {
            limits: [("cpu".to_owned(), Quantity { string: text("500m") })].into(),
            ..Default::default()
        }),
        liveness_probe: Some(core::Probe {
            handler: Some(handler),
            period_seconds: Some(5),
            timeout_seconds: Some(0),
            ..Default::default()
        }),
        env: vec![core::EnvVar {
            name: text("E"),
            value: text(""),
            value_from: Some(core::EnvVarSource { secret_key_ref: Some(key), ..Default::default() }),
        }],
        ..Default::default()
    }
}

/// B4: structs that JSON spells out in place (a volume's source, a probe's handler), maps, quantities, ports.
#[test]
fn containers_and_volumes_as_go_writes_them_are_what_json_has() {
    let empty_dir = core::EmptyDirVolumeSource::default();
    let common = core::EphemeralContainerCommon { name: text("d"), ..Default::default() };
    let spec = core::PodSpec {
        volumes: vec![core::Volume {
            name: text("v"),
            volume_source: Some(core::VolumeSource { empty_dir: Some(empty_dir), ..Default::default() }),
        }],
        containers: vec![container_as_go_writes_it()],
        ephemeral_containers: vec![core::EphemeralContainer {
            ephemeral_container_common: Some(common),
            target_container_name: text("c"),
        }],
        ..Default::default()
    };
    assert_eq!(
        decoded("Pod", &core::Pod { spec: Some(spec), ..Default::default() }),
        json!({"spec": {
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{
                "name": "c",
                "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "500m"}},
                "livenessProbe": {"httpGet": {"port": "web"}, "periodSeconds": 5},
                "env": [{"name": "E", "valueFrom": {
                    "secretKeyRef": {"name": "s", "key": "k", "optional": false},
                }}],
            }],
            "ephemeralContainers": [{"name": "d", "targetContainerName": "c"}],
        }})
    );
}

/// B4, B24: a zero is told where Go has a pointer, and only there.
#[test]
fn zeros_are_told_where_they_mean_something() {
    let pod = core::Pod {
        metadata: Some(meta::ObjectMeta {
            name: text("a"),
            generate_name: text(""),
            generation: Some(0),
            labels: [("app".to_owned(), "x".to_owned()), ("empty".to_owned(), String::new())].into(),
            creation_timestamp: Some(meta::Time::default()),
            deletion_grace_period_seconds: Some(0),
            ..Default::default()
        }),
        spec: Some(core::PodSpec {
            host_network: Some(false),
            automount_service_account_token: Some(false),
            termination_grace_period_seconds: Some(0),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(
        decoded("Pod", &pod),
        json!({
            "metadata": {"name": "a", "labels": {"app": "x", "empty": ""}, "deletionGracePeriodSeconds": 0},
            "spec": {"automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0},
        })
    );
}

/// B4, B24: what is written is what the generated type reads.
#[test]
fn trees_are_written_as_the_generated_types_read_them() {
    let pod: core::Pod = round_trip(
        "Pod",
        json!({
            "metadata": {"name": "a", "creationTimestamp": "2026-01-02T03:04:05Z", "managedFields": [
                {"manager": "m", "fieldsV1": {"f:spec": {}}},
            ]},
            "spec": {
                "containers": [{"name": "c", "livenessProbe": {"tcpSocket": {"port": 8080}}}],
                "volumes": [{"name": "p", "projected": {"sources": [
                    {"configMap": {"name": "m", "items": [{"key": "k", "path": "p", "mode": 0}]}},
                ]}}],
                "tolerations": [{"key": "k", "tolerationSeconds": -1}],
            },
            "status": {"podIPs": [{"ip": "10.0.0.1"}], "hostIPs": [{"ip": "10.0.0.2"}]},
        }),
    );
    let (metadata, spec) = (pod.metadata.unwrap(), pod.spec.unwrap());
    assert_eq!(metadata.creation_timestamp.unwrap().seconds, Some(1_767_323_045));
    assert_eq!(
        metadata.managed_fields[0].fields_v1.as_ref().unwrap().raw.as_deref(),
        Some(&b"{\"f:spec\":{}}"[..])
    );
    let handler = spec.containers[0].liveness_probe.as_ref().unwrap().handler.as_ref().unwrap();
    assert_eq!(handler.tcp_socket.as_ref().unwrap().port.as_ref().unwrap().int_val, Some(8080));
    assert_eq!(spec.tolerations[0].toleration_seconds, Some(-1));
    assert_eq!(pod.status.unwrap().pod_ips[0].ip, text("10.0.0.1"));

    let secret: core::Secret = round_trip("Secret", json!({"data": {"k": "AAEC"}, "immutable": false}));
    assert_eq!((&secret.data["k"][..], secret.immutable), (&[0, 1, 2][..], Some(false)));

    let deployment: apps::Deployment = round_trip(
        "Deployment",
        json!({"spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}},
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}}, "template": {}}}),
    );
    assert_eq!(deployment.spec.unwrap().replicas, Some(0));
}

/// B4: the unions inside CRD schemas, embedded JSON, and lists inside maps.
#[test]
fn unions_and_embedded_json_survive() {
    let crd: apiextensions::CustomResourceDefinition = round_trip(
        "CustomResourceDefinition",
        json!({"spec": {"versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
            "type": "object",
            "maximum": 1.5,
            "x-kubernetes-preserve-unknown-fields": false,
            "properties": {"a": {"default": {"x": [1, null]}, "enum": ["p", 2], "$ref": "r"}},
            "items": {"type": "string"},
            "additionalProperties": false,
        }}}], "scope": "Namespaced", "group": "g", "names": {"plural": "ps", "kind": "P"}}}),
    );
    let schema = crd.spec.unwrap().versions.remove(0).schema.unwrap().open_apiv3_schema.unwrap();
    assert_eq!(schema.additional_properties.unwrap().allows, Some(false));
    assert_eq!(schema.properties["a"].r#ref, text("r"));
    let _: k8s_pb::api::authorization::v1::SubjectAccessReview = round_trip(
        "SubjectAccessReview",
        json!({"spec": {"user": "u", "extra": {"scopes": ["a", "b"]},
            "resourceAttributes": {"verb": "get", "resource": "pods"}}}),
    );
}

/// B4: the envelope names the kind and carries its message.
#[test]
fn envelopes_open_and_close() {
    let envelope =
        Envelope { api_version: "v1".into(), kind: "Pod".into(), raw: Bytes::from_static(b"\x0a\x00") };
    assert_eq!(Envelope::open(envelope.seal()).unwrap(), envelope);
    let error = Envelope::open(Bytes::from_static(b"{}")).unwrap_err();
    assert!(error.to_string().contains("expected prefix [107 56 115 0]"), "{error}");
    for cut in 0..envelope.seal().len() {
        // Whatever is missing, the answer is an error or a smaller message, never a panic.
        let _ = Envelope::open(envelope.seal().slice(..cut));
    }
}

#[test]
fn hostile_messages_are_errors() {
    let pod = definition("Pod");
    for bad in [
        &b"\x0a\x05ab"[..],
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0b",
        b"\x08\x01",
        b"\x12\x04\x1a\x02\xff\xfe",
    ] {
        assert!(decode(pod, Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
    }
    // A schema inside a schema inside a schema …
    let mut nested = Bytes::new();
    for _ in 0..20_000 {
        let mut outer = Writer::with_capacity(nested.len() + 16);
        // `not`, a schema itself.
        let not = Definition::named(read::SCHEMA_PROPS).unwrap().field("not").unwrap().place.steps()[0];
        outer.bytes(u32::from(not), &nested);
        nested = outer.finish();
        if nested.len() > 4000 {
            break;
        }
    }
    let props = Definition::named(read::SCHEMA_PROPS).unwrap();
    assert!(decode(props, nested).unwrap_err().to_string().contains("nested more than"));
}

/// E25: a length, and an event whose object is a whole body.
#[test]
fn watch_frames_have_their_length_before_them() {
    let body = Envelope { api_version: "v1".into(), kind: "Pod".into(), raw: Bytes::new() }.seal();
    let frame = watch_frame("ADDED", &body);
    let length = u32::from_be_bytes(frame[..4].try_into().unwrap());
    assert_eq!(length as usize, frame.len() - 4);
    let event = meta::WatchEvent::decode(frame.slice(4..)).unwrap();
    assert_eq!((event.r#type, event.object.unwrap().raw.as_deref()), (text("ADDED"), Some(&body[..])));
}

/// B25: a list's metadata and items have the same numbers in every list.
#[test]
fn lists_are_read_by_the_generated_types() {
    let metadata = json!({"resourceVersion": "7", "continue": "c", "remainingItemCount": 3});
    let item = encode(definition("Pod"), json!({"metadata": {"name": "a"}}).as_object().unwrap());
    let list = encode_list(metadata.as_object().unwrap(), [&item, &item].into_iter());
    let list = core::PodList::decode(list).unwrap();
    assert_eq!(list.items.len(), 2);
    let metadata = list.metadata.unwrap();
    assert_eq!((metadata.r#continue, metadata.remaining_item_count), (text("c"), Some(3)));
}

/// B4: every field of every kind has a place on the wire, or is one of those the build script names.
#[test]
fn fields_without_a_number_are_few_and_known() {
    let pod = definition("Pod");
    let without: Vec<_> =
        pod.fields().iter().filter(|field| field.place.steps().is_empty()).map(|field| field.name).collect();
    assert_eq!(without, ["apiVersion", "kind"]);
}

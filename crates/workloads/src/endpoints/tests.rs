//! Endpoints of Services.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn service(more: Value) -> Service {
    let mut spec = json!({"clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}]});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(json!({"metadata": {"name": "svc", "namespace": "ns", "uid": "s", "labels": {"a": "b"}}, "spec": spec})).unwrap()
}

fn pod(name: &str, ip: &str, ready: bool, port: i32) -> Arc<Pod> {
    let ports = json!([{"name": "web", "containerPort": port}]);
    let pod = json!({"metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"nodeName": "n", "hostname": name, "subdomain": "svc", "containers": [{"name": "c"}],
            "initContainers": [{"name": "s", "restartPolicy": "Always", "ports": ports}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}, {"ip": "fd00::1"}],
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}});
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn node() -> Arc<Node> {
    Arc::new(serde_json::from_value(json!({"metadata": {"name": "n", "labels": {ZONE: "z"}}})).unwrap())
}

fn owned() -> Owned {
    Owned {
        prefix: "svc".to_owned(),
        namespace: "ns".to_owned(),
        labels: labels(&service(json!({}))),
        owner: crate::claim::reference("v1", "Service", &service(json!({})).metadata),
        trigger: None,
    }
}

/// N8, R16.10: one endpoint, in full.
#[test]
fn what_an_endpoint_says() {
    let groups = slices(
        &service(json!({"trafficDistribution": "PreferSameNode"})),
        &[pod("p", "10.0.0.1", true, 8080)],
        &[node()],
    );
    assert_eq!(groups.len(), 1);
    assert_eq!(
        serde_json::to_value(&groups[0].ports).unwrap(),
        json!([{"name": "http", "port": 8080, "protocol": "TCP"}])
    );
    assert_eq!(
        serde_json::to_value(&groups[0].endpoints).unwrap(),
        json!([{
        "addresses": ["10.0.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false},
        "hostname": "p", "nodeName": "n", "zone": "z",
        "hints": {"forNodes": [{"name": "n"}], "forZones": [{"name": "z"}]},
        "targetRef": {"kind": "Pod", "namespace": "ns", "name": "p", "uid": "p"}}])
    );
    let labels = labels(&service(json!({"clusterIP": "None"})));
    assert_eq!(
        labels,
        BTreeMap::from(
            [("a", "b"), (SERVICE_NAME, "svc"), (MANAGED_BY, CONTROLLER), (HEADLESS, "")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
        )
    );
}

/// N8, R16.10: ready, serving and terminating; who is left out; one set per family and per ports.
#[test]
fn conditions_families_and_ports() {
    let mut leaving = pod("leaving", "10.0.0.3", true, 8080);
    Arc::make_mut(&mut leaving).metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
    let mut ended = pod("ended", "10.0.0.4", false, 8080);
    Arc::make_mut(&mut ended).status.as_mut().unwrap().phase = Some("Succeeded".to_owned());
    let all = [
        pod("a", "10.0.0.1", true, 8080),
        pod("b", "10.0.0.2", false, 8080),
        leaving,
        ended,
        pod("c", "10.0.0.5", true, 9090),
        pod("none", "", true, 1),
    ];
    let states = |service: &Service| {
        let groups = slices(service, &all, &[]);
        let of = |group: &Group| {
            let all = group.endpoints.iter().map(|one| {
                let conditions = one.conditions.clone().unwrap();
                (
                    one.addresses[0].clone(),
                    [conditions.ready, conditions.serving, conditions.terminating].map(Option::unwrap),
                )
            });
            all.collect::<Vec<_>>()
        };
        groups.iter().map(of).collect::<Vec<_>>()
    };
    let ip = str::to_owned;
    assert_eq!(
        states(&service(json!({}))),
        [
            vec![
                (ip("10.0.0.1"), [true, true, false]),
                (ip("10.0.0.2"), [false, false, false]),
                (ip("10.0.0.3"), [false, true, true])
            ],
            vec![(ip("10.0.0.5"), [true, true, false])],
        ]
    );
    let unready = states(&service(json!({"publishNotReadyAddresses": true})));
    assert!(unready.iter().flatten().all(|(_, [ready, ..])| *ready));
    let both = slices(&service(json!({"ipFamilies": ["IPv4", "IPv6"]})), &all[..1], &[]);
    assert_eq!(both.iter().map(|group| group.address_type.as_str()).collect::<Vec<_>>(), ["IPv4", "IPv6"]);
    assert_eq!(
        slices(&service(json!({})), &[], &[]),
        [Group { address_type: "IPv4".to_owned(), ..Group::default() }]
    );
}

/// N8: the older object.
#[test]
fn legacy_object() {
    let service = service(json!({}));
    let made = legacy(&service, &[pod("b", "10.0.0.2", true, 80), pod("a", "10.0.0.1", false, 80)], None);
    let made = serde_json::to_value(made).unwrap();
    let subset = &made["subsets"][0];
    assert_eq!(
        (&subset["addresses"][0]["ip"], &subset["notReadyAddresses"][0]["ip"]),
        (&json!("10.0.0.2"), &json!("10.0.0.1"))
    );
    assert_eq!(subset["ports"], json!([{"name": "http", "port": 80, "protocol": "TCP"}]));
    assert_eq!(
        made["metadata"]["labels"],
        json!({"a": "b", "endpoints.kubernetes.io/managed-by": "endpoint-controller"})
    );
    let many: Vec<_> =
        (0..1001).map(|n| pod("p", &format!("10.0.{}.{}", n / 250, n % 250 + 1), true, 80)).collect();
    let full = legacy(&service, &many, None);
    assert_eq!(full.subsets.unwrap()[0].addresses.as_ref().unwrap().len(), 1000);
    assert_eq!(full.metadata.annotations.unwrap()["endpoints.kubernetes.io/over-capacity"], "truncated");
}

/// N8: Endpoints kept by hand.
#[test]
fn mirroring() {
    let endpoints = |labels: Value| {
        serde_json::from_value(json!({"metadata": {"name": "svc", "labels": labels}, "subsets": [{"addresses": [{"ip": "1.2.3.4"}, {"ip": "fd00::2"}],
            "notReadyAddresses": [{"ip": "1.2.3.5"}], "ports": [{"port": 80}]}]})).unwrap()
    };
    let (plain, none) = (endpoints(json!({})), service(json!({"selector": null})));
    assert!(is_mirrored(&plain, Some(&none)));
    assert!(!is_mirrored(&plain, Some(&service(json!({})))) && !is_mirrored(&plain, None));
    assert!(!is_mirrored(
        &endpoints(json!({"endpointslice.kubernetes.io/skip-mirror": "true"})),
        Some(&none)
    ));
    let groups = mirrored(&plain);
    let shape: Vec<_> =
        groups.iter().map(|group| (group.address_type.as_str(), group.endpoints.len())).collect();
    assert_eq!(shape, [("IPv4", 2), ("IPv6", 1)]);
}

fn group(ips: impl IntoIterator<Item = u32>) -> Group {
    let endpoint = |ip: u32| Endpoint {
        addresses: vec![format!("10.0.{}.{}", ip / 256, ip % 256)],
        ..Endpoint::default()
    };
    Group {
        address_type: "IPv4".to_owned(),
        ports: Vec::new(),
        endpoints: ips.into_iter().map(endpoint).collect(),
    }
}

/// Applies changes as the API server does.
fn apply(
    existing: &mut Vec<Arc<k8s_openapi::api::discovery::v1::EndpointSlice>>,
    changes: Changes,
    made: &mut u32,
) {
    existing.retain(|slice| !changes.delete.iter().any(|gone| gone.metadata.name == slice.metadata.name));
    for slice in changes.update {
        let at = existing.iter().position(|one| one.metadata.name == slice.metadata.name).unwrap();
        existing[at] = Arc::new(slice);
    }
    for mut slice in changes.create {
        *made += 1;
        slice.metadata.name = Some(format!("svc-{made}"));
        existing.push(Arc::new(slice));
    }
}

/// N8: few writes: one endpoint more or less touches one slice.
#[test]
fn one_change_is_one_write() {
    let (mut existing, mut made) = (Vec::new(), 0);
    apply(&mut existing, reconcile(&owned(), &[group(0..250)], &[]), &mut made);
    assert_eq!(existing.iter().map(|slice| of(slice).len()).collect::<Vec<_>>(), [100, 100, 50]);
    assert_eq!(reconcile(&owned(), &[group(0..250)], &existing), Changes::default());
    let more = reconcile(&owned(), &[group(0..251)], &existing);
    assert_eq!((more.create.len(), more.update.len(), more.delete.len()), (0, 1, 0));
    let less = reconcile(&owned(), &[group(1..250)], &existing);
    assert_eq!((less.create.len(), less.update.len(), less.delete.len()), (0, 1, 0));
    let none = reconcile(&owned(), &[group([])], &existing);
    assert_eq!((none.create.len(), none.update.len(), none.delete.len()), (0, 1, 2));
}

proptest! {
    /// N8: whatever comes and goes, every endpoint stands in exactly one slice of at most 100, and a second look
    /// finds nothing to do.
    #[test]
    fn every_endpoint_stands_once(rounds in proptest::collection::vec(proptest::collection::btree_set(0..400_u32, 0..300), 1..6)) {
        let (mut existing, mut made) = (Vec::new(), 0);
        for wanted in rounds {
            let wanted = group(wanted);
            let changes = reconcile(&owned(), std::slice::from_ref(&wanted), &existing);
            apply(&mut existing, changes, &mut made);
            prop_assert!(existing.iter().all(|slice| of(slice).len() <= 100));
            let mut all: Vec<_> = existing.iter().flat_map(|slice| of(slice).iter().cloned()).collect();
            all.sort_by(|a, b| a.addresses.cmp(&b.addresses));
            let mut expected = wanted.endpoints.clone();
            expected.sort_by(|a, b| a.addresses.cmp(&b.addresses));
            prop_assert_eq!(all, expected);
            prop_assert!(!existing.is_empty());
            prop_assert_eq!(reconcile(&owned(), &[wanted], &existing), Changes::default());
        }
    }
}

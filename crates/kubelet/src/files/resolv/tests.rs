use super::*;
use serde_json::{Value, json};

fn pod(spec: Value) -> Pod {
    let mut spec = spec;
    spec["containers"] = json!([]);
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec})).unwrap()
}

fn cluster() -> ClusterDns {
    ClusterDns { servers: vec!["10.96.0.10".into()], domain: "cluster.local".into() }
}

fn node() -> ResolvConf {
    ResolvConf::parse(
        "nameserver 192.0.2.53\nnameserver 192.0.2.54\nsearch old\nsearch example. corp . svc.cluster.local\noptions edns0\n",
    )
}

fn conf(spec: Value) -> ResolvConf {
    pod_resolv_conf(&pod(spec), Some(&node()), &cluster()).0
}

/// R11.29
#[test]
fn the_node_file_is_read_as_the_resolver_does() {
    assert_eq!(node().nameservers, ["192.0.2.53", "192.0.2.54"]);
    assert_eq!(node().searches, ["example", "corp", "svc.cluster.local"]);
    assert_eq!(node().options, ["edns0"]);
}

/// R11.23
#[test]
fn cluster_first() {
    let want = "search n.svc.cluster.local svc.cluster.local cluster.local example corp\n\
        nameserver 10.96.0.10\noptions ndots:5\n";
    assert_eq!(conf(json!({})).render(), want);
    assert_eq!(conf(json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"})).render(), want);
}

/// R11.24, R11.25
#[test]
fn the_node_file_is_passed_on() {
    assert_eq!(conf(json!({"hostNetwork": true, "dnsPolicy": "ClusterFirst"})), node());
    assert_eq!(conf(json!({"dnsPolicy": "Default"})), node());
}

/// R11.26, R11.27
#[test]
fn dns_config_is_merged() {
    let config = json!({"nameservers": ["192.0.2.1", "10.96.0.10"], "searches": ["corp", "more"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "rotate"}]});
    let merged = conf(json!({"dnsConfig": config}));
    assert_eq!(merged.nameservers, ["10.96.0.10", "192.0.2.1"]);
    assert_eq!(merged.searches.last().unwrap(), "more");
    assert_eq!(merged.searches.len(), 6);
    assert_eq!(merged.options, ["ndots:2", "rotate"]);
    let alone = conf(json!({"dnsPolicy": "None", "dnsConfig": config}));
    assert_eq!(alone.searches, ["corp", "more"]);
}

/// R11.30
#[test]
fn an_empty_node_file_means_loopback() {
    let (conf, _) = pod_resolv_conf(&pod(json!({"dnsPolicy": "Default"})), None, &cluster());
    assert_eq!(conf.render(), "search .\nnameserver 127.0.0.1\n");
}

/// R11.31, R10.20
#[test]
fn without_cluster_dns_the_node_file_serves() {
    let (conf, problems) = pod_resolv_conf(&pod(json!({})), Some(&node()), &ClusterDns::default());
    assert_eq!(conf, node());
    assert_eq!(problems, [DnsProblem::MissingClusterDns { policy: "ClusterFirst".into() }]);
    assert_eq!(problems[0].reason(), "MissingClusterDNS");
    let text = "pod: \"p_ns(u)\". kubelet does not have ClusterDNS IP configured and cannot create Pod using \
                \"ClusterFirst\" policy. Falling back to \"Default\" policy.";
    assert_eq!(problems[0].message("p_ns(u)"), text);
}

/// R11.32, R10.20
#[test]
fn what_is_too_much_is_cut_and_said() {
    let servers: Vec<_> = (1..=5).map(|n| format!("192.0.2.{n}")).collect();
    let searches: Vec<_> = (0..40).map(|n| format!("s{n}")).collect();
    let config = json!({"nameservers": servers, "searches": searches});
    let (conf, problems) =
        pod_resolv_conf(&pod(json!({"dnsPolicy": "None", "dnsConfig": config})), None, &cluster());
    assert_eq!((conf.nameservers.len(), conf.searches.len()), (3, 32));
    assert_eq!(problems.len(), 2);
    let text = "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: \
                192.0.2.1 192.0.2.2 192.0.2.3";
    assert_eq!((problems[0].reason(), problems[0].message("p")), ("DNSConfigForming", text.to_owned()));
    let text = "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: s0 s1 ";
    assert!(problems[1].message("p").starts_with(text), "{}", problems[1].message("p"));
    let long = json!({"nameservers": ["192.0.2.1"], "searches": ["x".repeat(254), "ok"]});
    let (conf, problems) =
        pod_resolv_conf(&pod(json!({"dnsPolicy": "None", "dnsConfig": long})), None, &cluster());
    assert_eq!(conf.searches, ["ok"]);
    assert_eq!(problems, [DnsProblem::SearchLimit("ok".into())]);
}

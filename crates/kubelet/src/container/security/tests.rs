use super::*;
use serde_json::{Value, json};

fn app_user(name: &str) -> Option<User> {
    matches!(name, "app" | "1000").then(|| User { uid: 1000, gid: 100, groups: vec![7] })
}

fn run(pod_context: Value, context: Value, image_user: &str) -> Result<Security, SecurityError> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"securityContext": pod_context, "containers": [{"name": "c", "securityContext": context}]},
    }))
    .unwrap();
    security(&SecurityInput {
        pod: &pod,
        container: &pod.spec.as_ref().unwrap().containers[0],
        image_user,
        lookup: &app_user,
        seccomp_root: Path::new("/profiles"),
        oom_score_adj: 0,
    })
}

/// R13.17, R13.18
#[test]
fn the_container_then_the_pod_then_the_image_say_who() {
    let ids = |pod, container, image| run(pod, container, image).map(|s| (s.uid, s.gid)).unwrap();
    assert_eq!(ids(json!({}), json!({}), ""), (0, 0));
    assert_eq!(ids(json!({}), json!({}), "app"), (1000, 100));
    assert_eq!(ids(json!({}), json!({}), "app:55"), (1000, 55));
    assert_eq!(ids(json!({}), json!({}), "4242"), (4242, 0));
    assert_eq!(ids(json!({"runAsUser": 5, "runAsGroup": 6}), json!({}), "app"), (5, 6));
    assert_eq!(ids(json!({"runAsUser": 5}), json!({"runAsUser": 1000}), ""), (1000, 100));
    let ghost = run(json!({}), json!({}), "ghost").unwrap_err();
    assert_eq!(ghost, SecurityError::UnknownUser("ghost".into()));
}

/// R13.19
#[test]
fn non_root_is_verified_with_upstreams_words() {
    let text =
        |context: Value, image| run(json!({"runAsNonRoot": true}), context, image).unwrap_err().to_string();
    let tail = "(pod: \"p_n(u)\", container: c)";
    assert_eq!(
        text(json!({"runAsUser": 0}), ""),
        format!("container's runAsUser breaks non-root policy {tail}")
    );
    let root = format!("container has runAsNonRoot and image will run as root {tail}");
    assert_eq!(text(json!({}), ""), root);
    assert_eq!(text(json!({}), "0:0"), root);
    let named =
        "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root";
    assert_eq!(text(json!({}), "app"), format!("{named} {tail}"));
    assert!(run(json!({"runAsNonRoot": true}), json!({"runAsNonRoot": false}), "").is_ok());
    assert!(run(json!({"runAsNonRoot": true}), json!({}), "4242").is_ok());
}

/// R13.20, R12.8
#[test]
fn supplementary_groups() {
    let pod = json!({"fsGroup": 2000, "supplementalGroups": [3000, 2000], "runAsGroup": 9});
    assert_eq!(run(pod, json!({}), "app").unwrap().groups, [7, 9, 2000, 3000]);
    let strict = json!({"supplementalGroups": [3000], "supplementalGroupsPolicy": "Strict"});
    assert_eq!(run(strict, json!({}), "app").unwrap().groups, [100, 3000]);
}

/// R13.22, R13.24, R13.25
#[test]
fn confinement() {
    let plain = run(json!({}), json!({}), "").unwrap();
    assert!(!plain.no_new_privileges && plain.mask_paths && plain.seccomp == Seccomp::Unconfined);
    let tight = json!({"allowPrivilegeEscalation": false, "procMount": "Unmasked",
        "seccompProfile": {"type": "Localhost", "localhostProfile": "a/b.json"}});
    let tight = run(json!({"seccompProfile": {"type": "RuntimeDefault"}}), tight, "").unwrap();
    assert!(tight.no_new_privileges && !tight.mask_paths);
    assert_eq!(tight.seccomp, Seccomp::Localhost("/profiles/a/b.json".into()));
    let missing = run(json!({"seccompProfile": {"type": "Localhost"}}), json!({}), "").unwrap_err();
    assert_eq!(missing, SecurityError::NoLocalhostProfile);
    let privileged = json!({"privileged": true, "seccompProfile": {"type": "RuntimeDefault"}});
    let privileged = run(json!({}), privileged, "").unwrap();
    assert!(privileged.privileged && !privileged.mask_paths && privileged.seccomp == Seccomp::Unconfined);
}

/// R13.24: the container's AppArmor profile, else the Pod's; a privileged container has none.
#[test]
fn app_armor_profiles() {
    let named = |name: &str| json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": name}});
    let of = |pod, container| run(pod, container, "").map(|security| security.app_armor);
    assert_eq!(of(named("a"), named("b")), Ok(Some("b".to_owned())));
    assert_eq!(of(named("a"), json!({})), Ok(Some("a".to_owned())));
    assert_eq!(of(named("a"), json!({"appArmorProfile": {"type": "Unconfined"}})), Ok(None));
    assert_eq!(of(named("a"), json!({"privileged": true})), Ok(None));
    assert_eq!(of(named(""), json!({})), Err(SecurityError::NoAppArmorProfile));
}

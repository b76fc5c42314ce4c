//! Pods bound to the node by hand that it refuses (R1.52, R1.53, R13.24).

use super::{delete, get, wait};
use crate::suite::Kubectl;

pub(super) async fn refused_pods(kubectl: &Kubectl) {
    let node = kubectl.run("get nodes -o jsonpath={.items[0].metadata.name}").await;
    let enforced = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    // A kernel that has it does not refuse.
    let app_armor = (
        "armor",
        "  containers: [{name: a, image: busybox, securityContext: {appArmorProfile: {type: RuntimeDefault}}}]\n",
        "AppArmor",
        "Cannot enforce AppArmor: AppArmor is not enabled on the host",
    );
    let lacks_app_armor = !enforced.is_ok_and(|text| text.trim() == "Y");
    let refused = [
        (
            "cpu",
            "  containers: [{name: a, image: busybox, resources: {requests: {cpu: \"1000\"}}}]\n",
            "OutOfcpu",
            "Node didn't have enough resource: cpu, requested: 1000000, used: 0, capacity: ",
        ),
        (
            "affinity",
            "  nodeSelector: {no: such}\n  containers: [{name: a, image: busybox}]\n",
            "NodeAffinity",
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
        (
            "sysctl",
            "  securityContext: {sysctls: [{name: kernel.shmmax, value: \"1\"}]}\n  containers: [{name: a, image: busybox}]\n",
            "SysctlForbidden",
            "forbidden sysctl: \"kernel.shmmax\" not allowlisted",
        ),
    ];
    for (name, part, reason, text) in refused.into_iter().chain(lacks_app_armor.then_some(app_armor)) {
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  nodeName: {node}\n{part}"
        );
        kubectl.apply(&pod).await;
        wait(kubectl, name, "jsonpath={.status.phase}=Failed").await;
        let status = get(kubectl, name).await["status"].clone();
        assert_eq!(status["reason"], reason, "{status}");
        let message = status["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("Pod was rejected: {text}")), "{message}");
        // R1.52: nothing but that.
        for absent in ["containerStatuses", "hostIP", "conditions"] {
            assert!(status[absent].is_null(), "{absent}: {status}");
        }
        let row = kubectl.run(&format!("get pod {name} --no-headers")).await;
        assert_eq!(row.split_whitespace().nth(2), Some(reason), "{row}");
        delete(kubectl, name).await;
    }
}

//! What `/configz` shows (N3): the settings in force, as KubeletConfiguration, defaults filled in. Only fields that
//! have a meaning here are shown; a value that would be upstream's default and not ours would mislead.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::config::KubeletConfig;
use crate::eviction::Limit;

/// The whole object, without kind and version, as upstream shows it.
pub(crate) fn effective(config: &KubeletConfig) -> Value {
    let health = config.health;
    let mut all = Map::new();
    for part in [
        json!({
        "enableServer": config.serve,
        "staticPodPath": config.static_pod_path,
        "podLogsDir": config.log_root,
        "address": config.address,
        "port": config.port,
        "healthzBindAddress": health.map(|it| it.ip().to_string()).unwrap_or_default(),
        "healthzPort": health.map_or(0, |it| it.port()),
        "authentication": { "anonymous": { "enabled": false }, "webhook": { "enabled": true, "cacheTTL": "2m0s" } },
        "authorization": { "mode": "Webhook",
            "webhook": { "cacheAuthorizedTTL": "5m0s", "cacheUnauthorizedTTL": "30s" } },
        "clusterDomain": config.cluster_domain,
        "clusterDNS": config.cluster_dns,
        "resolvConf": config.resolv_conf.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        "maxPods": config.max_pods,
        "crashLoopBackOff": { "maxContainerRestartPeriod": duration(config.max_crash_back_off) },
        "fileCheckFrequency": "20s",
        "syncFrequency": "1m0s",
        "nodeStatusUpdateFrequency": "10s",
        "nodeStatusReportFrequency": "5m0s",
        "nodeLeaseDurationSeconds": 40,
        "nodeStatusMaxImages": 50,
        "volumeStatsAggPeriod": "1m0s",
        }),
        images_and_cgroups(config),
        eviction_and_rest(config),
    ] {
        // Three parts, because the macro takes no more fields at once.
        all.extend(part.as_object().cloned().unwrap_or_default());
    }
    Value::Object(all)
}

fn images_and_cgroups(config: &KubeletConfig) -> Value {
    json!({
    "imageMinimumGCAge": duration(config.image_gc.min_age),
    "imageMaximumGCAge": duration(config.image_gc.max_age.unwrap_or_default()),
    "imageGCHighThresholdPercent": config.image_gc.high_percent,
    "imageGCLowThresholdPercent": config.image_gc.low_percent,
    "cgroupRoot": format!("/{}", config.cgroup_root),
    "cgroupDriver": "cgroupfs",
    "cgroupsPerQOS": true,
    "cpuManagerPolicy": "none",
    "memoryManagerPolicy": "None",
    "topologyManagerPolicy": "none",
    "cpuCFSQuota": true,
    "cpuCFSQuotaPeriod": "100ms",
    "serializeImagePulls": config.parallel_pulls == 1,
    "maxParallelImagePulls": config.parallel_pulls,
    })
}

fn eviction_and_rest(config: &KubeletConfig) -> Value {
    let (hard, soft, graces) = thresholds(config);
    let reserved = |of: &std::collections::BTreeMap<String, outrigger_api::Quantity>| -> Map<String, Value> {
        of.iter().map(|(name, amount)| (name.clone(), json!(amount.to_string()))).collect()
    };
    json!({
    "evictionHard": hard,
    "evictionSoft": soft,
    "evictionSoftGracePeriod": graces,
    "evictionMaxPodGracePeriod": config.eviction.max_pod_grace_seconds,
    "evictionPressureTransitionPeriod": duration(config.eviction.pressure_transition),
    "enableControllerAttachDetach": true,
    "containerLogMaxSize": config.log_max_size.to_string(),
    "containerLogMaxFiles": config.log_max_files,
    "containerLogMonitorInterval": "10s",
    "systemReserved": reserved(&config.system_reserved),
    "kubeReserved": reserved(&config.kube_reserved),
    "enforceNodeAllocatable": ["pods"],
    "allowedUnsafeSysctls": config.allowed_sysctls,
    "shutdownGracePeriod": duration(config.shutdown.total),
    "shutdownGracePeriodCriticalPods": duration(config.shutdown.critical),
    "registerWithTaints": config.taints,
    "registerNode": true,
    "localStorageCapacityIsolation": true,
    "enableSystemLogHandler": false,
    "enableProfilingHandler": false,
    "failCgroupV1": false,
    })
}

/// Hard and soft thresholds by signal, and the soft ones' grace periods.
fn thresholds(config: &KubeletConfig) -> (Map<String, Value>, Map<String, Value>, Map<String, Value>) {
    let mut hard = Map::new();
    let (mut soft, mut graces) = (Map::new(), Map::new());
    for threshold in &config.eviction.thresholds {
        let limit = match threshold.limit {
            Limit::Amount(amount) => amount.to_string(),
            Limit::Share(share) => format!("{}%", (share * 1e4).round() / 100.0),
        };
        let name = threshold.signal.name().to_owned();
        match threshold.grace {
            None => drop(hard.insert(name, json!(limit))),
            Some(grace) => {
                graces.insert(name.clone(), json!(duration(grace)));
                soft.insert(name, json!(limit));
            }
        }
    }
    (hard, soft, graces)
}

/// As Go prints it: `1m30s`, `0s`.
fn duration(value: Duration) -> String {
    let seconds = value.as_secs();
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N3: defaults are filled in, durations and thresholds in their own notation.
    #[test]
    fn settings_are_shown() {
        let shown = effective(&KubeletConfig::new("n", "/tmp"));
        assert_eq!(shown["maxPods"], 110);
        assert_eq!(shown["evictionPressureTransitionPeriod"], "5m0s");
        assert_eq!(shown["evictionHard"]["nodefs.available"], "10%");
        assert_eq!(shown["imageMinimumGCAge"], "2m0s");
        assert_eq!(shown["healthzPort"], 10248);
        assert_eq!(duration(Duration::from_secs(3661)), "1h1m1s");
    }
}

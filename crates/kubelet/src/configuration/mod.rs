//! The file format of a kubelet's settings (N33): KubeletConfiguration `kubelet.config.k8s.io/v1beta1`.
//!
//! What a file says is put on top of the defaults by [`KubeletConfiguration::apply`]; flags come after that. A field
//! nobody knows is an error, a field that does nothing here is named by [`KubeletConfiguration::unimplemented`].

mod effective;
mod fields;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub(crate) use effective::effective;

use crate::config::KubeletConfig;
use crate::eviction;

const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";

/// Why a file cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// It is not YAML or JSON, or not of this kind.
    #[error("{file}: {problem}")]
    Format {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// One field.
    #[error("{file}: {field}: {problem}")]
    Field {
        /// The file.
        file: String,
        /// The field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A file, read and checked for names.
#[derive(Clone, Debug)]
pub struct KubeletConfiguration {
    file: String,
    fields: Map<String, Value>,
}

impl KubeletConfiguration {
    /// Reads a file's text, YAML or JSON.
    ///
    /// # Errors
    /// Another kind or version, or a field that KubeletConfiguration does not have.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigurationError> {
        let file = file.display().to_string();
        let format = |problem: String| ConfigurationError::Format { file: file.clone(), problem };
        let value: Value = serde_saphyr::from_str(text).map_err(|error| format(error.to_string()))?;
        let Value::Object(mut fields) = value else { return Err(format("not an object".to_owned())) };
        for (name, wanted) in [("apiVersion", API_VERSION), ("kind", "KubeletConfiguration")] {
            let found = fields.remove(name);
            if found.as_ref().and_then(Value::as_str) != Some(wanted) {
                return Err(format(format!("{name} must be {wanted}")));
            }
        }
        let known = |name: &str| fields::HONOURED.contains(&name) || fields::UNIMPLEMENTED.contains(&name);
        if let Some(name) = fields.keys().find(|name| !known(name)) {
            let problem = "KubeletConfiguration has no such field; is it misspelt?".to_owned();
            return Err(ConfigurationError::Field { field: name.clone(), file, problem });
        }
        Ok(Self { file, fields })
    }

    /// The fields of this file that do nothing here, in order of name.
    pub fn unimplemented(&self) -> Vec<&str> {
        let unused = self.fields.keys().filter(|name| fields::UNIMPLEMENTED.contains(&name.as_str()));
        unused.map(String::as_str).collect()
    }

    /// Puts what the file says into `config`.
    ///
    /// # Errors
    /// A value that does not fit its field.
    pub fn apply(&self, config: &mut KubeletConfig) -> Result<(), ConfigurationError> {
        self.server(config)?;
        self.pods(config)?;
        self.eviction(config)?;
        self.images(config)?;
        self.set("containerLogMaxFiles", &mut config.log_max_files)?;
        if let Some(text) = self.get::<String>("containerLogMaxSize")? {
            config.log_max_size = self.bytes("containerLogMaxSize", &text)?;
        }
        if config.log_max_files < 2 {
            return Err(self.bad("containerLogMaxFiles", "must be at least 2"));
        }
        for (name, target) in
            [("systemReserved", &mut config.system_reserved), ("kubeReserved", &mut config.kube_reserved)]
        {
            for (resource, text) in self.get::<BTreeMap<String, String>>(name)?.unwrap_or_default() {
                let amount = text
                    .parse()
                    .map_err(|_| self.bad(name, &format!("{resource}: {text:?} is no quantity")))?;
                target.insert(resource, amount);
            }
        }
        let durations = [
            ("shutdownGracePeriod", &mut config.shutdown.total),
            ("shutdownGracePeriodCriticalPods", &mut config.shutdown.critical),
        ];
        for (name, target) in durations {
            self.duration(name)?.into_iter().for_each(|found| *target = found);
        }
        if config.shutdown.critical > config.shutdown.total {
            return Err(
                self.bad("shutdownGracePeriodCriticalPods", "must not be longer than shutdownGracePeriod")
            );
        }
        Ok(())
    }

    fn server(&self, config: &mut KubeletConfig) -> Result<(), ConfigurationError> {
        self.set("enableServer", &mut config.serve)?;
        self.set("address", &mut config.address)?;
        self.set("port", &mut config.port)?;
        let address: Option<IpAddr> = self.get("healthzBindAddress")?;
        let port: Option<u16> = self.get("healthzPort")?;
        if address.is_some() || port.is_some() {
            let old = config.health.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 10248)));
            let new = SocketAddr::new(address.unwrap_or(old.ip()), port.unwrap_or(old.port()));
            config.health = (new.port() != 0).then_some(new);
        }
        Ok(())
    }

    fn pods(&self, config: &mut KubeletConfig) -> Result<(), ConfigurationError> {
        self.set("maxPods", &mut config.max_pods)?;
        self.crash_back_off(config)?;
        self.set("clusterDNS", &mut config.cluster_dns)?;
        self.set("clusterDomain", &mut config.cluster_domain)?;
        self.set("allowedUnsafeSysctls", &mut config.allowed_sysctls)?;
        self.set("podLogsDir", &mut config.log_root)?;
        let optional = |path: PathBuf| Some(path).filter(|path| !path.as_os_str().is_empty());
        if let Some(path) = self.get("resolvConf")? {
            config.resolv_conf = optional(path);
        }
        if let Some(path) = self.get("staticPodPath")? {
            config.static_pod_path = optional(path);
        }
        if let Some(taints) = self.get::<Vec<Taint>>("registerWithTaints")? {
            config.taints = taints;
        }
        Ok(())
    }

    /// R5.10: whole seconds decide, as they do upstream.
    fn crash_back_off(&self, config: &mut KubeletConfig) -> Result<(), ConfigurationError> {
        const FIELD: &str = "crashLoopBackOff.maxContainerRestartPeriod";
        let given = self.get::<BTreeMap<String, String>>("crashLoopBackOff")?.unwrap_or_default();
        for (name, text) in given {
            if name != "maxContainerRestartPeriod" {
                return Err(self.bad(&format!("crashLoopBackOff.{name}"), "there is no such field"));
            }
            let period = go_duration(&text).ok_or_else(|| self.bad(FIELD, &no_duration(&text)))?;
            if !(Duration::from_secs(1)..=Duration::from_secs(300)).contains(&period) {
                return Err(self.bad(FIELD, "must be between 1s and 300s"));
            }
            config.max_crash_back_off = period;
        }
        Ok(())
    }

    fn eviction(&self, config: &mut KubeletConfig) -> Result<(), ConfigurationError> {
        let map = |name: &str| self.get::<BTreeMap<String, String>>(name);
        let merge = self.get::<bool>("mergeDefaultEvictionSettings")?.unwrap_or(false);
        let (hard, soft) = (map("evictionHard")?, map("evictionSoft")?);
        if hard.is_some() || soft.is_some() {
            let mut hard_map =
                if hard.is_none() || merge { eviction::default_hard() } else { BTreeMap::new() };
            hard_map.extend(hard.unwrap_or_default());
            let bad = |name, error: eviction::ThresholdError| self.bad(name, &error.to_string());
            let mut all = eviction::parse(&hard_map, None).map_err(|error| bad("evictionHard", error))?;
            let mut graces = BTreeMap::new();
            for (signal, text) in map("evictionSoftGracePeriod")?.unwrap_or_default() {
                let name = "evictionSoftGracePeriod";
                graces.insert(signal, go_duration(&text).ok_or_else(|| self.bad(name, &no_duration(&text)))?);
            }
            let soft = soft.unwrap_or_default();
            all.extend(eviction::parse(&soft, Some(&graces)).map_err(|error| bad("evictionSoft", error))?);
            config.eviction.thresholds = all;
            // Whoever names thresholds means them.
            config.eviction.disk_floor = None;
        }
        self.set("evictionMaxPodGracePeriod", &mut config.eviction.max_pod_grace_seconds)?;
        if let Some(period) = self.duration("evictionPressureTransitionPeriod")?.filter(|it| !it.is_zero()) {
            config.eviction.pressure_transition = period;
        }
        Ok(())
    }

    fn images(&self, config: &mut KubeletConfig) -> Result<(), ConfigurationError> {
        let gc = &mut config.image_gc;
        if self.fields.contains_key("imageGCHighThresholdPercent") {
            gc.floor = None;
        }
        self.set("imageGCHighThresholdPercent", &mut gc.high_percent)?;
        self.set("imageGCLowThresholdPercent", &mut gc.low_percent)?;
        if gc.high_percent > 100 || gc.low_percent >= gc.high_percent {
            return Err(self.bad(
                "imageGCHighThresholdPercent",
                "must be at most 100 and above imageGCLowThresholdPercent",
            ));
        }
        if let Some(age) = self.duration("imageMinimumGCAge")?.filter(|it| !it.is_zero()) {
            gc.min_age = age;
        }
        if let Some(age) = self.duration("imageMaximumGCAge")? {
            gc.max_age = Some(age).filter(|it| !it.is_zero());
        }
        let serial = self.get::<bool>("serializeImagePulls")?;
        let parallel = self.get::<usize>("maxParallelImagePulls")?;
        match (serial, parallel) {
            (Some(true), Some(2..)) => {
                return Err(self.bad(
                    "maxParallelImagePulls",
                    "cannot be more than 1 while serializeImagePulls is true",
                ));
            }
            (Some(true), _) => config.parallel_pulls = 1,
            (_, Some(count)) => config.parallel_pulls = count.max(1),
            _ => {}
        }
        Ok(())
    }

    fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ConfigurationError> {
        let Some(value) = self.fields.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
        T::deserialize(value).map(Some).map_err(|error| self.bad(name, &error.to_string()))
    }

    fn set<T: DeserializeOwned>(&self, name: &str, target: &mut T) -> Result<(), ConfigurationError> {
        if let Some(value) = self.get(name)? {
            *target = value;
        }
        Ok(())
    }

    fn duration(&self, name: &str) -> Result<Option<Duration>, ConfigurationError> {
        let Some(text) = self.get::<String>(name)? else { return Ok(None) };
        go_duration(&text).map(Some).ok_or_else(|| self.bad(name, &no_duration(&text)))
    }

    fn bytes(&self, name: &str, text: &str) -> Result<u64, ConfigurationError> {
        let quantity = text.parse::<outrigger_api::Quantity>().ok();
        let bytes =
            quantity.and_then(|quantity| u64::try_from(quantity.value()).ok()).filter(|bytes| *bytes > 0);
        bytes.ok_or_else(|| self.bad(name, &format!("{text:?} is no positive quantity")))
    }

    fn bad(&self, field: &str, problem: &str) -> ConfigurationError {
        ConfigurationError::Field {
            file: self.file.clone(),
            field: field.to_owned(),
            problem: problem.to_owned(),
        }
    }
}

fn no_duration(text: &str) -> String {
    format!("{text:?} is no duration; write 90s, 5m or 1h30m")
}

/// A duration as Go writes it: `1h30m`, `500ms`, `0`. Not negative.
fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut sum) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        sum += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()?;
        rest = tail;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eviction::{Limit, Signal};

    fn parse(body: &str) -> Result<KubeletConfiguration, ConfigurationError> {
        let text = format!("apiVersion: {API_VERSION}\nkind: KubeletConfiguration\n{body}");
        KubeletConfiguration::parse(&text, Path::new("/etc/k.yaml"))
    }

    fn applied(body: &str) -> Result<KubeletConfig, String> {
        let mut config = KubeletConfig::new("n", "/tmp");
        let found = parse(body).map_err(|error| error.to_string())?;
        found.apply(&mut config).map_err(|error| error.to_string())?;
        Ok(config)
    }

    /// N33: what a file says takes effect.
    #[test]
    fn a_file_is_honoured() {
        let config = applied(
            "maxPods: 7\nport: 11250\naddress: 127.0.0.1\nhealthzPort: 0\nclusterDNS: [10.0.0.10]\n\
             evictionHard: {memory.available: 5%}\nevictionSoft: {nodefs.available: 1Gi}\n\
             evictionSoftGracePeriod: {nodefs.available: 1m30s}\nimageGCHighThresholdPercent: 60\n\
             imageGCLowThresholdPercent: 50\ncontainerLogMaxSize: 1Mi\ncontainerLogMaxFiles: 3\n\
             systemReserved: {cpu: 500m}\nserializeImagePulls: true\nshutdownGracePeriod: 30s\n\
             shutdownGracePeriodCriticalPods: 10s\nstaticPodPath: /etc/pods\nallowedUnsafeSysctls: [net.*]\n\
             registerWithTaints: [{key: a, effect: NoSchedule}]\n\
             crashLoopBackOff: {maxContainerRestartPeriod: 20s}\n",
        )
        .unwrap();
        assert_eq!((config.max_pods, config.port, config.health), (7, 11250, None));
        assert_eq!(config.eviction.thresholds.len(), 2);
        let soft = config.eviction.thresholds.iter().find(|it| it.signal == Signal::NodeFsAvailable).unwrap();
        assert_eq!((soft.limit, soft.grace), (Limit::Amount(1 << 30), Some(Duration::from_secs(90))));
        assert_eq!((config.image_gc.high_percent, config.image_gc.low_percent), (60, 50));
        assert_eq!((config.log_max_size, config.log_max_files), (1 << 20, 3));
        assert_eq!(config.system_reserved["cpu"].milli_value(), 500);
        assert_eq!(config.parallel_pulls, 1);
        assert_eq!((config.shutdown.total.as_secs(), config.shutdown.critical.as_secs()), (30, 10));
        assert_eq!(config.static_pod_path.as_deref(), Some(Path::new("/etc/pods")));
        assert_eq!(config.taints[0].key, "a");
        assert_eq!(config.max_crash_back_off.as_secs(), 20);
    }

    /// N33: what nobody knows and what does not fit names file and field.
    #[test]
    fn mistakes_are_named() {
        let text = |body: &str| applied(body).unwrap_err();
        assert!(
            text("maxPod: 3\n").starts_with("/etc/k.yaml: maxPod: KubeletConfiguration has no such field")
        );
        assert!(text("maxPods: many\n").starts_with("/etc/k.yaml: maxPods: invalid type"));
        assert!(
            text("evictionHard: {disk.free: 1Gi}\n")
                .contains("evictionHard: disk.free: no such eviction signal")
        );
        assert!(text("shutdownGracePeriod: soon\n").contains("\"soon\" is no duration"));
        assert!(
            text("crashLoopBackOff: {maxContainerRestartPeriod: 10m}\n")
                .contains("crashLoopBackOff.maxContainerRestartPeriod: must be between 1s and 300s")
        );
        assert!(text("imageGCHighThresholdPercent: 80\n").contains("above imageGCLowThresholdPercent"));
        assert!(
            text("evictionSoft: {memory.available: 1Gi}\n")
                .contains("evictionSoftGracePeriod names no period")
        );
        let other = KubeletConfiguration::parse("kind: Pod\n", Path::new("/p")).unwrap_err().to_string();
        assert_eq!(other, format!("/p: apiVersion must be {API_VERSION}"));
    }

    /// N33: what does nothing here is listed, not silently taken.
    #[test]
    fn fields_without_effect_are_listed() {
        let found = parse("cpuManagerPolicy: static\nmaxPods: 3\ncgroupDriver: systemd\n").unwrap();
        assert_eq!(found.unimplemented(), ["cgroupDriver", "cpuManagerPolicy"]);
        for list in [fields::HONOURED, fields::UNIMPLEMENTED] {
            assert!(list.is_sorted());
        }
        assert!(fields::HONOURED.iter().all(|name| !fields::UNIMPLEMENTED.contains(name)));
    }

    #[test]
    fn durations_of_go() {
        let seconds = |text| go_duration(text).map(|it| it.as_secs_f64());
        assert_eq!(
            [seconds("1h30m"), seconds("1.5s"), seconds("0"), seconds("20ms")],
            [Some(5400.0), Some(1.5), Some(0.0), Some(0.02)]
        );
        assert!(["", "5", "s", "1d", "-1s"].into_iter().all(|text| seconds(text).is_none()));
    }
}

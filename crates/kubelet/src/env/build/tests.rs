use super::*;
use serde_json::{Value, json};

struct Case {
    config_maps: BTreeMap<String, ConfigMap>,
    secrets: BTreeMap<String, Secret>,
    services: Vec<Service>,
    links: bool,
}

impl Default for Case {
    fn default() -> Self {
        let config = json!({"data": {"COLOUR": "blue", "odd.name": "x"}});
        let secret = json!({"data": {"PASSWORD": "aHVudGVyMg=="}});
        let service = json!({"metadata": {"name": "db", "namespace": "n"},
            "spec": {"clusterIP": "10.96.0.3", "ports": [{"port": 5432}]}});
        Self {
            config_maps: BTreeMap::from([("conf".into(), serde_json::from_value(config).unwrap())]),
            secrets: BTreeMap::from([("keys".into(), serde_json::from_value(secret).unwrap())]),
            services: vec![serde_json::from_value(service).unwrap()],
            links: false,
        }
    }
}

impl Case {
    fn build(&self, container: Value) -> Result<Vec<(String, String)>, ConfigError> {
        let mut container = container;
        container["name"] = json!("c");
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n"},
            "spec": {"containers": [container], "enableServiceLinks": self.links},
        }))
        .unwrap();
        build(&EnvInput {
            pod: &pod,
            container: &pod.spec.as_ref().unwrap().containers[0],
            addresses: &PodAddresses { pod: vec!["10.0.0.5".into()], host: vec![] },
            allocatable: &NodeAllocatable::new(),
            services: &self.services,
            config_maps: &self.config_maps,
            secrets: &self.secrets,
            read_volume: &|volume, _| match volume {
                "work" => Ok("A='from file'".into()),
                "empty" => Err(EnvFileError::Read("open: no such file".into())),
                _ => Err(EnvFileError::Volume(volume.into())),
            },
        })
    }

    fn get(&self, container: Value, name: &str) -> Option<String> {
        let env = self.build(container).unwrap();
        env.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn error(&self, container: Value) -> String {
        self.build(container).unwrap_err().to_string()
    }
}

/// R11.1, R11.5: later envFrom wins, env wins over envFrom, prefixes apply, odd names are kept.
#[test]
fn later_sources_win() {
    let mut case = Case::default();
    let second = json!({"data": {"COLOUR": "red"}});
    case.config_maps.insert("second".into(), serde_json::from_value(second).unwrap());
    let from = json!([{"configMapRef": {"name": "conf"}}, {"configMapRef": {"name": "second"}},
        {"secretRef": {"name": "keys"}, "prefix": "S_"}]);
    assert_eq!(case.get(json!({"envFrom": from}), "COLOUR").unwrap(), "red");
    assert_eq!(case.get(json!({"envFrom": from}), "odd.name").unwrap(), "x");
    assert_eq!(case.get(json!({"envFrom": from}), "S_PASSWORD").unwrap(), "hunter2");
    let env = json!([{"name": "COLOUR", "value": "green"}, {"name": "COLOUR", "value": "$(COLOUR)er"}]);
    assert_eq!(case.get(json!({"envFrom": from, "env": env}), "COLOUR").unwrap(), "greener");
}

/// R11.2, R11.4: only what is defined before can be named; services can always.
#[test]
fn references_see_earlier_variables_and_services() {
    let case = Case { links: true, ..Case::default() };
    let container = json!({"envFrom": [{"configMapRef": {"name": "conf"}}], "env": [
        {"name": "EARLY", "value": "$(LATE)"}, {"name": "LATE", "value": "1"},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "ALL", "value": "$(IP) $(COLOUR) $(DB_SERVICE_HOST) $$(IP)"}, {"name": "BARE"}]});
    assert_eq!(case.get(container.clone(), "EARLY").unwrap(), "$(LATE)");
    assert_eq!(case.get(container.clone(), "ALL").unwrap(), "10.0.0.5 blue 10.96.0.3 $(IP)");
    assert_eq!(case.get(container.clone(), "BARE").unwrap(), "");
    assert_eq!(case.get(container, "DB_PORT").unwrap(), "tcp://10.96.0.3:5432");
}

/// R11.1: a variable of the user's replaces a service variable.
#[test]
fn service_variables_are_weakest() {
    let case = Case { links: true, ..Case::default() };
    let container = json!({"env": [{"name": "DB_SERVICE_HOST", "value": "elsewhere"}]});
    assert_eq!(case.get(container, "DB_SERVICE_HOST").unwrap(), "elsewhere");
}

/// R11.5, R11.6
#[test]
fn missing_sources_are_errors_unless_optional() {
    let case = Case::default();
    let key = |kind: &str, name: &str, key: &str, optional: bool| json!({"env": [{"name": "V", "valueFrom": {kind: {"name": name, "key": key, "optional": optional}}}]});
    assert_eq!(case.error(key("configMapKeyRef", "no", "k", false)), "configmap \"no\" not found");
    assert_eq!(case.error(key("secretKeyRef", "no", "k", false)), "secret \"no\" not found");
    assert_eq!(
        case.error(key("configMapKeyRef", "conf", "k", false)),
        "couldn't find key k in ConfigMap n/conf"
    );
    assert_eq!(case.error(key("secretKeyRef", "keys", "k", false)), "couldn't find key k in Secret n/keys");
    assert_eq!(case.get(key("configMapKeyRef", "no", "k", true), "V"), None);
    assert_eq!(case.get(key("secretKeyRef", "keys", "k", true), "V"), None);
    assert_eq!(case.error(json!({"envFrom": [{"secretRef": {"name": "no"}}]})), "secret \"no\" not found");
    assert!(
        case.build(json!({"envFrom": [{"secretRef": {"name": "no", "optional": true}}]})).unwrap().is_empty()
    );
}

/// R11.7
#[test]
fn values_come_from_files_of_volumes() {
    let case = Case::default();
    let file = |volume: &str, key: &str, optional: bool| {
        json!({"env": [{"name": "V", "valueFrom": {"fileKeyRef":
            {"volumeName": volume, "path": "env", "key": key, "optional": optional}}}]})
    };
    assert_eq!(case.get(file("work", "A", false), "V").unwrap(), "from file");
    assert_eq!(case.get(file("work", "B", true), "V"), None);
    assert_eq!(case.get(file("empty", "A", true), "V"), None);
    assert!(case.error(file("work", "B", false)).contains("key \"B\" not found"));
    assert!(case.build(file("none", "A", true)).is_err());
}

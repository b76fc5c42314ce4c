use super::*;

fn core() -> Value {
    let table = outrigger_api::Registry::builtin().snapshot();
    document("", table.group("").unwrap().version("v1").unwrap(), "v1.36.2")
}

/// A28, A30, A31, A32
#[test]
fn pods_carry_their_kind_merge_keys_and_descriptions() {
    let document = core();
    let schemas = &document["components"]["schemas"];
    let pod = &schemas["io.k8s.api.core.v1.Pod"];
    assert_eq!(pod["x-kubernetes-group-version-kind"], json!([gvk("", "v1", "Pod")]));
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-type"], "map");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    let selector = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["nodeSelector"];
    assert_eq!(selector["x-kubernetes-map-type"], "atomic");
    assert!(containers["description"].as_str().unwrap().contains("containers"));
    assert!(schemas["io.k8s.api.core.v1.PodList"]["properties"]["items"].is_object());
}

/// A29
#[test]
fn kubectl_finds_out_that_the_server_validates_fields() {
    let document = core();
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"], gvk("", "v1", "Pod"));
    let names: Vec<_> = patch["parameters"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
}

/// A36
#[test]
fn operations_are_named_as_upstream_names_them() {
    let document = core();
    let pods = &document["paths"]["/api/v1/namespaces/{namespace}/pods"];
    assert_eq!(pods["post"]["operationId"], "createCoreV1NamespacedPod");
    assert_eq!(document["paths"]["/api/v1/pods"]["get"]["operationId"], "listCoreV1PodForAllNamespaces");
    assert_eq!(camel("rbac.authorization.k8s.io", "v1"), "RbacAuthorizationV1");
    let sub =
        |name: &str| &document["paths"][format!("/api/v1/namespaces/{{namespace}}/pods/{{name}}/{name}")];
    assert_eq!(sub("log")["get"]["operationId"], "readCoreV1NamespacedPodLog");
    let exec = &sub("exec")["post"];
    assert_eq!(exec["operationId"], "connectCoreV1PostNamespacedPodExec");
    assert_eq!(exec["x-kubernetes-action"], "connect");
    assert_eq!(exec["x-kubernetes-group-version-kind"], gvk("", "v1", "PodExecOptions"));
}

/// A5, A28: a subresource is described by the kind it speaks.
#[test]
fn an_eviction_is_no_pod() {
    let document = core();
    let eviction = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/eviction"]["post"];
    assert_eq!(eviction["x-kubernetes-group-version-kind"], gvk("policy", "v1", "Eviction"));
    assert_eq!(
        eviction["requestBody"]["content"]["*/*"]["schema"]["$ref"],
        format!("{SCHEMAS}io.k8s.api.policy.v1.Eviction")
    );
}

/// A33
#[test]
fn quantities_and_int_or_strings_are_definitions() {
    let document = core();
    let schemas = &document["components"]["schemas"];
    let limits = &schemas["io.k8s.api.core.v1.ResourceRequirements"]["properties"]["limits"];
    assert_eq!(limits["additionalProperties"]["allOf"][0]["$ref"], format!("{SCHEMAS}{QUANTITY}"));
    assert_eq!(schemas[QUANTITY]["type"], "string");
    assert_eq!(schemas[INT_OR_STRING]["format"], "int-or-string");
    assert_eq!(schemas[format!("{META}.Time")]["format"], "date-time");
    assert!(schemas[QUANTITY]["properties"].is_null());
}

/// A28, A36: every operation on a resource has an action, and a name nobody else has.
#[test]
fn every_operation_has_an_action_and_a_name_of_its_own() {
    let table = outrigger_api::Registry::builtin().snapshot();
    for group in table.groups() {
        for version in &group.versions {
            let document = document(&group.name, version, "v1.36.2");
            let mut names = BTreeSet::new();
            for (path, item) in document["paths"].as_object().unwrap() {
                for (method, operation) in
                    item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters")
                {
                    assert!(
                        names.insert(operation["operationId"].to_string()),
                        "{method} {path}: {operation}"
                    );
                    assert!(path.ends_with('/') || operation["x-kubernetes-action"].is_string(), "{path}");
                }
            }
        }
    }
}

/// Every reference in a document leads somewhere.
#[test]
fn no_reference_dangles() {
    let document = core();
    let text = document.to_string();
    for (at, _) in text.match_indices(SCHEMAS) {
        let name = text[at + SCHEMAS.len()..].split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

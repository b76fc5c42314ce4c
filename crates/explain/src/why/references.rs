//! The objects a Pod cannot start without.

use k8s_openapi::api::core::v1::{Container, Pod, Volume};

/// An object of the Pod's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// `ConfigMap`.
    pub kind: &'static str,
    /// `configmaps`.
    pub plural: &'static str,
    /// Its name.
    pub name: String,
}

fn config_map(name: &str) -> Reference {
    Reference { kind: "ConfigMap", plural: "configmaps", name: name.to_owned() }
}

fn secret(name: &str) -> Reference {
    Reference { kind: "Secret", plural: "secrets", name: name.to_owned() }
}

/// Everything a Pod refers to that is not optional (R11.5, R11.6, R12.19), each once.
pub fn references(pod: &Pod) -> Vec<Reference> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let mut all: Vec<Reference> = spec.volumes.iter().flatten().flat_map(of_volume).collect();
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        all.extend(of_container(container));
    }
    all.sort();
    all.dedup();
    all
}

fn of_volume(volume: &Volume) -> Vec<Reference> {
    let mut all = Vec::new();
    let needed = |optional: Option<bool>| optional != Some(true);
    if let Some(source) = volume.config_map.as_ref().filter(|it| needed(it.optional)) {
        all.push(config_map(&source.name));
    }
    if let Some(source) = volume.secret.as_ref().filter(|it| needed(it.optional)) {
        all.extend(source.secret_name.as_deref().map(secret));
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        let (kind, plural) = ("PersistentVolumeClaim", "persistentvolumeclaims");
        all.push(Reference { kind, plural, name: claim.claim_name.clone() });
    }
    for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
        if let Some(source) = source.config_map.as_ref().filter(|it| needed(it.optional)) {
            all.push(config_map(&source.name));
        }
        if let Some(source) = source.secret.as_ref().filter(|it| needed(it.optional)) {
            all.push(secret(&source.name));
        }
    }
    all
}

fn of_container(container: &Container) -> Vec<Reference> {
    let mut all = Vec::new();
    let needed = |optional: Option<bool>| optional != Some(true);
    for source in container.env_from.iter().flatten() {
        if let Some(map) = source.config_map_ref.as_ref().filter(|it| needed(it.optional)) {
            all.push(config_map(&map.name));
        }
        if let Some(map) = source.secret_ref.as_ref().filter(|it| needed(it.optional)) {
            all.push(secret(&map.name));
        }
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        if let Some(key) = source.config_map_key_ref.as_ref().filter(|it| needed(it.optional)) {
            all.push(config_map(&key.name));
        }
        if let Some(key) = source.secret_key_ref.as_ref().filter(|it| needed(it.optional)) {
            all.push(secret(&key.name));
        }
    }
    all
}

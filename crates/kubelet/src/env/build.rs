//! The environment of one container, in the order of R11.1.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, FileKeySelector, Pod, Secret, Service};

use super::{
    ConfigError, EnvFileError, NodeAllocatable, PodAddresses, env_file, expand, fields, service_variables,
};

/// Everything an environment is made from. Objects that do not exist are absent from the maps.
#[derive(Clone, Copy)]
pub(crate) struct EnvInput<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// The container, of any kind.
    pub container: &'a Container,
    /// Where the Pod and the node are.
    pub addresses: &'a PodAddresses,
    /// What unset limits read as.
    pub allocatable: &'a NodeAllocatable,
    /// All Services (R11.10).
    pub services: &'a [Service],
    /// ConfigMaps of the Pod's namespace by name.
    pub config_maps: &'a BTreeMap<String, ConfigMap>,
    /// Secrets of the Pod's namespace by name.
    pub secrets: &'a BTreeMap<String, Secret>,
    /// Reads a file of an emptyDir: (volume, path) to text; for `fileKeyRef`.
    pub read_volume: &'a (dyn Fn(&str, &Path) -> Result<String, EnvFileError> + Sync),
}

impl std::fmt::Debug for EnvInput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvInput").field("container", &self.container.name).finish_non_exhaustive()
    }
}

/// The variables in the order they were defined; the image's own are not among them (R11.12).
///
/// # Errors
/// The first source that is missing and not optional.
pub(crate) fn build(input: &EnvInput<'_>) -> Result<Vec<(String, String)>, ConfigError> {
    let mut env = Variables::default();
    add_env_from(input, &mut env)?;
    let links = input.pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let namespace = input.pod.metadata.namespace.as_deref().unwrap_or_default();
    let services = service_variables(input.services, namespace, links);
    for variable in input.container.env.iter().flatten() {
        let value = match (&variable.value_from, variable.value.as_deref()) {
            (Some(source), None | Some("")) => from_source(input, source)?,
            (_, text) => Some(expand(text.unwrap_or_default(), |name| {
                env.get(name).or_else(|| services.get(name).map(String::as_str))
            })),
        };
        if let Some(value) = value {
            env.set(&variable.name, value);
        }
    }
    for (name, value) in services {
        if env.get(&name).is_none() {
            env.set(&name, value);
        }
    }
    Ok(env.list)
}

/// Names in order of their first definition, each with its latest value.
#[derive(Debug, Default)]
struct Variables {
    list: Vec<(String, String)>,
    places: HashMap<String, usize>,
}

impl Variables {
    fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|&place| self.list[place].1.as_str())
    }

    fn set(&mut self, name: &str, value: String) {
        match self.places.get(name) {
            Some(&place) => self.list[place].1 = value,
            None => {
                self.places.insert(name.to_owned(), self.list.len());
                self.list.push((name.to_owned(), value));
            }
        }
    }
}

fn add_env_from(input: &EnvInput<'_>, env: &mut Variables) -> Result<(), ConfigError> {
    for source in input.container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            match input.config_maps.get(&reference.name) {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        env.set(&format!("{prefix}{key}"), value.clone());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(ConfigError::ConfigMapNotFound(reference.name.clone())),
            }
        }
        if let Some(reference) = &source.secret_ref {
            match input.secrets.get(&reference.name) {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        env.set(&format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(ConfigError::SecretNotFound(reference.name.clone())),
            }
        }
    }
    Ok(())
}

/// `None` where an optional source is missing (R11.6).
fn from_source(input: &EnvInput<'_>, source: &EnvVarSource) -> Result<Option<String>, ConfigError> {
    if let Some(field) = &source.field_ref {
        return Ok(Some(fields::field_value(input.pod, input.addresses, &field.field_path)?));
    }
    if let Some(resource) = &source.resource_field_ref {
        let value = fields::resource_value(input.pod, &input.container.name, input.allocatable, resource)?;
        return Ok(Some(value));
    }
    if let Some(selector) = &source.config_map_key_ref {
        let map = input.config_maps.get(&selector.name);
        let value = map.and_then(|map| map.data.as_ref()?.get(&selector.key).cloned());
        return match value {
            None if selector.optional == Some(true) => Ok(None),
            None if map.is_none() => Err(ConfigError::ConfigMapNotFound(selector.name.clone())),
            None => Err(key_not_found(input, "ConfigMap", &selector.name, &selector.key)),
            found => Ok(found),
        };
    }
    if let Some(selector) = &source.secret_key_ref {
        let secret = input.secrets.get(&selector.name);
        let value = secret.and_then(|secret| secret.data.as_ref()?.get(&selector.key));
        return match value {
            None if selector.optional == Some(true) => Ok(None),
            None if secret.is_none() => Err(ConfigError::SecretNotFound(selector.name.clone())),
            None => Err(key_not_found(input, "Secret", &selector.name, &selector.key)),
            Some(bytes) => Ok(Some(String::from_utf8_lossy(&bytes.0).into_owned())),
        };
    }
    match &source.file_key_ref {
        Some(selector) => from_file(input, selector),
        None => Ok(Some(String::new())),
    }
}

fn key_not_found(input: &EnvInput<'_>, kind: &'static str, name: &str, key: &str) -> ConfigError {
    ConfigError::KeyNotFound {
        key: key.to_owned(),
        kind,
        namespace: input.pod.metadata.namespace.clone().unwrap_or_default(),
        name: name.to_owned(),
    }
}

fn from_file(input: &EnvInput<'_>, selector: &FileKeySelector) -> Result<Option<String>, ConfigError> {
    let optional = selector.optional == Some(true);
    let text = match (input.read_volume)(&selector.volume_name, Path::new(&selector.path)) {
        Ok(text) => text,
        Err(EnvFileError::Read(_)) if optional => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match env_file::value_of(&text, &selector.key)? {
        None if optional => Ok(None),
        None => Err(EnvFileError::Key { key: selector.key.clone(), path: selector.path.clone() }.into()),
        found => Ok(found),
    }
}

#[cfg(test)]
mod tests;

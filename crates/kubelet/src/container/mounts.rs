//! Which files a container sees where (section 12, R11.18).

use std::cell::RefCell;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, VolumeMount};
use outrigger_runtime::{Mount, Propagation};

use crate::env::{ConfigError, expand};
use crate::volumes;

/// Files the node writes for a container: source on the node, path inside, read-only.
#[derive(Clone, Debug, Default)]
pub(crate) struct ManagedFiles(pub(crate) Vec<(PathBuf, PathBuf, bool)>);

/// Where a volume lies on the node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Located {
    /// Its folder or file; of an image volume its name.
    pub(crate) path: PathBuf,
    /// Whether containers may only read it (R12.4).
    pub(crate) read_only: bool,
    /// The layers of an image volume, topmost first (R12.28).
    pub(crate) layers: Vec<PathBuf>,
}

/// All mounts, outer ones first. `volume` finds a volume by its name.
///
/// # Errors
/// If a volume or subPath cannot be used; nothing of the node is named in the text.
pub(crate) fn mounts(
    container: &Container,
    env: &[(String, String)],
    managed: ManagedFiles,
    volume: &dyn Fn(&str) -> Option<Located>,
) -> Result<Vec<Mount>, ConfigError> {
    let own = container.volume_mounts.as_deref().unwrap_or_default();
    let mut all: Vec<Mount> = managed
        .0
        .into_iter()
        .filter(|(_, target, _)| !own.iter().any(|mount| Path::new(&mount.mount_path) == target))
        .map(|(source, target, readonly)| Mount { source, target, readonly, ..Mount::default() })
        .collect();
    for mount in own {
        all.push(one(container, env, mount, volume)?);
    }
    all.sort_by_key(|mount| mount.target.components().count());
    Ok(all)
}

fn one(
    container: &Container,
    env: &[(String, String)],
    mount: &VolumeMount,
    volume: &dyn Fn(&str) -> Option<Located>,
) -> Result<Mount, ConfigError> {
    let found = volume(&mount.name).ok_or_else(|| ConfigError::VolumeNotFound {
        volume: mount.name.clone(),
        container: container.name.clone(),
    })?;
    let inner = sub_path(env, mount)?;
    if !inner.is_empty() {
        inside(container, mount, &found, &inner)?;
    }
    let readonly = found.read_only || mount.read_only.unwrap_or(false);
    let recursive = mount.recursive_read_only.as_deref();
    let target = Path::new("/").join(&mount.mount_path);
    Ok(Mount {
        source: found.path,
        sub_path: inner.into(),
        layers: found.layers,
        target,
        readonly,
        recursive_readonly: readonly && matches!(recursive, Some("Enabled" | "IfPossible")),
        propagation: match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => Propagation::Slave,
            Some("Bidirectional") => Propagation::Shared,
            _ => Propagation::Private,
        },
    })
}

/// R12.30: an unset or empty variable is an error that names all of them.
fn sub_path(env: &[(String, String)], mount: &VolumeMount) -> Result<String, ConfigError> {
    let Some(expression) = mount.sub_path_expr.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(mount.sub_path.clone().unwrap_or_default());
    };
    let missing = RefCell::new(Vec::new());
    let text = expand(expression, |name| {
        let found = env.iter().rev().find(|(key, value)| key == name && !value.is_empty());
        if found.is_none() {
            missing.borrow_mut().push(name.to_owned());
        }
        found.map(|(_, value)| value.as_str())
    });
    let missing = missing.into_inner();
    if !missing.is_empty() {
        return Err(ConfigError::SubPathVariables(missing.join(", ")));
    }
    Ok(text)
}

/// A path inside a volume, made if missing. Links are followed only as far as they stay inside (R12.29).
fn inside(
    container: &Container,
    mount: &VolumeMount,
    found: &Located,
    inner: &str,
) -> Result<(), ConfigError> {
    if Path::new(inner).is_absolute() {
        return Err(ConfigError::SubPathInvalid("must not be an absolute path"));
    }
    if Path::new(inner).components().any(|part| part == Component::ParentDir) {
        return Err(ConfigError::SubPathInvalid("must not contain '..'"));
    }
    if !found.layers.is_empty() {
        // An image is looked into when it is put together.
        return Ok(());
    }
    volumes::sub_path(&found.path, inner)
        .map_err(|problem| problem.into_config_error(&mount.name, &container.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(sub_path: &str) -> VolumeMount {
        VolumeMount {
            name: "v".into(),
            mount_path: "/m".into(),
            sub_path: Some(sub_path.into()),
            ..VolumeMount::default()
        }
    }

    /// R12.29
    #[test]
    fn a_sub_path_never_leaves_its_volume() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("out")).unwrap();
        let container = Container::default();
        let found = Located { path: dir.path().to_owned(), ..Located::default() };
        let resolve = |text: &str| inside(&container, &mount(text), &found, text);
        assert!(resolve("a/b").is_ok() && dir.path().join("a/b").is_dir());
        assert!(resolve("out/passwd").is_err() && resolve("../x").is_err() && resolve("/x").is_err());
    }

    /// R11.18: the user's own mount wins over the managed file.
    #[test]
    fn a_users_hosts_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let own = VolumeMount { name: "v".into(), mount_path: "/etc/hosts".into(), ..VolumeMount::default() };
        let container = Container { volume_mounts: Some(vec![own]), ..Container::default() };
        let managed = ManagedFiles(vec![("/x/hosts".into(), "/etc/hosts".into(), false)]);
        let found = mounts(&container, &[], managed, &|_| {
            Some(Located { path: dir.path().to_owned(), ..Located::default() })
        })
        .unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].source, dir.path());
    }

    /// R12.4: what comes from objects is read-only whatever the mount says.
    #[test]
    fn a_read_only_source_makes_a_read_only_mount() {
        let own = VolumeMount { name: "v".into(), mount_path: "/m".into(), ..VolumeMount::default() };
        let container = Container { volume_mounts: Some(vec![own]), ..Container::default() };
        let of = |source: bool| {
            let found = mounts(&container, &[], ManagedFiles::default(), &|_| {
                Some(Located { path: "/v".into(), read_only: source, layers: Vec::new() })
            });
            found.unwrap()[0].readonly
        };
        assert!(of(true) && !of(false));
    }

    /// R12.3
    #[test]
    fn a_volume_that_is_not_there_is_named() {
        let own = VolumeMount { name: "v".into(), mount_path: "/m".into(), ..VolumeMount::default() };
        let container =
            Container { name: "c".into(), volume_mounts: Some(vec![own]), ..Container::default() };
        let error = mounts(&container, &[], ManagedFiles::default(), &|_| None).unwrap_err();
        assert_eq!(error.to_string(), "cannot find volume \"v\" to mount into container \"c\"");
    }

    /// R12.5, R12.6: what a mount asks of the kernel.
    #[test]
    fn propagation_and_recursion() {
        let of = |propagation: Option<&str>, recursive: Option<&str>, read_only| {
            let own = VolumeMount {
                name: "v".into(),
                mount_path: "/m".into(),
                mount_propagation: propagation.map(str::to_owned),
                recursive_read_only: recursive.map(str::to_owned),
                read_only: Some(read_only),
                ..VolumeMount::default()
            };
            let container = Container { volume_mounts: Some(vec![own]), ..Container::default() };
            let found =
                mounts(&container, &[], ManagedFiles::default(), &|_| Some(Located::default())).unwrap();
            (found[0].propagation, found[0].recursive_readonly)
        };
        assert_eq!(of(None, None, false), (Propagation::Private, false));
        assert_eq!(of(Some("None"), Some("Disabled"), true), (Propagation::Private, false));
        assert_eq!(of(Some("HostToContainer"), None, false).0, Propagation::Slave);
        assert_eq!(of(Some("Bidirectional"), None, false).0, Propagation::Shared);
        assert!(of(None, Some("Enabled"), true).1 && of(None, Some("IfPossible"), true).1);
    }

    /// R12.30
    #[test]
    fn a_sub_path_needs_its_variables() {
        let env = [("A".to_owned(), "x".to_owned()), ("EMPTY".to_owned(), String::new())];
        let of = |text: &str| {
            let mount = VolumeMount { sub_path_expr: Some(text.into()), ..VolumeMount::default() };
            sub_path(&env, &mount).map_err(|error| error.to_string())
        };
        assert_eq!(of("d/$(A)"), Ok("d/x".to_owned()));
        assert_eq!(of("$(EMPTY)/$(NONE)"), Err("missing value for EMPTY, NONE".to_owned()));
        assert_eq!(of("$$(A)"), Ok("$(A)".to_owned()));
    }
}

//! Everything a container needs before it is created: its objects fetched, its files written, its configuration made.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};
use outrigger_images::Image;
use outrigger_pod_lifecycle::{definition_hash, pod_words};
use outrigger_runtime::{ContainerConfig, Rootfs};

use super::mounts::{Located, ManagedFiles, mounts};
use super::{Entry, SecurityInput, User, command_line, container_resources, oom_score_adj, security};
use crate::context::{Context, PodKey};
use crate::env::{self, ConfigError, EnvFileError, EnvInput, PodAddresses};
use crate::files::{ClusterDns, HostsInput, ResolvConf, pod_hostname, pod_resolv_conf, render_hosts};
use crate::volumes;

/// Which instance is wanted, and what is known for it.
#[derive(Clone, Debug)]
pub(crate) struct StartRequest<'a> {
    pub(crate) context: &'a Context,
    pub(crate) pod: &'a Pod,
    pub(crate) entry: &'a Entry<'a>,
    /// Its restart count.
    pub(crate) attempt: u32,
    pub(crate) image: &'a Image,
    /// The Pod's addresses, primary first.
    pub(crate) pod_ips: &'a [String],
    /// The images of the image volumes it mounts, by volume.
    pub(crate) image_volumes: &'a BTreeMap<String, Image>,
    /// The instance of `targetContainerName`.
    pub(crate) target: Option<String>,
}

/// Whether the Pod uses the node's network.
pub(crate) fn is_host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
}

/// Labels under which a later agent finds what an instance was made from.
pub(crate) mod labels {
    /// [`outrigger_pod_lifecycle::definition_hash`].
    pub(crate) const DEFINITION_HASH: &str = "outrigger.definition-hash";
    /// `status…image`.
    pub(crate) const IMAGE: &str = "outrigger.image";
    /// `status…imageID`.
    pub(crate) const IMAGE_ID: &str = "outrigger.image-id";
    /// The image's own id, so that it is not pruned.
    pub(crate) const IMAGE_REF: &str = "outrigger.image-ref";
    /// The image's stop signal.
    pub(crate) const STOP_SIGNAL: &str = "outrigger.stop-signal";
    /// `status…user`, as JSON.
    pub(crate) const USER: &str = "outrigger.user";
    /// The container's (or, on a sandbox, the Pod's) `resources` as they are applied, as JSON (R13.30).
    pub(crate) const RESOURCES: &str = "outrigger.resources";

    /// The value of [`RESOURCES`].
    pub(crate) fn resources(of: Option<&k8s_openapi::api::core::v1::ResourceRequirements>) -> String {
        serde_json::to_string(&of.cloned().unwrap_or_default()).unwrap_or_default()
    }

    /// The sandbox's addresses, comma-joined.
    pub(crate) const IPS: &str = "outrigger.ips";
    /// The node's id of the user namespace's root; absent in the node's own.
    pub(crate) const USERS: &str = "outrigger.users";
    /// `true` on the node's network.
    pub(crate) const HOST_NETWORK: &str = "outrigger.host-network";
}

/// Makes the configuration of one instance. Its container id is fresh.
///
/// # Errors
/// Whatever the container names and is not there or not allowed.
pub(crate) async fn prepare(request: &StartRequest<'_>) -> Result<ContainerConfig, ConfigError> {
    let StartRequest { context, pod, image, .. } = *request;
    let container = &request.entry.container;
    if let (Some(wanted), None) = (&request.entry.target, &request.target) {
        return Err(ConfigError::TargetContainer(wanted.clone()));
    }
    let key = PodKey::of(pod);
    let addresses = PodAddresses {
        pod: request.pod_ips.to_vec(),
        host: context.config.node_ips.iter().map(ToString::to_string).collect(),
    };
    let env = environment(context, pod, container, &addresses, image).await?;
    let command = command_line(container, &image.config.entrypoint, &image.config.cmd, &env);
    if command.is_empty() {
        return Err(ConfigError::NoCommand);
    }
    let users = users(context, pod, container, image).await;
    let node_memory = context.allocatable.get("memory").and_then(crate::quantity::units).unwrap_or(0);
    let security = security(&SecurityInput {
        pod,
        container,
        image_user: &image.config.user,
        lookup: &|user| users.get(user).cloned(),
        seccomp_root: &context.config.seccomp_root,
        oom_score_adj: oom_score_adj(pod, request.entry, node_memory),
    })?;
    let security_label = user_label(&security);
    let managed = managed_files(request, &key)?;
    let pod_dir = context.pod_dir(&key.uid);
    let mounts = mounts(container, &env, managed, &|name| match request.image_volumes.get(name) {
        Some(image) => Some(Located { path: name.into(), read_only: true, layers: image.layers.clone() }),
        None => {
            let (path, read_only) = volumes::located(pod, &pod_dir, name)?;
            Some(Located { path, read_only, layers: Vec::new() })
        }
    })?;
    let config = ContainerConfig {
        id: container_id(),
        name: container.name.clone(),
        attempt: request.attempt,
        rootfs: Rootfs {
            lower: image.layers.clone(),
            writable: PathBuf::new(),
            readonly: container
                .security_context
                .as_ref()
                .and_then(|context| context.read_only_root_filesystem)
                .unwrap_or(false),
        },
        command,
        env,
        working_dir: working_dir(container, &image.config.working_dir),
        mounts,
        devices: Vec::new(),
        security,
        resources: container_resources(pod, container),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        target_pid_of: request.target.clone(),
        log_path: context.log_dir(&key).join(&container.name).join(format!("{}.log", request.attempt)),
        labels: instance_labels(container, image, &security_label),
    };
    Ok(config)
}

/// What a later agent has to know of the instance.
fn instance_labels(container: &Container, image: &Image, user: &str) -> BTreeMap<String, String> {
    let reference = container.image.as_deref().unwrap_or_default();
    let mut known = BTreeMap::from([
        (labels::DEFINITION_HASH.to_owned(), definition_hash(&container.name, reference)),
        (labels::IMAGE.to_owned(), image.image_name(reference).to_owned()),
        (labels::IMAGE_ID.to_owned(), image.image_id(reference).to_owned()),
        (labels::IMAGE_REF.to_owned(), image.id.clone()),
        (labels::USER.to_owned(), user.to_owned()),
        (labels::RESOURCES.to_owned(), labels::resources(container.resources.as_ref())),
    ]);
    known.extend(image.config.stop_signal.clone().map(|signal| (labels::STOP_SIGNAL.to_owned(), signal)));
    known
}

/// 32 random bytes in hexadecimal, as container ids look everywhere.
fn container_id() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// `status…user`: who the process runs as (R9.24); the primary group is one of its groups, once.
fn user_label(security: &outrigger_runtime::Security) -> String {
    let mut groups = vec![security.gid];
    for group in &security.groups {
        if !groups.contains(group) {
            groups.push(*group);
        }
    }
    serde_json::json!({
        "linux": { "uid": security.uid, "gid": security.gid, "supplementalGroups": groups },
    })
    .to_string()
}

/// The image's variables, then the container's; HOSTNAME unless somebody set it (R11.12).
async fn environment(
    context: &Context,
    pod: &Pod,
    container: &Container,
    addresses: &PodAddresses,
    image: &Image,
) -> Result<Vec<(String, String)>, ConfigError> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let (maps, secrets) = named_objects(container);
    let api = |error: kube::Error| ConfigError::Api(outrigger_api::StatusError::internal(error));
    let maps = context.objects.config_maps(&namespace, &maps).await.map_err(api)?;
    let secrets = context.objects.secrets(&namespace, &secrets).await.map_err(api)?;
    let services = context.objects.services().await;
    let pod_dir = context.pod_dir(pod.metadata.uid.as_deref().unwrap_or_default());
    let own = env::build(&EnvInput {
        pod,
        container,
        addresses,
        allocatable: &context.allocatable,
        services: &services,
        config_maps: &maps,
        secrets: &secrets,
        read_volume: &|volume, path| read_volume(pod, &pod_dir, volume, path),
    })?;
    let hostname = pod_hostname(pod, &context.config.cluster_domain).ok().map(|names| names.kernel);
    Ok(over_image(&image.config.env, hostname, own))
}

/// R11.12: what the image sets stays unless it is set anew; the host's name is there unless somebody set another.
fn over_image(
    image: &[(String, String)],
    hostname: Option<String>,
    own: Vec<(String, String)>,
) -> Vec<(String, String)> {
    let hostname = hostname.map(|name| ("HOSTNAME".to_owned(), name));
    let mut env = image.to_vec();
    for (name, value) in hostname.into_iter().chain(own) {
        env.retain(|(known, _)| *known != name);
        env.push((name, value));
    }
    env
}

/// R11.14: the container's, else the image's, else the root.
fn working_dir(container: &Container, image: &str) -> PathBuf {
    let own = container.working_dir.as_deref().unwrap_or_default();
    [own, image, "/"].into_iter().find(|dir| !dir.is_empty()).unwrap_or_default().into()
}

/// R11.7: a file an init container left in an emptyDir, which may be full of links.
fn read_volume(pod: &Pod, pod_dir: &Path, volume: &str, path: &Path) -> Result<String, EnvFileError> {
    let root =
        volumes::empty_dir_of(pod, pod_dir, volume).ok_or_else(|| EnvFileError::Volume(volume.to_owned()))?;
    volumes::resolve_beneath(&root, path)
        .and_then(std::fs::read_to_string)
        .map_err(|error| EnvFileError::Read(format!("open {}: {error}", path.display())))
}

/// ConfigMaps and Secrets a container's environment names.
fn named_objects(container: &Container) -> (Vec<String>, Vec<String>) {
    let (mut maps, mut secrets) = (Vec::new(), Vec::new());
    for source in container.env_from.iter().flatten() {
        maps.extend(source.config_map_ref.iter().map(|found| found.name.clone()));
        secrets.extend(source.secret_ref.iter().map(|found| found.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        maps.extend(source.config_map_key_ref.iter().map(|found| found.name.clone()));
        secrets.extend(source.secret_key_ref.iter().map(|found| found.name.clone()));
    }
    (maps, secrets)
}

/// The users the decision may ask the image about: the image's own, and the numbers the spec names.
async fn users(context: &Context, pod: &Pod, container: &Container, image: &Image) -> HashMap<String, User> {
    let mut asked = vec![image.config.user.clone()];
    let pod_level = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref()?.run_as_user);
    let own = container.security_context.as_ref().and_then(|context| context.run_as_user);
    asked.extend(own.or(pod_level).map(|uid| uid.to_string()));
    asked.push("0".to_owned());
    let mut users = HashMap::new();
    for user in asked {
        let (name, _) = user.split_once(':').unwrap_or((&user, ""));
        for text in [user.clone(), name.to_owned()] {
            if let Some(found) = context.images.lookup_user(image, &text).await {
                users.insert(text, found);
            }
        }
    }
    users
}

/// `/etc/hosts`, `/etc/resolv.conf`, `/etc/hostname` and the termination message file (R9.31, R11.18, R11.23).
fn managed_files(request: &StartRequest<'_>, key: &PodKey) -> Result<ManagedFiles, ConfigError> {
    let StartRequest { context, pod, .. } = *request;
    let io = |doing: &str| {
        let doing = doing.to_owned();
        move |source| ConfigError::Io { doing, source }
    };
    let folder = context.pod_dir(&key.uid).join("etc");
    std::fs::create_dir_all(&folder).map_err(io("make the Pod's folder"))?;
    let spec = pod.spec.clone().unwrap_or_default();
    let host_network = spec.host_network.unwrap_or(false);
    let names = pod_hostname(pod, &context.config.cluster_domain).unwrap_or_default();
    let node_hosts = host_network.then(|| std::fs::read_to_string("/etc/hosts").unwrap_or_default());
    let hosts = render_hosts(&HostsInput {
        ips: request.pod_ips,
        hostname: &names,
        aliases: spec.host_aliases.as_deref().unwrap_or_default(),
        node_file: node_hosts.as_deref(),
    });
    let node_resolv = context.config.resolv_conf.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
    let node_resolv = node_resolv.map(|text| ResolvConf::parse(&text));
    let cluster = ClusterDns {
        servers: context.config.cluster_dns.iter().map(ToString::to_string).collect(),
        domain: context.config.cluster_domain.clone(),
    };
    let (resolv, problems) = pod_resolv_conf(pod, node_resolv.as_ref(), &cluster);
    for problem in problems {
        context.events.warning(pod, "", problem.reason(), problem.message(&pod_words(pod)));
    }
    let mut files = Vec::new();
    let mut write = |name: &str, text: &str| -> Result<(), ConfigError> {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(io(&format!("write /etc/{name}")))?;
        files.push((path, PathBuf::from(format!("/etc/{name}")), false));
        Ok(())
    };
    write("hosts", &hosts)?;
    write("resolv.conf", &resolv.render())?;
    if !host_network {
        write("hostname", &format!("{}\n", names.kernel))?;
    }
    let container = &request.entry.container;
    let message = context.termination_file(&key.uid, &container.name, request.attempt);
    if let Some(parent) = message.parent() {
        std::fs::create_dir_all(parent).map_err(io("make the message folder"))?;
    }
    std::fs::write(&message, "").map_err(io("make the message file"))?;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&message, std::fs::Permissions::from_mode(0o666))
        .map_err(io("open the message file"))?;
    let target = container.termination_message_path.clone().filter(|path| !path.is_empty());
    files.push((message, target.unwrap_or_else(|| "/dev/termination-log".to_owned()).into(), false));
    Ok(ManagedFiles(files))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R11.12
    #[test]
    fn variables_over_those_of_the_image() {
        let list = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let image = list(&[("PATH", "/bin"), ("A", "image"), ("HOSTNAME", "image")]);
        let env = over_image(&image, Some("p".into()), list(&[("A", "own")]));
        assert_eq!(env, list(&[("PATH", "/bin"), ("HOSTNAME", "p"), ("A", "own")]));
        let env = over_image(&image, Some("p".into()), list(&[("HOSTNAME", "mine")]));
        assert_eq!(env, list(&[("PATH", "/bin"), ("A", "image"), ("HOSTNAME", "mine")]));
    }

    /// R11.14
    #[test]
    fn where_a_process_begins() {
        let of = |own: Option<&str>, image| {
            working_dir(&Container { working_dir: own.map(str::to_owned), ..Container::default() }, image)
        };
        assert_eq!(
            [of(Some("/own"), "/image"), of(Some(""), "/image"), of(None, "")]
                .map(|it| it.display().to_string()),
            ["/own", "/image", "/"]
        );
    }

    /// R9.24, R13.20: no group twice, the primary one first.
    #[test]
    fn the_reported_groups() {
        let security =
            outrigger_runtime::Security { uid: 7, gid: 0, groups: vec![0, 10, 10, 4], ..Default::default() };
        let label: serde_json::Value = serde_json::from_str(&user_label(&security)).unwrap();
        assert_eq!(label["linux"], serde_json::json!({"uid": 7, "gid": 0, "supplementalGroups": [0, 10, 4]}));
    }
}

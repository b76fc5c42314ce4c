//! Who a container's process is and what it may do (R13.17-R13.25).

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, SeccompProfile};
use outrigger_pod_lifecycle::pod_words;
use outrigger_runtime::{Seccomp, Security};

use super::capabilities;

/// A user of an image: what its `/etc/passwd` and `/etc/group` say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    /// Numeric user.
    pub uid: u32,
    /// Primary group; 0 for a user the image does not know.
    pub gid: u32,
    /// Groups that list the user as a member.
    pub groups: Vec<u32>,
}

/// Why a container may not run as asked. All are `CreateContainerConfigError`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SecurityError {
    /// R13.19.
    #[error("container's runAsUser breaks non-root policy (pod: \"{pod}\", container: {container})")]
    RunAsUserIsRoot { pod: String, container: String },
    /// R13.19.
    #[error("container has runAsNonRoot and image will run as root (pod: \"{pod}\", container: {container})")]
    ImageIsRoot { pod: String, container: String },
    /// R13.19.
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root (pod: \
         \"{pod}\", container: {container})"
    )]
    ImageUserNotNumeric { user: String, pod: String, container: String },
    /// The image's user is not in its `/etc/passwd`.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    UnknownUser(String),
    /// R13.24.
    #[error("localhostProfile must be set if seccompProfile type is Localhost.")]
    NoLocalhostProfile,
    /// R13.24.
    #[error("localhostProfile must be set if appArmorProfile type is Localhost.")]
    NoAppArmorProfile,
    /// R13.21.
    #[error("unknown capability \"{0}\"")]
    UnknownCapability(String),
    /// Ids are 32 bits wide.
    #[error("id {0} is out of range")]
    IdRange(i64),
}

/// What the decision depends on.
#[derive(Clone, Copy)]
pub(crate) struct SecurityInput<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// The container.
    pub container: &'a Container,
    /// The image's `User`: `uid`, `name`, `uid:gid`, `name:group` or empty.
    pub image_user: &'a str,
    /// Looks a user up in the image, by name or number. `None`: no such name.
    pub lookup: &'a (dyn Fn(&str) -> Option<User> + Sync),
    /// Where `localhostProfile` files live.
    pub seccomp_root: &'a Path,
    /// R13.15.
    pub oom_score_adj: i32,
}

impl std::fmt::Debug for SecurityInput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecurityInput").field("image_user", &self.image_user).finish_non_exhaustive()
    }
}

/// The security part of the runtime's configuration.
///
/// # Errors
/// R13.19 to R13.24; the text is shown to the user.
pub(crate) fn security(input: &SecurityInput<'_>) -> Result<Security, SecurityError> {
    let own = input.container.security_context.as_ref();
    let of_pod = input.pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let privileged = own.and_then(|own| own.privileged).unwrap_or(false);
    let run_as_user = own.and_then(|own| own.run_as_user).or_else(|| of_pod.and_then(|pod| pod.run_as_user));
    let non_root =
        own.and_then(|own| own.run_as_non_root).or_else(|| of_pod.and_then(|pod| pod.run_as_non_root));
    if non_root == Some(true) {
        verify_non_root(input, run_as_user)?;
    }
    let image_user = input.image_user.split(':').next().unwrap_or_default();
    let wanted = run_as_user.map(|uid| uid.to_string()).unwrap_or_else(|| image_user.to_owned());
    let user = resolve(&wanted, input.lookup)?;
    let run_as_group =
        own.and_then(|own| own.run_as_group).or_else(|| of_pod.and_then(|pod| pod.run_as_group));
    let gid = match run_as_group {
        Some(gid) => id(gid)?,
        None if run_as_user.is_none() => image_group(input).unwrap_or(user.gid),
        None => user.gid,
    };
    let mut groups = vec![gid];
    let wished = of_pod.and_then(|pod| pod.supplemental_groups.as_deref()).unwrap_or_default();
    for group in of_pod.and_then(|pod| pod.fs_group).iter().chain(wished) {
        groups.push(id(*group)?);
    }
    let policy = of_pod.and_then(|pod| pod.supplemental_groups_policy.as_deref());
    if policy != Some("Strict") {
        groups.extend(&user.groups);
    }
    groups.sort_unstable();
    groups.dedup();
    let profile = own.and_then(|own| own.seccomp_profile.as_ref());
    let profile = profile.or_else(|| of_pod.and_then(|pod| pod.seccomp_profile.as_ref()));
    let capabilities = capabilities::effective(own.and_then(|own| own.capabilities.as_ref()), privileged)
        .map_err(SecurityError::UnknownCapability)?;
    Ok(Security {
        uid: user.uid,
        gid,
        groups,
        capabilities,
        privileged,
        no_new_privileges: own.and_then(|own| own.allow_privilege_escalation) == Some(false),
        seccomp: if privileged { Seccomp::Unconfined } else { seccomp(profile, input.seccomp_root)? },
        app_armor: if privileged { None } else { app_armor(input)? },
        mask_paths: !privileged && own.and_then(|own| own.proc_mount.as_deref()) != Some("Unmasked"),
        oom_score_adj: input.oom_score_adj,
    })
}

fn verify_non_root(input: &SecurityInput<'_>, run_as_user: Option<i64>) -> Result<(), SecurityError> {
    let pod = pod_words(input.pod);
    let container = input.container.name.clone();
    match run_as_user {
        Some(0) => return Err(SecurityError::RunAsUserIsRoot { pod, container }),
        Some(_) => return Ok(()),
        None => {}
    }
    let user = input.image_user.split(':').next().unwrap_or_default();
    match user.parse::<u32>() {
        Ok(0) => Err(SecurityError::ImageIsRoot { pod, container }),
        Ok(_) => Ok(()),
        Err(_) if user.is_empty() => Err(SecurityError::ImageIsRoot { pod, container }),
        Err(_) => Err(SecurityError::ImageUserNotNumeric { user: user.to_owned(), pod, container }),
    }
}

fn resolve(user: &str, lookup: &dyn Fn(&str) -> Option<User>) -> Result<User, SecurityError> {
    let user = if user.is_empty() { "0" } else { user };
    match (lookup(user), user.parse::<i64>()) {
        (Some(known), _) => Ok(known),
        (None, Ok(number)) => Ok(User { uid: id(number)?, ..User::default() }),
        (None, Err(_)) => Err(SecurityError::UnknownUser(user.to_owned())),
    }
}

/// The numeric group of an image user `u:g`; a group name is left to the primary group.
fn image_group(input: &SecurityInput<'_>) -> Option<u32> {
    input.image_user.split_once(':')?.1.parse().ok()
}

fn id(number: i64) -> Result<u32, SecurityError> {
    u32::try_from(number).map_err(|_| SecurityError::IdRange(number))
}

fn seccomp(profile: Option<&SeccompProfile>, root: &Path) -> Result<Seccomp, SecurityError> {
    let Some(profile) = profile else { return Ok(Seccomp::Unconfined) };
    Ok(match profile.type_.as_str() {
        "RuntimeDefault" => Seccomp::RuntimeDefault,
        "Localhost" => {
            let file = profile.localhost_profile.as_deref().filter(|file| !file.is_empty());
            Seccomp::Localhost(root.join(PathBuf::from(file.ok_or(SecurityError::NoLocalhostProfile)?)))
        }
        _ => Seccomp::Unconfined,
    })
}

/// R13.24: the container's profile, or the Pod's. The default of this runtime is no profile.
fn app_armor(input: &SecurityInput<'_>) -> Result<Option<String>, SecurityError> {
    let own = input.container.security_context.as_ref().and_then(|own| own.app_armor_profile.as_ref());
    let of_pod =
        input.pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref()?.app_armor_profile.as_ref());
    match own.or(of_pod) {
        Some(profile) if profile.type_ == "Localhost" => {
            let name = profile.localhost_profile.clone().filter(|name| !name.is_empty());
            name.map(Some).ok_or(SecurityError::NoAppArmorProfile)
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests;

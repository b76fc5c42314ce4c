//! Changing what a running container or Pod may use.

use super::*;

impl EmbeddedRuntime {
    /// Writes cgroup values unless they would make the kernel kill (R13.29).
    pub(super) fn change(&self, path: &str, whose: &str, resources: &Resources) -> Result<(), RuntimeError> {
        let used = self.0.cgroups.memory_used(path).unwrap_or(0);
        if let Some(limit) = resources.memory_limit.filter(|limit| *limit < used) {
            return Err(RuntimeError::InUse(format!(
                "cannot decrease memory limits: attempting to set {whose} memory limit ({limit}) below current \
                 usage ({used})"
            )));
        }
        self.0.cgroups.apply(path, resources).map_err(doing(format!("limit {whose}")))
    }
}

//! Is an ended container started again (R5.4), and does its end restart everything (R5.17)?

use k8s_openapi::api::core::v1::{Container, ContainerRestartRule};

use crate::spec::Role;
use crate::turn::{Entry, Turn};

/// The rule an exit code matches first.
fn matching_rule(container: &Container, code: i32) -> Option<&ContainerRestartRule> {
    container.restart_policy.as_ref()?;
    let rules = container.restart_policy_rules.iter().flatten();
    rules.into_iter().find(|rule| {
        let Some(codes) = &rule.exit_codes else { return false };
        let listed = codes.values.iter().flatten().any(|value| *value == code);
        match codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    })
}

fn by_policy(policy: &str, code: i32) -> bool {
    match policy {
        "Always" => true,
        "OnFailure" => code != 0,
        _ => false,
    }
}

impl Turn<'_> {
    /// R5.4, R4.4, R3.4: whether the container is started again after an exit with this code.
    pub(crate) fn restarts(&self, entry: &Entry<'_>, code: i32) -> bool {
        match entry.role {
            Role::Sidecar => true,
            Role::Ephemeral => false,
            Role::Init | Role::App => {
                let Some(container) = entry.full() else { return false };
                match &container.restart_policy {
                    Some(_) if matching_rule(container, code).is_some() => true,
                    Some(own) => by_policy(own, code),
                    None => by_policy(self.policy(), code),
                }
            }
        }
    }

    /// R5.3: whether it is started again after a probe ended it; exit-code rules are not asked.
    pub(crate) fn restarts_after_probe(&self, entry: &Entry<'_>) -> bool {
        let own = entry.full().and_then(|container| container.restart_policy.as_deref());
        own.unwrap_or(self.policy()) != "Never"
    }

    /// R5.17.
    pub(crate) fn triggers_restart_all(&self, entry: &Entry<'_>) -> bool {
        let (Some(container), Some((_, exit))) = (entry.full(), entry.exited()) else { return false };
        matching_rule(container, exit.code).is_some_and(|rule| rule.action == "RestartAllContainers")
    }

    /// R5.22: whether any container has such a rule.
    pub(crate) fn can_restart_all(&self) -> bool {
        let rules = self.entries.iter().filter_map(|entry| entry.full()?.restart_policy_rules.as_ref());
        rules.flatten().any(|rule| rule.action == "RestartAllContainers")
    }
}

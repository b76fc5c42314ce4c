//! The rules of the Pod lifecycle that steps follow from, each in one sentence. The rule book is
//! `docs/spec/pod-lifecycle.md`.

use serde::Serialize;

/// A rule as people are told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Its number in the rule book.
    pub id: &'static str,
    /// The rule in plain words.
    pub says: &'static str,
}

macro_rules! rules {
    ($($name:ident $id:literal $says:literal)*) => {
        $(pub(crate) const $name: Rule = Rule { id: $id, says: $says };)*

        /// All of them, by number of the rule book's sections.
        pub const RULES: &[Rule] = &[$($name),*];
    };
}

rules! {
    TAKEN "R2.1" "A Pod has one worker on its node, which takes one step after another."
    REFUSED "R1.52" "A Pod its node cannot take in fails at once and is never tried again there."
    VOLUMES "R2.3" "Every volume is mounted before the first container is started."
    VOLUMES_GO "R12.2" "Volumes live as long as the Pod, through every restart, and go with it."
    SANDBOX "R2.8" "Containers run in a sandbox that has the Pod's network; where there is none, one is made."
    SANDBOX_AGAIN "R2.10" "A sandbox that is gone is replaced: what still runs is stopped, and all init containers run again."
    SANDBOX_FAILED "R2.13" "A sandbox that cannot be made is tried again, and the Pod stays Pending meanwhile."

    INIT "R3.1" "Init containers run one at a time in the order of the list; each must exit with 0 before the next starts."
    INIT_RETRY "R3.4" "Whether a failed init container is tried again is up to its restart rules, its own policy, then the Pod's."
    INIT_BACK_OFF "R3.6" "A failed init container is tried again at once, then after 10, 20, 40 and at most 300 seconds."
    INIT_FAILED "R3.7" "An init container that fails and is not tried again ends the Pod: nothing more starts, sidecars are stopped."
    INITIALIZED "R9.17" "A Pod is Initialized once every init container has exited with 0 and every sidecar has started."

    SIDECAR "R4.1" "A sidecar starts at its place in the list of init containers, after every entry before it."
    SIDECAR_GATE "R4.2" "A sidecar lets the next entry go once it runs, its postStart has succeeded and its startup probe has passed."
    SIDECAR_RESTART "R4.4" "A sidecar that exits is started again, whatever its exit code and the Pod's restart policy."
    SIDECAR_LAST "R4.7" "If the last init entry is a sidecar, app containers wait until it has started."
    SIDECAR_STARTUP "R4.9" "A sidecar whose startup probe has failed is killed and started again; the next entry goes on waiting."
    SIDECAR_LIVENESS "R4.10" "A sidecar whose liveness probe has failed is killed and started again."
    SIDECARS_STOP "R4.16" "Once no app container runs or will run again, the sidecars are stopped, and the Pod ends."

    APP "R5.1" "A container that has never run is started."
    APP_AFTER_INIT "R3.2" "App containers start as soon as the last init entry is finished."
    APP_TURN "R2.5" "App containers start one after another: the next once the start of the one before, postStart included, is over."
    APP_KILLED "R5.2" "A container whose liveness or startup probe has failed is killed."
    APP_AFTER_PROBE "R5.3" "After a kill by a probe a container is started again, unless its restart policy is Never."
    APP_EXIT_0 "R5.6" "A container that exits with 0 is started again under Always only."
    APP_FAILED "R5.7" "A container that exits with another code than 0 is started again under Always and OnFailure."
    BACK_OFF "R5.10" "The first restart is immediate; later ones wait 10, 20, 40 and at most 300 seconds after the exit."
    RESTART_ALL "R5.18" "A rule with action RestartAllContainers kills every container, and all begin anew in the same sandbox."
    PULL_BACK_OFF "R5.25" "A failing pull is tried again after 10, 20, 40 and at most 300 seconds."
    START_ORDER "R5.29" "A container is started in steps: back-off, image, configuration, creation, start, postStart."
    START_FAILED "R5.30" "A start that fails is shown with the reason of the step that failed."
    START_RETRY "R2.19" "A start that failed for another reason than its image is tried again about 10 seconds later."
    CANNOT_RUN "R5.32" "A program that cannot be executed counts as a run that ended with 128."
    EPHEMERAL "R14.2" "An ephemeral container is started once, at any stage, and never again."

    STARTUP_PASSED "R6.4" "Once the startup probe has passed, liveness and readiness probes begin."
    STARTUP_FAILED "R6.23" "A container whose startup probe fails failureThreshold times in a row is killed."
    PROBE "R6.6" "A probe's verdict changes only after successThreshold or failureThreshold equal results in a row."
    READINESS "R6.24" "A failing readiness probe makes the Pod unready and never restarts anything."
    READY "R9.19" "A Pod is Ready when every app container and sidecar is ready, and every readiness gate is True."

    POST_START "R7.2" "A postStart hook runs right after its container's process was started."
    POST_START_OVER "R7.3" "A container's start is complete only when its postStart hook has ended."
    POST_START_FAILED "R7.5" "A container whose postStart hook fails is killed."
    PRE_STOP "R7.4" "A preStop hook runs when a running container is stopped, not when it ends by itself."
    PRE_STOP_FAILED "R7.6" "A preStop hook that fails is reported; TERM follows at once."
    PRE_STOP_OVER "R7.10" "The time a preStop hook took is subtracted from what is left for TERM."

    ENDING "R8.10" "When a Pod stops, every preStop hook begins at once, those of sidecars included."
    GRACE "R8.6" "The grace period of a stop can only become shorter."
    FLOOR "R8.7" "KILL follows when the grace is used up, and never sooner than 2 seconds after TERM."
    TERM_ONE "R8.9" "A single container is stopped with its probe's grace period, or the Pod's."
    TERM_APP "R8.11" "An app container gets TERM as soon as its preStop hook is over."
    TERM_SIDECAR "R8.12" "A sidecar gets TERM when all app containers and every later sidecar have stopped, or the grace is used up."
    TERM_INIT "R8.15" "An init container that still runs gets TERM at once."
    TERM_EPHEMERAL "R8.16" "Ephemeral containers are stopped at once, like app containers."
    KILL_FAILED "R8.19" "A stop that fails is reported and tried again."
    CONFIRMED "R8.20" "When everything has stopped and is cleaned up, the node lets the object go."
    DELETED_PHASE "R8.21" "A deleted Pod has Succeeded if every app container exited with 0, else it has Failed."
    STOPPED_CODE "R8.24" "A stopped process shows its own code, 143 if TERM ended it, 137 if KILL did."
    DEADLINE "R8.26" "activeDeadlineSeconds count from when the node first saw the Pod; then it is stopped and Failed."
    EVICTED "R8.27" "A node short of resources stops Pods; they end Failed with reason Evicted."
    SHUTDOWN "R8.29" "A node that shuts down stops its Pods within the time it has."
    OOM "R9.30" "A container that exceeds its memory limit is killed with 137 and shown as OOMKilled."

    PHASE_INIT_FAILED "R9.1" "A Pod whose init container failed for good is Failed."
    PHASE_PENDING "R9.2" "A Pod is Pending while an init container has to run."
    PHASE_RUNNING "R9.5" "A Pod is Running when all app containers and sidecars have run and at least one does."
    PHASE_OVER "R9.8" "When no app container will run again, the Pod has Succeeded if all exited with 0, else it has Failed."

    RESIZE "R13.28" "A change of resources shrinks before it grows, without a restart unless resizePolicy asks for one."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_stands_in_the_rule_book() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec/pod-lifecycle.md");
        let book = std::fs::read_to_string(path).expect("the rule book");
        for rule in RULES {
            let stands = [format!("- {} ", rule.id), format!("| {} ", rule.id)];
            assert!(book.lines().any(|line| stands.iter().any(|it| line.starts_with(it))), "{}", rule.id);
        }
    }

    #[test]
    fn a_rule_is_one_sentence() {
        for rule in RULES {
            let ends = rule.says.matches(['.', '!', '?']).count();
            assert!(rule.says.ends_with('.') && ends == 1, "{}: {}", rule.id, rule.says);
            assert!(rule.says.len() <= 115, "{} has {} letters", rule.id, rule.says.len());
        }
    }
}

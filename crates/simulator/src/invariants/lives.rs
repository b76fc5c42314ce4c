//! When an instance may begin: I1, I2, I3, I9, I13.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use outrigger_api::WallTime;
use outrigger_pod_lifecycle::{Action, ContainerFacts, Decision, InstanceState};

use super::{Checker, Kind, containers, gap};

/// One instance from its beginning to its end, whatever the agent knows of it.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) id: String,
    pub(super) sandbox: String,
    pub(super) attempt: u32,
    pub(super) began: Duration,
    /// Code, and whether memory ran out.
    pub(super) ended: Option<(i32, bool)>,
    pub(super) ended_at: Option<WallTime>,
    post_start_done: bool,
    startup_passed: bool,
    /// All containers were restarted since: it proves nothing any more.
    stale: bool,
}

/// The crash back-off of one container, computed again from R5.10 alone.
#[derive(Debug, Default)]
pub(super) struct Series {
    delay: i64,
    advanced_at: Option<WallTime>,
    image: String,
}

impl Life {
    fn succeeded(&self) -> bool {
        self.ended == Some((0, false)) && !self.stale
    }
}

impl Checker {
    fn newest(&self, container: &str) -> Option<&Life> {
        self.lives.get(container).and_then(|lives| lives.last())
    }

    pub(super) fn life(&self, instance: &str) -> Option<&Life> {
        self.lives.values().flatten().find(|life| life.id == instance)
    }

    fn life_mut(&mut self, instance: &str) -> Option<&mut Life> {
        self.lives.values_mut().flatten().find(|life| life.id == instance)
    }

    /// Before a start is begun: I2, I3.
    pub(super) fn check_starts(
        &mut self,
        now: Duration,
        pod: &Pod,
        facts: &BTreeMap<String, ContainerFacts>,
        decision: &Decision,
    ) {
        if decision.memory.restarting_all {
            self.lives.values_mut().flatten().for_each(|life| life.stale = true);
        }
        if decision.memory.restarting_all || decision.memory.replacing_sandbox {
            self.forget_ends();
        }
        let starts = decision.actions.iter().filter_map(|action| match action {
            Action::StartContainer { container, sandbox, .. } => Some((container, sandbox)),
            _ => None,
        });
        for (container, sandbox) in starts {
            if let Some((rule, what)) = self.too_early(pod, facts, container, sandbox) {
                self.complain(now, rule, what);
            }
        }
    }

    fn too_early(
        &self,
        pod: &Pod,
        facts: &BTreeMap<String, ContainerFacts>,
        starting: &str,
        sandbox: &str,
    ) -> Option<(&'static str, String)> {
        let all: Vec<(&Container, Kind)> = containers(pod).collect();
        let at = all.iter().position(|(container, _)| container.name == starting)?;
        let (_, kind) = all[at];
        let rule = if kind == Kind::App { "I2" } else { "I3" };
        for (earlier, _) in all[..at].iter().filter(|(_, kind)| *kind == Kind::Init) {
            let newest = self.newest(&earlier.name).filter(|life| life.sandbox == sandbox);
            if !newest.is_some_and(Life::succeeded) {
                return Some((rule, format!("{starting} starts although {} has not exited 0", earlier.name)));
            }
        }
        // Only the first app container of a sandbox waits for the last sidecar; later it may be down (R4.8).
        let of_app = |(_, kind): &&(&Container, Kind)| *kind == Kind::App;
        let app_lived = all.iter().filter(of_app).any(|(app, _)| {
            let begins = facts.get(&app.name).is_some_and(|facts| facts.operation.is_some());
            begins || self.newest(&app.name).is_some_and(|life| life.sandbox == sandbox && !life.stale)
        });
        let last = all.iter().rev().find(|(_, kind)| *kind != Kind::App);
        if let (Kind::App, false, Some((last, Kind::Sidecar))) = (kind, app_lived, last) {
            let hook = last.lifecycle.as_ref().is_some_and(|hooks| hooks.post_start.is_some());
            // With nothing to pass, having run is enough (S11).
            let plain = !hook && last.startup_probe.is_none();
            let life = self.newest(&last.name);
            let life = life.filter(|life| life.sandbox == sandbox && (plain || life.ended.is_none()));
            let started = life.is_some_and(|life| {
                (!hook || life.post_start_done) && (last.startup_probe.is_none() || life.startup_passed)
            });
            if !started {
                return Some(("I2", format!("{starting} starts although {} is not started", last.name)));
            }
        }
        None
    }

    /// A new instance: I1, I3, I9, I13.
    pub(crate) fn began(
        &mut self,
        now: (Duration, WallTime),
        pod: Option<&Pod>,
        facts: &BTreeMap<String, ContainerFacts>,
        container: &str,
    ) {
        let Some(newest) = facts.get(container).and_then(ContainerFacts::newest) else { return };
        let (at, wall) = now;
        let live = |facts: &ContainerFacts| {
            facts.instances.iter().filter(|it| matches!(it.state, InstanceState::Running { .. })).count()
        };
        if facts.get(container).map_or(0, live) > 1 {
            self.complain(at, "I1", format!("two instances of {container} run"));
        }
        let plain = |name: &str| pod.is_some_and(|pod| super::kind_of(pod, name) == Some(Kind::Init));
        if plain(container)
            && facts.iter().filter(|(name, _)| plain(name)).map(|(_, it)| live(it)).sum::<usize>() > 1
        {
            self.complain(at, "I3", format!("{container} runs beside another init container"));
        }
        let expected = self.newest(container).map_or(0, |life| life.attempt + 1);
        if newest.attempt != expected {
            let what = format!("restart count {} of {container}, {expected} expected", newest.attempt);
            self.complain(at, "I9", what);
        }
        self.check_back_off(at, wall, container, &newest.image);
        let life = Life {
            id: newest.id.clone(),
            sandbox: newest.sandbox.clone(),
            attempt: newest.attempt,
            began: at,
            ended: None,
            ended_at: None,
            post_start_done: false,
            startup_passed: false,
            stale: false,
        };
        self.lives.entry(container.to_owned()).or_default().push(life);
    }

    /// I13: R5.10 to R5.12, from the book of lives.
    fn check_back_off(&mut self, at: Duration, wall: WallTime, container: &str, image: &str) {
        let last = self.newest(container).and_then(|life| Some((life.ended_at?, life.id.clone())));
        let exempt = last.as_ref().is_some_and(|(_, id)| self.stopping.is_exempt(id));
        let series = self.series.entry(container.to_owned()).or_default();
        if series.image != image {
            *series = Series { image: image.to_owned(), ..Series::default() };
        }
        let Some((ended, _)) = last.filter(|_| !exempt) else { return };
        let fresh = series.advanced_at.is_none_or(|advanced| gap(advanced, ended) > 600);
        let needed = if fresh { 0 } else { series.delay };
        series.delay = if needed == 0 { 10 } else { (needed * 2).min(300) };
        series.advanced_at = Some(wall);
        let waited = gap(ended, wall);
        if waited < needed {
            self.complain(at, "I13", format!("{container} starts {waited} s after its exit, not {needed} s"));
        }
    }

    /// What ended so far gives no measure for gaps: records were removed, or the calendar jumped.
    pub(super) fn forget_ends(&mut self) {
        self.lives.values_mut().flatten().for_each(|life| life.ended_at = None);
    }

    pub(crate) fn ended(&mut self, wall: WallTime, instance: &str, code: i32, oom_killed: bool) {
        if let Some(life) = self.life_mut(instance) {
            life.ended = Some((code, oom_killed));
            life.ended_at = Some(wall);
        }
    }

    /// The runtime lost it. If it ran, nobody knows how it ended.
    pub(crate) fn vanished(&mut self, instance: &str) {
        // Without a record of any app container the init entries count again (9A).
        self.status.may_go_back = true;
        if let Some(life) = self.life_mut(instance) {
            life.ended.get_or_insert((137, false));
            life.ended_at = None;
        }
    }

    pub(crate) fn post_start_done(&mut self, instance: &str) {
        if let Some(life) = self.life_mut(instance) {
            life.post_start_done = true;
        }
    }

    pub(crate) fn startup_passed(&mut self, instance: &str) {
        if let Some(life) = self.life_mut(instance) {
            life.startup_passed = true;
        }
    }

    /// How the newest instance ended; `None` if it runs or never was.
    pub(super) fn newest_end(&self, container: &str) -> Option<(i32, bool)> {
        self.newest(container).and_then(|life| life.ended)
    }
}

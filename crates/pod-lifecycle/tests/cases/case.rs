//! One case file: read, played, written.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{EphemeralContainer, Pod, PodCondition, PodSpec};
use outrigger_pod_lifecycle::Desired;
use outrigger_simulator::{Node, PodIndex, Script, story};

/// What a file says.
pub(crate) struct Case {
    pub(crate) title: String,
    pub(crate) timeline: Vec<String>,
    /// The file up to its timeline.
    head: String,
    spec: PodSpec,
    scripts: BTreeMap<String, Script>,
    steps: Vec<(Duration, String)>,
    until: Duration,
}

/// What came of it.
pub(crate) struct Played {
    pub(crate) lines: Vec<String>,
    /// A broken invariant.
    pub(crate) broken: Option<String>,
}

const SCRIPT: &str = "\n--- script\n";
const TIMELINE: &str = "\n--- timeline\n";

impl Case {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (head, timeline) = text.split_once(TIMELINE).ok_or("no line `--- timeline`")?;
        let (spec, script) = head.split_once(SCRIPT).unwrap_or((head, ""));
        let title =
            spec.lines().next().and_then(|line| line.strip_prefix("# ")).ok_or("no title in line 1")?;
        let mut case = Self {
            title: title.to_owned(),
            timeline: timeline.lines().map(str::to_owned).collect(),
            head: head.to_owned(),
            spec: read_spec(spec)?,
            scripts: BTreeMap::new(),
            steps: Vec::new(),
            until: Duration::from_secs(120),
        };
        for line in script.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            case.read_line(line).map_err(|problem| format!("script line `{line}`: {problem}"))?;
        }
        Ok(case)
    }

    fn read_line(&mut self, line: &str) -> Result<(), String> {
        if let Some(until) = line.strip_prefix("until ") {
            self.until = seconds(until)?;
            return Ok(());
        }
        let (name, rest) = line.split_once(':').ok_or("no colon")?;
        match name.strip_prefix("at ") {
            Some(at) => self.steps.push((seconds(at)?, rest.trim().to_owned())),
            None => drop(self.scripts.insert(name.to_owned(), Script::parse(rest)?)),
        }
        Ok(())
    }

    /// The file with another timeline.
    pub(crate) fn with_timeline(&self, lines: &[String]) -> String {
        format!("{}{TIMELINE}{}\n", self.head, lines.join("\n"))
    }

    pub(crate) fn play(&self) -> Played {
        let pod = serde_json::json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u1", "generation": 1},
            "spec": self.spec,
            "status": {"phase": "Pending"},
        });
        let pod: Pod = serde_json::from_value(pod).expect("a Pod");
        let mut node = Node::default();
        let index = node.create(pod, self.scripts.clone());
        for (at, step) in &self.steps {
            // What is asked at the very beginning is known before the Pod is seen.
            if !at.is_zero() {
                node.run(*at);
            }
            ask(&mut node, index, step).unwrap_or_else(|problem| panic!("step `{step}`: {problem}"));
        }
        node.run(self.until);
        let broken =
            node.violations().next().map(|(_, it)| format!("{} at {:?}: {}", it.rule, it.at, it.what));
        Played { lines: story(node.timeline(index)), broken }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.trim().parse().map_err(|_| format!("{text} is no number of seconds"))?;
    Ok(Duration::from_secs_f64(seconds))
}

/// The spec in YAML, with what every container must have and no case is about.
fn read_spec(text: &str) -> Result<PodSpec, String> {
    let mut spec: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            if container["image"].is_null() {
                container["image"] = "img".into();
            }
        }
    }
    serde_json::from_value(spec).map_err(|error| error.to_string())
}

/// What the test does to the node or the object.
fn ask(node: &mut Node, pod: PodIndex, step: &str) -> Result<(), String> {
    let words: Vec<&str> = step.split_whitespace().collect();
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text} is no number"));
    match words.as_slice() {
        ["delete"] => node.delete(pod, None),
        ["delete", "grace", grace] => node.delete(pod, Some(number(grace)?)),
        ["agent", "dies"] => node.kill_agent(Duration::ZERO),
        ["agent", "dies", "for", down] => node.kill_agent(seconds(down)?),
        ["sandbox", "dies"] => node.kill_sandbox(pod),
        ["runtime", "loses", container] => node.lose_record(pod, container),
        ["sandboxes", "fail", times] => {
            node.fail_sandboxes(pod, u32::try_from(number(times)?).unwrap_or(u32::MAX));
        }
        ["stops", "fail", times] => {
            node.fail_stops(pod, u32::try_from(number(times)?).unwrap_or(u32::MAX));
        }
        ["clock", "jumps", by] => {
            node.jump_wall(SignedDuration::from_secs(by.parse().map_err(|_| "no number")?));
        }
        ["shutdown", grace] => node.desire(pod, Desired::Shutdown { grace_seconds: number(grace)? }),
        ["evict", message @ ..] => {
            let message = message.join(" ");
            node.desire(pod, Desired::Evict { message, grace_seconds: Some(1), disruption: true });
        }
        ["reject", reason, message @ ..] => {
            let (reason, message) = ((*reason).to_owned(), message.join(" "));
            node.desire(pod, Desired::Reject { reason, message });
        }
        ["mount", "fails", problem @ ..] => node.fail_mounts(pod, &problem.join(" ")),
        ["mount", "works"] => node.mend_mounts(pod),
        ["network", "down", problem @ ..] => node.facts.network_problem = Some(problem.join(" ")),
        ["network", "up"] => node.facts.network_problem = None,
        ["finalizer", name] => {
            node.change(pod, |pod| {
                pod.metadata.finalizers = Some(vec![(*name).to_owned()]);
            });
        }
        ["no", "finalizer"] => node.release(pod),
        ["image", container, image] => node.change(pod, |pod| set_image(pod, container, image)),
        ["debug", container] => node.change(pod, |pod| add_ephemeral(pod, container)),
        ["gate", ty, status] => node.change(pod, |pod| set_condition(pod, ty, status)),
        _ => return Err("unknown".into()),
    }
    Ok(())
}

fn set_image(pod: &mut Pod, name: &str, image: &str) {
    let Some(spec) = &mut pod.spec else { return };
    let all = spec.init_containers.iter_mut().flatten().chain(&mut spec.containers);
    for container in all.filter(|container| container.name == name) {
        container.image = Some(image.to_owned());
    }
    pod.metadata.generation = pod.metadata.generation.map(|generation| generation + 1);
}

fn add_ephemeral(pod: &mut Pod, name: &str) {
    let Some(spec) = &mut pod.spec else { return };
    let debug = EphemeralContainer { name: name.to_owned(), image: Some("img".into()), ..Default::default() };
    spec.ephemeral_containers.get_or_insert_default().push(debug);
    pod.metadata.generation = pod.metadata.generation.map(|generation| generation + 1);
}

fn set_condition(pod: &mut Pod, ty: &str, status: &str) {
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != ty);
    let condition = PodCondition { type_: ty.into(), status: status.into(), ..Default::default() };
    conditions.push(condition);
}

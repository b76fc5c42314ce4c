//! Records of the simulated node: what `outrigger why` makes of them, their bounds, their way over the wire.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use outrigger_explain::render::text::Style;
use outrigger_explain::why::{Situation, explain};
use outrigger_explain::{Chart, HEAD, Recorder, Report, TAIL, render};
use outrigger_pod_lifecycle::{Input, decide};
use outrigger_simulator::{Chaos, Node, PodIndex, Script};

/// A node with one Pod of this spec, whose containers behave so.
struct Played {
    node: Node,
    pod: PodIndex,
    recorder: Arc<Mutex<Recorder>>,
}

impl Played {
    fn begin(spec: &str, scripts: &[(&str, &str)]) -> Self {
        let spec: serde_json::Value = serde_saphyr::from_str(spec).expect("YAML");
        let pod = serde_json::json!({
            "metadata": {"name": "p", "namespace": "default", "uid": "u1", "generation": 1},
            "spec": spec, "status": {"phase": "Pending"},
        });
        let mut pod: Pod = serde_json::from_value(pod).expect("a Pod");
        pod.spec.as_mut().expect("a spec").node_name = Some("n1".into());
        let read = |text: &str| Script::parse(text).expect("a script");
        let scripts: BTreeMap<String, Script> =
            scripts.iter().map(|(name, text)| ((*name).to_owned(), read(text))).collect();
        let recorder = Arc::new(Mutex::new(Recorder::default()));
        let shared = recorder.clone();
        let decide = move |input: &Input<'_>| {
            let decision = decide(input);
            shared.lock().expect("the recorder").note(input, &decision);
            decision
        };
        let mut node = Node::new(Box::new(decide), Chaos::calm());
        let pod = node.create(pod, scripts);
        Self { node, pod, recorder }
    }

    fn run(mut self, seconds: u64) -> Self {
        self.node.run(Duration::from_secs(seconds));
        self
    }

    fn report(&self) -> Report {
        let now = self.node.clocks().wall;
        self.recorder.lock().expect("the recorder").report(now, Vec::new())
    }

    /// All links of all chains.
    fn why(&self) -> Vec<String> {
        let pod = self.node.object(self.pod).expect("the object");
        let (report, now) = (self.report(), self.node.clocks().wall);
        let situation = Situation { pod, events: &[], report: Some(&report), node: None, absent: &[], now };
        explain(&situation).causes.into_iter().flat_map(|cause| cause.chain).collect()
    }
}

const APP: &str = "containers: [{name: app, image: i}]";

#[test]
fn what_holds_up_the_whole_pod() {
    let mut mounts = Played::begin(APP, &[]);
    mounts.node.fail_mounts(mounts.pod, "secret \"keys\" not found");
    let want = "no container can start, because a volume is not there: secret \"keys\" not found";
    assert_eq!(mounts.run(5).why(), [want]);
    let mut sandboxes = Played::begin(APP, &[]);
    sandboxes.node.fail_sandboxes(sandboxes.pod, 100);
    let want = "no container can start, because its sandbox cannot be made: no luck";
    assert_eq!(sandboxes.run(5).why(), [want]);
    let mut network = Played::begin(APP, &[]);
    network.node.facts.network_problem = Some("no bridge".into());
    assert_eq!(network.run(5).why(), ["no container can start, because its node has no Pod network"]);
}

/// R2.5, R7.3
#[test]
fn a_hook_that_does_not_end() {
    let spec = "containers:
- {name: a, image: i, lifecycle: {postStart: {sleep: {seconds: 1}}}}
- {name: b, image: i}";
    let played = Played::begin(spec, &[("a", "postStart takes forever")]).run(5);
    let want = ["b waits until the start of a is over", "the postStart hook of container a runs, for 5s"];
    assert_eq!(played.why(), want);
}

/// R8.10, R8.12
#[test]
fn a_stop_under_way() {
    let spec = "terminationGracePeriodSeconds: 30
initContainers: [{name: side, image: i, restartPolicy: Always}]
containers: [{name: app, image: i, lifecycle: {preStop: {sleep: {seconds: 1}}}}]";
    let mut played = Played::begin(spec, &[("app", "preStop takes 10, ignores TERM")]).run(5);
    played.node.delete(played.pod, None);
    let played = played.run(8);
    let waits = "sidecar side waits for its turn to stop";
    assert_eq!(played.why(), ["container app runs its preStop hook, for 3s", waits]);
    let played = played.run(20);
    let term = "container app got TERM 5s ago and still runs; it gets KILL in 15s";
    assert_eq!(played.why(), [term, waits]);
}

#[test]
fn a_start_that_fails() {
    let script = "start fails CreateContainerError 9 times \"no space left on device\"";
    let played = Played::begin(APP, &[("app", script)]).run(4);
    let why = played.why();
    let want = "container app cannot be created: no space left on device; next try in ";
    assert!(why.len() == 1 && why[0].starts_with(want), "{why:?}");
}

#[test]
fn what_is_done_blocks_nothing() {
    let spec = "restartPolicy: Never\ncontainers: [{name: a, image: i}, {name: b, image: i}]";
    let played = Played::begin(spec, &[("a", "exit 0 after 1")]).run(5);
    assert_eq!(played.why(), Vec::<String>::new());
}

/// A record is bounded, and what is missing is said.
#[test]
fn a_record_keeps_its_beginning_and_its_end() {
    let played = Played::begin(APP, &[("app", "exit 1 after 1")]).run(2 * 86_400);
    let report = played.report();
    assert_eq!((report.entries.len(), report.dropped_after), (HEAD + TAIL, HEAD));
    assert!(report.dropped > 1000, "{}", report.dropped);
    let chart = Chart::of(&report);
    let text = render::text::render(&chart, Style { width: 100, colour: false });
    assert!(text.contains(&format!("{} entries between", report.dropped)), "{text}");
    assert!(render::svg::render(&chart).contains("were not kept"));
}

#[test]
fn a_report_survives_the_wire() {
    let spec = "initContainers: [{name: side, image: i, restartPolicy: Always}]\ncontainers: [{name: app, image: i}]";
    let scripts = [("app", "exit 1 after 1"), ("side", "start fails ErrImagePull twice")];
    let mut played = Played::begin(spec, &scripts).run(100);
    played.node.delete(played.pod, Some(5));
    let report = played.run(200).report();
    let text = serde_json::to_string(&report).expect("JSON");
    assert_eq!(serde_json::from_str::<Report>(&text).expect("a report"), report);
    assert!(report.gone.is_some());
}

/// An agent that starts anew begins a new record with what the runtime still knows.
#[test]
fn a_new_agent_begins_with_what_is_there() {
    let mut played = Played::begin(APP, &[]).run(10);
    played.node.kill_agent(Duration::ZERO);
    *played.recorder.lock().expect("the recorder") = Recorder::default();
    let chart = Chart::of(&played.run(20).report());
    assert_eq!(chart.steps[0].what, "is taken over by a new agent process");
    assert_eq!(chart.outcome, "Running, Ready after 10s");
}

/// No picture fetches or runs anything, whatever containers say.
#[test]
fn a_picture_is_only_a_picture() {
    let script = "exit 1 after 1 | cannot run \"</text><script href='http://x'>\"";
    let svg = render::svg::render(&Chart::of(&Played::begin(APP, &[("app", script)]).run(30).report()));
    for word in ["<script", "<image", "<use", "<foreignObject", "href=\"", "href='", "@import", "javascript:"]
    {
        assert!(!svg.contains(word), "{word}");
    }
    assert!(svg.contains("&lt;script href=&#39;http://x&#39;&gt;"));
    assert_eq!(svg.matches("\"http").count(), 1, "the name space; all else is text");
    assert!(!svg.contains("url(http"));
}

#[test]
fn a_text_fits_its_terminal() {
    let spec = "containers: [{name: a-container-with-a-name-that-is-rather-long, image: i}]";
    let script = "exit 3 after 1, oom | startup fails";
    let chart = Chart::of(
        &Played::begin(spec, &[("a-container-with-a-name-that-is-rather-long", script)]).run(90).report(),
    );
    for width in [40, 60, 80, 132, 250] {
        let text = render::text::render(&chart, Style { width, colour: false });
        let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(longest <= width, "{longest} of {width}\n{text}");
        let colours = render::text::render(&chart, Style { width, colour: true });
        assert!(colours.contains("\u{1b}[32m") && !text.contains('\u{1b}'));
    }
}

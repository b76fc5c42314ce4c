//! `outrigger why` and `outrigger timeline` of five examples, played on the simulated node: `docs/explained/` holds
//! what they say. `UPDATE_GOLDEN=1` writes it anew; read the difference before you keep it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use outrigger_explain::render::text::Style;
use outrigger_explain::{Chart, ProbeProgress, Recorder, Report, render, why};
use outrigger_pod_lifecycle::{Input, Verdict, decide};
use outrigger_simulator::{Chaos, Node, PodIndex, Script};

const STYLE: Style = Style { width: 100, colour: false };

/// One example: how its containers behave, when it is asked why, when it is deleted, when the timeline is drawn.
struct Example {
    name: &'static str,
    scripts: &'static [(&'static str, &'static str)],
    why_at: u64,
    delete_at: Option<u64>,
    until: u64,
}

const EXAMPLES: [Example; 5] = [
    Example {
        name: "init-sidecar-app",
        scripts: &[("prepare", "exit 0 after 3"), ("side", "term 0 after 0.2"), ("app", "exit 0 after 4")],
        why_at: 2000,
        delete_at: None,
        until: 60_000,
    },
    Example {
        name: "sidecar-proxies-requests",
        scripts: &[
            ("server", "startup fails until 1.5 \"wget: server returned error: HTTP/1.1 404 Not Found\""),
            ("proxy", "startup fails until 12 \"dial tcp 10.1.0.2:8080: Connection refused (os error 111)\""),
            ("app", "exit 0 after 2"),
        ],
        why_at: 8500,
        delete_at: None,
        until: 60_000,
    },
    Example {
        name: "job-with-sidecar",
        scripts: &[("work", "exit 1 after 2, says \"no such host: database\""), ("progress", "term 0")],
        why_at: 20_000,
        delete_at: None,
        until: 90_000,
    },
    Example {
        name: "top-command-pod",
        scripts: &[("top-command", "ignores TERM")],
        why_at: 25_000,
        delete_at: Some(20_000),
        until: 120_000,
    },
    Example {
        name: "init-fetches-dependency",
        scripts: &[
            (
                "fetch",
                "start fails ErrImagePull 2 times \"busybox: connection reset by peer\", exit 0 after 2",
            ),
            ("app", "exit 0 after 1"),
        ],
        why_at: 14_000,
        delete_at: None,
        until: 90_000,
    },
];

/// A simulated node whose decisions about one Pod are recorded.
struct Played {
    node: Node,
    pod: PodIndex,
    recorder: Arc<Mutex<Recorder>>,
}

impl Played {
    fn begin(example: &Example) -> Self {
        let path = root().join(format!("examples/{}.yaml", example.name));
        let text = std::fs::read_to_string(path).expect("an example");
        let mut pod: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
        pod["metadata"]["namespace"] = "default".into();
        pod["metadata"]["uid"] = "u1".into();
        pod["metadata"]["generation"] = 1.into();
        pod["spec"]["nodeName"] = "n1".into();
        pod["status"]["phase"] = "Pending".into();
        if pod["spec"]["terminationGracePeriodSeconds"].is_null() {
            pod["spec"]["terminationGracePeriodSeconds"] = 30.into();
        }
        let pod: Pod = serde_json::from_value(pod).expect("a Pod");
        let scripts: BTreeMap<String, Script> = example
            .scripts
            .iter()
            .map(|(name, text)| ((*name).to_owned(), Script::parse(text).expect("a script")))
            .collect();
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

    /// Lets time pass; the Pod is deleted on the way if it is to be.
    fn run(&mut self, example: &Example, until: u64) {
        if let Some(at) = example.delete_at.filter(|at| (self.node.now().as_millis()) < u128::from(*at)) {
            if at > until {
                return self.node.run(Duration::from_millis(until));
            }
            self.node.run(Duration::from_millis(at));
            self.node.delete(self.pod, None);
        }
        self.node.run(Duration::from_millis(until));
    }

    fn report(&self) -> Report {
        let now = self.node.clocks().wall;
        let probes = self.node.probe_runs(self.pod).into_iter().map(|run| ProbeProgress {
            container: run.container,
            kind: run.kind,
            success: run.run.map(|(verdict, _)| verdict == Verdict::Success),
            in_a_row: run.run.map_or(0, |(_, length)| length),
            needed: run.needed,
            output: run.output,
            next: run.due.map(|due| now + due.saturating_sub(self.node.now())),
        });
        self.recorder.lock().expect("the recorder").report(now, probes.collect())
    }

    fn answer(&self) -> why::Answer {
        let pod = self.node.object(self.pod).expect("the object");
        why::explain(&why::Situation {
            pod,
            events: &[],
            report: Some(&self.report()),
            node: None,
            absent: &[],
            now: self.node.clocks().wall,
        })
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compares with the file, or writes it.
fn golden(file: &str, text: &str, wrong: &mut Vec<String>) {
    let path = root().join("docs/explained").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("the file is written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if kept != text {
        wrong.push(format!("{file} is another:\n{text}"));
    }
}

#[test]
fn five_examples_are_explained_as_written() {
    let mut wrong = Vec::new();
    for example in &EXAMPLES {
        let mut played = Played::begin(example);
        played.run(example, example.why_at);
        let asked =
            format!("$ outrigger why pod/{}      # after {} s\n\n", example.name, example.why_at / 1000);
        let answer = asked + &why::text::render(&played.answer(), STYLE);
        golden(&format!("{}.why.txt", example.name), &answer, &mut wrong);
        played.run(example, example.until);
        let chart = Chart::of(&played.report());
        let asked = format!("$ outrigger timeline pod/{}\n\n", example.name);
        let timeline = asked + &render::text::render(&chart, STYLE);
        golden(&format!("{}.timeline.txt", example.name), &timeline, &mut wrong);
        if example.name == "sidecar-proxies-requests" {
            golden(&format!("{}.timeline.svg", example.name), &render::svg::render(&chart), &mut wrong);
            let trace = serde_json::to_string_pretty(&render::trace::render(&[chart])).expect("JSON") + "\n";
            golden(&format!("{}.timeline.trace.json", example.name), &trace, &mut wrong);
        }
        assert_eq!(played.node.violations().count(), 0, "{}", example.name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

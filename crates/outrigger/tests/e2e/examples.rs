//! Every example does what it says. One that is added and not named here fails the test.

use std::collections::BTreeMap;

use crate::run::{Run, run};
use crate::suite::Images;

/// A line its containers must print.
enum Wanted {
    /// It ends by itself, and well.
    Ends(&'static str),
    /// It is stopped once it has printed so.
    Endless(&'static str),
}

const EXPECTED: [(&str, Wanted); 11] = [
    ("init-check-configuration", Wanted::Ends("listening on 8080")),
    ("init-fetches-dependency", Wanted::Ends("library 1.2")),
    ("init-initialises-database", Wanted::Ends("[('first',)]")),
    ("init-sidecar-app", Wanted::Ends("done")),
    ("init-waits-for-service", Wanted::Ends("root:x:0:0")),
    ("job-with-sidecar", Wanted::Ends("the work is done after 2 tries")),
    ("sidecar-exports-metrics", Wanted::Ends("jobs_done_total 3")),
    ("sidecar-proxies-requests", Wanted::Ends("hello from behind")),
    ("sidecar-reloads-configuration", Wanted::Ends("two")),
    ("sidecar-ships-logs", Wanted::Ends("line 3")),
    ("top-command-pod", Wanted::Endless("Load average:")),
];

/// As its user wrote them; not a byte may change.
const TIME_PRINTER: &str = r#"apiVersion: v1
kind: Pod
metadata:
  name: time-printer-pod
spec:
  containers:
  - name: time-printer
    image: python:3.8
    command: ["python", "-c", "import time; print(time.ctime())"]
"#;
const TOP_COMMAND: &str = r#"apiVersion: v1
kind: Pod
metadata:
  name: top-command-pod
spec:
  containers:
  - name: top-command
    image: busybox
    command: ["top"]
"#;

/// The folder's manifests by name.
fn examples() -> BTreeMap<String, String> {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples")).unwrap();
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(&path).unwrap())
    };
    folder.map(|entry| read(entry.unwrap().path())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_do_what_they_say() {
    let images = Images::with_python().await;
    let mut examples = examples();
    for (example, wanted) in EXPECTED {
        let manifest = examples.remove(example).expect("an example by this name");
        match wanted {
            Wanted::Ends(wanted) => {
                let output = run(&images, "10.205.0.0/24", &manifest, &["--timeout", "100s"]).await;
                let shown = String::from_utf8_lossy(&output.stdout);
                let told = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(0), "{example}\n{shown}{told}");
                assert!(shown.contains(wanted), "{example}\n{shown}{told}");
            }
            Wanted::Endless(wanted) => {
                assert_eq!(manifest, TOP_COMMAND);
                endless(&images, &manifest, &[wanted]).await;
            }
        }
    }
    // R2.1: restarted when it has ended, so the time is there twice.
    let manifest = examples.remove("time-printer-pod").expect("an example by this name");
    assert_eq!(manifest, TIME_PRINTER);
    endless(&images, &manifest, &[" 20", " 20"]).await;
    assert!(examples.is_empty(), "examples no test runs: {:?}", examples.keys());
}

/// Runs it until its containers have printed the lines, one after the other; then Ctrl-C.
async fn endless(images: &Images, manifest: &str, wanted: &[&str]) {
    let mut run = Run::start(images, "10.205.0.0/24", manifest, &[]);
    for wanted in wanted {
        run.printed(wanted).await;
    }
    run.signal(rustix::process::Signal::INT);
    assert_eq!(run.ended().await, Some(130));
}

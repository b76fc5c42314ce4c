//! Every example that ends by itself and needs no more than busybox ends well.

use crate::run::run;
use crate::suite::Images;

/// What its containers must have printed, by example.
const EXPECTED: [(&str, &str); 7] = [
    ("init-sidecar-app", "done"),
    ("init-check-configuration", "listening on 8080"),
    ("init-fetches-dependency", "library 1.2"),
    ("init-waits-for-service", "root:x:0:0"),
    ("sidecar-ships-logs", "line 3"),
    ("sidecar-exports-metrics", "jobs_done_total 3"),
    ("sidecar-reloads-configuration", "two"),
];

#[tokio::test(flavor = "multi_thread")]
async fn examples_do_what_they_say() {
    let images = Images::start().await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
    for (example, wanted) in EXPECTED {
        let manifest = std::fs::read_to_string(format!("{folder}/{example}.yaml")).unwrap();
        let output = run(&images, "10.205.0.0/24", &manifest, &["--timeout", "100s"]).await;
        let shown = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{example}\n{shown}");
        assert!(shown.contains(wanted), "{example}\n{shown}");
    }
}

//! Failing starts: pulls, configuration.

use serde_json::json;

use crate::sim::Sim;
use outrigger_pod_lifecycle::FailureReason;

fn one() -> Sim {
    Sim::new(json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "img"}]}))
}

// R5.25, R5.24, R3.13
#[test]
fn a_failing_pull_is_tried_with_a_growing_delay() {
    let mut sim = one().fails("a", [FailureReason::ErrImagePull; 7]);
    sim.run(0);
    sim.run(5);
    assert_eq!(sim.state_of("a"), "waiting:ImagePullBackOff");
    let waiting = sim.status_of("a").state.and_then(|it| it.waiting).and_then(|it| it.message);
    assert_eq!(waiting.as_deref(), Some("Back-off pulling image \"img\": ErrImagePull: no luck"));
    sim.run(2000);
    let seconds = |line: &String| line.split(' ').next().and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
    let starts: Vec<u64> = sim.lines(&["start a"]).iter().map(seconds).collect();
    let gaps: Vec<u64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps, [10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(sim.events_with("Failed to pull image \"img\": no luck").len(), 7);
    assert_eq!(sim.events_with("BackOff: Back-off pulling image \"img\"").len(), 7);
    assert_eq!(sim.phases(), ["Pending", "Running"]);
    assert_eq!(sim.status_of("a").restart_count, 0);
}

// R5.26, R5.30, R10.8, R10.9
#[test]
fn a_failed_start_shows_its_reason() {
    let never = "ErrImageNeverPull: Container image \"img\" is not present with pull policy of Never";
    let inspect = "InspectFailed: Failed to inspect image \"img\": no luck";
    let name = "InspectFailed: Failed to apply default image tag \"img\": no luck";
    for (reason, shown, told) in [
        (
            FailureReason::CreateContainerConfigError,
            "waiting:CreateContainerConfigError",
            vec!["Failed: Error: no luck"],
        ),
        (FailureReason::CreateContainerError, "waiting:CreateContainerError", vec!["Failed: Error: no luck"]),
        (
            FailureReason::ErrImageNeverPull,
            "waiting:ErrImageNeverPull",
            vec![never, "Failed: Error: ErrImageNeverPull"],
        ),
        (
            FailureReason::ImageInspectError,
            "waiting:ImageInspectError",
            vec![inspect, "Failed: Error: ImageInspectError"],
        ),
        (
            FailureReason::InvalidImageName,
            "waiting:InvalidImageName",
            vec![name, "Failed: Error: InvalidImageName"],
        ),
    ] {
        let mut sim = one().fails("a", [reason]);
        sim.run(5);
        let state = sim.state_of("a");
        let told: Vec<String> = told.into_iter().map(|text| format!("0 {text}")).collect();
        assert_eq!(sim.events(), told);
        assert!(
            state == shown || state == "waiting:ImagePullBackOff" && reason.is_pull(),
            "{state} for {shown}"
        );
        sim.run(60);
        assert_eq!(sim.state_of("a"), "running");
    }
}

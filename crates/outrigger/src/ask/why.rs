//! `outrigger why`: what blocks a Pod, by name, and what would unblock it.

use outrigger_api::clock::{Clock as _, SystemClock};
use outrigger_explain::why::{self, Situation};

use super::cluster::{Cluster, NoRecord, uid};
use super::{WhyForm, WhyOptions};
use crate::failure::Failure;
use crate::terminal;

pub(crate) async fn why(options: WhyOptions) -> Result<u8, Failure> {
    let name = options.pod.name()?;
    let cluster = Cluster::connect(&options.pod).await?;
    let Some(pod) = cluster.pod(name).await? else { return Err(cluster.missing(name).await) };
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).filter(|node| !node.is_empty());
    let report = match &node {
        None => None,
        Some(node) => match cluster.record(node, name, uid(&pod.metadata)).await {
            Ok(report) => Some(report),
            Err(no) => {
                let why = match no {
                    NoRecord::Unknown => format!("node {node} has no record of it"),
                    NoRecord::Unreachable(why) => why,
                };
                eprintln!("outrigger: told from status and events only: {why}");
                None
            }
        },
    };
    let events = cluster.events(&pod).await;
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let references = if phase == Some("Pending") { why::references(&pod) } else { Vec::new() };
    let absent = cluster.absent(&references).await;
    let node = match &node {
        Some(node) => cluster.node(node).await,
        None => None,
    };
    let situation = Situation {
        pod: &pod,
        events: &events,
        report: report.as_ref(),
        node: node.as_ref(),
        absent: &absent,
        now: SystemClock.now().wall,
    };
    let answer = why::explain(&situation);
    let text = match options.output {
        WhyForm::Text => why::text::render(&answer, terminal::style()),
        WhyForm::Json => {
            serde_json::to_string_pretty(&answer).map_err(Failure::doing("cannot write JSON"))? + "\n"
        }
    };
    terminal::print(&text).map(|()| 0)
}

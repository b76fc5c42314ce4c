//! `outrigger timeline`: what happened to a Pod, from what its node recorded; also to one that is gone since a moment.

use outrigger_explain::{Chart, Report, render};

use super::cluster::{Cluster, NoRecord, uid};
use super::{TimelineForm, TimelineOptions};
use crate::failure::Failure;
use crate::terminal;

pub(crate) async fn timeline(options: TimelineOptions) -> Result<u8, Failure> {
    let name = options.pod.name()?;
    let cluster = Cluster::connect(&options.pod).await?;
    let report = match cluster.pod(name).await? {
        Some(pod) => {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
            if node.is_empty() {
                let text =
                    format!("pod/{name} has no node yet, so nothing has happened; try `outrigger why`");
                return Err(Failure::other(text));
            }
            match cluster.record(&node, name, uid(&pod.metadata)).await {
                Ok(report) => report,
                Err(NoRecord::Unknown) => {
                    let text = format!(
                        "node {node} has no record of pod/{name}; nodes with another agent keep none"
                    );
                    return Err(Failure::other(text));
                }
                Err(NoRecord::Unreachable(why)) => {
                    return Err(Failure::other(format!("cannot read what node {node} recorded: {why}")));
                }
            }
        }
        None => match gone(&cluster, name).await {
            Some(report) => report,
            None => return Err(cluster.missing(name).await),
        },
    };
    let text = written(&Chart::of(&report), options.output)?;
    terminal::print(&text).map(|()| 0)
}

/// The newest record of a Pod that is gone: any node may have it.
async fn gone(cluster: &Cluster, name: &str) -> Option<Report> {
    let mut newest: Option<Report> = None;
    for node in cluster.nodes().await {
        if let Ok(report) = cluster.record(&node, name, "").await
            && newest.as_ref().is_none_or(|known| known.gone < report.gone)
        {
            newest = Some(report);
        }
    }
    newest
}

fn written(chart: &Chart, form: TimelineForm) -> Result<String, Failure> {
    let json = Failure::doing::<serde_json::Error>;
    match form {
        TimelineForm::Text => Ok(render::text::render(chart, terminal::style())),
        TimelineForm::Svg => Ok(render::svg::render(chart)),
        TimelineForm::Json => render::json(std::slice::from_ref(chart))
            .map(|text| text + "\n")
            .map_err(json("cannot write JSON")),
        TimelineForm::Trace => {
            let trace = render::trace::render(std::slice::from_ref(chart));
            serde_json::to_string(&trace).map(|text| text + "\n").map_err(json("cannot write JSON"))
        }
    }
}

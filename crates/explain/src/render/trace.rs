//! A chart in the trace-event format that trace viewers (Perfetto, `chrome://tracing`) open.

use serde_json::{Value, json};

use crate::chart::{Chart, Track};

/// A whole trace file. Times are microseconds from the chart's left edge.
pub fn render(charts: &[Chart]) -> Value {
    let mut events = Vec::new();
    for (process, chart) in (1_u64..).zip(charts) {
        let name = format!("pod {}/{}", chart.namespace, chart.name);
        events.push(json!({ "ph": "M", "name": "process_name", "pid": process, "args": { "name": name } }));
        for (thread, track) in (1_u64..).zip(&chart.tracks) {
            events.extend(of_track(process, thread, track));
        }
        // Steps belong to the track of whom they are about.
        for step in &chart.steps {
            let thread = (1_u64..).zip(&chart.tracks).find(|(_, track)| track.name == step.who);
            events.push(json!({
                "ph": "i", "s": "t", "cat": "step", "name": step.what, "pid": process,
                "tid": thread.map_or(1, |(thread, _)| thread), "ts": micros(step.at),
                "args": { "rule": format!("{} {}", step.rule.id, step.rule.says) },
            }));
        }
    }
    let from = charts.first().map(|chart| chart.from.to_string());
    json!({ "traceEvents": events, "displayTimeUnit": "ms", "otherData": { "from": from } })
}

fn of_track(process: u64, thread: u64, track: &Track) -> Vec<Value> {
    let name = match track.kind {
        None => track.name.clone(),
        Some(kind) => format!("{} {}", kind.word(), track.name),
    };
    let meta = |what: &str, args: Value| json!({ "ph": "M", "name": what, "pid": process, "tid": thread, "args": args });
    let mut events = vec![
        meta("thread_name", json!({ "name": name })),
        meta("thread_sort_index", json!({ "sort_index": thread })),
    ];
    events.extend(track.bars.iter().map(|bar| {
        json!({
            "ph": "X", "cat": "state", "name": bar.state.word(), "pid": process, "tid": thread,
            "ts": micros(bar.from), "dur": micros(bar.to.saturating_sub(bar.from)),
            "args": { "state": bar.label },
        })
    }));
    events.extend(track.marks.iter().map(|mark| {
        json!({
            "ph": "i", "s": "t", "cat": "mark", "name": mark.label, "pid": process, "tid": thread,
            "ts": micros(mark.at),
        })
    }));
    events
}

fn micros(at: std::time::Duration) -> u64 {
    u64::try_from(at.as_micros()).unwrap_or(u64::MAX)
}

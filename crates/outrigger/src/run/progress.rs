//! How far image pulls are: bars on a terminal, lines elsewhere.

use std::collections::HashMap;

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use outrigger_images::{Phase, Progress, PullEvent};
use tokio::sync::mpsc;

/// News waiting to be shown; more is dropped, as it is only for show.
const NEWS: usize = 256;

pub(super) fn channel() -> (Progress, mpsc::Receiver<PullEvent>) {
    mpsc::channel(NEWS)
}

/// Shows pulls until nobody tells of any more. Nothing is drawn where standard error is no terminal.
pub(super) async fn show(mut news: mpsc::Receiver<PullEvent>, bars: MultiProgress) {
    let mut layers: HashMap<String, ProgressBar> = HashMap::new();
    while let Some(event) = news.recv().await {
        match event.phase {
            Phase::Resolving => bars.suspend(|| eprintln!("pulling {}", event.layer)),
            Phase::Done => {
                bars.suspend(|| eprintln!("pulled {} ({})", event.layer, HumanBytes(event.total)));
            }
            Phase::Downloading | Phase::Extracting => {
                let bar = layers.entry(event.layer.clone()).or_insert_with(|| layer(&bars, &event));
                bar.set_length(event.total);
                bar.set_position(event.bytes);
            }
            Phase::Complete => {
                if let Some(bar) = layers.remove(&event.layer) {
                    bar.finish_and_clear();
                }
            }
            Phase::Waiting | Phase::Exists => {}
        }
    }
}

fn layer(bars: &MultiProgress, event: &PullEvent) -> ProgressBar {
    let style = ProgressStyle::with_template("  {prefix} [{bar:30}] {bytes:>10} of {total_bytes}");
    let bar = bars.add(ProgressBar::new(event.total));
    bar.set_style(style.map_or_else(|_| ProgressStyle::default_bar(), |style| style.progress_chars("=> ")));
    // Enough of a digest to tell layers apart, as other tools show it.
    bar.set_prefix(event.layer.trim_start_matches("sha256:").chars().take(12).collect::<String>());
    bar
}

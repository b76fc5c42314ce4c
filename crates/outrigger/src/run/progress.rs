//! How far image pulls are: bars on a terminal, lines elsewhere.

use std::collections::HashMap;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use outrigger_images::{Phase, Progress, PullEvent};
use tokio::sync::mpsc;

/// News waiting to be shown; more is dropped, as it is only for show.
const NEWS: usize = 256;

pub(super) fn channel() -> (Progress, mpsc::Receiver<PullEvent>) {
    mpsc::channel(NEWS)
}

/// Shows pulls until nobody tells of any more.
pub(super) async fn show(mut news: mpsc::Receiver<PullEvent>, terminal: bool) {
    let bars = MultiProgress::new();
    let mut layers: HashMap<String, ProgressBar> = HashMap::new();
    while let Some(event) = news.recv().await {
        match event.phase {
            Phase::Resolving if !terminal => eprintln!("pulling {}", event.layer),
            Phase::Done => {
                for (_, bar) in layers.drain() {
                    bar.finish_and_clear();
                }
                if !terminal {
                    eprintln!("pulled {}", event.layer);
                }
            }
            Phase::Downloading if terminal => {
                let bar = layers.entry(event.layer.clone()).or_insert_with(|| {
                    let style = ProgressStyle::with_template("{prefix:20} {bar:30} {bytes}/{total_bytes}");
                    let bar = bars.add(ProgressBar::new(event.total));
                    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                    bar.set_prefix(event.layer.chars().skip(7).take(12).collect::<String>());
                    bar
                });
                bar.set_length(event.total);
                bar.set_position(event.bytes);
            }
            _ => {}
        }
    }
}

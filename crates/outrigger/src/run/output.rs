//! What containers print, line by line, each behind its container's name.

use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use indicatif::MultiProgress;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::LogParams;
use kube::{Api, Client, ResourceExt as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// ANSI colours that read well on dark and light.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// Follows the logs of instances and prints them.
pub(super) struct Output {
    client: Client,
    stop: CancellationToken,
    tasks: TaskTracker,
    seen: Mutex<HashSet<(String, String, i32)>>,
    /// Containers in the order they were first seen; their place is their colour.
    order: Mutex<Vec<String>>,
    coloured: bool,
    width: Arc<Mutex<usize>>,
    /// Bars that must make way for a line.
    bars: MultiProgress,
}

impl Output {
    pub(super) fn new(client: Client, stop: CancellationToken, bars: MultiProgress) -> Self {
        Self {
            client,
            stop,
            tasks: TaskTracker::new(),
            seen: Mutex::default(),
            order: Mutex::default(),
            coloured: std::io::stdout().is_terminal(),
            width: Arc::default(),
            bars,
        }
    }

    /// Follows an instance that runs or has run, once.
    pub(super) fn show(&self, pod: &Pod, status: &ContainerStatus) {
        let Some(state) = &status.state else { return };
        if state.running.is_none() && state.terminated.is_none() {
            return;
        }
        let key = (pod.uid().unwrap_or_default(), status.name.clone(), status.restart_count);
        if !self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(key) {
            return;
        }
        let label = format!("{}/{}", pod.name_any(), status.name);
        let prefix = self.prefix(&label);
        let api =
            Api::<Pod>::namespaced(self.client.clone(), pod.namespace().as_deref().unwrap_or("default"));
        let (name, container, stop) = (pod.name_any(), status.name.clone(), self.stop.clone());
        let (width, bars) = (Arc::clone(&self.width), self.bars.clone());
        self.tasks.spawn(async move {
            let params = LogParams { container: Some(container), follow: true, ..LogParams::default() };
            let printing = async {
                let lines = match api.log_stream(&name, &params).await {
                    Ok(stream) => stream.lines(),
                    Err(error) => return tracing::warn!(%error, "a log cannot be shown"),
                };
                let mut lines = lines;
                while let Ok(Some(line)) = lines.try_next().await {
                    let width = *width.lock().unwrap_or_else(PoisonError::into_inner);
                    // A reader that went away ends nothing but the printing.
                    let _ = bars.suspend(|| writeln!(std::io::stdout().lock(), "{}{line}", prefix(width)));
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = printing => {}
            }
        });
    }

    /// A line about the run itself, on standard error.
    pub(super) fn notice(&self, line: &str) {
        self.bars.suspend(|| eprintln!("outrigger: {line}"));
    }

    fn prefix(&self, label: &str) -> impl Fn(usize) -> String + Send + use<> {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let place = order.iter().position(|known| known == label).unwrap_or_else(|| {
            order.push(label.to_owned());
            order.len() - 1
        });
        let mut width = self.width.lock().unwrap_or_else(PoisonError::into_inner);
        *width = (*width).max(label.len());
        let (label, colour) = (label.to_owned(), COLOURS[place % COLOURS.len()]);
        let coloured = self.coloured;
        move |width| {
            if coloured {
                format!("\x1b[{colour}m{label:width$} |\x1b[0m ")
            } else {
                format!("{label:width$} | ")
            }
        }
    }

    /// Waits until everything that was followed is printed.
    pub(super) async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

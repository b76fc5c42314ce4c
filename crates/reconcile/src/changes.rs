//! A watch as a stream of changes that never ends and never skips a deletion.

use std::collections::HashSet;
use std::fmt::Debug;

use futures::{Stream, StreamExt as _};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tracing::warn;

/// What happened to an object, or to the picture as a whole.
#[derive(Clone, Debug)]
pub enum Change<K> {
    /// It exists, in this form.
    Applied(K),
    /// It is gone; named by its uid.
    Gone(String),
    /// Everything that existed when the watch (re)started has been delivered.
    Complete,
}

/// Watches `api` for as long as the stream is polled. Interruptions are retried with back-off inside; after one,
/// objects that vanished meanwhile come as [`Change::Gone`].
pub fn changes<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = Change<K>> + Send
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut picture = Picture::default();
    watcher(api, config).default_backoff().flat_map(move |event| {
        let event =
            event.inspect_err(|error| warn!(error = error as &dyn std::error::Error, "watch interrupted"));
        futures::stream::iter(event.map(|event| picture.take(event)).unwrap_or_default())
    })
}

/// Which objects are known, so that a restarted watch can tell which ones vanished.
#[derive(Default)]
struct Picture {
    known: HashSet<String>,
    listed: HashSet<String>,
}

impl Picture {
    fn take<K: Resource>(&mut self, event: watcher::Event<K>) -> Vec<Change<K>> {
        match event {
            watcher::Event::Apply(object) => {
                self.known.extend(object.uid());
                vec![Change::Applied(object)]
            }
            watcher::Event::Delete(object) => object
                .uid()
                .map(|uid| {
                    self.known.remove(&uid);
                    Change::Gone(uid)
                })
                .into_iter()
                .collect(),
            watcher::Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            watcher::Event::InitApply(object) => {
                self.listed.extend(object.uid());
                vec![Change::Applied(object)]
            }
            watcher::Event::InitDone => {
                let vanished: Vec<String> = self.known.difference(&self.listed).cloned().collect();
                self.known = std::mem::take(&mut self.listed);
                vanished.into_iter().map(Change::Gone).chain([Change::Complete]).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::runtime::watcher::Event;

    use super::*;

    fn pod(uid: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.uid = Some(uid.to_owned());
        pod
    }

    fn shown(changes: Vec<Change<Pod>>) -> Vec<String> {
        let text = |change: Change<Pod>| match change {
            Change::Applied(pod) => format!("applied {}", pod.uid().unwrap_or_default()),
            Change::Gone(uid) => format!("gone {uid}"),
            Change::Complete => "complete".to_owned(),
        };
        changes.into_iter().map(text).collect()
    }

    #[test]
    fn what_vanished_during_an_interruption_is_reported_gone() {
        let mut picture = Picture::default();
        let first = [Event::Init, Event::InitApply(pod("a")), Event::InitApply(pod("b")), Event::InitDone];
        let first: Vec<_> = first.into_iter().flat_map(|event| picture.take(event)).collect();
        assert_eq!(shown(first), ["applied a", "applied b", "complete"]);
        assert_eq!(shown(picture.take(Event::Apply(pod("c")))), ["applied c"]);
        let again = [Event::Init, Event::InitApply(pod("b")), Event::InitDone];
        let mut again = shown(again.into_iter().flat_map(|event| picture.take(event)).collect());
        again[1..3].sort();
        assert_eq!(again, ["applied b", "gone a", "gone c", "complete"]);
        assert_eq!(shown(picture.take(Event::Delete(pod("b")))), ["gone b"]);
    }
}

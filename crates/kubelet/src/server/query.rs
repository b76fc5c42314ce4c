//! Queries of the node's API, and Pods as the runtime sees them. Pure.

use http::Uri;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::api::ObjectMeta;
use outrigger_api::WallTime;
use outrigger_runtime::{ContainerState, Sandbox};
use outrigger_streaming::agent::{LogOptions, StreamOptions};

use crate::container::labels;

/// A query's pairs in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(uri: &Uri) -> Self {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        Self(pairs.into_owned().collect())
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// True for `1`, `true` and a bare name.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.find(name).is_some_and(|value| matches!(value, "" | "1" | "true"))
    }

    /// Every value of a name.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    /// N1: `input`, `output`, `error`, `tty`.
    pub(super) fn streams(&self) -> StreamOptions {
        let tty = self.flag("tty");
        StreamOptions {
            stdin: self.flag("input"),
            stdout: self.flag("output"),
            stderr: self.flag("error") && !tty,
            tty,
        }
    }

    /// N2.
    pub(super) fn log_options(&self, now: WallTime) -> Result<LogOptions, String> {
        let number = |name: &str, least: u64| match self.find(name).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => match text.parse::<u64>() {
                Ok(number) if number >= least => Ok(Some(number)),
                _ => Err(format!("{{\"message\": \"{name}: Invalid value: {text}\"}}\n")),
            },
        };
        let seconds = number("sinceSeconds", 1)?;
        let time = self.find("sinceTime").filter(|text| !text.is_empty());
        let since = match (seconds, time) {
            (Some(_), Some(_)) => {
                return Err("at most one of `sinceTime` or `sinceSeconds` may be specified\n".to_owned());
            }
            (Some(seconds), None) => {
                Some(now.checked_sub(std::time::Duration::from_secs(seconds)).unwrap_or(WallTime::MIN))
            }
            (None, Some(text)) => {
                Some(text.parse().map_err(|_| format!("sinceTime: Invalid value: {text}\n"))?)
            }
            (None, None) => None,
        };
        Ok(LogOptions {
            follow: self.flag("follow"),
            previous: self.flag("previous"),
            since,
            timestamps: self.flag("timestamps"),
            tail_lines: number("tailLines", 0)?,
            limit_bytes: number("limitBytes", 1)?,
        })
    }
}

/// A sandbox with running containers as a Pod without status (`/runningpods`).
pub(super) fn running_pod(sandbox: &Sandbox) -> Option<Pod> {
    let running = sandbox.containers.iter().filter(|it| matches!(it.state, ContainerState::Running { .. }));
    let containers: Vec<Container> = running
        .map(|it| Container {
            name: it.name.clone(),
            image: it.labels.get(labels::IMAGE).cloned(),
            ..Container::default()
        })
        .collect();
    if containers.is_empty() {
        return None;
    }
    Some(Pod {
        metadata: ObjectMeta {
            name: Some(sandbox.pod.name.clone()),
            namespace: Some(sandbox.pod.namespace.clone()),
            uid: Some(sandbox.pod.uid.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec { containers, ..PodSpec::default() }),
        status: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&format!("/x?{text}").parse().unwrap())
    }

    /// N1
    #[test]
    fn streams_and_commands() {
        let found = query("command=sh&command=-c&command=a%20b&input=1&output=1&error=1&tty=1");
        assert_eq!(found.all("command"), ["sh", "-c", "a b"]);
        let streams = found.streams();
        assert!(streams.stdin && streams.stdout && !streams.stderr && streams.tty);
        assert_eq!(query("tty=1").streams(), StreamOptions { tty: true, ..StreamOptions::default() });
    }

    /// N2
    #[test]
    fn log_options() {
        let now = WallTime::from_second(100).unwrap();
        let found =
            query("follow=true&tailLines=0&sinceSeconds=40&limitBytes=9&timestamps=1").log_options(now);
        let found = found.unwrap();
        assert!(found.follow && found.timestamps && !found.previous);
        assert_eq!((found.tail_lines, found.limit_bytes), (Some(0), Some(9)));
        assert_eq!(found.since, Some(WallTime::from_second(60).unwrap()));
        for bad in [
            "tailLines=-1",
            "limitBytes=0",
            "sinceSeconds=x",
            "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z",
        ] {
            assert!(query(bad).log_options(now).is_err(), "{bad}");
        }
    }
}

//! The Pods a Job creates (N6).

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use super::{FAILURE_COUNT, IGNORED_FAILURE_COUNT, INDEX, TRACKING};
use crate::{claim, template};

/// The longest prefix of a generated name (C3).
const LONGEST_PREFIX: usize = 58;
const INDEX_ENV: &str = "JOB_COMPLETION_INDEX";

/// An index to be worked on, and what its earlier Pods left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) index: i32,
    /// Failures of this index so far; `None` where they are not counted by index.
    pub(super) failures: Option<i32>,
    /// Failures a policy ignored.
    pub(super) ignored: i32,
}

/// One Pod of the Job.
pub(super) fn pod(job: &Job, attempt: Option<Attempt>) -> Pod {
    let name = job.metadata.name.clone().unwrap_or_default();
    let owner = claim::reference("batch/v1", "Job", &job.metadata);
    let empty = Default::default();
    let source = job.spec.as_ref().map_or(&empty, |spec| &spec.template);
    let mut pod = template::pod(source, job.metadata.namespace.as_ref(), owner);
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|one| one == TRACKING) {
        finalizers.push(TRACKING.to_owned());
    }
    match attempt {
        None => pod.metadata.generate_name = Some(format!("{name}-")),
        Some(attempt) => mark(&mut pod, &name, attempt),
    }
    pod
}

fn mark(pod: &mut Pod, job: &str, attempt: Attempt) {
    let tail = format!("-{}-", attempt.index);
    let kept = job.get(..LONGEST_PREFIX.saturating_sub(tail.len()).min(job.len())).unwrap_or(job);
    pod.metadata.generate_name = Some(format!("{kept}{tail}"));
    let index = attempt.index.to_string();
    let annotations = pod.metadata.annotations.get_or_insert_with(BTreeMap::new);
    annotations.insert(INDEX.to_owned(), index.clone());
    if let Some(failures) = attempt.failures {
        annotations.insert(FAILURE_COUNT.to_owned(), failures.to_string());
        if attempt.ignored > 0 {
            annotations.insert(IGNORED_FAILURE_COUNT.to_owned(), attempt.ignored.to_string());
        }
    }
    pod.metadata.labels.get_or_insert_with(BTreeMap::new).insert(INDEX.to_owned(), index);
    let Some(spec) = &mut pod.spec else { return };
    spec.hostname = Some(format!("{job}-{}", attempt.index));
    let inits = spec.init_containers.iter_mut().flatten();
    inits.chain(&mut spec.containers).for_each(tell_index);
}

fn tell_index(container: &mut Container) {
    let env = container.env.get_or_insert_default();
    if env.iter().any(|one| one.name == INDEX_ENV) {
        return;
    }
    let field = ObjectFieldSelector { api_version: None, field_path: format!("metadata.labels['{INDEX}']") };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    env.push(EnvVar { name: INDEX_ENV.to_owned(), value: None, value_from: Some(source) });
}

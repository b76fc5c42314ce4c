//! Verbs that ask a running cluster about one Pod: `outrigger why` and `outrigger timeline`. They are ordinary clients
//! of any Kubernetes API server; what only a node knows they read through `nodes/<node>/proxy`.

mod cluster;
mod timeline;
mod why;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::failure::{Failure, USAGE};
pub(crate) use timeline::timeline;
pub(crate) use why::why;

/// Which Pod, and where.
#[derive(Args, Clone, Debug)]
pub(crate) struct PodOptions {
    /// The Pod.
    #[arg(value_name = "pod/NAME")]
    pub(crate) pod: String,
    /// Its namespace; the kubeconfig's, or default.
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
    /// How to reach the cluster; KUBECONFIG, or what `outrigger up` wrote, or ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Another context of the kubeconfig than its current one.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

impl PodOptions {
    /// `pod/NAME`, as kubectl takes it, or the name alone.
    fn name(&self) -> Result<&str, Failure> {
        let name = match self.pod.split_once('/') {
            None => self.pod.as_str(),
            Some(("pod" | "pods" | "po", name)) => name,
            Some((kind, _)) => {
                return Err(Failure::new(
                    USAGE,
                    format!("{kind:?} is not what this is about; write pod/NAME"),
                ));
            }
        };
        if name.is_empty() || name.contains('/') {
            return Err(Failure::new(USAGE, format!("{:?} is no Pod; write pod/NAME", self.pod)));
        }
        Ok(name)
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct WhyOptions {
    #[command(flatten)]
    pub(crate) pod: PodOptions,
    /// How to write it.
    #[arg(long, short, value_enum, default_value_t = WhyForm::Text)]
    pub(crate) output: WhyForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhyForm {
    /// For a terminal.
    Text,
    /// For programs.
    Json,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct TimelineOptions {
    #[command(flatten)]
    pub(crate) pod: PodOptions,
    /// How to write it.
    #[arg(long, short, value_enum, default_value_t = TimelineForm::Text)]
    pub(crate) output: TimelineForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TimelineForm {
    /// For a terminal.
    Text,
    /// A picture.
    Svg,
    /// For trace viewers: Perfetto, chrome://tracing.
    Trace,
    /// For programs; numbers are seconds.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(pod: &str) -> Result<String, Failure> {
        let options = PodOptions { pod: pod.into(), namespace: None, kubeconfig: None, context: None };
        options.name().map(str::to_owned)
    }

    #[test]
    fn pods_are_named_as_for_kubectl() {
        for text in ["web", "pod/web", "po/web", "pods/web"] {
            assert_eq!(name(text).ok().as_deref(), Some("web"));
        }
        for wrong in ["deployment/web", "pod/", "pod/a/b", ""] {
            assert_eq!(name(wrong).unwrap_err().code, USAGE, "{wrong}");
        }
    }
}

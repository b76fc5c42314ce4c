//! Kubernetes' words for why something waits, failed or was reported. Enums here, text only at the edge.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which step of starting a container, or a sandbox, failed. Its text is the waiting reason (R5.26, R5.30).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the wire word of the same name, explained in R9.27")]
pub enum FailureReason {
    ErrImagePull,
    ErrImageNeverPull,
    ImageInspectError,
    InvalidImageName,
    RegistryUnavailable,
    SignatureValidationFailed,
    CreateContainerConfigError,
    CreateContainerError,
    PreCreateHookError,
    PreStartHookError,
    RunContainerError,
    PostStartHookError,
    /// A sandbox could not be made; no container shows this.
    CreatePodSandboxError,
    /// Something of the Pod could not be stopped; no container shows this (R8.19).
    KillPodError,
}

impl FailureReason {
    /// The wire word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ErrImagePull => "ErrImagePull",
            Self::ErrImageNeverPull => "ErrImageNeverPull",
            Self::ImageInspectError => "ImageInspectError",
            Self::InvalidImageName => "InvalidImageName",
            Self::RegistryUnavailable => "RegistryUnavailable",
            Self::SignatureValidationFailed => "SignatureValidationFailed",
            Self::CreateContainerConfigError => "CreateContainerConfigError",
            Self::CreateContainerError => "CreateContainerError",
            Self::PreCreateHookError => "PreCreateHookError",
            Self::PreStartHookError => "PreStartHookError",
            Self::RunContainerError => "RunContainerError",
            Self::PostStartHookError => "PostStartHookError",
            Self::CreatePodSandboxError => "CreatePodSandboxError",
            Self::KillPodError => "KillPodError",
        }
    }

    /// Whether a registry was asked, so that the pull back-off of R5.25 applies.
    pub const fn is_pull(self) -> bool {
        matches!(self, Self::ErrImagePull | Self::RegistryUnavailable | Self::SignatureValidationFailed)
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The reason of an event about a Pod (section 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the wire word of the same name, listed in R10.5 to R10.23")]
pub enum EventReason {
    BackOff,
    Created,
    DeadlineExceeded,
    ErrImageNeverPull,
    Evicted,
    ExceededGracePeriod,
    Failed,
    FailedCreatePodSandBox,
    FailedKillPod,
    FailedMount,
    FailedPostStartHook,
    FailedPreStopHook,
    InspectFailed,
    Killing,
    NetworkNotReady,
    Preempting,
    ProbeWarning,
    Pulled,
    Pulling,
    ResizeCompleted,
    ResizeDeferred,
    ResizeError,
    ResizeInfeasible,
    ResizeStarted,
    /// The node's refusal, whose reason is the refusal's own word (R1.52).
    Rejected,
    SandboxChanged,
    Started,
    Unhealthy,
}

impl EventReason {
    /// The wire word. For [`EventReason::Rejected`] take [`crate::PodEvent::reason_word`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BackOff => "BackOff",
            Self::Created => "Created",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::ErrImageNeverPull => "ErrImageNeverPull",
            Self::Evicted => "Evicted",
            Self::ExceededGracePeriod => "ExceededGracePeriod",
            Self::Failed => "Failed",
            Self::FailedCreatePodSandBox => "FailedCreatePodSandBox",
            Self::FailedKillPod => "FailedKillPod",
            Self::FailedMount => "FailedMount",
            Self::FailedPostStartHook => "FailedPostStartHook",
            Self::FailedPreStopHook => "FailedPreStopHook",
            Self::InspectFailed => "InspectFailed",
            Self::Killing => "Killing",
            Self::NetworkNotReady => "NetworkNotReady",
            Self::Preempting => "Preempting",
            Self::ProbeWarning => "ProbeWarning",
            Self::Pulled => "Pulled",
            Self::Pulling => "Pulling",
            Self::Rejected => "Rejected",
            Self::ResizeCompleted => "ResizeCompleted",
            Self::ResizeDeferred => "ResizeDeferred",
            Self::ResizeError => "ResizeError",
            Self::ResizeInfeasible => "ResizeInfeasible",
            Self::ResizeStarted => "ResizeStarted",
            Self::SandboxChanged => "SandboxChanged",
            Self::Started => "Started",
            Self::Unhealthy => "Unhealthy",
        }
    }
}

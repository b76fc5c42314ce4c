//! What every part of one kubelet shares: its settings, its seams and its helpers.

use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use outrigger_api::Now;
use outrigger_api::clock::SharedClock;
use outrigger_network::PodNetworking;
use outrigger_runtime::Runtime;

use crate::config::{Decide, KubeletConfig};
use crate::env::NodeAllocatable;
use crate::events::Recorder;
use crate::id_ranges::IdRanges;
use crate::image_gc::ImageUse;
use crate::images::ImageManager;
use crate::metrics::{Metrics, StartLatency};
use crate::node_state::SharedNodeState;
use crate::objects::Objects;
use crate::pod_table::PodTable;
use crate::records::Records;
use crate::stats::Rates;
use crate::stats::disk::Disks;

/// Handed to every task of this kubelet.
pub(crate) struct Context {
    pub(crate) config: KubeletConfig,
    pub(crate) client: kube::Client,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) network: Arc<dyn PodNetworking>,
    pub(crate) images: ImageManager,
    pub(crate) objects: Objects,
    pub(crate) events: Recorder,
    pub(crate) allocatable: NodeAllocatable,
    pub(crate) clock: SharedClock,
    /// When this process began to look after its Pods.
    pub(crate) began: Now,
    pub(crate) id_ranges: IdRanges,
    pub(crate) decide: Decide,
    pub(crate) pods: PodTable,
    pub(crate) records: Records,
    pub(crate) node_state: SharedNodeState,
    pub(crate) metrics: Metrics,
    pub(crate) start_latency: StartLatency,
    pub(crate) disks: Disks,
    pub(crate) rates: Rates,
    pub(crate) image_use: ImageUse,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The identity of a Pod, as paths and API calls need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl PodKey {
    pub(crate) fn of(pod: &Pod) -> Self {
        let meta = &pod.metadata;
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }
}

impl Context {
    /// Everything of one Pod but its logs.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.config.data_dir.join("pods").join(uid)
    }

    /// `/var/log/pods/<ns>_<name>_<uid>` (R14.7).
    pub(crate) fn log_dir(&self, pod: &PodKey) -> PathBuf {
        self.config.log_root.join(format!("{}_{}_{}", pod.namespace, pod.name, pod.uid))
    }

    /// The termination message file of one instance (R9.34).
    pub(crate) fn termination_file(&self, uid: &str, container: &str, attempt: u32) -> PathBuf {
        self.pod_dir(uid).join("containers").join(container).join(format!("{attempt}.message"))
    }
}

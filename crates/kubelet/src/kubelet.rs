//! The kubelet itself: the node's record, the watch on its Pods, and a worker for each.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};
use outrigger_api::clock::SharedClock;
use outrigger_network::PodNetworking;
use outrigger_pod_lifecycle::Desired;
use outrigger_reconcile::events::{self, Notice};
use outrigger_reconcile::{Change, changes};
use outrigger_runtime::Runtime;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admission::{self, NodeView};
use crate::agent::KubeletAgent;
use crate::allocation::{grant, same_resources, with_resources_of};
use crate::config::KubeletConfig;
use crate::context::{Context, PodKey};
use crate::events::Recorder;
use crate::id_ranges::IdRanges;
use crate::image_gc::ImageUse;
use crate::images::{ImageManager, ImageService};
use crate::metrics::{MeasuredRuntime, Metrics, StartLatency};
use crate::node_state::{SharedNodeState, refusal};
use crate::node_status::{self, Machine};
use crate::objects::Objects;
use crate::pod_table::{Handle, PodTable};
use crate::pod_workers::{Assignment, PodWorker, forget, stored_pod, stored_pods, strays};
use crate::records::Records;
use crate::server::{Listeners, NodeServer};
use crate::shutdown::NodeShutdown;
use crate::static_pods::{FileChange, StaticPods, is_mirror};
use crate::stats::Rates;
use crate::stats::disk::Disks;
use crate::{eviction, image_gc, logs, pod_workers};

/// How long workers may take to notice a stop.
const DRAIN: Duration = Duration::from_secs(5);

/// The node agent.
#[derive(Debug)]
pub struct Kubelet {
    context: Arc<Context>,
    machine: Machine,
    notices: mpsc::Receiver<Notice>,
    ready: watch::Sender<bool>,
    listeners: Listeners,
}

impl Kubelet {
    /// A kubelet that has not begun anything. `data_dir` must exist.
    pub fn new(
        config: KubeletConfig,
        client: kube::Client,
        runtime: Arc<dyn Runtime>,
        network: Arc<dyn PodNetworking>,
        images: Arc<dyn ImageService>,
        clock: SharedClock,
    ) -> Self {
        let (recorder, notices) = Recorder::channel();
        let machine = Machine::look(&config);
        let metrics = Metrics::new();
        let runtime: Arc<dyn Runtime> =
            Arc::new(MeasuredRuntime { inner: runtime, metrics: metrics.clone(), clock: clock.clone() });
        let context = Context {
            images: ImageManager::new(images, config.parallel_pulls),
            objects: Objects::new(client.clone()),
            allocatable: machine.allocatable(&config),
            events: recorder,
            decide: outrigger_pod_lifecycle::decide,
            config,
            client,
            runtime,
            network,
            began: clock.now(),
            clock,
            id_ranges: IdRanges::default(),
            pods: PodTable::default(),
            records: Records::default(),
            node_state: SharedNodeState::default(),
            metrics,
            start_latency: StartLatency::default(),
            disks: Disks::default(),
            rates: Rates::default(),
            image_use: ImageUse::default(),
        };
        let ready = watch::Sender::new(false);
        Self { context: Arc::new(context), machine, notices, ready, listeners: Listeners::default() }
    }

    /// True once the Node is registered and its first status written.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// The ports to serve the node's API on (N1, N5). Without them it is reached through [`Kubelet::agent`] only.
    pub fn listen(&mut self, listeners: Listeners) {
        self.listeners = listeners;
    }

    /// Stops this node's Pods in an orderly way, when told to (N32).
    pub fn shutdown(&self) -> NodeShutdown {
        NodeShutdown::new(self.context.clone())
    }

    /// What answers logs, exec, attach and port-forward.
    pub fn agent(&self) -> KubeletAgent {
        KubeletAgent::new(self.context.clone())
    }

    /// Runs until `stop`. Pods go on running; another start takes them over.
    pub async fn run(self, stop: CancellationToken) {
        let Self { context, machine, notices, ready, listeners } = self;
        let mut tasks = JoinSet::new();
        let (client, node) = (context.client.clone(), context.config.node_name.clone());
        tasks.spawn(events::write(client, Some(node), context.clock.clone(), notices, stop.clone()));
        tasks.spawn(context.objects.clone().watch_services(stop.clone()));
        tasks.spawn(node_status::keep(context.clone(), machine, ready, stop.clone()));
        tasks.spawn(logs::rotate_forever(context.clone(), stop.clone()));
        tasks.spawn(NodeServer::new(context.clone()).serve(listeners, stop.clone()));
        tasks.spawn(eviction::keep(context.clone(), stop.clone()));
        tasks.spawn(image_gc::keep(context.clone(), stop.clone()));
        let (static_pods, mirrors, files) = StaticPods::new(context.clone());
        tasks.spawn(static_pods.run(stop.clone()));
        let pods = Pods {
            context,
            node: None,
            listed: false,
            tasks: JoinSet::new(),
            mirrors,
            waiting: Vec::new(),
            stop: stop.clone(),
        };
        pods.run(files).await;
        let drained = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            warn!("some tasks did not end in time");
        }
    }
}

/// The Pods bound to this node.
struct Pods {
    context: Arc<Context>,
    /// The Node object, once it has been seen.
    node: Option<Node>,
    /// Every Pod of the node has been seen, so that what is free is known.
    listed: bool,
    tasks: JoinSet<String>,
    /// Where mirrors of static Pods are told of.
    mirrors: mpsc::Sender<Change<Pod>>,
    /// New versions of static Pods whose old one has not stopped yet.
    waiting: Vec<Pod>,
    stop: CancellationToken,
}

impl Pods {
    async fn run(mut self, mut files: mpsc::Receiver<FileChange>) {
        // R14.5: the node's own Pods come first, and whatever an earlier process began of them is theirs again.
        if let Some(change) = files.recv().await {
            self.file_changed(change);
        }
        let api: Api<Pod> = Api::all(self.context.client.clone());
        let selector = format!("spec.nodeName={}", self.context.config.node_name);
        let mut stream = Box::pin(changes(api, watcher::Config::default().fields(&selector)));
        let nodes: Api<Node> = Api::all(self.context.client.clone());
        let own = format!("metadata.name={}", self.context.config.node_name);
        let mut nodes = Box::pin(changes(nodes, watcher::Config::default().fields(&own)));
        let mut hints = self.context.runtime.events();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                change = stream.next() => match change {
                    Some(Change::Applied(pod)) if is_mirror(&pod) => self.mirror(Change::Applied(pod)).await,
                    Some(Change::Applied(pod)) => {
                        self.assign(pod);
                        self.grant_resizes();
                    }
                    Some(Change::Gone(uid)) if self.context.pods.contains(&uid) => self.gone(&uid),
                    Some(Change::Gone(uid)) => self.mirror(Change::Gone(uid)).await,
                    Some(Change::Complete) => {
                        self.mirror(Change::Complete).await;
                        self.adopt_orphans().await;
                        self.listed = true;
                        self.grant_resizes();
                    }
                    None => break,
                },
                Some(change) = nodes.next() => match change {
                    Change::Applied(node) => self.node = Some(node),
                    Change::Gone(_) => self.node = None,
                    Change::Complete => {}
                },
                Some(change) = files.recv() => self.file_changed(change),
                hint = hints.recv() => match hint {
                    Ok(hint) => self.context.pods.look(&hint.pod_uid),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.context.pods.look_all(),
                    Err(broadcast::error::RecvError::Closed) => hints = self.context.runtime.events(),
                },
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(uid) => {
                        self.context.pods.remove(&uid);
                        std::mem::take(&mut self.waiting).into_iter().for_each(|pod| self.assign_static(pod));
                        self.grant_resizes();
                    }
                    Err(error) => warn!(%error, "a Pod's task was lost"),
                },
            }
        }
        let drain = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, drain).await.is_err() {
            warn!("some Pods' tasks did not end in time");
        }
    }

    /// The task that keeps mirrors ends only with everything else.
    async fn mirror(&self, change: Change<Pod>) {
        let _ = self.mirrors.send(change).await;
    }

    /// R14.6: a file that is gone stops its Pod, and another version of it is another Pod.
    fn file_changed(&mut self, change: FileChange) {
        for uid in &change.gone {
            self.gone(uid);
        }
        (0..change.replaced).for_each(|_| self.context.metrics.static_pod_replaced());
        self.waiting.retain(|pod| !change.gone.iter().any(|uid| Some(uid) == pod.metadata.uid.as_ref()));
        change.applied.into_iter().for_each(|pod| self.assign_static(pod));
    }

    /// Two versions of one static Pod share a name, so the new one waits until the old one has stopped.
    fn assign_static(&mut self, pod: Pod) {
        let name = |pod: &Pod| (pod.metadata.namespace.clone(), pod.metadata.name.clone());
        let before = self.context.pods.pods();
        if before.iter().any(|other| name(other) == name(&pod) && other.uid() != pod.uid()) {
            self.waiting.push(pod);
        } else {
            self.assign(pod);
        }
    }

    fn assign(&mut self, pod: Pod) {
        let uid = pod.uid().unwrap_or_default();
        let asked = Arc::new(pod);
        if let Some(handle) = self.context.pods.ask(&uid, &asked) {
            handle.assignment.send_modify(|assignment| {
                assignment.pod = if same_resources(&asked, &assignment.pod) {
                    Arc::clone(&asked)
                } else {
                    Arc::new(with_resources_of(&asked, &assignment.pod))
                };
            });
            return;
        }
        let desired = self.admit(&asked);
        let granted = stored_pod(&self.context, &uid).map(|stored| with_resources_of(&asked, &stored));
        let pod = granted.map_or_else(|| asked.clone(), Arc::new);
        self.spawn(uid, asked, Assignment { pod, pending: None, desired });
    }

    /// R13.27: looks at every change of resources that was not granted yet, important Pods first.
    fn grant_resizes(&self) {
        if !self.listed {
            return;
        }
        let mut asking = self.context.pods.asking();
        asking.sort_by_key(|handle| {
            std::cmp::Reverse(handle.asked.spec.as_ref().and_then(|spec| spec.priority))
        });
        for handle in asking {
            let uid = handle.asked.uid();
            let others = self.context.pods.active();
            let others: Vec<&Pod> = others.iter().map(AsRef::as_ref).filter(|it| it.uid() != uid).collect();
            let answer = grant(&handle.asked, &others, &self.context.allocatable);
            handle.assignment.send_if_modified(|assignment| match answer {
                Ok(()) => {
                    assignment.pod = handle.asked.clone();
                    assignment.pending = None;
                    true
                }
                Err(pending) => assignment.pending.replace(pending.clone()) != Some(pending),
            });
        }
    }

    fn spawn(&mut self, uid: String, asked: Arc<Pod>, assignment: Assignment) {
        let (sender, receiver) = watch::channel(assignment);
        let (stopped, is_stopped) = watch::channel(false);
        let (changed, mirrored) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let worker =
            PodWorker::new(self.context.clone(), receiver, changed.clone(), mirrored.clone(), stopped);
        let stop = self.stop.clone();
        let handle = Handle { asked, assignment: sender, changed, mirrored, stopped: is_stopped };
        self.context.pods.insert(uid.clone(), handle);
        self.tasks.spawn(async move {
            worker.run(stop).await;
            uid
        });
    }

    fn gone(&self, uid: &str) {
        self.context.pods.want(uid, Desired::Gone);
    }

    /// R1.52, R1.53: the node's own check, for Pods that nobody asked it about. A Pod that was taken in once stays.
    fn admit(&self, pod: &Pod) -> Desired {
        let started = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        if started || pod.metadata.deletion_timestamp.is_some() {
            return Desired::Run;
        }
        if let Some((reason, message)) = refusal(&self.context.node_state.now(), pod) {
            return Desired::Reject { reason, message };
        }
        let config = &self.context.config;
        let (labels, taints) = self.node.as_ref().map(NodeView::of).unwrap_or_default();
        let registered = node_status::labels(config);
        let node = NodeView {
            name: &config.node_name,
            labels: labels.unwrap_or(&registered),
            taints,
            allocatable: &self.context.allocatable,
            allowed_sysctls: &config.allowed_sysctls,
            app_armor: node_status::has_app_armor(),
        };
        let others = self.context.pods.active();
        let others: Vec<&Pod> = others.iter().map(AsRef::as_ref).collect();
        match admission::admit(pod, &others, &node) {
            Ok(()) => Desired::Run,
            Err(refused) => Desired::Reject { reason: refused.reason, message: refused.message },
        }
    }

    /// Pods that vanished while the agent was down are stopped as their spec says; sandboxes nobody knows at once.
    async fn adopt_orphans(&mut self) {
        for stored in stored_pods(&self.context) {
            let uid = stored.pod.uid().unwrap_or_default();
            if !uid.is_empty() && !self.context.pods.contains(&uid) {
                info!(pod = stored.pod.name_any(), "gone from the API; stopping it");
                let pod = Arc::new(stored.pod);
                self.spawn(uid, pod.clone(), Assignment { pod, pending: None, desired: Desired::Gone });
            }
        }
        for uid in strays(&self.context).into_iter().filter(|uid| !self.context.pods.contains(uid)) {
            info!(uid, "half removed; removing the rest");
            let context = self.context.clone();
            let key = PodKey { uid, ..PodKey::default() };
            // Unmounting waits for the kernel.
            let _ = tokio::task::spawn_blocking(move || forget(&context, &key)).await;
        }
        let sandboxes = match self.context.runtime.list().await {
            Ok(sandboxes) => sandboxes,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "the runtime does not answer");
                return;
            }
        };
        for sandbox in sandboxes.into_iter().filter(|s| !self.context.pods.contains(&s.pod.uid)) {
            info!(pod = sandbox.pod.name, sandbox = sandbox.id, "nobody knows this sandbox; removing it");
            if let Err(problem) = pod_workers::discard(&self.context, &sandbox).await {
                warn!(sandbox = sandbox.id, problem, "not removed");
            }
        }
    }
}

//! The kubelet itself: the node's record, the watch on its Pods, and a worker for each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};
use outrigger_api::clock::SharedClock;
use outrigger_network::PodNetworking;
use outrigger_pod_lifecycle::Desired;
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
use crate::context::Context;
use crate::events::{self, Notice, Recorder};
use crate::id_ranges::IdRanges;
use crate::images::{ImageManager, ImageService};
use crate::node_status::{self, Machine};
use crate::objects::Objects;
use crate::pod_workers::{Assignment, PodWorker, stored_pod, stored_pods};
use crate::{logs, pod_workers};

/// How long workers may take to notice a stop.
const DRAIN: Duration = Duration::from_secs(5);

/// The node agent.
#[derive(Debug)]
pub struct Kubelet {
    context: Arc<Context>,
    machine: Machine,
    notices: mpsc::Receiver<Notice>,
    ready: watch::Sender<bool>,
}

/// One Pod's worker, seen from outside.
struct Handle {
    /// The newest object as the API has it.
    asked: Arc<Pod>,
    assignment: watch::Sender<Assignment>,
    changed: Arc<Notify>,
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
            clock,
            id_ranges: IdRanges::default(),
        };
        Self { context: Arc::new(context), machine, notices, ready: watch::Sender::new(false) }
    }

    /// True once the Node is registered and its first status written.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// What answers logs, exec, attach and port-forward.
    pub fn agent(&self) -> KubeletAgent {
        KubeletAgent::new(self.context.runtime.clone(), self.context.client.clone())
    }

    /// Runs until `stop`. Pods go on running; another start takes them over.
    pub async fn run(self, stop: CancellationToken) {
        let Self { context, machine, notices, ready } = self;
        let mut tasks = JoinSet::new();
        let (client, node) = (context.client.clone(), context.config.node_name.clone());
        tasks.spawn(events::write(client, node, context.clock.clone(), notices, stop.clone()));
        tasks.spawn(context.objects.clone().watch_services(stop.clone()));
        tasks.spawn(node_status::keep(context.clone(), machine, ready, stop.clone()));
        tasks.spawn(logs::rotate_forever(context.clone(), stop.clone()));
        let pods = Pods {
            context,
            node: None,
            listed: false,
            workers: HashMap::new(),
            tasks: JoinSet::new(),
            stop: stop.clone(),
        };
        pods.run().await;
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
    workers: HashMap<String, Handle>,
    tasks: JoinSet<String>,
    stop: CancellationToken,
}

impl Pods {
    async fn run(mut self) {
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
                    Some(Change::Applied(pod)) => {
                        self.assign(pod);
                        self.grant_resizes();
                    }
                    Some(Change::Gone(uid)) => self.gone(&uid),
                    Some(Change::Complete) => {
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
                hint = hints.recv() => match hint {
                    Ok(hint) => self.look(Some(&hint.pod_uid)),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.look(None),
                    Err(broadcast::error::RecvError::Closed) => hints = self.context.runtime.events(),
                },
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(uid) => {
                        self.workers.remove(&uid);
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

    fn look(&self, uid: Option<&str>) {
        match uid {
            Some(uid) => {
                if let Some(handle) = self.workers.get(uid) {
                    handle.changed.notify_one();
                }
            }
            None => self.workers.values().for_each(|handle| handle.changed.notify_one()),
        }
    }

    fn assign(&mut self, pod: Pod) {
        let uid = pod.uid().unwrap_or_default();
        let asked = Arc::new(pod);
        if let Some(handle) = self.workers.get_mut(&uid) {
            handle.asked = asked.clone();
            handle.assignment.send_modify(|assignment| {
                assignment.pod = Arc::new(with_resources_of(&asked, &assignment.pod));
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
        let mut asking: Vec<&Handle> = self.workers.values().filter(|handle| handle.is_asking()).collect();
        asking.sort_by_key(|handle| {
            std::cmp::Reverse(handle.asked.spec.as_ref().and_then(|spec| spec.priority))
        });
        for handle in asking {
            let uid = handle.asked.uid();
            let others = self.active();
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
        let changed = Arc::new(Notify::new());
        let worker = PodWorker::new(self.context.clone(), receiver, changed.clone());
        let stop = self.stop.clone();
        self.workers.insert(uid.clone(), Handle { asked, assignment: sender, changed });
        self.tasks.spawn(async move {
            worker.run(stop).await;
            uid
        });
    }

    fn gone(&self, uid: &str) {
        if let Some(handle) = self.workers.get(uid) {
            handle.assignment.send_modify(|assignment| assignment.desired = Desired::Gone);
        }
    }

    /// R1.52, R1.53: the node's own check, for Pods that nobody asked it about. A Pod that was taken in once stays.
    fn admit(&self, pod: &Pod) -> Desired {
        let started = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        if started || pod.metadata.deletion_timestamp.is_some() {
            return Desired::Run;
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
        let others = self.active();
        let others: Vec<&Pod> = others.iter().map(AsRef::as_ref).collect();
        match admission::admit(pod, &others, &node) {
            Ok(()) => Desired::Run,
            Err(refused) => Desired::Reject { reason: refused.reason, message: refused.message },
        }
    }

    /// The Pods whose resources are in use.
    fn active(&self) -> Vec<Arc<Pod>> {
        let pods = self.workers.values().map(|handle| handle.assignment.borrow().clone());
        let active = pods.filter(|it| !matches!(it.desired, Desired::Reject { .. }) && !is_finished(&it.pod));
        active.map(|assignment| assignment.pod).collect()
    }

    /// Pods that vanished while the agent was down are stopped as their spec says; sandboxes nobody knows at once.
    async fn adopt_orphans(&mut self) {
        for stored in stored_pods(&self.context) {
            let uid = stored.pod.uid().unwrap_or_default();
            if !uid.is_empty() && !self.workers.contains_key(&uid) {
                info!(pod = stored.pod.name_any(), "gone from the API; stopping it");
                let pod = Arc::new(stored.pod);
                self.spawn(uid, pod.clone(), Assignment { pod, pending: None, desired: Desired::Gone });
            }
        }
        let sandboxes = match self.context.runtime.list().await {
            Ok(sandboxes) => sandboxes,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "the runtime does not answer");
                return;
            }
        };
        for sandbox in sandboxes.into_iter().filter(|s| !self.workers.contains_key(&s.pod.uid)) {
            info!(pod = sandbox.pod.name, sandbox = sandbox.id, "nobody knows this sandbox; removing it");
            if let Err(problem) = pod_workers::discard(&self.context, &sandbox).await {
                warn!(sandbox = sandbox.id, problem, "not removed");
            }
        }
    }
}

impl Handle {
    /// Whether it asks for other resources than it has, or did a moment ago.
    fn is_asking(&self) -> bool {
        let assignment = self.assignment.borrow();
        let differs = !same_resources(&self.asked, &assignment.pod);
        (differs || assignment.pending.is_some()) && !is_finished(&self.asked)
    }
}

fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

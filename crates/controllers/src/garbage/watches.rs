//! A watch of the metadata of every kind there is.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::core::discovery::verbs;
use kube::discovery::{ApiGroup, Discovery, Scope};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use outrigger_reconcile::Error;
use outrigger_workloads::garbage::Identity;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::debug;

/// Changes the collector has not taken yet; then watches wait.
const UNREAD: usize = 1024;

/// How a kind is asked for: its resource, and whether it has namespaces. By group and kind.
#[derive(Debug, Default)]
pub(super) struct Kinds(HashMap<(String, String), (ApiResource, bool)>);

impl Kinds {
    /// The kind of an owner reference; any version will do.
    pub(super) fn find(&self, api_version: &str, kind: &str) -> Option<&(ApiResource, bool)> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.0.get(&(group.to_owned(), kind.to_owned()))
    }
}

/// What a watch has seen.
#[derive(Debug)]
pub(super) enum Seen {
    Applied(Identity, Box<ObjectMeta>),
    Gone(String),
    /// A list is complete; nothing else of this kind exists.
    Listed {
        api_version: String,
        kind: String,
        uids: HashSet<String>,
    },
}

/// All watches. Dropping it ends them.
pub(super) struct Watches {
    client: Client,
    sender: mpsc::Sender<Seen>,
    receiver: mpsc::Receiver<Seen>,
    tasks: JoinSet<()>,
    /// Kinds that are watched, and those of them that have been listed.
    watched: HashSet<(String, String)>,
    listed: HashSet<(String, String)>,
    kinds: Arc<Kinds>,
}

impl Watches {
    pub(super) fn new(client: Client) -> Self {
        let (sender, receiver) = mpsc::channel(UNREAD);
        Self {
            client,
            sender,
            receiver,
            tasks: JoinSet::new(),
            watched: HashSet::new(),
            listed: HashSet::new(),
            kinds: Arc::default(),
        }
    }

    /// The next change.
    pub(super) async fn next(&mut self) -> Option<Seen> {
        let seen = self.receiver.recv().await?;
        if let Seen::Listed { api_version, kind, .. } = &seen {
            self.listed.insert((api_version.clone(), kind.clone()));
        }
        Some(seen)
    }

    /// Whether the whole picture is there; before that everything would seem to lack its owner.
    pub(super) fn all_listed(&self) -> bool {
        !self.watched.is_empty() && self.listed.len() == self.watched.len()
    }

    pub(super) fn kinds(&self) -> Arc<Kinds> {
        Arc::clone(&self.kinds)
    }

    /// Watches what has come, and learns how every kind is asked for.
    pub(super) async fn discover(&mut self) -> Result<(), Error> {
        let discovery = Discovery::new(self.client.clone()).run_aggregated().await;
        let discovery = discovery.map_err(Error::doing("discovery"))?;
        let mut kinds = HashMap::new();
        for (resource, capabilities) in discovery.groups().flat_map(ApiGroup::recommended_resources) {
            let all = [verbs::LIST, verbs::WATCH, verbs::DELETE];
            // Events own nothing and are owned by nobody (C14, D20).
            if resource.kind == "Event" || !all.iter().all(|verb| capabilities.supports_operation(verb)) {
                continue;
            }
            let key = (resource.group.clone(), resource.kind.clone());
            kinds.insert(key, (resource.clone(), capabilities.scope == Scope::Namespaced));
            if self.watched.insert((resource.api_version.clone(), resource.kind.clone())) {
                debug!(kind = resource.kind, "watched for garbage");
                self.tasks.spawn(follow(self.client.clone(), resource, self.sender.clone()));
            }
        }
        self.kinds = Arc::new(Kinds(kinds));
        Ok(())
    }
}

async fn follow(client: Client, resource: ApiResource, sender: mpsc::Sender<Seen>) {
    let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(client, &resource);
    let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        let seen = match event {
            Ok(watcher::Event::Apply(object)) => applied(&resource, object),
            Ok(watcher::Event::Delete(object)) => object.metadata.uid.map(Seen::Gone),
            Ok(watcher::Event::Init) => {
                listed.clear();
                None
            }
            Ok(watcher::Event::InitApply(object)) => {
                listed.extend(object.metadata.uid.clone());
                applied(&resource, object)
            }
            Ok(watcher::Event::InitDone) => Some(Seen::Listed {
                api_version: resource.api_version.clone(),
                kind: resource.kind.clone(),
                uids: std::mem::take(&mut listed),
            }),
            Err(error) => {
                debug!(%error, kind = resource.kind, "watch interrupted");
                None
            }
        };
        // The collector has ended.
        if let Some(seen) = seen
            && sender.send(seen).await.is_err()
        {
            return;
        }
    }
}

fn applied(resource: &ApiResource, object: PartialObjectMeta<DynamicObject>) -> Option<Seen> {
    let mut metadata = object.metadata;
    metadata.managed_fields = None;
    let identity = Identity {
        api_version: resource.api_version.clone(),
        kind: resource.kind.clone(),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone()?,
        uid: metadata.uid.clone()?,
    };
    Some(Seen::Applied(identity, Box::new(metadata)))
}

//! The cluster as these verbs see it: a client, a namespace, and questions with helpful answers when there is nothing.

use std::path::Path;

use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{ListParams, ObjectMeta, PartialObjectMeta};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, Config, ResourceExt};
use outrigger_explain::Report;
use outrigger_explain::why::Reference;

use super::PodOptions;
use crate::cli::DATA_DIR;
use crate::failure::Failure;

/// So many names are listed of what exists.
const LISTED: usize = 10;

/// A client and the namespace it works in.
pub(super) struct Cluster {
    client: Client,
    pub(super) namespace: String,
}

/// Why a node's record could not be read.
pub(super) enum NoRecord {
    /// The node answered, and has none of this Pod.
    Unknown,
    /// Something stands in between, in words.
    Unreachable(String),
}

impl Cluster {
    pub(super) async fn connect(options: &PodOptions) -> Result<Self, Failure> {
        let kubeconfig = match &options.kubeconfig {
            Some(file) => Kubeconfig::read_from(file),
            None if std::env::var_os("KUBECONFIG").is_some() => Kubeconfig::read(),
            None => {
                let own = Path::new(DATA_DIR).join("kubeconfig");
                if own.exists() { Kubeconfig::read_from(own) } else { Kubeconfig::read() }
            }
        };
        let kubeconfig = kubeconfig.map_err(Failure::doing("cannot read the kubeconfig"))?;
        let choice = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &choice)
            .await
            .map_err(Failure::doing("cannot use the kubeconfig"))?;
        let namespace = options.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(Failure::doing("cannot use the kubeconfig"))?;
        Ok(Self { client, namespace })
    }

    /// The Pod, if there is one.
    pub(super) async fn pod(&self, name: &str) -> Result<Option<Pod>, Failure> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        api.get_opt(name).await.map_err(Failure::doing(format!("cannot read pod/{name}")))
    }

    /// A Pod that is not there, with what there is instead.
    pub(super) async fn missing(&self, name: &str) -> Failure {
        let missing = format!("no pod/{name} in namespace {}", self.namespace);
        let api: Api<Pod> = Api::all(self.client.clone());
        let everywhere =
            api.list_metadata(&ListParams::default().fields(&format!("metadata.name={name}"))).await;
        let elsewhere: Vec<String> = everywhere
            .map(|list| list.items.iter().filter_map(ResourceExt::namespace).collect())
            .unwrap_or_default();
        if !elsewhere.is_empty() {
            return Failure::other(format!("{missing}; it is in namespace {}", elsewhere.join(" and ")));
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let Ok(list) = api.list_metadata(&ListParams::default()).await else {
            return Failure::other(missing);
        };
        let names: Vec<String> = list.items.iter().map(ResourceExt::name_any).collect();
        if names.is_empty() {
            return Failure::other(format!("{missing}; there are no Pods in it"));
        }
        let more = match names.len().saturating_sub(LISTED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let shown = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
        Failure::other(format!("{missing}; there is {shown}{more}"))
    }

    /// Events about a Pod; none if they cannot be read.
    pub(super) async fn events(&self, pod: &Pod) -> Vec<Event> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let uid = pod.uid().unwrap_or_default();
        let params = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
        api.list(&params).await.map(|list| list.items).unwrap_or_default()
    }

    pub(super) async fn node(&self, name: &str) -> Option<Node> {
        Api::<Node>::all(self.client.clone()).get_opt(name).await.ok().flatten()
    }

    /// The names of all nodes; none if they cannot be read.
    pub(super) async fn nodes(&self) -> Vec<String> {
        let api: Api<Node> = Api::all(self.client.clone());
        let list = api.list_metadata(&ListParams::default()).await;
        list.map(|list| list.items.iter().map(ResourceExt::name_any).collect()).unwrap_or_default()
    }

    /// What a node recorded of a Pod; with an empty uid, of the newest of this name.
    pub(super) async fn record(&self, node: &str, name: &str, uid: &str) -> Result<Report, NoRecord> {
        let uid = if uid.is_empty() { String::new() } else { format!("/{uid}") };
        let path = format!("/api/v1/nodes/{node}/proxy/timeline/{}/{name}{uid}", self.namespace);
        let unreachable = |why: String| NoRecord::Unreachable(why);
        let request =
            http::Request::get(path).body(Vec::new()).map_err(|error| unreachable(error.to_string()))?;
        match self.client.request_text(request).await {
            Ok(text) => serde_json::from_str(&text).map_err(|error| {
                unreachable(format!("the agent of node {node} answers otherwise than expected: {error}"))
            }),
            Err(kube::Error::Api(status)) if status.code == 404 => Err(NoRecord::Unknown),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let need = "reading the node's record takes the right to get nodes/proxy";
                Err(unreachable(format!("{}; {need}", status.message)))
            }
            Err(kube::Error::Api(status)) => Err(unreachable(status.message.clone())),
            Err(error) => Err(unreachable(crate::failure::chain(&error))),
        }
    }

    /// Which of the objects are not there. One that cannot be asked for is taken to be.
    pub(super) async fn absent(&self, references: &[Reference]) -> Vec<String> {
        let mut absent = Vec::new();
        for reference in references {
            let kind = GroupVersionKind::gvk("", "v1", reference.kind);
            let resource = ApiResource::from_gvk_with_plural(&kind, reference.plural);
            let api: Api<kube::api::DynamicObject> =
                Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
            let found: Result<Option<PartialObjectMeta<_>>, _> = api.get_metadata_opt(&reference.name).await;
            if matches!(found, Ok(None)) {
                absent.push(format!("{}/{}", reference.kind.to_lowercase(), reference.name));
            }
        }
        absent
    }
}

/// An object's uid, or nothing.
pub(super) fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}

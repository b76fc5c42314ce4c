//! The wiring of EndpointSlices, Endpoints and their mirror (N8).

use std::sync::Arc;

use async_trait::async_trait;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt as _};
use outrigger_api::clock::SharedClock;
use outrigger_reconcile::{Cache, Error, Next, Reconciler};
use outrigger_workloads::endpoints::{self, Changes, Owned};
use outrigger_workloads::{pods, selector};

use crate::claims::Owner;
use crate::pod_control::{is_conflict, is_gone, is_namespace_ending};
use crate::written::{AGAIN, Written};

/// What is known, and what was written.
pub(crate) struct Slices {
    pub(crate) client: Client,
    pub(crate) clock: SharedClock,
    pub(crate) pods: Cache<Pod>,
    pub(crate) slices: Cache<EndpointSlice>,
    pub(crate) endpoints: Cache<Endpoints>,
    pub(crate) nodes: Cache<Node>,
    pub(crate) written: Written,
}

/// Which Services a changed Pod concerns.
pub(crate) fn selecting(
    pods: &Cache<Pod>,
    services: Cache<Service>,
) -> impl Stream<Item = ObjectRef<Service>> + Send + use<> {
    pods.changes().flat_map(move |pod| {
        let namespace = pod.namespace().unwrap_or_default();
        let selects = |service: &Service| {
            let labels = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            labels.is_some_and(|labels| {
                !labels.is_empty() && selector::selects(&selector::of_labels(labels), &pod.metadata)
            })
        };
        let all = services.in_namespace(&namespace);
        let found = all.iter().filter(|service| selects(service));
        let found: Vec<_> =
            found.map(|service| ObjectRef::new(&service.name_any()).within(&namespace)).collect();
        futures::stream::iter(found)
    })
}

/// The Service a changed slice belongs to.
pub(crate) fn of_slices(
    slices: &Cache<EndpointSlice>,
) -> impl Stream<Item = ObjectRef<Service>> + Send + use<> {
    slices.changes().filter_map(async |slice| {
        let name = pods::label(&slice.metadata, endpoints::SERVICE_NAME)?;
        Some(ObjectRef::new(name).within(&slice.namespace()?))
    })
}

/// The Service of the same name.
pub(crate) fn of_endpoints(
    endpoints: &Cache<Endpoints>,
) -> impl Stream<Item = ObjectRef<Service>> + Send + use<> {
    endpoints.changes().filter_map(async |endpoints| {
        Some(ObjectRef::new(&endpoints.name_any()).within(&endpoints.namespace()?))
    })
}

#[async_trait]
impl Reconciler for Slices {
    type Object = Service;

    const NAME: &'static str = "endpoint-slice";

    async fn reconcile(&self, service: Arc<Service>) -> Result<Next, Error> {
        let owner = Owner::of(&*service);
        let shows = |mark| self.slices.shows(mark) && self.endpoints.shows(mark);
        if service.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Change);
        }
        // The Service itself is never written here, so its own version does not matter.
        if !self.written.shown(owner.uid(), None, shows) {
            return Ok(Next::After(AGAIN));
        }
        let labels = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
        if labels.is_empty() {
            return self.mirror(&owner, &service).await;
        }
        let chosen = selector::of_labels(&labels);
        let mut all = self.pods.in_namespace(owner.namespace());
        all.retain(|pod| selector::selects(&chosen, &pod.metadata));
        all.sort_by_cached_key(|pod| pod.name_any());
        let groups = endpoints::slices(&service, &all, &self.nodes.all());
        let owned = Owned {
            prefix: service.name_any(),
            namespace: owner.namespace().to_owned(),
            labels: endpoints::labels(&service),
            owner: owner.reference.clone(),
            trigger: Some(self.clock.now().wall.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        };
        let existing = self.existing(&owner, endpoints::CONTROLLER);
        self.write(&owner, endpoints::reconcile(&owned, &groups, &existing)).await?;
        self.legacy(&owner, &service, &all).await?;
        Ok(Next::Change)
    }
}

impl Slices {
    /// The Service's slices that this controller made.
    fn existing(&self, owner: &Owner<'_>, by: &str) -> Vec<Arc<EndpointSlice>> {
        let mut all = self.slices.in_namespace(owner.namespace());
        all.retain(|slice| {
            pods::label(&slice.metadata, endpoints::SERVICE_NAME) == Some(owner.reference.name.as_str())
                && pods::label(&slice.metadata, endpoints::MANAGED_BY) == Some(by)
                && slice.metadata.deletion_timestamp.is_none()
        });
        all.sort_by_cached_key(|slice| slice.name_any());
        all
    }

    async fn mirror(&self, owner: &Owner<'_>, service: &Service) -> Result<Next, Error> {
        // Its slices are kept by hand or by the mirror now.
        let left = Changes { delete: self.existing(owner, endpoints::CONTROLLER), ..Changes::default() };
        self.write(owner, left).await?;
        let all = self.endpoints.in_namespace(owner.namespace());
        let source = all.iter().find(|one| one.metadata.name == service.metadata.name);
        let source = source.filter(|one| endpoints::is_mirrored(one, Some(service)));
        let existing = self.existing(owner, endpoints::MIRRORING);
        let Some(source) = source else {
            self.write(owner, Changes { delete: existing, ..Changes::default() }).await?;
            return Ok(Next::Change);
        };
        let by = Owner::of(&**source);
        let mut labels = source.metadata.labels.clone().unwrap_or_default();
        labels.insert(endpoints::SERVICE_NAME.to_owned(), service.name_any());
        labels.insert(endpoints::MANAGED_BY.to_owned(), endpoints::MIRRORING.to_owned());
        let owned = Owned {
            prefix: service.name_any(),
            namespace: owner.namespace().to_owned(),
            labels,
            owner: by.reference,
            trigger: None,
        };
        self.write(owner, endpoints::reconcile(&owned, &endpoints::mirrored(source), &existing)).await?;
        Ok(Next::Change)
    }

    async fn write(&self, owner: &Owner<'_>, changes: Changes) -> Result<(), Error> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), owner.namespace());
        let doing = || Error::doing(format!("endpoint slices of {}", owner.reference.name));
        let wrote = |metadata: &ObjectMeta| {
            self.written.dependent(owner.uid(), self.slices.mark(metadata.resource_version.as_deref()));
        };
        for slice in &changes.create {
            match api.create(&PostParams::default(), slice).await {
                Ok(written) => wrote(&written.metadata),
                Err(error) if is_namespace_ending(&error) => return Ok(()),
                Err(error) => return Err(doing()(error)),
            }
        }
        for slice in &changes.update {
            match api.replace(&slice.name_any(), &PostParams::default(), slice).await {
                Ok(written) => wrote(&written.metadata),
                // The picture was old; its change brings the next turn.
                Err(error) if is_conflict(&error) || is_gone(&error) => {}
                Err(error) => return Err(doing()(error)),
            }
        }
        for slice in &changes.delete {
            let only = Preconditions { uid: slice.uid(), resource_version: None };
            match api.delete(&slice.name_any(), &DeleteParams::default().preconditions(only)).await {
                Err(error) if !is_gone(&error) => return Err(doing()(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// The older object of the same name.
    async fn legacy(&self, owner: &Owner<'_>, service: &Service, all: &[Arc<Pod>]) -> Result<(), Error> {
        let known = self.endpoints.in_namespace(owner.namespace());
        let before = known.iter().find(|one| one.metadata.name == service.metadata.name);
        let wanted = endpoints::legacy(service, all, before.map(|before| &**before));
        let same = |before: &Endpoints| {
            before.subsets == wanted.subsets
                && before.metadata.labels == wanted.metadata.labels
                && before.metadata.annotations.clone().unwrap_or_default()
                    == wanted.metadata.annotations.clone().unwrap_or_default()
        };
        if before.is_some_and(|before| same(before)) {
            return Ok(());
        }
        let api: Api<Endpoints> = Api::namespaced(self.client.clone(), owner.namespace());
        let written = match before {
            Some(_) => api.replace(&wanted.name_any(), &PostParams::default(), &wanted).await,
            None => api.create(&PostParams::default(), &wanted).await,
        };
        match written {
            Ok(written) => {
                let mark = self.endpoints.mark(written.metadata.resource_version.as_deref());
                self.written.dependent(owner.uid(), mark);
                Ok(())
            }
            Err(error) if is_conflict(&error) || is_gone(&error) || is_namespace_ending(&error) => Ok(()),
            Err(error) => Err(Error::doing(format!("endpoints of {}", owner.reference.name))(error)),
        }
    }
}

//! `outrigger run`: manifests in, output and exit code out, nothing left behind.

mod notices;
mod output;
mod progress;
mod scratch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use indicatif::MultiProgress;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use outrigger_api::clock::SystemClock;
use outrigger_images::{Progress, RegistryConfig};
use tokio_util::sync::CancellationToken;

use crate::cli::{POD_CIDR, RunOptions};
use crate::cluster::{Cluster, Options, require_features};
use crate::failure::{BAD_MANIFEST, Failure, TIMED_OUT};
use crate::manifests::{self, Manifest};
use crate::node;
use crate::signals::Interrupts;
use crate::store::StoreChoice;
use notices::Notices;
use output::Output;
use scratch::Scratch;

/// How long the last lines may take to arrive once every Pod has ended.
const LAST_LINES: Duration = Duration::from_secs(5);

/// How a run ended.
enum End {
    /// Every Pod that ends by itself has; the code of the first container that failed, or 0.
    Finished(u8),
    TimedOut,
    /// By a signal; its exit code.
    Interrupted(u8),
}

pub(crate) async fn run(options: RunOptions) -> Result<u8, Failure> {
    let manifests = manifests::read(&options.files)?;
    require_features()?;
    // From here on a signal is a wish: what was begun is taken away first.
    let mut interrupts = Interrupts::watch()?;
    scratch::sweep().await;
    let scratch = Scratch::make()?;
    let outcome = run_in(scratch.path(), &manifests, &options, &mut interrupts).await;
    let ended = scratch.end(options.keep).await;
    let code = match outcome? {
        End::Finished(code) | End::Interrupted(code) => code,
        End::TimedOut => TIMED_OUT,
    };
    ended.map(|()| code)
}

/// Starts a cluster in the folder, runs the manifests in it and stops it again. What its Pods left is still there.
async fn run_in(
    folder: &Path,
    manifests: &[Manifest],
    options: &RunOptions,
    interrupts: &mut Interrupts,
) -> Result<End, Failure> {
    let (progress, news) = progress::channel();
    let bars = MultiProgress::new();
    let mut starting = std::pin::pin!(start(folder, options, progress));
    let mut early = None;
    let cluster = loop {
        tokio::select! {
            started = &mut starting => break started?,
            // It takes a moment and is stopped in good order then; whoever insists need not wait for it.
            code = interrupts.next() => if early.replace(code).is_some() { return Ok(End::Interrupted(code)) },
        }
    };
    let shown = tokio::spawn(progress::show(news, bars.clone()));
    let end = match early {
        Some(code) => Ok(End::Interrupted(code)),
        None => follow_manifests(&cluster, manifests, options, interrupts, bars).await,
    };
    cluster.stop().await;
    shown.abort();
    end
}

async fn start(folder: &Path, options: &RunOptions, progress: Progress) -> Result<Cluster, Failure> {
    let pod_cidr = options.node.pod_cidr.or_else(node::free_range);
    Cluster::start(Options {
        log_root: folder.join("logs"),
        log_links: None,
        fixed_ports: false,
        image_dir: usable_image_dir(options, folder).await,
        data_dir: folder.to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        store: StoreChoice::embedded(),
        node: options.node.clone(),
        pod_cidr: pod_cidr.unwrap_or(POD_CIDR),
        progress: Some(progress),
    })
    .await
}

/// The shared image folder, unless another run holds it: then one of this run's own.
async fn usable_image_dir(options: &RunOptions, folder: &Path) -> PathBuf {
    let clock: outrigger_api::clock::SharedClock = Arc::new(SystemClock);
    let opened = crate::cluster::open_images(&options.image_dir, RegistryConfig::default(), &clock).await;
    if opened.is_ok() { options.image_dir.clone() } else { folder.join("images") }
}

async fn follow_manifests(
    cluster: &Cluster,
    manifests: &[Manifest],
    options: &RunOptions,
    interrupts: &mut Interrupts,
    bars: MultiProgress,
) -> Result<End, Failure> {
    let client = cluster.client();
    let stop = CancellationToken::new();
    let output = Output::new(client.clone(), stop.clone(), bars);
    let timeout = async {
        match options.timeout {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let work = async {
        wait_for_account(&client).await?;
        for manifest in manifests {
            apply(&client, manifest).await?;
        }
        follow(&client, &output).await
    };
    let end = tokio::select! {
        code = work => Ok(End::Finished(code?)),
        () = timeout => Ok(End::TimedOut),
        code = interrupts.next() => Ok(End::Interrupted(code)),
    };
    if let Ok(End::Interrupted(_) | End::TimedOut) = end {
        let why = if matches!(end, Ok(End::TimedOut)) { "timed out; " } else { "" };
        output.notice(&format!("{why}stopping Pods (Ctrl-C again: at once)"));
        tokio::select! {
            stopped = stop_pods(&client) => stopped?,
            _ = interrupts.next() => {}
        }
    }
    // Everything ended has been written by now; a follower that still waits has nothing to show.
    if tokio::time::timeout(LAST_LINES, output.finish()).await.is_err() {
        tracing::debug!("a log was still followed");
    }
    stop.cancel();
    end
}

/// Pods are refused until their namespace has its service account (L9).
async fn wait_for_account(client: &Client) -> Result<(), Failure> {
    let api = Api::<k8s_openapi::api::core::v1::ServiceAccount>::namespaced(client.clone(), "default");
    let there = |account: Option<&k8s_openapi::api::core::v1::ServiceAccount>| account.is_some();
    kube::runtime::wait::await_condition(api, "default", there)
        .await
        .map(drop)
        .map_err(Failure::doing("the default service account did not appear"))
}

async fn apply(client: &Client, manifest: &Manifest) -> Result<(), Failure> {
    let kind = &manifest.kind;
    let resource = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk(&kind.group, &kind.version, &kind.kind),
        &kind.plural,
    );
    let api: Api<DynamicObject> = if kind.namespaced {
        let namespace =
            Some(manifest.object.namespace()).filter(|name| !name.is_empty()).unwrap_or("default");
        Api::namespaced_with(client.clone(), namespace, &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    };
    let bad = |why: String| Failure::new(BAD_MANIFEST, format!("{}: {why}", manifest.place));
    let object: DynamicObject = manifest.object.to_typed().map_err(|error| bad(error.to_string()))?;
    let params = PostParams::default();
    let body = serde_json::to_vec(&manifest.object.0).map_err(|error| bad(error.to_string()))?;
    let request = kube::api::Request::new(api.resource_url()).create(&params, body);
    let request = request.map_err(|error| bad(error.to_string()))?;
    let (mut parts, body) = request.into_parts();
    let query = if parts.uri.query().is_some() { "&" } else { "?" };
    let uri = format!("{}{query}fieldValidation=Strict", parts.uri);
    parts.uri = uri.trim_end_matches('&').parse().map_err(|_| bad(format!("{uri} is no address")))?;
    let created = client.request::<DynamicObject>(http::Request::from_parts(parts, body)).await;
    match created {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let name = object.name_any();
            Err(bad(format!("{} {name:?} is there twice", kind.kind)))
        }
        Err(kube::Error::Api(status)) => Err(bad(status.message)),
        Err(error) => Err(Failure::doing(format!("cannot create {}", manifest.place))(error)),
    }
}

/// Shows what containers print until every Pod has ended. Pods that restart for ever never end.
async fn follow(client: &Client, output: &Output) -> Result<u8, Failure> {
    let pods = Api::<Pod>::all(client.clone());
    let mut stream = watcher(pods, watcher::Config::default()).default_backoff().boxed();
    let mut known: BTreeMap<String, Pod> = BTreeMap::new();
    let mut first_failure = None;
    let mut notices = Notices::default();
    let mut listed = false;
    while let Some(event) = stream.next().await {
        match event.map_err(Failure::doing("cannot watch Pods"))? {
            watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) => {
                for (status, init) in statuses(&pod) {
                    output.show(&pod, status);
                    note_failure(&pod, status, init, &mut first_failure);
                }
                notices.of(&pod).iter().for_each(|line| output.notice(line));
                known.insert(pod.uid().unwrap_or_default(), pod);
            }
            watcher::Event::Delete(pod) => {
                known.remove(&pod.uid().unwrap_or_default());
            }
            watcher::Event::InitDone => listed = true,
            watcher::Event::Init => {}
        }
        let ended = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        if listed && !known.is_empty() && known.values().all(ended) {
            let failed = known
                .values()
                .any(|pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Failed"));
            return Ok(if failed { first_failure.unwrap_or(1) } else { 0 });
        }
    }
    Err(Failure::other("the watch on Pods ended"))
}

/// Every container status of a Pod, and whether it is an init container's.
fn statuses(pod: &Pod) -> Vec<(&ContainerStatus, bool)> {
    let Some(status) = &pod.status else { return Vec::new() };
    let init = status.init_container_statuses.iter().flatten().map(|one| (one, true));
    let apps = status.container_statuses.iter().flatten().map(|one| (one, false));
    init.chain(apps).collect()
}

/// Remembers the code of the first container whose failure counts: not a sidecar's.
fn note_failure(pod: &Pod, status: &ContainerStatus, init: bool, first: &mut Option<u8>) {
    let sidecar = init
        && pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten()).any(|container| {
            container.name == status.name && container.restart_policy.as_deref() == Some("Always")
        });
    let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
    let code = ended.map_or(0, |ended| ended.exit_code);
    if code != 0 && !sidecar && first.is_none() {
        *first = Some(u8::try_from(code).unwrap_or(1));
    }
}

/// Deletes every Pod and waits until they are gone.
async fn stop_pods(client: &Client) -> Result<(), Failure> {
    let all = Api::<Pod>::all(client.clone());
    let doing = || Failure::doing("cannot stop Pods");
    let list = all.list(&kube::api::ListParams::default()).await.map_err(doing())?;
    for pod in &list.items {
        let api = Api::<Pod>::namespaced(client.clone(), pod.namespace().as_deref().unwrap_or("default"));
        // It may have gone by itself.
        let _ = api.delete(&pod.name_any(), &kube::api::DeleteParams::default()).await;
    }
    let mut left: std::collections::BTreeSet<String> =
        list.items.iter().filter_map(kube::ResourceExt::uid).collect();
    let mut stream = watcher(all, watcher::Config::default()).default_backoff().boxed();
    let mut seen = std::collections::BTreeSet::new();
    while !left.is_empty() {
        let Some(event) = stream.next().await else { break };
        match event.map_err(Failure::doing("cannot stop Pods"))? {
            watcher::Event::InitApply(pod) => drop(seen.insert(pod.uid().unwrap_or_default())),
            watcher::Event::InitDone => left.retain(|uid| seen.contains(uid)),
            watcher::Event::Delete(pod) => drop(left.remove(&pod.uid().unwrap_or_default())),
            watcher::Event::Init | watcher::Event::Apply(_) => {}
        }
    }
    Ok(())
}

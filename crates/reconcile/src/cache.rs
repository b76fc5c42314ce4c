//! A shared picture of all objects of one kind, kept by one watch.
//!
//! Several controllers look at the same Pods; each of them asks one cache, and is told which objects changed.
//! A cache lags behind. Whoever wrote something and decides again asks [`Cache::shows`] first.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures::{Stream, StreamExt as _};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Changes a subscriber may leave unread; then the watch waits for it.
const UNREAD: usize = 256;

/// A point in the history that a cache can be asked about; made by a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    version: u64,
    lists: u64,
    /// Whose history it is in.
    cache: usize,
}

impl Mark {
    /// Whether both are points in one cache's history.
    pub fn is_comparable(self, other: Self) -> bool {
        self.cache == other.cache
    }
}

/// The picture. Clones share it.
pub struct Cache<K>(Arc<Shared<K>>);

struct Shared<K> {
    picture: RwLock<Picture<K>>,
    subscribers: Mutex<Vec<mpsc::Sender<Arc<K>>>>,
    complete: watch::Sender<bool>,
}

struct Picture<K> {
    objects: HashMap<String, HashMap<String, Arc<K>>>,
    /// By namespace and the controlling owner's uid; objects nobody controls stand under the empty uid.
    owned: HashMap<(String, String), HashSet<String>>,
    /// What the list that is under way has delivered.
    listed: Option<Vec<Arc<K>>>,
    newest: u64,
    lists: u64,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Debug for Cache<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        let picture =
            Picture { objects: HashMap::new(), owned: HashMap::new(), listed: None, newest: 0, lists: 0 };
        Self(Arc::new(Shared {
            picture: RwLock::new(picture),
            subscribers: Mutex::default(),
            complete: watch::Sender::new(false),
        }))
    }
}

impl<K> Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Keeps the picture up to date until `stop`. Interruptions are retried with back-off inside.
    pub async fn run(&self, api: Api<K>, config: watcher::Config, stop: CancellationToken) {
        let mut events = pin!(watcher(api, config).default_backoff());
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                Some(Ok(event)) => {
                    let changed = self.write().take(event);
                    self.tell(changed).await;
                    if self.read().lists > 0 {
                        self.0.complete.send_if_modified(|complete| !std::mem::replace(complete, true));
                    }
                }
                Some(Err(error)) => warn!(error = &error as &dyn std::error::Error, "watch interrupted"),
                None => return,
            }
        }
    }

    /// Waits until everything that existed at the start is in the picture.
    pub async fn complete(&self) {
        // The sender lives as long as the cache, so this cannot fail.
        let _ = self.0.complete.subscribe().wait_for(|complete| *complete).await;
    }

    /// Every object that appears, changes or goes from now on. An object that changed hands comes in both forms.
    pub fn changes(&self) -> impl Stream<Item = Arc<K>> + Send + use<K> {
        let (sender, receiver) = mpsc::channel(UNREAD);
        self.0.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)))
    }

    /// All objects of a namespace.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.read().objects.get(namespace).map(|all| all.values().cloned().collect()).unwrap_or_default()
    }

    /// Everything.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read().objects.values().flat_map(HashMap::values).cloned().collect()
    }

    /// What the owner with this uid controls in a namespace, and what nobody controls there.
    pub fn owned_or_orphaned(&self, namespace: &str, owner: &str) -> Vec<Arc<K>> {
        let picture = self.read();
        let Some(all) = picture.objects.get(namespace) else { return Vec::new() };
        let of = |uid: &str| picture.owned.get(&(namespace.to_owned(), uid.to_owned())).into_iter().flatten();
        of(owner).chain(of("")).filter_map(|uid| all.get(uid).cloned()).collect()
    }

    /// What the owner with this uid controls.
    pub fn owned(&self, namespace: &str, owner: &str) -> Vec<Arc<K>> {
        let picture = self.read();
        let Some(all) = picture.objects.get(namespace) else { return Vec::new() };
        let uids = picture.owned.get(&(namespace.to_owned(), owner.to_owned()));
        uids.into_iter().flatten().filter_map(|uid| all.get(uid).cloned()).collect()
    }

    /// The point at which a write gave an object this version.
    pub fn mark(&self, version: Option<&str>) -> Mark {
        Mark { version: number(version), lists: self.read().lists, cache: self.id() }
    }

    /// Whether what was written at `mark` is in the picture, if it still exists. Marks of other caches say nothing
    /// here: a watch of one kind does not tell how far the others are.
    pub fn shows(&self, mark: Mark) -> bool {
        if mark.cache != self.id() {
            return true;
        }
        let picture = self.read();
        picture.newest >= mark.version || picture.lists > mark.lists
    }

    fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    async fn tell(&self, changed: Vec<Arc<K>>) {
        let subscribers = self.0.subscribers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for subscriber in subscribers.iter().filter(|subscriber| !subscriber.is_closed()) {
            for object in &changed {
                // A subscriber that has gone needs to hear nothing.
                let _ = subscriber.send(Arc::clone(object)).await;
            }
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Picture<K>> {
        self.0.picture.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Picture<K>> {
        self.0.picture.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A resourceVersion as a number; versions of one server are comparable across kinds.
pub fn number(version: Option<&str>) -> u64 {
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

impl<K: Resource<DynamicType = ()> + Clone> Picture<K> {
    /// Takes one event in; what changed by it.
    fn take(&mut self, event: watcher::Event<K>) -> Vec<Arc<K>> {
        match event {
            watcher::Event::Apply(object) => {
                self.newest = self.newest.max(number(object.meta().resource_version.as_deref()));
                self.put(Arc::new(without_managers(object)))
            }
            watcher::Event::Delete(object) => {
                self.newest = self.newest.max(number(object.meta().resource_version.as_deref()));
                let mut changed: Vec<Arc<K>> = self.remove(&object).into_iter().collect();
                if changed.is_empty() {
                    changed.push(Arc::new(without_managers(object)));
                }
                changed
            }
            watcher::Event::Init => {
                self.listed = Some(Vec::new());
                Vec::new()
            }
            watcher::Event::InitApply(object) => {
                self.listed.get_or_insert_default().push(Arc::new(without_managers(object)));
                Vec::new()
            }
            watcher::Event::InitDone => self.replace(),
        }
    }

    /// A list is complete: it is the whole truth. Until then the old picture stands, because a list comes in the
    /// order of names and half of it says nothing about the other half.
    fn replace(&mut self) -> Vec<Arc<K>> {
        let listed = self.listed.take().unwrap_or_default();
        let present: HashSet<String> = listed.iter().filter_map(|object| object.uid()).collect();
        let old: Vec<Arc<K>> = self.objects.values().flat_map(HashMap::values).cloned().collect();
        let gone = old.into_iter().filter(|object| object.uid().is_none_or(|uid| !present.contains(&uid)));
        let mut changed: Vec<Arc<K>> = gone.collect();
        for object in &changed {
            self.remove(object);
        }
        for object in listed {
            self.newest = self.newest.max(number(object.meta().resource_version.as_deref()));
            changed.extend(self.put(object));
        }
        self.lists += 1;
        changed
    }

    fn put(&mut self, object: Arc<K>) -> Vec<Arc<K>> {
        let before = self.remove(&object);
        let (namespace, uid) = key(&*object);
        self.owned.entry((namespace.clone(), owner(&*object))).or_default().insert(uid.clone());
        self.objects.entry(namespace).or_default().insert(uid, Arc::clone(&object));
        let moved = before.filter(|before| {
            before.meta().labels != object.meta().labels
                || before.meta().owner_references != object.meta().owner_references
        });
        moved.into_iter().chain([object]).collect()
    }

    fn remove(&mut self, object: &K) -> Option<Arc<K>> {
        let (namespace, uid) = key(object);
        let all = self.objects.get_mut(&namespace)?;
        let before = all.remove(&uid)?;
        if all.is_empty() {
            self.objects.remove(&namespace);
        }
        let by = (namespace, owner(&*before));
        if let Some(owned) = self.owned.get_mut(&by) {
            owned.remove(&uid);
            if owned.is_empty() {
                self.owned.remove(&by);
            }
        }
        Some(before)
    }
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> (String, String) {
    let meta = object.meta();
    (meta.namespace.clone().unwrap_or_default(), meta.uid.clone().unwrap_or_default())
}

fn owner<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let owners = object.meta().owner_references.iter().flatten();
    owners
        .filter(|owner| owner.controller == Some(true))
        .map(|owner| owner.uid.clone())
        .next()
        .unwrap_or_default()
}

/// Nobody here asks who wrote which field, and that is a third of an object.
fn without_managers<K: Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, owner: &str, version: u64) -> Pod {
        let owners = if owner.is_empty() {
            json!([])
        } else {
            json!([{"apiVersion": "v1", "kind": "K", "name": "o", "uid": owner, "controller": true}])
        };
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "ns", "uid": name,
            "resourceVersion": version.to_string(), "ownerReferences": owners}}))
        .unwrap()
    }

    fn feed(cache: &Cache<Pod>, events: impl IntoIterator<Item = Event<Pod>>) -> Vec<String> {
        let told = events.into_iter().flat_map(|event| cache.write().take(event));
        told.map(|pod| format!("{}@{}", pod.name_any(), pod.resource_version().unwrap_or_default())).collect()
    }

    fn names(pods: Vec<Arc<Pod>>) -> Vec<String> {
        let mut names: Vec<String> = pods.iter().map(|pod| pod.name_any()).collect();
        names.sort();
        names
    }

    #[test]
    fn objects_are_found_by_their_owner() {
        let cache = Cache::<Pod>::default();
        feed(
            &cache,
            [
                Event::Init,
                Event::InitApply(pod("a", "x", 3)),
                Event::InitApply(pod("b", "", 2)),
                Event::InitDone,
            ],
        );
        feed(&cache, [Event::Apply(pod("c", "y", 4))]);
        assert_eq!(names(cache.owned("ns", "x")), ["a"]);
        assert_eq!(names(cache.owned_or_orphaned("ns", "x")), ["a", "b"]);
        assert_eq!(feed(&cache, [Event::Apply(pod("b", "x", 5))]), ["b@2", "b@5"]);
        assert_eq!(names(cache.owned("ns", "x")), ["a", "b"]);
        assert_eq!(feed(&cache, [Event::Delete(pod("a", "x", 6))]), ["a@3"]);
        assert_eq!(names(cache.in_namespace("ns")), ["b", "c"]);
        assert!(cache.owned("other", "x").is_empty());
    }

    /// N1: what was written is known to be missing from a picture that is older.
    #[test]
    fn a_stale_picture_says_so() {
        let cache = Cache::<Pod>::default();
        feed(&cache, [Event::Init, Event::InitApply(pod("a", "", 3)), Event::InitDone]);
        let mark = cache.mark(Some("7"));
        assert!(!cache.shows(mark));
        assert!(Cache::<Pod>::default().shows(mark), "another cache knows nothing of it");
        // Half a list proves nothing, however new its objects are.
        feed(&cache, [Event::Init, Event::InitApply(pod("a", "", 9))]);
        assert!(!cache.shows(mark));
        assert_eq!(
            feed(&cache, [Event::InitApply(pod("b", "", 2)), Event::InitDone]),
            ["a@3", "a@9", "b@2"][1..]
        );
        assert!(cache.shows(mark));
        // A new list shows everything written before it, even what no longer exists.
        let mark = cache.mark(Some("20"));
        assert!(!cache.shows(mark));
        assert_eq!(
            feed(&cache, [Event::Init, Event::InitApply(pod("b", "", 2)), Event::InitDone]),
            ["a@9", "b@2"]
        );
        assert!(cache.shows(mark));
    }

    #[tokio::test]
    async fn subscribers_hear_of_changes() {
        let cache = Cache::<Pod>::default();
        let mut heard = pin!(cache.changes());
        let changed = cache.write().take(Event::Apply(pod("a", "", 1)));
        cache.tell(changed).await;
        assert_eq!(heard.next().await.map(|pod| pod.name_any()), Some("a".to_owned()));
    }
}

//! The garbage collector's wiring (D28, N9): watches the metadata of everything, keeps the graph, carries out.
//!
//! One task owns the graph. Watches feed it through a bounded queue; deletions run beside it, a bounded number at a
//! time, and each asks the server about the object and its unknown owners before it does anything.

mod effects;
mod watches;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use kube::Client;
use outrigger_reconcile::Error;
use outrigger_workloads::garbage::{Graph, Task};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::effects::Effects;
use self::watches::{Kinds, Seen, Watches};

/// Deletions under way at most.
const IN_FLIGHT: usize = 16;
/// How often kinds that have come or gone are looked for.
const DISCOVER: Duration = Duration::from_secs(30);
const FIRST_BACK_OFF: Duration = Duration::from_millis(50);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

/// Collects garbage until `stop`.
pub(crate) async fn run(client: Client, stop: CancellationToken) {
    let mut watches = Watches::new(client.clone());
    let mut collector = Collector::new(client);
    let mut discover = tokio::time::interval(DISCOVER);
    discover.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if watches.all_listed() {
            collector.start();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = discover.tick() => match watches.discover().await {
                Ok(()) => collector.kinds = watches.kinds(),
                Err(error) => warn!(error = &error as &dyn std::error::Error, "discovery"),
            },
            Some(seen) = watches.next() => collector.see(seen),
            Some((uid, outcome)) = collector.running.next() => collector.settle(uid, outcome),
            Some(uid) = collector.retries.next() => collector.look(uid),
        }
    }
}

type Outcome = (String, Result<(), Error>);

struct Collector {
    client: Client,
    kinds: Arc<Kinds>,
    graph: Graph,
    queue: VecDeque<String>,
    queued: HashSet<String>,
    /// Whose task is under way, and whether to look again afterwards.
    busy: HashMap<String, bool>,
    running: FuturesUnordered<BoxFuture<'static, Outcome>>,
    retries: FuturesUnordered<BoxFuture<'static, String>>,
    failures: HashMap<String, u32>,
}

impl Collector {
    fn new(client: Client) -> Self {
        Self {
            client,
            kinds: Arc::default(),
            graph: Graph::default(),
            queue: VecDeque::new(),
            queued: HashSet::new(),
            busy: HashMap::new(),
            running: FuturesUnordered::new(),
            retries: FuturesUnordered::new(),
            failures: HashMap::new(),
        }
    }

    fn see(&mut self, seen: Seen) {
        let uids = match seen {
            Seen::Applied(identity, metadata) => self.graph.apply(identity, &metadata),
            Seen::Gone(uid) => {
                self.failures.remove(&uid);
                self.graph.gone(&uid)
            }
            Seen::Listed { api_version, kind, uids } => {
                let gone =
                    self.graph.of_kind(&api_version, &kind).into_iter().filter(|uid| !uids.contains(uid));
                let gone: Vec<String> = gone.collect();
                gone.iter().flat_map(|uid| self.graph.gone(uid)).collect()
            }
        };
        uids.into_iter().for_each(|uid| self.look(uid));
    }

    fn look(&mut self, uid: String) {
        if let Some(again) = self.busy.get_mut(&uid) {
            *again = true;
        } else if self.queued.insert(uid.clone()) {
            self.queue.push_back(uid);
        }
    }

    /// Begins what is due, as far as there is room.
    fn start(&mut self) {
        while self.running.len() < IN_FLIGHT {
            let Some(uid) = self.queue.pop_front() else { return };
            self.queued.remove(&uid);
            let Some((identity, task)) = self.graph.task(&uid) else { continue };
            if let Task::Prompt(blocking) = task {
                blocking.into_iter().for_each(|uid| self.look(uid));
                continue;
            }
            debug!(?identity, ?task, "garbage");
            let effects = Effects { client: self.client.clone(), kinds: Arc::clone(&self.kinds) };
            self.busy.insert(uid.clone(), false);
            self.running.push(Box::pin(async move { (uid, effects.carry_out(&identity, task).await) }));
        }
    }

    fn settle(&mut self, uid: String, outcome: Result<(), Error>) {
        let again = self.busy.remove(&uid).unwrap_or_default();
        match outcome {
            Ok(()) => {
                self.failures.remove(&uid);
                if again {
                    self.look(uid);
                }
            }
            Err(error) => {
                let count = self.failures.entry(uid.clone()).or_insert(0);
                let wait = FIRST_BACK_OFF.saturating_mul(1 << (*count).min(16)).min(LONGEST_BACK_OFF);
                *count += 1;
                debug!(error = &error as &dyn std::error::Error, uid, ?wait, "will try again");
                self.retries.push(Box::pin(async move {
                    tokio::time::sleep(wait).await;
                    uid
                }));
            }
        }
    }
}

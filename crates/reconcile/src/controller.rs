//! [`Reconciler`] and the loop that drives it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use kube::Resource;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::reflector::ObjectRef;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// How many objects of one kind are worked on at once.
const CONCURRENCY: u16 = 8;
/// The first wait after a failure; it doubles up to [`LONGEST_BACK_OFF`].
const FIRST_BACK_OFF: Duration = Duration::from_millis(50);
/// The longest wait between two attempts at one object.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

/// When to look at an object again, if nothing happens to it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Not before it, or something it owns, changes.
    Change,
    /// After this long.
    After(Duration),
}

/// Why a turn failed; the object is tried again with back-off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or could not be reached.
    #[error("the API server did not accept {doing}")]
    Api {
        /// What was being done, and to what.
        doing: String,
        /// What it said.
        source: kube::Error,
    },
    /// The object cannot be worked on as it is.
    #[error("{0}")]
    Object(String),
}

impl Error {
    /// Names the call that failed; for `map_err`.
    pub fn doing(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Api { doing, source }
    }
}

/// One controller: a decision about one object, and its effects.
#[async_trait]
pub trait Reconciler: Send + Sync + 'static {
    /// What it looks after.
    type Object: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static;

    /// Its name in logs.
    const NAME: &'static str;

    /// One turn for one object. Called again after every change, so it must be idempotent and must not assume that
    /// an earlier turn's effects took place. May be dropped at any await when the program stops.
    async fn reconcile(&self, object: Arc<Self::Object>) -> Result<Next, Error>;
}

struct Context<R: Reconciler> {
    reconciler: R,
    /// Failures in a row of each object that is failing now; success removes the entry.
    failures: Mutex<HashMap<ObjectRef<R::Object>, u32>>,
}

/// Runs a controller until `stop`. `controller` says what is watched beside the objects themselves.
pub async fn run<R>(controller: Controller<R::Object>, reconciler: R, stop: CancellationToken)
where
    R: Reconciler,
    R::Object: Clone,
    <R::Object as Resource>::DynamicType: Eq + Hash + Clone,
{
    let context = Arc::new(Context { reconciler, failures: Mutex::default() });
    let stopped = stop.clone();
    controller
        .with_config(controller::Config::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(async move { stopped.cancelled().await })
        .run(turn::<R>, after_failure::<R>, context)
        .for_each(|outcome| async move {
            if let Err(error) = outcome {
                debug!(controller = R::NAME, %error, "turn");
            }
        })
        .await;
}

async fn turn<R: Reconciler>(object: Arc<R::Object>, context: Arc<Context<R>>) -> Result<Action, Error> {
    let key = ObjectRef::from_obj(&*object);
    let next = context.reconciler.reconcile(object).await?;
    context.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    Ok(match next {
        Next::Change => Action::await_change(),
        Next::After(wait) => Action::requeue(wait),
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the signature kube-rs asks for")]
fn after_failure<R: Reconciler>(object: Arc<R::Object>, error: &Error, context: Arc<Context<R>>) -> Action {
    let key = ObjectRef::from_obj(&*object);
    let mut failures = context.failures.lock().unwrap_or_else(PoisonError::into_inner);
    let count = failures.entry(key.clone()).and_modify(|count| *count = count.saturating_add(1)).or_insert(1);
    let wait = back_off(*count);
    warn!(controller = R::NAME, object = %key, error = error as &dyn std::error::Error, ?wait, "will try again");
    Action::requeue(wait)
}

/// The wait after so many failures in a row.
fn back_off(failures: u32) -> Duration {
    FIRST_BACK_OFF.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_BACK_OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_doubles_up_to_its_bound() {
        let waits: Vec<u128> =
            [1, 2, 3, 11, 12, u32::MAX].into_iter().map(|n| back_off(n).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 51_200, 60_000, 60_000]);
    }
}

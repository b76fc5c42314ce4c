//! Links that are to go, taken together: to delete one the kernel waits for all its readers, about 20 ms under a lock
//! that every link needs, and it waits once however many links one request names. Whoever asks first deletes; who
//! asks meanwhile is in the next request.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rtnetlink::Handle;
use tokio::sync::oneshot;

use crate::{NetworkError, links};

/// A link, and who waits for its end: told whether it is gone.
type Departing = (String, oneshot::Sender<bool>);

/// Bounded by the number of Pods: each waits for its own link.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    waiting: Mutex<Vec<Departing>>,
    turn: tokio::sync::Mutex<()>,
}

impl Departures {
    /// Deletes a link by name; none of that name is success. Dropping the future leaves the link to the next request,
    /// or half deleted, which is the same to whoever deletes it again.
    pub(crate) async fn delete(&self, handle: &Handle, name: &str) -> Result<(), NetworkError> {
        let (tell, told) = oneshot::channel();
        self.waiting().push((name.to_owned(), tell));
        {
            let _turn = self.turn.lock().await;
            let batch = std::mem::take(&mut *self.waiting());
            if !batch.is_empty() {
                let names: Vec<&str> = batch.iter().map(|(name, _)| name.as_str()).collect();
                let gone = links::delete_all(handle, &names).await.is_ok();
                for (_, tell) in batch {
                    // Who no longer listens was dropped.
                    let _ = tell.send(gone);
                }
            }
        }
        match told.await {
            Ok(true) => Ok(()),
            // One of the others may be to blame, or whoever deleted them was dropped: alone it has its own answer.
            Ok(false) | Err(_) => links::delete(handle, name).await,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Departing>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The store by itself: what durability costs before any server is involved.

use std::sync::Arc;
use std::time::Instant;

use outrigger_api::clock::{SharedClock, SystemClock};
use outrigger_store::{EmbeddedStore, Expect, HistoryLimits, Store as _};

use super::per_second;
use crate::Options;
use crate::budget::Row;
use crate::error::Error;

const VALUE_BYTES: usize = 500;
/// The benchmark's own process has another allocator than the program.
const ALLOCATOR: &str = "with mimalloc, which the program has not";

pub(super) async fn run(options: &Options) -> Result<Vec<Row>, Error> {
    let folder = tempfile::tempdir_in(&options.data).map_err(Error::doing("make a folder for the store"))?;
    let clock: SharedClock = Arc::new(SystemClock);
    let store = EmbeddedStore::open(folder.path(), HistoryLimits::default(), clock);
    let store = Arc::new(store.map_err(|error| Error::Unexpected(error.to_string()))?);
    let one = puts(&store, 1, 500).await?;
    let many = puts(&store, 64, 150).await?;
    store.close().await;
    Ok(vec![
        Row::new("puts of 500 bytes, each synced, one at a time", one, "/s").note(ALLOCATOR),
        Row::new("puts of 500 bytes, each synced, 64 at a time", many, "/s").note(ALLOCATOR),
    ])
}

async fn puts(store: &Arc<EmbeddedStore>, writers: usize, each: usize) -> Result<f64, Error> {
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            for number in 0..each {
                let key = format!("/registry/bench/{writers}/{writer}/{number}");
                store.put(&key, vec![b'x'; VALUE_BYTES].into(), Expect::Absent, None).await?;
            }
            Ok::<_, Error>(())
        });
    }
    for done in tasks.join_all().await {
        done?;
    }
    Ok(per_second(writers * each, began.elapsed()))
}

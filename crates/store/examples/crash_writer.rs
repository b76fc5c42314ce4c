//! Writes without end, from eight tasks, and prints `KEY REVISION;` for every write that was answered. Made to be
//! killed: the crash test does so and then looks for what was printed.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use outrigger_api::clock::SystemClock;
use outrigger_store::{EmbeddedStore, Expect, HistoryLimits, Outcome, Store};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let (Some(folder), Some(round)) = (words.next(), words.next()) else {
        return Err("usage: crash_writer FOLDER ROUND".into());
    };
    let clock = Arc::new(SystemClock);
    let store = Arc::new(EmbeddedStore::open(&PathBuf::from(folder), HistoryLimits::default(), clock)?);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let (store, round) = (Arc::clone(&store), round.clone());
        tasks.spawn(async move { write(&*store, &round, task).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn write(store: &dyn Store, round: &str, task: u32) -> Result<(), Failure> {
    for number in 0u64.. {
        let key = format!("/registry/{round}/{task}/{number}");
        let outcome = store.put(&key, Bytes::from(key.clone()), Expect::Absent, None).await?;
        if let Outcome::Applied(revision) = outcome {
            writeln!(std::io::stdout().lock(), "{key} {revision};")?;
        }
    }
    Ok(())
}

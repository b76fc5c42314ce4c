//! Start-up, idle memory, size.

use std::time::Duration;

use super::megabytes;
use crate::Options;
use crate::budget::{Row, Samples};
use crate::cluster::Cluster;
use crate::error::Error;
use crate::process;

const STARTS: usize = 11;
/// How long the program is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(3);

pub(super) async fn run(options: &Options) -> Result<Vec<Row>, Error> {
    let mut cluster = Cluster::new(options, "start").await?;
    let (mut fresh, mut again) = (Samples::default(), Samples::default());
    for _ in 0..STARTS {
        cluster.reset().await?;
        cluster.start().await?;
        fresh.push(cluster.took);
        cluster.stop().await?;
        cluster.start().await?;
        again.push(cluster.took);
    }
    tokio::time::sleep(IDLE).await;
    let idle = process::memory(cluster.pid()?)?;
    cluster.remove().await?;
    let size = std::fs::metadata(&options.program).map_err(Error::doing("read the program's size"))?.len();
    Ok(vec![
        Row::new("start to ready, new data folder, p50", fresh.p50(), "ms")
            .at_most(500.0)
            .aim(200.0)
            .note(fresh.note()),
        Row::new("start to ready, existing data folder, p50", again.p50(), "ms")
            .at_most(500.0)
            .aim(200.0)
            .note(again.note()),
        Row::new("whole program idle, resident", megabytes(idle.resident), "MB")
            .at_most(60.0)
            .aim(30.0)
            .note(format!(
                "{:.1} MB with shared pages divided; upstream's six processes: 643 MB",
                megabytes(idle.proportional)
            )),
        Row::new("size of the program", megabytes(size), "MB"),
    ])
}

//! An API server and nothing else, for trying it with kubectl: `serve DATA-DIR LISTEN KUBECONFIG`.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use outrigger_api::clock::SystemClock;
use outrigger_apiserver::{ApiServer, Config, NoNodes, ServiceRange};
use outrigger_store::{EmbeddedStore, HistoryLimits};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(data), Some(listen), Some(kubeconfig)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: serve DATA-DIR LISTEN KUBECONFIG".into());
    };
    let data_dir = PathBuf::from(data);
    let clock: outrigger_api::clock::SharedClock = Arc::new(SystemClock);
    let store = EmbeddedStore::open(&data_dir.join("store"), HistoryLimits::default(), Arc::clone(&clock))?;
    let server = ApiServer::start(Config {
        listen: listen.parse()?,
        advertise: [127, 0, 0, 1].into(),
        data_dir,
        node_name: "example".to_owned(),
        service_range: ServiceRange::DEFAULT,
        store: Arc::new(store),
        clock,
        nodes: Arc::new(NoNodes),
    })
    .await?;
    std::fs::write(kubeconfig, server.admin_kubeconfig())?;
    tokio::signal::ctrl_c().await?;
    server.stop().await;
    Ok(())
}

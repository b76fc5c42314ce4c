//! The server's parts, put together; and its life from start to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use outrigger_api::{Registry, WallTime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{Identity, Signer};
use crate::config::Config;
use crate::guards::Guards;
use crate::in_process::InProcess;
use crate::metrics::Metrics;
use crate::pki::kubeconfig::kubeconfig;
use crate::pki::{CertificatePair, Pki, ServingNames};
use crate::storage::Storage;
use crate::{StartError, bootstrap, serve};

/// What `/version` answers: the API of this Kubernetes version, our own as build metadata (A19).
pub(crate) const VERSION: &str = concat!("v1.36.2+outrigger.", env!("CARGO_PKG_VERSION"));

/// Everything a request can need.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) config: Config,
    pub(crate) registry: Registry,
    pub(crate) storage: Storage,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) signer: Signer,
    pub(crate) pki: Pki,
    /// Webhooks and policies.
    pub(crate) guards: Guards,
    /// Held while addresses are handed out.
    pub(crate) service_lock: tokio::sync::Mutex<()>,
    /// The furniture is in place (A45).
    pub(crate) ready: AtomicBool,
    /// Ends long-running answers.
    pub(crate) shutdown: CancellationToken,
    /// Connections, watches and sessions.
    pub(crate) tasks: TaskTracker,
    address: SocketAddr,
}

impl Api {
    pub(crate) fn now(&self) -> WallTime {
        self.config.clock.now().wall
    }

    /// Where the server listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Starts servers.
#[derive(Debug)]
pub struct ApiServer;

/// A server that answers. Dropping it does not stop it; [`Running::stop`] does.
#[derive(Debug)]
pub struct Running {
    api: Arc<Api>,
}

impl ApiServer {
    /// Opens the keys, takes the port, writes what every cluster has (L1, L2) and begins to answer. On return
    /// `/readyz` is good.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        let now = config.clock.now().wall;
        let names = ServingNames {
            node: &config.node_name,
            addresses: vec![config.advertise, config.listen.ip()],
            service_range: config.service_range,
        };
        let pki = Pki::open(&config.data_dir, &names, now)?;
        let signer = Signer::new(&pki.service_account_key, &config.data_dir.join("pki/sa.key"))?;
        let listener = tokio::net::TcpListener::bind(config.listen)
            .await
            .map_err(|source| StartError::Listen { address: config.listen, source })?;
        let address =
            listener.local_addr().map_err(|source| StartError::Listen { address: config.listen, source })?;
        let tls = serve::acceptor(&pki)?;
        let api = Arc::new(Api {
            storage: Storage::new(Arc::clone(&config.store)),
            registry: Registry::builtin(),
            metrics: Arc::new(Metrics::new()),
            signer,
            pki,
            guards: Guards::default(),
            service_lock: tokio::sync::Mutex::new(()),
            ready: AtomicBool::new(false),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            address,
            config,
        });
        bootstrap::write(&api).await.map_err(StartError::Bootstrap)?;
        api.ready.store(true, Ordering::Release);
        api.tasks.spawn(serve::serve(Arc::clone(&api), listener, tls));
        Ok(Running { api })
    }
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.api.address
    }

    /// The cluster's keys.
    pub fn pki(&self) -> &Pki {
        &self.api.pki
    }

    /// A kubeconfig for `kubernetes-admin` with everything embedded.
    pub fn admin_kubeconfig(&self) -> String {
        self.kubeconfig("kubernetes-admin", &self.api.pki.admin)
    }

    /// A kubeconfig for anybody with a certificate of ours.
    pub fn kubeconfig(&self, user: &str, pair: &CertificatePair) -> String {
        let mut address = self.api.address;
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        kubeconfig(&format!("https://{address}"), &self.api.pki.ca.certificate, user, pair)
    }

    /// A service that answers requests without a socket, as a component of this program.
    pub fn in_process(&self, user: &str) -> InProcess {
        InProcess::new(Arc::clone(&self.api), Identity::component(user))
    }

    /// A typed client over [`Running::in_process`].
    pub fn client(&self, user: &str) -> kube::Client {
        kube::Client::new(self.in_process(user), "default")
    }

    /// Stops taking connections, ends watches and sessions, and waits for answers under way.
    pub async fn stop(&self) {
        self.api.shutdown.cancel();
        self.api.storage.close().await;
        self.api.tasks.close();
        self.api.tasks.wait().await;
    }
}

//! Where a cluster's objects are kept: the command line's words for it, and opening it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use outrigger_api::clock::SharedClock;
use outrigger_store::{
    DirLock, EmbeddedStore, EtcdConfig, EtcdEndpoints, EtcdStore, EtcdTls, HistoryLimits, Store,
};

use crate::failure::{Failure, USAGE};

#[derive(Args, Clone, Debug)]
pub(crate) struct StoreChoice {
    /// Where objects are kept: `embedded`, in the data folder, or `etcd=URL[,URL]`, in an etcd v3 cluster.
    #[arg(long = "store", value_name = "STORE", default_value = "embedded", value_parser = backend)]
    backend: Backend,
    /// The authority of etcd's certificate (PEM); https URLs need it.
    #[arg(long, value_name = "FILE")]
    etcd_cafile: Option<PathBuf>,
    /// The certificate to show to etcd (PEM), if it asks for one.
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile")]
    etcd_certfile: Option<PathBuf>,
    /// The key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    etcd_keyfile: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum Backend {
    Embedded,
    Etcd(EtcdEndpoints),
}

fn backend(text: &str) -> Result<Backend, String> {
    if text == "embedded" {
        return Ok(Backend::Embedded);
    }
    let Some(urls) = text.strip_prefix("etcd=") else {
        return Err("write embedded, or etcd=http://HOST:PORT with several URLs separated by commas".into());
    };
    urls.parse().map(Backend::Etcd).map_err(|error: outrigger_store::EtcdConfigError| error.to_string())
}

/// An open store, and what keeps other processes from its data folder.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    /// The embedded store holds the same lock by itself.
    _lock: Option<DirLock>,
}

impl StoreChoice {
    /// The store inside the data folder.
    pub(crate) fn embedded() -> Self {
        Self { backend: Backend::Embedded, etcd_cafile: None, etcd_certfile: None, etcd_keyfile: None }
    }

    /// Opens the store of a data folder, and takes the folder.
    pub(crate) async fn open(&self, data_dir: &Path, clock: &SharedClock) -> Result<Opened, Failure> {
        let folder = data_dir.join("store");
        let clock = Arc::clone(clock);
        let endpoints = match &self.backend {
            Backend::Embedded => {
                let store = EmbeddedStore::open(&folder, HistoryLimits::default(), clock);
                let store = store.map_err(Failure::doing("cannot open the store"))?;
                return Ok(Opened { store: Arc::new(store), _lock: None });
            }
            Backend::Etcd(endpoints) => endpoints,
        };
        let lock = DirLock::take_folder(&folder).map_err(Failure::doing("cannot take the data folder"))?;
        let mut config = EtcdConfig::new(endpoints.clone());
        config.tls = EtcdTls {
            ca_file: self.etcd_cafile.clone(),
            cert_file: self.etcd_certfile.clone(),
            key_file: self.etcd_keyfile.clone(),
        };
        match EtcdStore::connect(config, clock).await {
            Ok(store) => Ok(Opened { store: Arc::new(store), _lock: Some(lock) }),
            Err(outrigger_store::ConnectError::Config(outrigger_store::EtcdConfigError::NoAuthority)) => {
                Err(Failure::new(USAGE, format!("--store etcd={endpoints}: https needs --etcd-cafile FILE")))
            }
            Err(error) => Err(Failure::doing(format!("cannot use --store etcd={endpoints}"))(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_have_names() {
        assert!(matches!(backend("embedded"), Ok(Backend::Embedded)));
        assert!(matches!(backend("etcd=http://a:1,http://b:2"), Ok(Backend::Etcd(_))));
        for (text, wanted) in [
            ("postgres", "write embedded, or etcd=http://HOST:PORT"),
            ("etcd", "write embedded, or etcd=http://HOST:PORT"),
            ("etcd=", "write http://HOST:PORT"),
            ("etcd=http://a:1,b:2", "\"b:2\""),
        ] {
            let error = backend(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}

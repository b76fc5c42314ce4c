//! The image store behind the kubelet's seam, with the machine's own credentials.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use outrigger_images::{Image, ImageStore, Keyring, Progress, PullCause};
use outrigger_kubelet::{ImageService, PullFailure};
use outrigger_pod_lifecycle::FailureReason;
use tokio::sync::Mutex;

/// Images for the kubelet.
#[derive(Debug)]
pub(crate) struct Images {
    store: ImageStore,
    node: Keyring,
    /// Where pulls tell how far they are.
    progress: Mutex<Option<Progress>>,
}

impl Images {
    pub(crate) fn new(store: ImageStore, progress: Option<Progress>) -> Arc<Self> {
        Arc::new(Self { store, node: node_keyring(), progress: Mutex::new(progress) })
    }

    /// R5.27: a Pod's secrets and the machine's own credentials.
    fn keyring(&self, secrets: &[Vec<u8>]) -> Keyring {
        let mut keyring = Keyring::empty();
        for secret in secrets {
            match Keyring::from_docker_config_json(secret) {
                Ok(found) => keyring.extend(&found),
                Err(error) => tracing::warn!(%error, "an image pull secret cannot be used"),
            }
        }
        keyring.extend(&self.node);
        keyring
    }
}

/// `~/.docker/config.json`, if there is one that can be read.
fn node_keyring() -> Keyring {
    let home = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker")));
    let Some(path) = home.map(|home| home.join("config.json")) else { return Keyring::empty() };
    let Ok(bytes) = std::fs::read(&path) else { return Keyring::empty() };
    Keyring::from_docker_config_json(&bytes).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "registry credentials cannot be used");
        Keyring::empty()
    })
}

#[async_trait]
impl ImageService for Images {
    async fn resolve(&self, reference: &str) -> Option<Image> {
        self.store.resolve(reference)
    }

    async fn may_use(&self, reference: &str, secrets: Vec<Vec<u8>>) -> bool {
        self.store.may_use(reference, &self.keyring(&secrets))
    }

    async fn pull(&self, reference: &str, secrets: Vec<Vec<u8>>) -> Result<Image, PullFailure> {
        let keyring = self.keyring(&secrets);
        let progress = self.progress.lock().await.clone();
        self.store.pull(reference, &keyring, progress).await.map_err(|error| {
            let reason = match &*error.cause {
                PullCause::Invalid(_) => FailureReason::InvalidImageName,
                // Also if nobody answers: clients know no other word for it (S36).
                _ => FailureReason::ErrImagePull,
            };
            PullFailure { reason, message: error.message() }
        })
    }

    async fn lookup_user(&self, image: &Image, user: &str) -> Option<(u32, u32, Vec<u32>)> {
        let (store, image, user) = (self.store.clone(), image.clone(), user.to_owned());
        let found = tokio::task::spawn_blocking(move || store.lookup_user(&image, &user)).await.ok()?.ok()?;
        Some((found.uid, found.gid, found.groups))
    }

    async fn list(&self) -> Vec<Image> {
        self.store.list()
    }

    async fn remove(&self, id: &str) -> Result<(), String> {
        self.store.remove(id).await.map(drop).map_err(|error| error.to_string())
    }
}

//! Pulling: from a reference to an image whose layers are all in the store.
//!
//! Equal pulls with equal rights are one pull: whoever comes second waits for the first one's result. A pull runs as
//! long as anybody waits for it; when the last one leaves, it stops and its unfinished layers are removed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, Shared, WeakShared};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::layer::{self, Claims};
use crate::manifest::{self, ConfigFile, Descriptor, Document, Manifest};
use crate::progress::Listeners;
use crate::registry::blob::BlobStream;
use crate::registry::client::{Fetched, Session};
use crate::store::{Grant, Inner, Record, blocking, layer_target};
use crate::{
    Image, ImageStore, Keyring, LayerError, Phase, Progress, PullCause, PullError, Reference, RegistryError,
    StoreError,
};

type Outcome = Result<Image, PullError>;

/// A reference and a digest of the credentials that fit it.
type FlightKey = (String, Vec<String>);

/// A pull that may be running, and who is told about it.
type Flight = (WeakShared<BoxFuture<'static, Outcome>>, Listeners);

/// The pulls that run now.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<FlightKey, Flight>>);

impl std::fmt::Debug for Flights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flights")
    }
}

impl ImageStore {
    /// Makes `reference` usable, asking its registry what it stands for and fetching what is missing.
    ///
    /// `keyring` holds the credentials to try (R5.27). News goes to `progress`, which never slows the pull down.
    /// Dropped midway, the pull goes on if another caller waits for the same one, else it stops and leaves nothing
    /// behind but finished layers.
    pub async fn pull(
        &self,
        reference: &str,
        keyring: &Keyring,
        progress: Option<Progress>,
    ) -> Result<Image, PullError> {
        let parsed = Reference::parse(reference).map_err(|error| PullError {
            image: reference.to_owned(),
            cause: Arc::new(PullCause::Invalid(error)),
        })?;
        self.join_flight(parsed, keyring, progress).await
    }

    fn join_flight(
        &self,
        reference: Reference,
        keyring: &Keyring,
        progress: Option<Progress>,
    ) -> Shared<BoxFuture<'static, Outcome>> {
        let key = (reference.to_string(), keyring.all_fingerprints());
        let mut flights = self.inner.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, (flight, _)| flight.upgrade().is_some_and(|f| f.peek().is_none()));
        if let Some((flight, listeners)) = flights.get(&key)
            && let Some(flight) = flight.upgrade()
        {
            listeners.add(progress);
            return flight;
        }
        let listeners = Listeners::default();
        listeners.add(progress);
        let pull = Pull {
            inner: Arc::clone(&self.inner),
            reference,
            keyring: keyring.clone(),
            listeners: listeners.clone(),
        };
        let flight = pull.run().boxed().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(key, (weak, listeners));
        }
        flight
    }
}

struct Pull {
    inner: Arc<Inner>,
    reference: Reference,
    keyring: Keyring,
    listeners: Listeners,
}

/// What the registry says the image is made of.
struct Plan {
    /// Of the manifest or index the reference itself stands for.
    top_digest: String,
    manifest: Manifest,
    config: ConfigFile,
}

impl Pull {
    async fn run(self) -> Outcome {
        let image = self.reference.to_string();
        let result = self.fetch().await;
        result.map_err(|cause| PullError { image, cause: Arc::new(cause) })
    }

    async fn fetch(&self) -> Result<Image, PullCause> {
        let name = self.reference.to_string();
        self.listeners.tell(&name, Phase::Resolving, 0, 0);
        let client = Arc::clone(&self.inner.client);
        let (session, top) = Session::open(client, &self.reference, &self.keyring)
            .await
            .map_err(|source| PullCause::Resolve { image: name.clone(), source })?;
        let plan = self.plan(&session, top).await?;
        let diff_ids = plan.config.rootfs.diff_ids.clone();
        let _pin = self.inner.pin(&diff_ids);
        self.layers(&session, &plan).await?;
        let inner = Arc::clone(&self.inner);
        let record = self.record(&session, plan, diff_ids);
        let image = blocking(move || inner.commit(record)).await?;
        self.listeners.tell(&name, Phase::Done, image.size, image.size);
        Ok(image)
    }

    async fn plan(&self, session: &Session, top: Fetched) -> Result<Plan, PullCause> {
        let architecture = &self.inner.options.architecture;
        let unusable = |digest: &str, answer: String| PullCause::Fetch {
            digest: digest.to_owned(),
            source: RegistryError::Corrupt { host: self.reference.registry().to_owned(), answer },
        };
        let platform = |digest: &str, offered: String| PullCause::Platform {
            digest: digest.to_owned(),
            wanted: format!("linux/{architecture}"),
            offered,
        };
        let top_digest = top.digest.clone();
        let mut fetched = top;
        let mut depth = 0;
        let manifest = loop {
            match manifest::parse(&fetched.bytes).map_err(|what| unusable(&fetched.digest, what))? {
                Document::Manifest(manifest) => break manifest,
                Document::Index(_) if depth == MAX_INDEX_DEPTH => {
                    return Err(unusable(&fetched.digest, "indexes are nested too deeply".to_owned()));
                }
                Document::Index(index) => {
                    depth += 1;
                    let next =
                        index.pick(architecture).ok_or_else(|| platform(&fetched.digest, index.offered()))?;
                    let failed = |source| PullCause::Fetch { digest: next.digest.clone(), source };
                    fetched = session.manifest(&next.digest).await.map_err(failed)?;
                }
            }
        };
        let digest = &manifest.config.digest;
        let failed = |source| PullCause::Fetch { digest: digest.clone(), source };
        let bytes = session.small_blob(digest).await.map_err(failed)?;
        let config = ConfigFile::parse(&bytes).map_err(|what| unusable(digest, what))?;
        if !config.fits(architecture) {
            return Err(platform(&fetched.digest, config.platform().text()));
        }
        let (layers, ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != ids {
            return Err(unusable(digest, format!("the manifest has {layers} layers, the config {ids}")));
        }
        Ok(Plan { top_digest, manifest, config })
    }

    /// Fetches all layers at once. The first failure stops the others, and is answered once they have cleared away
    /// what they had begun.
    async fn layers(&self, session: &Session, plan: &Plan) -> Result<(), PullCause> {
        let mut seen = HashSet::new();
        let stop = CancellationToken::new();
        let pairs = plan.manifest.layers.iter().zip(&plan.config.rootfs.diff_ids);
        let mut fetches: FuturesUnordered<_> = pairs
            .filter(|(_, diff_id)| seen.insert(diff_id.as_str()))
            .map(|(descriptor, diff_id)| self.layer(session, descriptor, diff_id, &stop))
            .collect();
        let mut outcome = Ok(());
        while let Some(fetched) = fetches.next().await {
            if outcome.is_ok() && fetched.is_err() {
                outcome = fetched;
                stop.cancel();
            }
        }
        outcome
    }

    async fn layer(
        &self,
        session: &Session,
        descriptor: &Descriptor,
        diff_id: &str,
        stop: &CancellationToken,
    ) -> Result<(), PullCause> {
        let tell = |phase, bytes| self.listeners.tell(&descriptor.digest, phase, bytes, descriptor.size);
        // The lock comes before the slot: who holds a slot never waits for a lock.
        let lock = self.inner.layer_lock(diff_id);
        tell(Phase::Waiting, 0);
        let stopped = || PullCause::from(StoreError::Interrupted);
        let _lock = stop.run_until_cancelled(lock.lock()).await.ok_or_else(stopped)?;
        if self.inner.has_layer(diff_id) {
            tell(Phase::Exists, descriptor.size);
            return Ok(());
        }
        let extract = |source| PullCause::Extract { digest: descriptor.digest.clone(), source };
        if !manifest::is_layer(&descriptor.media_type) {
            return Err(extract(LayerError::Unsupported(descriptor.media_type.clone())));
        }
        let slot = stop.run_until_cancelled(self.inner.slots.acquire()).await.ok_or_else(stopped)?;
        let _slot = slot.map_err(|_| StoreError::Interrupted)?;
        let (chunks, receiver) = mpsc::channel(CHUNKS);
        let unpacking = self.unpack(descriptor, diff_id, receiver);
        // Stopped, it lets go of the channel: the unpacker sees a short layer, clears its folder and ends.
        let feeding = async {
            let fed = stop.run_until_cancelled(self.feed(session, descriptor, chunks)).await;
            fed.unwrap_or(Ok(()))
        };
        let (fed, unpacked) = tokio::join!(feeding, unpacking);
        match (fed, unpacked) {
            (Err(source), _) => Err(PullCause::Fetch { digest: descriptor.digest.clone(), source }),
            (Ok(()), result) => {
                result?;
                tell(Phase::Complete, descriptor.size);
                Ok(())
            }
        }
    }

    async fn feed(
        &self,
        session: &Session,
        descriptor: &Descriptor,
        chunks: mpsc::Sender<Bytes>,
    ) -> Result<(), RegistryError> {
        let mut received = 0;
        let mut blob = BlobStream::new(session, &descriptor.digest, descriptor.size);
        while let Some(chunk) = blob.next().await? {
            received += chunk.len() as u64;
            self.listeners.tell(&descriptor.digest, Phase::Downloading, received, descriptor.size);
            if chunks.send(chunk).await.is_err() {
                // The unpacker gave up and says why.
                return Ok(());
            }
        }
        self.listeners.tell(&descriptor.digest, Phase::Extracting, received, descriptor.size);
        Ok(())
    }

    async fn unpack(
        &self,
        descriptor: &Descriptor,
        diff_id: &str,
        chunks: mpsc::Receiver<Bytes>,
    ) -> Result<(), PullCause> {
        let inner = Arc::clone(&self.inner);
        let digest = descriptor.digest.clone();
        let claims = Claims {
            digest: Some(descriptor.digest.clone()),
            size: Some(descriptor.size),
            diff_id: Some(diff_id.to_owned()),
        };
        let diff_id = diff_id.to_owned();
        blocking(move || {
            let staging = inner.stage()?;
            let target = layer_target(&staging)?;
            let source = ChunkReader { chunks, current: Bytes::new() };
            layer::unpack_blob(source, &claims, &target, &inner.options.limits)
                .map_err(|source| PullCause::Extract { digest, source })?;
            inner.publish_layer(&target, &diff_id)?;
            Ok(())
        })
        .await
    }

    fn record(&self, session: &Session, plan: Plan, layers: Vec<String>) -> Record {
        let grant = Grant {
            repository: self.reference.name(),
            credential: session.credential().map(|auth| auth.fingerprint()),
        };
        let blobs = plan.manifest.layers.iter().map(|layer| layer.size).sum::<u64>();
        Record {
            id: plan.manifest.config.digest.clone(),
            repo_tags: self.reference.tagged().into_iter().collect(),
            repo_digests: [self.reference.with_digest(&plan.top_digest)].into(),
            size: blobs + plan.manifest.config.size,
            pulled: true,
            added_at: self.inner.now(),
            config: plan.config.defaults(),
            layers,
            grants: [grant].into(),
        }
    }
}

/// The blocking end of the channel. Ends early if the sender goes away, which the size check notices.
struct ChunkReader {
    chunks: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl std::io::Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}

/// Chunks between network and disk, a few hundred KiB.
const CHUNKS: usize = 32;
const MAX_INDEX_DEPTH: u32 = 3;

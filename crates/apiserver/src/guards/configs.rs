//! The webhooks of a cluster, as they were read last.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outrigger_admission::webhook::{Webhook, webhooks};
use outrigger_api::StatusError;
use outrigger_api::clock::MonoTime;

use super::tls::{self, Verified};
use crate::pipeline::lookup;
use crate::server::Api;

const GROUP: &str = "admissionregistration.k8s.io";
/// How long what another server has written may go unnoticed; what this one writes counts at once.
const FRESH: Duration = Duration::from_secs(1);

/// Who guards writes, kept between requests.
#[derive(Debug, Default)]
pub(crate) struct Guards(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Counts what was written meanwhile: what was read before is not kept.
    generation: u64,
    read: Option<(MonoTime, Arc<Loaded>)>,
}

/// In the order they are called (I50).
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(super) mutating: Vec<Callee>,
    pub(super) validating: Vec<Callee>,
}

/// A webhook and how its certificate is checked.
#[derive(Debug)]
pub(super) struct Callee {
    pub(super) webhook: Webhook,
    pub(super) mutates: bool,
    pub(super) tls: Verified,
}

impl Guards {
    /// Something was written.
    pub(super) fn forget(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.generation += 1;
        state.read = None;
    }

    /// Whoever guards writes now.
    pub(super) async fn current(&self, api: &Api) -> Result<Arc<Loaded>, StatusError> {
        let now = api.config.clock.now().mono;
        let generation = {
            let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((at, loaded)) = &state.read
                && now.since(*at) < FRESH
            {
                return Ok(Arc::clone(loaded));
            }
            state.generation
        };
        let loaded = Arc::new(Loaded {
            mutating: read(api, "mutatingwebhookconfigurations", true).await?,
            validating: read(api, "validatingwebhookconfigurations", false).await?,
        });
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.generation == generation {
            state.read = Some((now, Arc::clone(&loaded)));
        }
        Ok(loaded)
    }
}

/// Lists come in the order of names.
async fn read(api: &Api, plural: &str, mutates: bool) -> Result<Vec<Callee>, StatusError> {
    let configurations = lookup::all(api, GROUP, plural).await?;
    let callee = |webhook: Webhook| {
        let tls = tls::verified_by(&webhook.ca_bundle);
        Callee { webhook, mutates, tls }
    };
    Ok(configurations.iter().flat_map(webhooks).map(callee).collect())
}

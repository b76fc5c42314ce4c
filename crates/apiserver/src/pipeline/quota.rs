//! Charging quotas for a write, atomically: what is used is written before the object is (I48).

use outrigger_admission::quota::{Amounts, Quota, charge as decide, give_back, may_grow};
use outrigger_api::{Object, StatusError};

use super::{RACES, Write};
use crate::server::Api;
use crate::storage::{ListRequest, Stored};

/// What was taken; it must be given back if the write does not happen.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Charged {
    namespace: String,
    taken: Vec<(String, Amounts)>,
}

/// Takes what a write needs from the quotas of its namespace, or refuses it.
///
/// # Errors
/// 403 if there is no room.
pub(super) async fn charge(
    write: &Write<'_>,
    object: &Object,
    old: Option<&Object>,
) -> Result<Charged, StatusError> {
    let Write { api, kind, namespace, subresource, options, .. } = *write;
    let free = namespace.is_empty() || (old.is_some() && !may_grow(kind, subresource));
    let mut charged = Charged { namespace: namespace.to_owned(), taken: Vec::new() };
    if free {
        return Ok(charged);
    }
    'again: for _ in 0..RACES {
        let quotas = quotas(api, namespace).await?;
        if quotas.is_empty() {
            return Ok(charged);
        }
        let known: Vec<Quota> = quotas.iter().map(|(_, quota)| quota.clone()).collect();
        let charges = decide(kind, object, old, &known)?;
        if options.dry_run {
            return Ok(charged);
        }
        for charge in charges {
            let stored = quotas.iter().find(|(_, quota)| quota.0.name() == charge.quota);
            let Some((stored, _)) = stored else { continue };
            if !replace(api, stored, &charge.charged).await? {
                // Somebody else was quicker: what was taken is given back, and everything is looked at anew.
                std::mem::take(&mut charged).give_back(api).await;
                charged.namespace = namespace.to_owned();
                continue 'again;
            }
            charged.taken.push((charge.quota, charge.taken));
        }
        return Ok(charged);
    }
    Err(StatusError::conflict(
        "resourcequotas",
        "",
        object.name(),
        "the object has been modified; please apply your changes to the latest version and try again",
    ))
}

impl Charged {
    /// The write did not happen. What cannot be given back now is found by the next count of the controller.
    pub(super) async fn give_back(self, api: &Api) {
        for (name, taken) in self.taken {
            for _ in 0..RACES {
                let Ok(quotas) = quotas(api, &self.namespace).await else { break };
                let Some((stored, quota)) = quotas.iter().find(|(_, quota)| quota.0.name() == name) else {
                    break;
                };
                if !matches!(replace(api, stored, &give_back(quota, &taken)).await, Ok(false)) {
                    break;
                }
            }
        }
    }
}

async fn quotas(api: &Api, namespace: &str) -> Result<Vec<(Stored, Quota)>, StatusError> {
    let Some(kind) = api.registry.find("", "v1", "resourcequotas") else { return Ok(Vec::new()) };
    let request = ListRequest { namespace: namespace.to_owned(), ..ListRequest::default() };
    let page = api.storage.list(&kind, &request).await?;
    page.items.into_iter().map(|stored| Ok((stored.clone(), Quota(stored.object()?)))).collect()
}

/// Whether the quota was still what it was read as.
async fn replace(api: &Api, old: &Stored, new: &Object) -> Result<bool, StatusError> {
    let Some(kind) = api.registry.find("", "v1", "resourcequotas") else { return Ok(true) };
    Ok(api.storage.update(&kind, old, new).await?.is_ok())
}

//! Who asks, and may they (N4): certificates of the cluster's authority, tokens by TokenReview, permission by
//! SubjectAccessReview. Answers are remembered for a while, as upstream does; anonymous callers are refused.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use outrigger_api::MonoTime;
use outrigger_api::clock::SharedClock;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::route::permission;

/// Upstream's defaults: `authentication.webhook.cacheTTL`, `authorization.webhook.cache{Unauthorized,Authorized}TTL`.
const TOKEN_FRESH: Duration = Duration::from_secs(120);
const ALLOWED_FRESH: Duration = Duration::from_secs(300);
const DENIED_FRESH: Duration = Duration::from_secs(30);
/// Answers remembered; all are forgotten when there are more.
const MOST: usize = 1024;

/// A caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct User {
    pub(super) name: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// The subject of a certificate whose chain was verified.
    pub(super) fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let organizations = subject.iter_organization().filter_map(|group| group.as_str().ok());
        let groups = organizations.chain(["system:authenticated"]).map(str::to_owned).collect();
        (!name.is_empty()).then(|| Self { name, groups, ..Self::default() })
    }
}

/// Why a request goes no further. The texts are upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Unauthorized,
    Forbidden(String),
    /// The API server could not be asked.
    Failed(String),
}

/// Asks the API server, with a memory.
pub(super) struct Gate {
    client: kube::Client,
    clock: SharedClock,
    node: String,
    tokens: Memory<[u8; 32], Option<User>>,
    verdicts: Memory<(User, &'static str, &'static str), bool>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Gate {
    pub(super) fn new(client: kube::Client, clock: SharedClock, node: String) -> Self {
        Self { client, clock, node, tokens: Memory::default(), verdicts: Memory::default() }
    }

    /// Lets the request through, or says why not.
    pub(super) async fn check(
        &self,
        certificate: Option<User>,
        headers: &HeaderMap,
        method: &Method,
        path: &str,
    ) -> Result<(), Refused> {
        let user = match certificate {
            Some(user) => user,
            None => self.by_token(headers).await?,
        };
        let (verb, subresources) = permission(method, path);
        for subresource in &subresources {
            if self.allowed(&user, verb, subresource).await? {
                return Ok(());
            }
        }
        Err(Refused::Forbidden(forbidden(&user.name, verb, &subresources)))
    }

    async fn by_token(&self, headers: &HeaderMap) -> Result<User, Refused> {
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.split_once(' '));
        let token =
            token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        let token = token.filter(|token| !token.is_empty()).ok_or(Refused::Unauthorized)?;
        let key: [u8; 32] = Sha256::digest(token).into();
        let now = self.clock.now().mono;
        if let Some(known) = self.tokens.get(&key, now) {
            return known.ok_or(Refused::Unauthorized);
        }
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let status = answer.map_err(|error| Refused::Failed(error.to_string()))?.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true)).map(|user| User {
            name: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        });
        // Refused ones too: guessing is no faster for it, and a broken client costs nothing.
        self.tokens.put(key, user.clone(), now + TOKEN_FRESH);
        user.ok_or(Refused::Unauthorized)
    }

    async fn allowed(
        &self,
        user: &User,
        verb: &'static str,
        subresource: &'static str,
    ) -> Result<bool, Refused> {
        let (key, now) = ((user.clone(), verb, subresource), self.clock.now().mono);
        if let Some(known) = self.verdicts.get(&key, now) {
            return Ok(known);
        }
        let text = |text: &str| Some(text.to_owned());
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: text(&user.name),
                uid: text(&user.uid).filter(|uid| !uid.is_empty()),
                groups: Some(user.groups.clone()),
                extra: Some(user.extra.clone()).filter(|extra| !extra.is_empty()),
                resource_attributes: Some(ResourceAttributes {
                    verb: text(verb),
                    version: text("v1"),
                    resource: text("nodes"),
                    subresource: text(subresource),
                    name: text(&self.node),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let allowed =
            answer.map_err(|error| Refused::Failed(error.to_string()))?.status.is_some_and(|it| it.allowed);
        let fresh = if allowed { ALLOWED_FRESH } else { DENIED_FRESH };
        self.verdicts.put(key, allowed, now + fresh);
        Ok(allowed)
    }
}

fn forbidden(user: &str, verb: &str, subresources: &[&str]) -> String {
    format!(
        "Forbidden (user={user}, verb={verb}, resource=nodes, subresource(s)=[{}])",
        subresources.join(" ")
    )
}

/// Answers until they are stale.
struct Memory<K, V>(Mutex<HashMap<K, (MonoTime, V)>>);

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Memory<K, V> {
    fn get(&self, key: &K, now: MonoTime) -> Option<V> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|(until, _)| now < *until).map(|(_, value)| value.clone())
    }

    fn put(&self, key: K, value: V, until: MonoTime) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key, (until, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N4
    #[test]
    fn the_refusal_names_who_and_what() {
        assert_eq!(
            forbidden("eve", "get", &["pods", "proxy"]),
            "Forbidden (user=eve, verb=get, resource=nodes, subresource(s)=[pods proxy])"
        );
    }

    /// N4: an answer counts until it is stale, and the memory is bounded.
    #[test]
    fn answers_grow_stale() {
        let at = |seconds| MonoTime::from_boot(Duration::from_secs(seconds));
        let memory = Memory::default();
        memory.put(1, true, at(30));
        assert_eq!((memory.get(&1, at(29)), memory.get(&1, at(30))), (Some(true), None));
        (0..MOST).for_each(|key| memory.put(key, true, at(30)));
        assert!(memory.0.lock().unwrap().len() <= MOST);
    }
}

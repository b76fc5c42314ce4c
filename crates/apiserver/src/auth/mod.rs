//! Who asks, and may they (I3-I22).
//!
//! Authentication knows client certificates, service account tokens, bootstrap tokens and anonymous callers.
//! Authorization lets `system:masters` do everything and otherwise asks the Node authorizer, then RBAC.

mod bootstrap_token;
mod covering;
mod escalation;
pub(crate) mod identity;
mod node;
mod rbac;
mod tokens;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use outrigger_api::status::Reason;
use outrigger_api::{StatusError, WallTime};

pub(crate) use covering::uncovered;
pub(crate) use escalation::check as check_escalation;
pub use identity::Identity;
pub(crate) use node::node_of;
pub(crate) use rbac::{Attributes, Verdict, authorize, held, verdict};
pub(crate) use tokens::{Binding, ISSUER, Signer, TokenSubject};

use crate::server::Api;

/// Where a request came from.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// Over TLS; the client's certificate if it showed a valid one.
    Tls(Option<Identity>),
    /// A component of this program.
    InProcess(Identity),
}

/// Finds out who asks (I3). A bearer token that does not hold is refused even if a certificate would have done.
///
/// # Errors
/// 401.
pub(crate) async fn authenticate(
    api: &Api,
    peer: &Peer,
    headers: &HeaderMap,
) -> Result<Identity, StatusError> {
    match peer {
        Peer::InProcess(identity) | Peer::Tls(Some(identity)) => return Ok(identity.clone()),
        Peer::Tls(None) => {}
    }
    match bearer(headers) {
        Some(token) => match identify(api, &token, &[ISSUER.to_owned()]).await {
            Some((identity, _)) => Ok(identity),
            None => Err(unauthorized()),
        },
        None => Ok(Identity::anonymous()),
    }
}

/// I4.
fn unauthorized() -> StatusError {
    StatusError::new(401, Reason::Unauthorized, "Unauthorized")
}

/// What a token offered as a WebSocket protocol begins with (I7).
pub(crate) const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// I7.
fn bearer(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        let (scheme, token) = value.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned());
    }
    let offered = headers.get("sec-websocket-protocol")?.to_str().ok()?;
    let encoded = offered.split(',').find_map(|one| one.trim().strip_prefix(TOKEN_PROTOCOL))?;
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, encoded).ok()?;
    String::from_utf8(bytes).ok()
}

/// The caller behind a bearer token, and those of `audiences` the token is for (I12, I15, I16).
pub(crate) async fn identify(
    api: &Api,
    token: &str,
    audiences: &[String],
) -> Option<(Identity, Vec<String>)> {
    let api_itself = || audiences.iter().any(|one| one == ISSUER).then(|| vec![ISSUER.to_owned()]);
    let (identity, audiences) = match bootstrap_token::split(token) {
        Some((id, secret)) => (bootstrap_token::identify(api, id, secret).await?, api_itself()?),
        None => tokens::identify(api, token, audiences).await?,
    };
    Some((identity.authenticated(), audiences))
}

/// Whether the moment is later than `at` by more than a minute: the leeway of I12.
fn is_past(at: Option<WallTime>, now: WallTime) -> bool {
    at.is_some_and(|at| now.duration_since(at) > jiff::SignedDuration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I7
    #[test]
    fn a_token_comes_in_a_header_or_as_a_protocol() {
        let of = |name: &'static str, value: &'static str| {
            bearer(&HeaderMap::from_iter([(
                http::HeaderName::from_static(name),
                http::HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(of("authorization", "Bearer abc").as_deref(), Some("abc"));
        assert_eq!(of("authorization", "bearer  abc ").as_deref(), Some("abc"));
        assert_eq!(of("authorization", "Basic abc"), None);
        let offered = "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj";
        assert_eq!(of("sec-websocket-protocol", offered).as_deref(), Some("abc"));
        assert_eq!(of("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.%"), None);
    }
}

//! Answering `WWW-Authenticate`: Basic, and Bearer with a token server.

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use serde::Deserialize;

use super::answer;
use super::credentials::Auth;
use super::hosts::Host;
use super::http::{Http, SendError, may_carry_secrets, read_all};
use crate::RegistryError;

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The challenges of an answer that this program can meet, Bearer first.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let mut basic = None;
    for value in headers.get_all(header::WWW_AUTHENTICATE) {
        let Ok(text) = value.to_str() else { continue };
        let (scheme, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            let parameters = parameters(rest);
            let get = |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
            if let Some(realm) = get("realm") {
                return Some(Challenge::Bearer { realm, service: get("service"), scope: get("scope") });
            }
        } else if scheme.eq_ignore_ascii_case("basic") {
            basic = Some(Challenge::Basic);
        }
    }
    basic
}

/// `a="b",c=d`, where quoted values may hold commas.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.push((name.trim_matches([' ', ',']).to_ascii_lowercase(), value.trim().to_owned()));
        rest = next.trim_start_matches([' ', ',']);
    }
    found
}

/// The `Authorization` header that meets `challenge` for pulling `repository`, with `auth` or anonymously.
pub(super) async fn authorize(
    http: &Http,
    host: &Host,
    challenge: &Challenge,
    repository: &str,
    auth: Option<&Auth>,
) -> Result<HeaderValue, RegistryError> {
    let refused = |answer: &str| RegistryError::Unauthorized {
        host: host.authority.clone(),
        answer: answer.to_owned(),
    };
    if let Some(Auth::RegistryToken(token)) = auth {
        return secret(&format!("Bearer {token}")).ok_or_else(|| refused("the registry token is not usable"));
    }
    match (challenge, auth) {
        (Challenge::Basic, Some(Auth::Basic { username, password })) => {
            let own: Option<Uri> = host.base.parse().ok();
            if !own.is_some_and(|uri| may_carry_secrets(host, &uri)) {
                return Err(refused("credentials are not sent without encryption"));
            }
            basic(username, password).ok_or_else(|| refused("the credentials cannot be sent"))
        }
        (Challenge::Basic, Some(_)) => {
            Err(refused("it wants a user name and password, the credentials are a token"))
        }
        (Challenge::Basic, None) => Err(refused("401 Unauthorized: no basic auth credentials")),
        (Challenge::Bearer { realm, service, scope }, _) => {
            let scope = scope.clone().unwrap_or_else(|| format!("repository:{repository}:pull"));
            let query = Query { realm, service: service.as_deref(), scope: &scope };
            token(http, host, &query, auth).await
        }
    }
}

struct Query<'a> {
    realm: &'a str,
    service: Option<&'a str>,
    scope: &'a str,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

async fn token(
    http: &Http,
    host: &Host,
    query: &Query<'_>,
    auth: Option<&Auth>,
) -> Result<HeaderValue, RegistryError> {
    let corrupt = |answer: String| RegistryError::Corrupt { host: host.authority.clone(), answer };
    let (method, uri, headers, body) = token_request(host, query, auth).map_err(corrupt)?;
    let asked = uri.authority().map_or_else(|| host.authority.clone(), ToString::to_string);
    let answer = match http.send(host, method, &uri, &headers, body).await {
        Ok(answer) => answer,
        Err(SendError::Config(error)) => return Err(error.into()),
        Err(SendError::Transport(answer)) => return Err(RegistryError::Unavailable { host: asked, answer }),
    };
    let status = answer.status();
    let unavailable = |answer| RegistryError::Unavailable { host: asked.clone(), answer };
    let body = read_all(answer.into_body(), MAX_TOKEN_BYTES).await.map_err(unavailable)?;
    if !status.is_success() {
        return Err(match answer::error(&asked, query.scope, status, &body) {
            // Token servers answer 400 or 404 to credentials they do not know.
            RegistryError::NotFound { host, answer, .. } | RegistryError::Corrupt { host, answer } => {
                RegistryError::Unauthorized { host, answer: format!("failed to fetch a token: {answer}") }
            }
            other => other,
        });
    }
    let parsed: TokenAnswer = serde_json::from_slice(&body)
        .map_err(|_| corrupt("the token server's answer is not JSON".to_owned()))?;
    let token = parsed.token.or(parsed.access_token).filter(|t| !t.is_empty());
    let token = token.ok_or_else(|| corrupt("the token server sent no token".to_owned()))?;
    secret(&format!("Bearer {token}")).ok_or_else(|| corrupt("the token is not usable".to_owned()))
}

fn token_request(
    host: &Host,
    query: &Query<'_>,
    auth: Option<&Auth>,
) -> Result<(Method, Uri, HeaderMap, Bytes), String> {
    let mut fields = Vec::new();
    if let Some(service) = query.service {
        fields.push(("service", service));
    }
    // Docker's registry sends several scopes separated by spaces.
    fields.extend(query.scope.split(' ').filter(|s| !s.is_empty()).map(|scope| ("scope", scope)));
    let mut headers = HeaderMap::new();
    let bad = |_| format!("the token server's address \"{}\" is not usable", query.realm);
    let allowed = |uri: &Uri| {
        let fine = auth.is_none() || may_carry_secrets(host, uri);
        if fine { Ok(()) } else { Err("credentials are not sent without encryption".to_owned()) }
    };
    if let Some(Auth::IdentityToken(refresh)) = auth {
        fields.extend([
            ("grant_type", "refresh_token"),
            ("client_id", "outrigger"),
            ("refresh_token", refresh.as_str()),
        ]);
        let uri: Uri = query.realm.parse().map_err(bad)?;
        allowed(&uri)?;
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form);
        return Ok((Method::POST, uri, headers, Bytes::from(form_encoded(&fields))));
    }
    let joint = if query.realm.contains('?') { '&' } else { '?' };
    let uri: Uri = format!("{}{joint}{}", query.realm, form_encoded(&fields)).parse().map_err(bad)?;
    if let Some(Auth::Basic { username, password }) = auth {
        allowed(&uri)?;
        headers.insert(
            header::AUTHORIZATION,
            basic(username, password).ok_or("the credentials cannot be sent")?,
        );
    }
    Ok((Method::GET, uri, headers, Bytes::new()))
}

fn basic(username: &str, password: &str) -> Option<HeaderValue> {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    secret(&format!("Basic {pair}"))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn form_encoded(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", percent(value))).collect();
    pairs.join("&")
}

/// Percent-encodes everything that is not plainly safe in a query.
pub(super) fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

const MAX_TOKEN_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for value in values {
            map.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn challenges_are_read() {
        let bearer = "Bearer realm=\"https://a.example/t\",service=\"reg\",scope=\"repository:x:pull,push\"";
        assert_eq!(
            challenge(&headers(&["Basic realm=\"x\"", bearer])),
            Some(Challenge::Bearer {
                realm: "https://a.example/t".to_owned(),
                service: Some("reg".to_owned()),
                scope: Some("repository:x:pull,push".to_owned()),
            }),
        );
        assert_eq!(challenge(&headers(&["basic realm=x"])), Some(Challenge::Basic));
        assert_eq!(challenge(&headers(&["Negotiate"])), None);
        assert_eq!(challenge(&headers(&["Bearer"])), None);
    }

    #[test]
    fn secrets_do_not_travel_unencrypted() {
        let host = crate::RegistryConfig::default().hosts_for("r.example").unwrap().remove(0);
        let auth = Auth::Basic { username: "u".to_owned(), password: "p".to_owned() };
        let query = Query { realm: "http://tokens.example/t", service: None, scope: "s" };
        assert!(token_request(&host, &query, Some(&auth)).is_err());
        assert!(token_request(&host, &query, None).is_ok());
        let query = Query { realm: "https://tokens.example/t?a=b", service: Some("x y"), scope: "s1 s2" };
        let (_, uri, headers, _) = token_request(&host, &query, Some(&auth)).unwrap();
        assert_eq!(uri, "https://tokens.example/t?a=b&service=x%20y&scope=s1&scope=s2");
        assert!(headers[header::AUTHORIZATION].is_sensitive());
    }
}

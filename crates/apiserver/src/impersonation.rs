//! Acting as somebody else (I9): `kubectl --as`.
//!
//! There are two schemes. With the old one a caller holds `impersonate` on every part of the other identity. With the
//! constrained one a caller holds `impersonate:user-info` on the user and `impersonate-on:user-info:<verb>` on what
//! the request is about, and so is somebody else for that only.

use std::collections::BTreeMap;

use http::HeaderMap;
use outrigger_api::StatusError;

use crate::auth::{Attributes, Identity, authorize};
use crate::server::Api;

const AUTHENTICATION: &str = "authentication.k8s.io";
const EXTRA: &str = "impersonate-extra-";

/// The identity a request runs with; `target` is what the request is about.
///
/// # Errors
/// 400 for impersonation headers without a user, 403 where the caller may not be somebody else.
pub(crate) async fn apply(
    api: &Api,
    caller: Identity,
    headers: &HeaderMap,
    target: &Attributes,
) -> Result<Identity, StatusError> {
    let Some(asked) = asked(headers)? else { return Ok(caller) };
    for part in parts(&asked, "impersonate") {
        if authorize(api, &caller, &part).await.is_err() {
            constrained(api, &caller, &asked, target).await?;
            break;
        }
    }
    Ok(completed(asked))
}

/// The identity in the headers; `None` if there is none.
fn asked(headers: &HeaderMap) -> Result<Option<Identity>, StatusError> {
    let all = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok().map(str::to_owned)).collect()
    };
    let groups = all("impersonate-group");
    let uid = all("impersonate-uid").into_iter().next().unwrap_or_default();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(EXTRA) else { continue };
        let Ok(value) = value.to_str() else { continue };
        extra.entry(unescaped(key)).or_default().push(value.to_owned());
    }
    match all("impersonate-user").into_iter().find(|user| !user.is_empty()) {
        Some(user) => Ok(Some(Identity { user, uid, groups, extra })),
        None if groups.is_empty() && extra.is_empty() && uid.is_empty() => Ok(None),
        None => Err(StatusError::bad_request("requested impersonation without a user")),
    }
}

/// A header's name with `%2f` and the like put back; what is no escape stays.
fn unescaped(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a caller needs `verb` on to be this identity, in the old scheme.
fn parts(asked: &Identity, verb: &str) -> Vec<Attributes> {
    let wanted = |group: &str, resource: &str, name: &str| Attributes {
        verb: verb.to_owned(),
        group: group.to_owned(),
        resource: resource.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    };
    let account = asked.user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let mut parts = vec![match account {
        Some((namespace, name)) => {
            Attributes { namespace: namespace.to_owned(), ..wanted("", "serviceaccounts", name) }
        }
        None => wanted("", "users", &asked.user),
    }];
    parts.extend(asked.groups.iter().map(|group| wanted("", "groups", group)));
    if !asked.uid.is_empty() {
        parts.push(wanted(AUTHENTICATION, "uids", &asked.uid));
    }
    for (key, values) in &asked.extra {
        parts.extend(values.iter().map(|value| Attributes {
            subresource: key.clone(),
            ..wanted(AUTHENTICATION, "userextras", value)
        }));
    }
    parts
}

/// The constrained scheme; the target is asked for first, so that it is what a refusal names.
async fn constrained(
    api: &Api,
    caller: &Identity,
    asked: &Identity,
    target: &Attributes,
) -> Result<(), StatusError> {
    let on = Attributes { verb: format!("impersonate-on:user-info:{}", target.verb), ..target.clone() };
    authorize(api, caller, &on).await?;
    for part in parts(asked, "impersonate:user-info") {
        // Here every part of an identity, users and groups included, is of one API group.
        let part = Attributes { group: AUTHENTICATION.to_owned(), ..part };
        authorize(api, caller, &part).await?;
    }
    Ok(())
}

/// With the groups everybody of that kind is in.
fn completed(mut identity: Identity) -> Identity {
    if let Some(account) = identity.user.strip_prefix("system:serviceaccount:")
        && identity.groups.is_empty()
        && let Some((namespace, _)) = account.split_once(':')
    {
        identity.groups =
            vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    }
    if identity.user == "system:anonymous" { identity } else { identity.authenticated() }
}

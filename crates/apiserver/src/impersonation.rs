//! Acting as somebody else (I9): `kubectl --as`. The constrained verbs of 1.36 are not here yet.

use http::HeaderMap;
use outrigger_api::StatusError;

use crate::auth::{Attributes, Identity, authorize};
use crate::server::Api;

/// The identity a request runs with.
///
/// # Errors
/// 400 for impersonation headers without a user, 403 where the caller may not be somebody else.
pub(crate) async fn apply(api: &Api, caller: Identity, headers: &HeaderMap) -> Result<Identity, StatusError> {
    let all = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok().map(str::to_owned)).collect()
    };
    let users = all("impersonate-user");
    let groups = all("impersonate-group");
    let extras = headers.keys().any(|name| name.as_str().starts_with("impersonate-extra-"));
    let Some(user) = users.into_iter().find(|user| !user.is_empty()) else {
        if groups.is_empty() && !extras && !headers.contains_key("impersonate-uid") {
            return Ok(caller);
        }
        return Err(StatusError::bad_request("requested impersonation without a user"));
    };
    if extras {
        return Err(StatusError::bad_request("impersonating extra values is not supported"));
    }
    authorize(api, &caller, &target(&user)).await?;
    for group in &groups {
        authorize(api, &caller, &wanted("groups", "", group)).await?;
    }
    let uid = all("impersonate-uid").into_iter().next().unwrap_or_default();
    if !uid.is_empty() {
        let wanted = Attributes { group: "authentication.k8s.io".to_owned(), ..wanted("uids", "", &uid) };
        authorize(api, &caller, &wanted).await?;
    }
    let mut identity = Identity { user, uid, groups, ..Identity::default() };
    if let Some(account) = identity.user.strip_prefix("system:serviceaccount:")
        && identity.groups.is_empty()
        && let Some((namespace, _)) = account.split_once(':')
    {
        identity.groups =
            vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    }
    if identity.user == "system:anonymous" {
        return Ok(identity);
    }
    Ok(identity.authenticated())
}

fn target(user: &str) -> Attributes {
    let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, name)) => wanted("serviceaccounts", namespace, name),
        None => wanted("users", "", user),
    }
}

fn wanted(resource: &str, namespace: &str, name: &str) -> Attributes {
    Attributes {
        verb: "impersonate".to_owned(),
        resource: resource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    }
}

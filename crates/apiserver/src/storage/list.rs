//! Lists: which revision, which page (E1-E16).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outrigger_api::status::{Cause, Details, Reason};
use outrigger_api::{KindInfo, StatusError};
use outrigger_store::{Error, Range, Revision};
use serde::{Deserialize, Serialize};

use super::errors::{future, list_expired, store_error};
use super::select::Selection;
use super::stored::Stored;
use super::{Storage, parse_version};

/// How many keys are read from the store at once while looking for selected ones.
const SCAN: usize = 1000;

/// What a list asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListRequest {
    /// Empty lists all namespaces.
    pub(crate) namespace: String,
    pub(crate) selection: Selection,
    /// 0 is no limit.
    pub(crate) limit: usize,
    pub(crate) continue_token: String,
    pub(crate) resource_version: String,
    pub(crate) resource_version_match: String,
}

/// One page of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) items: Vec<Stored>,
    pub(crate) revision: Revision,
    /// Empty on the last page.
    pub(crate) continue_token: String,
    pub(crate) remaining: Option<usize>,
}

/// E10.
#[derive(Deserialize, Serialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

/// At which revision, and from where, a list reads.
struct Plan {
    /// `None` is the newest.
    revision: Option<Revision>,
    start: String,
}

impl Storage {
    /// Reads one page.
    ///
    /// # Errors
    /// 400, 410, 422 and 504 as E1-E13 say.
    pub(crate) async fn list(&self, kind: &KindInfo, request: &ListRequest) -> Result<Page, StatusError> {
        let prefix = scope(kind, request);
        let plan = self.plan(kind, request, &prefix).await?;
        let exact = single_key(kind, request);
        let mut page = Page::default();
        let (mut start, mut revision) = (plan.start, plan.revision);
        loop {
            let want = if request.selection.is_empty() && request.limit > 0 { request.limit } else { SCAN };
            let range =
                Range { prefix: exact.as_deref().unwrap_or(&prefix), start: &start, revision, limit: want };
            let result = self
                .store
                .range(range)
                .await
                .map_err(|error| range_error(&error, kind, request, &prefix, &start))?;
            revision = Some(result.revision);
            page.revision = result.revision;
            let fetched = result.kvs.len();
            for (index, kv) in result.kvs.into_iter().enumerate() {
                if exact.as_deref().is_some_and(|exact| *kv.key != *exact) {
                    continue;
                }
                let key = kv.key.clone();
                let object = Stored::new(kv)?;
                if request.selection.matches(&object) {
                    page.items.push(object);
                }
                let left = result.count - index - 1;
                if request.limit > 0 && page.items.len() == request.limit && left > 0 {
                    page.continue_token = token(page.revision, &key[prefix.len()..]);
                    page.remaining = request.selection.is_empty().then_some(left);
                    return Ok(page);
                }
                if index + 1 == fetched {
                    start = format!("{key}\0");
                }
            }
            if result.count <= fetched {
                return Ok(page);
            }
        }
    }

    async fn plan(&self, kind: &KindInfo, request: &ListRequest, prefix: &str) -> Result<Plan, StatusError> {
        let version = parse_version(&request.resource_version).map_err(|error| {
            StatusError::bad_request(format!("invalid resource version: {}", error.message))
        })?;
        check_match(request, version)?;
        if !request.continue_token.is_empty() {
            if version.is_some_and(|version| version > 0) {
                return Err(StatusError::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let token = read_token(&request.continue_token)?;
            let revision = u64::try_from(token.rv).ok();
            return Ok(Plan { revision, start: format!("{prefix}{}", token.start) });
        }
        let start = String::new();
        let exact = request.resource_version_match == "Exact"
            || (request.resource_version_match.is_empty() && request.limit > 0);
        match version {
            Some(version) if version > 0 && exact => Ok(Plan { revision: Some(version), start }),
            Some(version) if version > 0 => {
                self.wait_for(kind, version).await?;
                Ok(Plan { revision: None, start })
            }
            Some(_) | None => Ok(Plan { revision: None, start }),
        }
    }
}

/// The key prefix a list reads (E22, E44).
pub(super) fn scope(kind: &KindInfo, request: &ListRequest) -> String {
    let namespace = if request.namespace.is_empty() {
        request.selection.namespace().unwrap_or_default()
    } else {
        &request.namespace
    };
    if kind.namespaced && !namespace.is_empty() {
        format!("{}{namespace}/", kind.prefix())
    } else {
        kind.prefix()
    }
}

/// The one key a list can match (E22).
fn single_key(kind: &KindInfo, request: &ListRequest) -> Option<String> {
    let name = request.selection.name()?;
    let namespace = if request.namespace.is_empty() {
        request.selection.namespace().unwrap_or_default()
    } else {
        &request.namespace
    };
    (!kind.namespaced || !namespace.is_empty()).then(|| kind.key(namespace, name))
}

/// E2.
fn check_match(request: &ListRequest, version: Option<Revision>) -> Result<(), StatusError> {
    let forbidden =
        |why: &str| Err(invalid_options("resourceVersionMatch", "Forbidden", "FieldValueForbidden", why));
    let word = request.resource_version_match.as_str();
    if word.is_empty() {
        return Ok(());
    }
    if !request.continue_token.is_empty() {
        return forbidden("resourceVersionMatch is forbidden when continue is provided");
    }
    if version.is_none() {
        return forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided");
    }
    match word {
        "Exact" if version == Some(0) => {
            forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
        }
        "Exact" | "NotOlderThan" => Ok(()),
        other => Err(invalid_options(
            "resourceVersionMatch",
            &format!("Unsupported value: \"{other}\""),
            "FieldValueNotSupported",
            "supported values: \"Exact\", \"NotOlderThan\", \"\"",
        )),
    }
}

/// 422 about the options of a list or watch.
pub(super) fn invalid_options(field: &str, what: &str, reason: &str, why: &str) -> StatusError {
    let message = format!("{what}: {why}");
    let text = format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: {message}");
    let mut error = StatusError::new(422, Reason::Invalid, text).about("ListOptions", "meta.k8s.io", "");
    let cause = Cause { reason: reason.to_owned(), message, field: field.to_owned() };
    error.details.get_or_insert_with(Details::default).causes = vec![cause];
    error
}

fn range_error(
    error: &Error,
    kind: &KindInfo,
    request: &ListRequest,
    prefix: &str,
    start: &str,
) -> StatusError {
    match error {
        Error::Compacted { .. } if !request.continue_token.is_empty() => {
            let suffix = start.strip_prefix(prefix).unwrap_or_default();
            continue_expired(&encode_token(-1, suffix))
        }
        Error::Compacted { .. } => list_expired(),
        Error::Future { requested, current } => future(*requested, *current),
        other => store_error(other, "list", &kind.plural),
    }
}

/// E12.
fn continue_expired(fresh: &str) -> StatusError {
    let mut error = StatusError::new(
        410,
        Reason::Expired,
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    error.continue_token = Some(fresh.to_owned());
    error
}

fn token(revision: Revision, last: &str) -> String {
    let revision = i64::try_from(revision).unwrap_or(i64::MAX);
    encode_token(revision, &format!("{last}\0"))
}

fn encode_token(revision: i64, start: &str) -> String {
    let token = Token { v: TOKEN_VERSION.to_owned(), rv: revision, start: start.to_owned() };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token is plain data"))
}

/// E13.
fn read_token(text: &str) -> Result<Token, StatusError> {
    let bad = |cause: &str| {
        StatusError::bad_request(format!("invalid continue token: continue key is not valid: {cause}"))
    };
    let bytes =
        URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|error| bad(&error.to_string()))?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|error| bad(&error.to_string()))?;
    if token.v != TOKEN_VERSION {
        return Err(bad(&format!("server does not recognize this encoded version {}", token.v)));
    }
    if token.rv == 0 {
        return Err(bad(&format!("incorrect encoded start resourceVersion (version {TOKEN_VERSION})")));
    }
    if token.start.is_empty() || token.start.split('/').any(|step| matches!(step, "" | "." | "..")) {
        return Err(bad(&format!("incorrect encoded start key (version {TOKEN_VERSION})")));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// E10, E13
    #[test]
    fn tokens_go_round_and_strange_ones_are_refused() {
        let read = read_token(&token(7, "default/a")).unwrap();
        assert_eq!((read.rv, read.start.as_str()), (7, "default/a\0"));
        for (start, rv) in [("../x", 3), ("a", 0), ("", 3)] {
            assert_eq!(read_token(&encode_token(rv, start)).err().map(|e| e.code), Some(400), "{start} {rv}");
        }
        assert!(read_token("%%%").err().unwrap().message.starts_with("invalid continue token: "));
    }

    /// E2
    #[test]
    fn impossible_matches_are_refused() {
        let request = |version: &str, word: &str, token: &str| ListRequest {
            resource_version: version.to_owned(),
            resource_version_match: word.to_owned(),
            continue_token: token.to_owned(),
            ..ListRequest::default()
        };
        for (version, word, token, text) in [
            ("", "Exact", "", "resourceVersionMatch is forbidden unless resourceVersion is provided"),
            ("0", "Exact", "", "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""),
            ("5", "Exact", "x", "resourceVersionMatch is forbidden when continue is provided"),
            ("5", "Sometimes", "", "supported values: \"Exact\", \"NotOlderThan\", \"\""),
        ] {
            let request = request(version, word, token);
            let error = check_match(&request, parse_version(version).unwrap()).unwrap_err();
            assert_eq!(error.code, 422);
            assert!(error.message.contains(text), "{}", error.message);
        }
    }
}

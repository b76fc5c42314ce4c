//! What a request asks for: path grammar, verbs and query parameters (B1-B3, B15, B16).
//!
//! Parsing only; whether the resource exists and who may use it is decided later.

use http::{Method, Uri};
use outrigger_api::StatusError;

/// The verbs of authorization (B2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    /// The word RBAC rules use.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// What a path addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Something below a group version.
    Resource(ResourcePath),
    /// Health, version, discovery, OpenAPI, and everything unknown.
    NonResource,
}

/// The parts of a resource URL; absent parts are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: String,
    pub(crate) resource: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
    /// What follows the subresource, for proxies.
    pub(crate) rest: String,
    /// The deprecated `/watch/` prefix form (B3).
    pub(crate) watch_prefix: bool,
}

impl Target {
    /// Takes a path apart (B1). Segments are percent-decoded.
    pub(crate) fn parse(path: &str) -> Self {
        let segments: Vec<String> =
            path.split('/').filter(|segment| !segment.is_empty()).map(percent_decode).collect();
        let mut segments: &[String] = &segments;
        let mut target = ResourcePath::default();
        match segments {
            [root, version, rest @ ..] if root == "api" && !rest.is_empty() => {
                target.version.clone_from(version);
                segments = rest;
            }
            [root, group, version, rest @ ..] if root == "apis" && !rest.is_empty() => {
                target.group.clone_from(group);
                target.version.clone_from(version);
                segments = rest;
            }
            _ => return Self::NonResource,
        }
        if let [prefix, rest @ ..] = segments
            && prefix == "watch"
            && !rest.is_empty()
        {
            target.watch_prefix = true;
            segments = rest;
        }
        if let [namespaces, namespace, third, rest @ ..] = segments
            && namespaces == "namespaces"
            && !(target.group.is_empty()
                && rest.is_empty()
                && matches!(third.as_str(), "status" | "finalize"))
        {
            target.namespace.clone_from(namespace);
            target.resource.clone_from(third);
            target.take_name(rest);
        } else if let [resource, rest @ ..] = segments {
            target.resource.clone_from(resource);
            target.take_name(rest);
            if target.group.is_empty() && target.resource == "namespaces" {
                // A Namespace is judged as if it lay inside itself, so that rules for a namespace reach it.
                target.namespace.clone_from(&target.name);
            }
        }
        Self::Resource(target)
    }
}

impl ResourcePath {
    fn take_name(&mut self, rest: &[String]) {
        let mut rest = rest.iter();
        self.name = rest.next().cloned().unwrap_or_default();
        self.subresource = rest.next().cloned().unwrap_or_default();
        self.rest = rest.map(String::as_str).collect::<Vec<_>>().join("/");
    }

    /// The verb of a request on this path (B2, B3, B16).
    ///
    /// # Errors
    /// 405 for methods no resource answers to (B15).
    pub(crate) fn verb(&self, method: &Method, query: &Query) -> Result<Verb, StatusError> {
        let named = !self.name.is_empty();
        let verb = match *method {
            Method::GET if self.watch_prefix => Verb::Watch,
            Method::GET if named => Verb::Get,
            Method::GET if query.flag("watch") => Verb::Watch,
            Method::GET => Verb::List,
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE if named => Verb::Delete,
            Method::DELETE => Verb::DeleteCollection,
            // H48: a proxy passes every method on; these ask for no more than a GET does.
            Method::HEAD | Method::OPTIONS if self.subresource == "proxy" => Verb::Get,
            _ => return Err(method_not_allowed()),
        };
        Ok(verb)
    }
}

/// 405 as the router says it (B15).
pub(crate) fn method_not_allowed() -> StatusError {
    let mut error = StatusError::new(
        405,
        outrigger_api::status::Reason::MethodNotAllowed,
        "the server does not allow this method on the requested resource",
    );
    error.details = Some(outrigger_api::status::Details::default());
    error
}

/// Decoded query parameters in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// The parameters of a URI.
    pub(crate) fn of(uri: &Uri) -> Self {
        let text = uri.query().unwrap_or_default();
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(key.replace('+', " ")), percent_decode(value.replace('+', " ")))
        });
        Self(pairs.collect())
    }

    /// The first value, or the empty string.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.find(key).unwrap_or_default()
    }

    /// The first value.
    pub(crate) fn find(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str())
    }

    /// All values.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(found, _)| found == key).map(|(_, value)| value.as_str())
    }

    /// All parameters in order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// `false` in any case and `0` are false, every other value, the empty one included, is true (B2).
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.find(key).is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0")
    }

    /// An integer (B27); an empty value counts as absent.
    pub(crate) fn int(&self, key: &str) -> Result<Option<i64>, StatusError> {
        match self.find(key) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                StatusError::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"))
            }),
        }
    }
}

/// Replaces `%xy`; what is not a valid escape stays as it is.
fn percent_decode(text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(path: &str) -> ResourcePath {
        match Target::parse(path) {
            Target::Resource(resource) => resource,
            Target::NonResource => panic!("{path} is a resource"),
        }
    }

    /// B1
    #[test]
    fn namespaced_and_cluster_paths_are_told_apart() {
        let pod = resource("/api/v1/namespaces/a/pods/p/log");
        assert_eq!((pod.namespace.as_str(), pod.resource.as_str()), ("a", "pods"));
        assert_eq!((pod.name.as_str(), pod.subresource.as_str()), ("p", "log"));
        let role = resource("/apis/rbac.authorization.k8s.io/v1/clusterroles/x%3Ay");
        assert_eq!((role.group.as_str(), role.name.as_str()), ("rbac.authorization.k8s.io", "x:y"));
    }

    /// B1
    #[test]
    fn namespace_subresources_belong_to_the_namespace() {
        let finalize = resource("/api/v1/namespaces/a/finalize");
        assert_eq!((finalize.resource.as_str(), finalize.name.as_str()), ("namespaces", "a"));
        assert_eq!(finalize.subresource, "finalize");
    }

    /// B2
    #[test]
    fn every_watch_value_but_false_and_zero_starts_a_watch() {
        let list = resource("/api/v1/pods");
        for (query, verb) in [("", Verb::List), ("watch=", Verb::Watch), ("watch=no", Verb::Watch)] {
            let uri = format!("/api/v1/pods?{query}").parse().unwrap();
            assert_eq!(list.verb(&Method::GET, &Query::of(&uri)).unwrap(), verb, "{query}");
        }
        for query in ["watch=FALSE", "watch=0"] {
            let uri = format!("/api/v1/pods?{query}").parse().unwrap();
            assert_eq!(list.verb(&Method::GET, &Query::of(&uri)).unwrap(), Verb::List, "{query}");
        }
    }

    /// B3
    #[test]
    fn the_watch_prefix_is_a_watch_and_watch_true_with_a_name_is_a_get() {
        let uri = "/api/v1/namespaces/a/pods/p?watch=true".parse().unwrap();
        assert_eq!(
            resource("/api/v1/namespaces/a/pods/p").verb(&Method::GET, &Query::of(&uri)).unwrap(),
            Verb::Get
        );
        let watch = resource("/api/v1/watch/namespaces/a/pods");
        assert!(watch.watch_prefix && watch.namespace == "a" && watch.resource == "pods");
    }

    /// B15
    #[test]
    fn head_on_a_resource_is_not_allowed() {
        let error = resource("/api/v1/pods").verb(&Method::HEAD, &Query::default()).unwrap_err();
        assert_eq!(error.code, 405);
    }

    /// B27
    #[test]
    fn an_unparsable_integer_is_a_bad_request() {
        let uri = "/api/v1/pods?limit=many".parse().unwrap();
        let error = Query::of(&uri).int("limit").unwrap_err();
        assert_eq!(error.message, "strconv.ParseInt: parsing \"many\": invalid syntax");
    }
}

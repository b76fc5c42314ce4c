//! What is changed in a proxied request and its answer (H48). Pure.

use http::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{Request, Response, Uri};

use super::place::Place;
use crate::auth::TOKEN_PROTOCOL;
use crate::request::ResourcePath;

/// A proxy path taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// Up to and with `/proxy`.
    prefix: String,
    /// The rest as it was written; empty if there is not even a slash.
    pub(super) below: String,
    /// What the backend is asked for.
    pub(super) uri: Uri,
}

impl Path {
    pub(super) fn of(uri: &Uri, parsed: &ResourcePath) -> Option<Self> {
        // api, v1, (namespaces, <ns>,) resource, name, proxy
        let segments = if parsed.namespace.is_empty() { 5 } else { 7 };
        let at = end_of_segment(uri.path(), segments)?;
        let (prefix, below) = uri.path().split_at(at);
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let slash = if below.starts_with('/') { "" } else { "/" };
        let uri = format!("{slash}{below}{query}").parse().ok()?;
        Some(Self { prefix: prefix.to_owned(), below: below.to_owned(), uri })
    }
}

/// Where the `count`th segment that is not empty ends.
fn end_of_segment(path: &str, count: usize) -> Option<usize> {
    let mut seen = 0;
    let mut at = 0;
    for segment in path.split('/') {
        at += segment.len();
        seen += usize::from(!segment.is_empty());
        if seen == count {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// A browser's token comes as a WebSocket protocol (I7), and is no more the backend's business than a header's (I2).
fn without_token(headers: &mut HeaderMap) {
    let Some(offered) = headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok()) else {
        return;
    };
    let others: Vec<&str> =
        offered.split(',').map(str::trim).filter(|one| !one.starts_with(TOKEN_PROTOCOL)).collect();
    match HeaderValue::from_str(&others.join(", ")) {
        Ok(value) if !others.is_empty() => drop(headers.insert(SEC_WEBSOCKET_PROTOCOL, value)),
        _ => drop(headers.remove(SEC_WEBSOCKET_PROTOCOL)),
    }
}

/// Towards the backend: its path, nothing that is meant for this server, and who asked for what.
pub(super) fn request<B>(request: &mut Request<B>, path: &Path) {
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let host = request.headers().get(HOST).cloned();
    let host = host.or_else(|| HeaderValue::from_str(&authority?).ok());
    let headers = request.headers_mut();
    hop_by_hop(headers);
    headers.remove(AUTHORIZATION);
    without_token(headers);
    let impersonation: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in impersonation {
        headers.remove(name);
    }
    let full = format!("{}{}", path.prefix, path.below);
    let mut set = |name: &'static str, value: Option<HeaderValue>| {
        if let Some(value) = value {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("x-forwarded-uri", HeaderValue::from_str(&full).ok());
    set("x-forwarded-host", host.clone());
    set("x-forwarded-proto", Some(HeaderValue::from_static("https")));
    set("host", host);
    *request.uri_mut() = path.uri.clone();
}

/// Back to the client: a redirect stays below the proxy.
pub(super) fn response<B>(response: &mut Response<B>, path: &Path, place: &Place) {
    hop_by_hop(response.headers_mut());
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let moved = location.and_then(|location| below_proxy(location, path, place));
    if let Some(value) = moved.and_then(|moved| HeaderValue::from_str(&moved).ok()) {
        response.headers_mut().insert(LOCATION, value);
    }
}

/// `None` if the target is relative, elsewhere, or below the proxy already.
fn below_proxy(location: &str, path: &Path, place: &Place) -> Option<String> {
    let target: Uri = location.parse().ok()?;
    let own = match target.authority() {
        None => location.starts_with('/') && !location.starts_with("//"),
        Some(authority) => {
            let host = authority.host().trim_matches(['[', ']']);
            let secure = target.scheme_str() == Some("https");
            let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
            host == place.address.to_string() && port == place.port
        }
    };
    if !own || target.path().starts_with(&path.prefix) {
        return None;
    }
    let rest = target.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    Some(format!("{}{rest}", path.prefix))
}

/// Headers of one connection; those of an upgrade stay.
fn hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|word| word.trim().to_ascii_lowercase())
        .collect();
    let upgrade = named.iter().any(|name| name == "upgrade").then(|| headers.get(UPGRADE).cloned()).flatten();
    for name in named {
        headers.remove(name);
    }
    let fixed =
        [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
    for name in fixed {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Target;

    fn path(text: &str) -> Option<Path> {
        let uri: Uri = text.parse().unwrap();
        let Target::Resource(parsed) = Target::parse(uri.path()) else { panic!("{text}") };
        Path::of(&uri, &parsed)
    }

    /// H48, N6: the rest of the path is the backend's, as it was written.
    #[test]
    fn the_rest_of_the_path() {
        let below = |text: &str| path(text).map(|it| (it.below, it.uri.to_string())).unwrap();
        let of = |below: &str, uri: &str| (below.to_owned(), uri.to_owned());
        let summary = below("/api/v1/nodes/n/proxy/stats/summary?only_cpu_and_memory=true");
        assert_eq!(summary, of("/stats/summary", "/stats/summary?only_cpu_and_memory=true"));
        assert_eq!(below("/api/v1/nodes/n/proxy"), of("", "/"));
        assert_eq!(below("/api/v1/nodes/proxy/proxy/runningpods/"), of("/runningpods/", "/runningpods/"));
        let pod = below("/api/v1/namespaces/proxy/pods/https:p:80/proxy/a%2Fb//c/");
        assert_eq!(pod, of("/a%2Fb//c/", "/a%2Fb//c/"));
        assert_eq!(path("/api/v1/namespaces/n/pods/p"), None);
    }

    /// I2
    #[test]
    fn a_token_goes_no_further() {
        let path = path("/api/v1/namespaces/n/pods/p/proxy/x").unwrap();
        let rest = |offered: &str| {
            let sent = Request::get("/ignored").header("authorization", "Bearer secret");
            let mut sent = sent.header("sec-websocket-protocol", offered).body(()).unwrap();
            request(&mut sent, &path);
            assert!(!sent.headers().contains_key("authorization"));
            sent.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(rest("chat, base64url.bearer.authorization.k8s.io.YWJj, v2").as_deref(), Some("chat, v2"));
        assert_eq!(rest("base64url.bearer.authorization.k8s.io.YWJj"), None);
        assert_eq!(rest("chat").as_deref(), Some("chat"));
    }

    /// H48
    #[test]
    fn headers_on_the_way() {
        let path = path("/api/v1/namespaces/n/pods/p/proxy/x?y=1").unwrap();
        let mut sent = Request::get("/ignored")
            .header("host", "api:6443")
            .header("authorization", "Bearer secret")
            .header("impersonate-user", "eve")
            .header("connection", "keep-alive, X-Hop")
            .header("x-hop", "1")
            .header("te", "trailers")
            .header("x-own", "kept")
            .body(())
            .unwrap();
        request(&mut sent, &path);
        assert_eq!(sent.uri(), "/x?y=1");
        let mut names: Vec<&str> = sent.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["host", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-uri", "x-own"]);
        assert_eq!(sent.headers()["x-forwarded-uri"], "/api/v1/namespaces/n/pods/p/proxy/x");
        assert_eq!(sent.headers()["x-forwarded-host"], "api:6443");
        let mut upgrade = Request::get("/")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .body(())
            .unwrap();
        request(&mut upgrade, &path);
        assert_eq!(upgrade.headers()["connection"], "Upgrade");
        assert_eq!(upgrade.headers()["upgrade"], "websocket");
    }

    /// H48: redirects to the backend lead through the proxy; others stay as they are.
    #[test]
    fn redirects() {
        let path = path("/api/v1/namespaces/n/pods/p/proxy/x").unwrap();
        let place = Place { secure: false, address: "10.0.0.1".parse().unwrap(), port: 80 };
        let to = |location: &str| {
            let mut answer = Response::builder().header("location", location).body(()).unwrap();
            response(&mut answer, &path, &place);
            answer.headers()["location"].to_str().unwrap().to_owned()
        };
        let prefix = "/api/v1/namespaces/n/pods/p/proxy";
        assert_eq!(to("/login?a=b"), format!("{prefix}/login?a=b"));
        assert_eq!(to("http://10.0.0.1/login"), format!("{prefix}/login"));
        for same in ["http://elsewhere/login", "http://10.0.0.1:81/", "next", &format!("{prefix}/y")] {
            assert_eq!(to(same), same);
        }
    }
}

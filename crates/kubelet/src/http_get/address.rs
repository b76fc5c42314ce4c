//! From an action to the first address, and from a Location to the next one.

use http::Uri;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::reference_text::host_port;

/// R6.16: the Pod's address unless a host is named; a named port is one of this container's.
///
/// # Errors
/// What is wrong with the port or the host.
pub(super) fn first_address(
    action: &HTTPGetAction,
    container: &Container,
    pod_ip: &str,
) -> Result<Uri, String> {
    let port = resolve_port(&action.port, container)?;
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
    let scheme = if action.scheme.as_deref() == Some("HTTPS") { "https" } else { "http" };
    let path = escape(action.path.as_deref().unwrap_or_default());
    let slash = if path.starts_with('/') { "" } else { "/" };
    let text = format!("{scheme}://{}{slash}{path}", host_port(host, port));
    text.parse().map_err(|error: http::uri::InvalidUri| error.to_string())
}

/// A number, or the name of one of this container's ports (R6.16).
///
/// # Errors
/// The reference's words for a number out of range and for a name it cannot make a number of.
pub(crate) fn resolve_port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(name) => {
            let named =
                container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name.as_str()));
            match named {
                Some(port) => port.container_port.into(),
                None => {
                    name.parse().map_err(|_| format!("strconv.Atoi: parsing {name:?}: invalid syntax"))?
                }
            }
        }
    };
    let in_range = u16::try_from(number).ok().filter(|number| *number > 0);
    in_range.ok_or_else(|| format!("invalid port number: {number}"))
}

/// Where a `Location` leads, seen from `from` (RFC 3986, section 5).
pub(super) fn resolve_location(from: &Uri, location: &str) -> Option<Uri> {
    let location = escape(location.split('#').next().unwrap_or_default());
    let scheme = from.scheme_str()?;
    if location.starts_with("//") {
        return format!("{scheme}:{location}").parse().ok();
    }
    if is_absolute(&location) {
        return location.parse().ok();
    }
    let path = if location.starts_with('/') {
        location
    } else if location.is_empty() {
        from.path_and_query()?.as_str().to_owned()
    } else if location.starts_with('?') {
        format!("{}{location}", from.path())
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/{location}")
    };
    format!("{scheme}://{}{}", from.authority()?, without_dots(&path)).parse().ok()
}

/// With a scheme of its own.
pub(super) fn is_absolute(location: &str) -> bool {
    let scheme = location.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// `/a/./b/../c` is `/a/c`; what follows a question mark stays.
fn without_dots(path: &str) -> String {
    let (path, query) = path.find('?').map_or((path, ""), |at| path.split_at(at));
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_folder = false;
    for part in path.split('/').skip(1) {
        ends_in_folder = matches!(part, "." | "..");
        match part {
            "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    let tail = if ends_in_folder { "/" } else { "" };
    format!("/{}{tail}{query}", kept.join("/"))
}

/// What may not stand in an address is sent in percent form.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ContainerPort;

    use super::*;

    fn container() -> Container {
        let port =
            ContainerPort { name: Some("web".into()), container_port: 8080, ..ContainerPort::default() };
        Container { ports: Some(vec![port]), ..Container::default() }
    }

    fn action(host: &str, path: &str, port: IntOrString) -> HTTPGetAction {
        HTTPGetAction { host: Some(host.into()), path: Some(path.into()), port, ..HTTPGetAction::default() }
    }

    /// R6.16
    #[test]
    fn first_addresses() {
        let web = || IntOrString::String("web".into());
        let of = |host, path, port| {
            first_address(&action(host, path, port), &container(), "10.0.0.9").map(|uri| uri.to_string())
        };
        assert_eq!(of("", "/a?b=c", web()).unwrap(), "http://10.0.0.9:8080/a?b=c");
        assert_eq!(of("fd00::1", "a b", IntOrString::Int(1)).unwrap(), "http://[fd00::1]:1/a%20b");
        assert_eq!(of("", "", IntOrString::String("81".into())).unwrap(), "http://10.0.0.9:81/");
        let tls = HTTPGetAction { scheme: Some("HTTPS".into()), ..action("h", "/", web()) };
        assert_eq!(first_address(&tls, &container(), "").unwrap(), "https://h:8080/");
        assert_eq!(of("", "/", IntOrString::Int(0)).unwrap_err(), "invalid port number: 0");
        assert_eq!(of("", "/", IntOrString::Int(65_536)).unwrap_err(), "invalid port number: 65536");
        let unknown = of("", "/", IntOrString::String("db".into())).unwrap_err();
        assert_eq!(unknown, "strconv.Atoi: parsing \"db\": invalid syntax");
    }

    /// R6.17
    #[test]
    fn locations() {
        let from: Uri = "http://h:1/a/b?q".parse().unwrap();
        let to = |location| resolve_location(&from, location).unwrap().to_string();
        assert_eq!(to("/x"), "http://h:1/x");
        assert_eq!(to("x?y"), "http://h:1/a/x?y");
        assert_eq!(to("../x/."), "http://h:1/x/");
        assert_eq!(to("?z#part"), "http://h:1/a/b?z");
        assert_eq!(to("//o/x"), "http://o/x");
        assert_eq!(to("https://h/x"), "https://h/x");
        assert_eq!(to("x?u=http://o/"), "http://h:1/a/x?u=http://o/");
        assert_eq!(resolve_location(&from, "http://"), None);
    }
}

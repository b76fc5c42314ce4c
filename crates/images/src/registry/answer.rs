//! What a registry's refusal says, in the registry's own words.

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use crate::RegistryError;

#[derive(Deserialize)]
struct Body {
    errors: Vec<OneError>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// `404 Not Found: MANIFEST_UNKNOWN: manifest unknown`.
pub(super) fn text(status: StatusCode, body: &[u8]) -> String {
    let mut text = status.to_string();
    let detail = match serde_json::from_slice::<Body>(body) {
        Ok(body) => {
            let one = |error: OneError| match (error.code.is_empty(), error.message.is_empty()) {
                (false, false) => format!("{}: {}", error.code, error.message),
                _ => format!("{}{}", error.code, error.message),
            };
            body.errors.into_iter().take(MAX_ERRORS).map(one).collect::<Vec<_>>().join("; ")
        }
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    // The text ends up in events and on terminals.
    let clean: String = detail.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TEXT).collect();
    if !clean.trim().is_empty() {
        text.push_str(": ");
        text.push_str(clean.trim());
    }
    text
}

/// The error for an answer that is no success.
pub(super) fn error(host: &str, what: &str, status: StatusCode, body: &[u8]) -> RegistryError {
    let (host, answer) = (host.to_owned(), text(status, body));
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Unauthorized { host, answer },
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            RegistryError::NotFound { what: what.to_owned(), host, answer }
        }
        _ if is_temporary(status) => RegistryError::Unavailable { host, answer },
        _ => RegistryError::Corrupt { host, answer },
    }
}

/// Whether the same request may succeed later.
pub(super) fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

/// `Retry-After` in whole seconds; the date form is not understood.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

const MAX_ERRORS: usize = 3;
const MAX_TEXT: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    /// R5.24: the event carries the registry's answer.
    #[test]
    fn the_registrys_words_are_kept_and_made_harmless() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#;
        assert_eq!(text(StatusCode::NOT_FOUND, body), "404 Not Found: MANIFEST_UNKNOWN: manifest unknown");
        assert_eq!(text(StatusCode::BAD_GATEWAY, b"<h1>\x1b[31m\nno"), "502 Bad Gateway: <h1> [31m no");
        assert_eq!(text(StatusCode::BAD_GATEWAY, b""), "502 Bad Gateway");
        assert!(text(StatusCode::BAD_GATEWAY, &[b'x'; 9000]).len() < 600);
    }

    #[test]
    fn statuses_become_kinds() {
        use crate::FailureKind as K;
        for (status, kind) in [
            (401, K::Unauthorized),
            (403, K::Unauthorized),
            (404, K::NotFound),
            (429, K::Unavailable),
            (503, K::Unavailable),
            (400, K::Corrupt),
        ] {
            assert_eq!(error("h", "x", StatusCode::from_u16(status).unwrap(), b"").kind(), kind);
        }
    }
}

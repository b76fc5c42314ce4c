//! Answers: bodies, headers and the one way an error becomes a response (B12, B21, D30, D36).

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use outrigger_api::StatusError;
use serde::Serialize;
use serde_json::Value;

use crate::protobuf;

/// Why a body broke off.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// Request and response bodies.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body that is all there.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that comes in pieces.
pub(crate) fn streamed<S>(stream: S) -> Body
where
    S: futures::Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
{
    use futures::StreamExt;
    StreamBody::new(stream.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// A body that keeps something until it has ended or nobody wants it any more.
pub(crate) fn held_by<T: Send + 'static>(body: Body, held: T) -> Body {
    body.map_frame(move |frame| {
        let _ = &held;
        frame
    })
    .boxed_unsync()
}

/// A response with a content type. API answers are never cached (B21).
pub(crate) fn response(code: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One line and a newline.
    #[default]
    Compact,
    /// For people (B12).
    Indented,
    /// YAML, for who asked for it.
    Yaml,
    /// For clients of typed Go (B4). What has no message is written as JSON.
    Protobuf,
}

/// Any serialisable value as a response.
pub(crate) fn value(code: u16, layout: Layout, value: &impl Serialize) -> Response<Body> {
    let (content_type, bytes) = encode(layout, value);
    response(code, content_type, full(bytes))
}

/// JSON bytes that are already encoded, laid out again only if asked for.
pub(crate) fn json_bytes(code: u16, layout: Layout, bytes: Bytes) -> Response<Body> {
    match layout {
        Layout::Compact => response(code, "application/json", full(bytes)),
        Layout::Indented | Layout::Yaml | Layout::Protobuf => match serde_json::from_slice::<Value>(&bytes) {
            Ok(tree) => value(code, layout, &tree),
            Err(error) => status(&StatusError::internal(error), Layout::Compact),
        },
    }
}

fn encode(layout: Layout, value: &impl Serialize) -> (&'static str, Vec<u8>) {
    match layout {
        Layout::Compact => ("application/json", compact(value)),
        Layout::Indented => ("application/json", serde_json::to_vec_pretty(value).expect(INFALLIBLE)),
        Layout::Yaml => match serde_saphyr::to_string(value) {
            Ok(text) => ("application/yaml", text.into_bytes()),
            Err(_) => ("application/json", compact(value)),
        },
        Layout::Protobuf => {
            let tree = serde_json::to_value(value).expect(INFALLIBLE);
            match tree.as_object().and_then(protobuf::encode) {
                Some(body) => (protobuf::MEDIA_TYPE, body.into()),
                None => ("application/json", compact(value)),
            }
        }
    }
}

fn compact(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).expect(INFALLIBLE);
    bytes.push(b'\n');
    bytes
}

const INFALLIBLE: &str = "JSON trees with text keys always encode";

/// A failure as a `Status` object, with `Retry-After` where the client should come back (D36).
pub(crate) fn status(error: &StatusError, layout: Layout) -> Response<Body> {
    let mut response = value(error.code, layout, &error.to_status());
    let seconds = error.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Plain text, as the health endpoints and the router's own 404 speak (A37, A44).
pub(crate) fn text(code: u16, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = response(code, "text/plain; charset=utf-8", full(text));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// A44: the path is nothing we know.
pub(crate) fn page_not_found() -> Response<Body> {
    text(404, "404 page not found\n")
}

/// `Warning` headers, each text once, all together at most 4096 characters (D15).
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    const TOTAL: usize = 4096;
    const EACH: usize = 256;
    let crowded = warnings.iter().map(|text| text.chars().count()).sum::<usize>() > TOTAL;
    let (mut seen, mut room) = (std::collections::HashSet::new(), TOTAL);
    for warning in warnings {
        let text: String = warning.chars().take(if crowded { EACH } else { TOTAL }).collect();
        let length = text.chars().count();
        if length > room || !seen.insert(warning) {
            continue;
        }
        room -= length;
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append("warning", value);
        }
    }
}

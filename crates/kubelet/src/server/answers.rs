//! Responses of the node's API: plain text for failures, as upstream's kubelet speaks.

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use outrigger_api::StatusError;
use outrigger_streaming::agent::{HttpBody, LogStream};

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";

/// A response that is all there.
pub(super) fn answer(code: u16, kind: &'static str, body: impl Into<Bytes>) -> Response<HttpBody> {
    respond(code, kind, Full::new(body.into()).map_err(|never| match never {}).boxed_unsync())
}

pub(super) fn text(code: u16, text: impl Into<String>) -> Response<HttpBody> {
    answer(code, TEXT, text.into())
}

/// A failure: its message as plain text (N2).
pub(super) fn failed(error: &StatusError) -> Response<HttpBody> {
    text(error.code, format!("{}\n", error.message))
}

/// Bytes as they come.
pub(super) fn stream(pieces: LogStream) -> Response<HttpBody> {
    let pieces = pieces.map(|piece| piece.map(Frame::data).map_err(Into::into));
    respond(200, TEXT, StreamBody::new(pieces).boxed_unsync())
}

fn respond(code: u16, kind: &'static str, body: HttpBody) -> Response<HttpBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

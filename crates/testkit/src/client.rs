//! Pushing to a loopback registry.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::{Blob, PackedImage, TestkitError};

/// A registry's API at `http://<address>`.
pub(crate) struct Api {
    address: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Api {
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), client: Client::builder(TokioExecutor::new()).build_http() }
    }

    pub(crate) async fn push(&self, image: &PackedImage) -> Result<(), TestkitError> {
        for blob in image.layers.iter().chain([&image.config]) {
            self.push_blob(&image.repository, blob).await?;
        }
        self.push_manifest(&image.repository, &image.tag, &image.manifest).await
    }

    pub(crate) async fn push_manifest(
        &self,
        repository: &str,
        reference: &str,
        manifest: &Blob,
    ) -> Result<(), TestkitError> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let answer = self.send(Method::PUT, &path, &manifest.media_type, &manifest.bytes).await?;
        expect(StatusCode::CREATED, Method::PUT, &path, answer).await.map(drop)
    }

    async fn push_blob(&self, repository: &str, blob: &Blob) -> Result<(), TestkitError> {
        let known = format!("/v2/{repository}/blobs/{}", blob.digest);
        if self.send(Method::HEAD, &known, "", b"").await?.status() == StatusCode::OK {
            return Ok(());
        }
        let start = format!("/v2/{repository}/blobs/uploads/");
        let answer = self.send(Method::POST, &start, "", b"").await?;
        let headers = expect(StatusCode::ACCEPTED, Method::POST, &start, answer).await?;
        let location = headers.get(header::LOCATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let path = location.strip_prefix(&format!("http://{}", self.address)).unwrap_or(location);
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{joint}digest={}", blob.digest);
        let answer = self.send(Method::PUT, &path, "application/octet-stream", &blob.bytes).await?;
        expect(StatusCode::CREATED, Method::PUT, &path, answer).await.map(drop)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: &[u8],
    ) -> Result<Response<Incoming>, TestkitError> {
        let failed = |answer: String| TestkitError::Registry { request: format!("{method} {path}"), answer };
        let mut request =
            Request::builder().method(method.clone()).uri(format!("http://{}{path}", self.address));
        if !media_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, media_type);
        }
        let request = request
            .body(Full::new(Bytes::copy_from_slice(body)))
            .map_err(|error| failed(error.to_string()))?;
        self.client.request(request).await.map_err(|error| failed(format!("nothing: {error}")))
    }
}

async fn expect(
    wanted: StatusCode,
    method: Method,
    path: &str,
    answer: Response<Incoming>,
) -> Result<HeaderMap, TestkitError> {
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if parts.status == wanted {
        return Ok(parts.headers);
    }
    let answer = format!("{} {}", parts.status, String::from_utf8_lossy(&body));
    Err(TestkitError::Registry { request: format!("{method} {path}"), answer })
}

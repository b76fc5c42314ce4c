//! A webhook that says what it is told to say, over TLS with a certificate of its own.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What it says to a request: the members of `response` besides the uid.
pub(crate) type Say = dyn Fn(&Value) -> Value + Send + Sync;

pub(crate) struct WebhookServer {
    pub(crate) address: SocketAddr,
    /// Base64 of the PEM, as configurations have it.
    pub(crate) ca_bundle: String,
    asked: Arc<Mutex<Vec<Value>>>,
    _tasks: JoinSet<()>,
}

impl WebhookServer {
    pub(crate) async fn start(say: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        let names = ["127.0.0.1".to_owned(), "hook.default.svc".to_owned()];
        let own = rcgen::generate_simple_self_signed(names).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(own.cert.der().to_vec())],
                PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = JoinSet::new();
        let (say, heard): (Arc<Say>, _) = (Arc::new(say), Arc::clone(&asked));
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let (say, heard) = (Arc::clone(&say), Arc::clone(&heard));
                let answer = service_fn(move |request| answer(Arc::clone(&say), Arc::clone(&heard), request));
                let serve =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(serve);
            }
        });
        Self { address, ca_bundle: STANDARD.encode(own.cert.pem()), asked, _tasks: tasks }
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }

    /// A webhook that is sent what `rule` covers.
    pub(crate) fn webhook(&self, name: &str, rule: &Value) -> Value {
        json!({
            "name": name, "rules": [rule], "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": format!("https://{}/x", self.address), "caBundle": self.ca_bundle},
        })
    }
}

async fn answer(
    say: Arc<Say>,
    heard: Arc<Mutex<Vec<Value>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut review: Value = serde_json::from_slice(&body).unwrap();
    let mut response = say(&review["request"]);
    response["uid"] = review["request"]["uid"].clone();
    review["request"]["query"] = json!(query);
    heard.lock().unwrap().push(review["request"].clone());
    let review =
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
    Ok(Response::new(Full::new(Bytes::from(review.to_string()))))
}

/// An answer with a JSON patch.
pub(crate) fn patching(operations: &Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(operations.to_string())})
}

/// Everything of one core resource.
pub(crate) fn rule(resource: &str) -> Value {
    json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": [resource]})
}

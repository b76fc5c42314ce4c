//! Service account tokens: signing and checking (I10-I12, H45-H47).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use outrigger_api::{Object, WallTime};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::identity::Identity;
use super::is_past;
use crate::StartError;
use crate::server::Api;

/// Who issues, and the audience of, tokens for the API itself.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Seconds by which clocks may differ (I12).
const LEEWAY: u64 = 60;

/// The key service account tokens are signed with.
pub(crate) struct Signer {
    encoding: EncodingKey,
    decoding: DecodingKey,
    key_id: String,
    /// The public point, for `/openid/v1/jwks`.
    x: String,
    y: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// A name with the uid it must have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Binding {
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// What a token says of its bearer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenSubject {
    pub(crate) namespace: String,
    pub(crate) serviceaccount: Binding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Binding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Binding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Binding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) warnafter: Option<i64>,
}

/// I11.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    nbf: i64,
    iss: String,
    jti: String,
    sub: String,
    #[serde(rename = "kubernetes.io")]
    subject: TokenSubject,
}

impl Signer {
    /// From the PKCS#8 key of `pki/sa.key`.
    pub(crate) fn new(key_pem: &str, path: &std::path::Path) -> Result<Self, StartError> {
        let bad = |cause: String| StartError::BadFile { path: path.to_owned(), cause };
        let pair = rcgen::KeyPair::from_pem(key_pem).map_err(|error| bad(error.to_string()))?;
        let public = rcgen::PublicKeyData::subject_public_key_info(&pair);
        let point = rcgen::PublicKeyData::der_bytes(&pair);
        let (x, y) = point
            .get(1..)
            .filter(|rest| rest.len() == 64)
            .map(|rest| rest.split_at(32))
            .ok_or_else(|| bad("not a P-256 key".to_owned()))?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let encoding =
            EncodingKey::from_ec_pem(key_pem.as_bytes()).map_err(|error| bad(error.to_string()))?;
        let decoding = DecodingKey::from_ec_components(&x, &y).map_err(|error| bad(error.to_string()))?;
        let key_id = URL_SAFE_NO_PAD.encode(Sha256::digest(&public));
        Ok(Self { encoding, decoding, key_id, x, y })
    }

    /// A token for `subject`, valid until `expires`.
    pub(crate) fn sign(
        &self,
        subject: TokenSubject,
        audiences: Vec<String>,
        now: WallTime,
        expires: WallTime,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        header.typ = None;
        let claims = Claims {
            aud: audiences,
            exp: expires.as_second(),
            iat: now.as_second(),
            nbf: now.as_second(),
            iss: ISSUER.to_owned(),
            jti: uuid::Uuid::new_v4().to_string(),
            sub: format!("system:serviceaccount:{}:{}", subject.namespace, subject.serviceaccount.name),
            subject,
        };
        jsonwebtoken::encode(&header, &claims, &self.encoding)
    }

    /// I14: the public key as a JSON Web Key Set.
    pub(crate) fn jwks(&self) -> serde_json::Value {
        serde_json::json!({ "keys": [{
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256", "x": self.x, "y": self.y,
        }]})
    }

    fn verify(&self, token: &str, audiences: &[String], now: WallTime) -> Option<Claims> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(audiences);
        validation.set_issuer(&[ISSUER]);
        // The time window is judged against the program's clock, below.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation).ok()?.claims;
        let (now, leeway) = (now.as_second(), i64::try_from(LEEWAY).unwrap_or(i64::MAX));
        (claims.exp + leeway > now && claims.nbf - leeway <= now).then_some(claims)
    }
}

/// The caller behind a token whose objects still exist (I12).
pub(super) async fn identify(
    api: &Api,
    token: &str,
    audiences: &[String],
) -> Option<(Identity, Vec<String>)> {
    let now = api.now();
    let claims = api.signer.verify(token, audiences, now)?;
    let subject = &claims.subject;
    let account = &subject.serviceaccount;
    exists(api, "serviceaccounts", &subject.namespace, account, now).await?;
    for (resource, namespace, bound) in [
        ("pods", subject.namespace.as_str(), &subject.pod),
        ("secrets", subject.namespace.as_str(), &subject.secret),
        ("nodes", "", &subject.node),
    ] {
        if let Some(bound) = bound {
            // A pod's token also names the node, which may have gone before the pod.
            if resource == "nodes" && subject.pod.is_some() {
                continue;
            }
            exists(api, resource, namespace, bound, now).await?;
        }
    }
    let audiences = audiences.iter().filter(|one| claims.aud.contains(one)).cloned().collect();
    Some((identity(&claims), audiences))
}

async fn exists(
    api: &Api,
    resource: &str,
    namespace: &str,
    bound: &Binding,
    now: WallTime,
) -> Option<Object> {
    let kind = api.registry.find("", "v1", resource)?;
    let object = api.storage.find(&kind, namespace, &bound.name).await.ok()??.object().ok()?;
    let deleted = object.str_at(&["metadata", "deletionTimestamp"]).parse().ok();
    (object.uid() == bound.uid && !is_past(deleted, now)).then_some(object)
}

/// I10.
fn identity(claims: &Claims) -> Identity {
    let subject = &claims.subject;
    let mut identity = Identity {
        user: claims.sub.clone(),
        uid: subject.serviceaccount.uid.clone(),
        groups: vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{}", subject.namespace),
        ],
        ..Identity::default()
    };
    let mut extra = |key: &str, value: &str| {
        identity.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
    };
    extra("credential-id", &format!("JTI={}", claims.jti));
    if let Some(pod) = &subject.pod {
        extra("pod-name", &pod.name);
        extra("pod-uid", &pod.uid);
    }
    if let Some(node) = &subject.node {
        extra("node-name", &node.name);
        extra("node-uid", &node.uid);
    }
    identity
}

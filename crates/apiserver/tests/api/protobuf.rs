//! Typed Go clients write protobuf and ask for it (0.1, B4, B5). The messages here are those of the generated types.

use bytes::{Buf as _, Bytes, BytesMut};
use http::Request;
use http_body_util::BodyExt as _;
use k8s_pb::api::core::v1 as core;
use k8s_pb::apimachinery::pkg::apis::meta::v1 as meta;
use outrigger_schema::protobuf::Envelope;
use prost::Message;

use crate::server::Server;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn sealed(api_version: &str, kind: &str, message: &impl Message) -> Bytes {
    let raw = message.encode_to_vec().into();
    Envelope { api_version: api_version.to_owned(), kind: kind.to_owned(), raw }.seal()
}

fn opened<M: Message + Default>(kind: &str, body: Bytes) -> M {
    let envelope = Envelope::open(body).unwrap();
    assert_eq!(envelope.kind, kind);
    M::decode(envelope.raw).unwrap()
}

fn request(method: &str, uri: &str, body: Bytes) -> Request<Bytes> {
    let accept = format!("{PROTOBUF},application/json");
    let builder = Request::builder().method(method).uri(uri).header("accept", accept);
    builder.header("content-type", PROTOBUF).body(body).unwrap()
}

fn config_map(name: &str) -> core::ConfigMap {
    core::ConfigMap {
        metadata: Some(meta::ObjectMeta { name: Some(name.to_owned()), ..Default::default() }),
        data: [("k".to_owned(), "v".to_owned())].into(),
        ..Default::default()
    }
}

/// B4, 0.1: create, read, list, update and delete without a word of JSON.
#[tokio::test]
async fn a_typed_client_needs_no_json() {
    let server = Server::start().await;
    let body = sealed("v1", "ConfigMap", &config_map("a"));
    let created = server.ask(request("POST", MAPS, body)).await;
    assert_eq!((created.code, created.content_type()), (201, PROTOBUF));
    let mut map: core::ConfigMap = opened("ConfigMap", created.body);
    let metadata = map.metadata.as_ref().unwrap();
    assert!(metadata.uid.is_some() && metadata.creation_timestamp.as_ref().unwrap().seconds > Some(0));

    map.data.insert("k".to_owned(), "w".to_owned());
    let body = sealed("v1", "ConfigMap", &map);
    let updated = server.ask(request("PUT", &format!("{MAPS}/a"), body)).await;
    let updated: core::ConfigMap = opened("ConfigMap", updated.body);
    assert_eq!(updated.data["k"], "w");

    let listed = server.ask(request("GET", MAPS, Bytes::new())).await;
    let listed: core::ConfigMapList = opened("ConfigMapList", listed.body);
    assert!(listed.items.iter().any(|item| item == &updated), "{listed:?}");
    assert!(listed.metadata.unwrap().resource_version.is_some());

    let options = meta::DeleteOptions { grace_period_seconds: Some(0), ..Default::default() };
    let body = sealed("v1", "DeleteOptions", &options);
    let deleted = server.ask(request("DELETE", &format!("{MAPS}/a"), body)).await;
    let status: meta::Status = opened("Status", deleted.body);
    assert_eq!(status.status.as_deref(), Some("Success"));
    server.stop().await;
}

/// E25: frames instead of lines.
#[tokio::test]
async fn watches_are_framed() {
    let server = Server::start().await;
    let watch = request("GET", &format!("{MAPS}?watch=true&fieldSelector=metadata.name=a"), Bytes::new());
    let watch = server.open(watch).await;
    assert_eq!(watch.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let body = sealed("v1", "ConfigMap", &config_map("a"));
    assert_eq!(server.ask(request("POST", MAPS, body)).await.code, 201);
    let mut body = watch.into_body();
    let mut received = BytesMut::new();
    let frame = loop {
        if received.len() >= 4 {
            let length = received.clone().get_u32() as usize;
            if received.len() >= 4 + length {
                break received.freeze().slice(4..4 + length);
            }
        }
        received.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
    };
    let event = meta::WatchEvent::decode(frame).unwrap();
    assert_eq!(event.r#type.as_deref(), Some("ADDED"));
    let map: core::ConfigMap = opened("ConfigMap", event.object.unwrap().raw.unwrap().into());
    assert_eq!(map.data["k"], "v");
    drop(body);
    server.stop().await;
}

/// B5, B18: what has no message is JSON; what is no message is refused.
#[tokio::test]
async fn what_has_no_message_is_refused_or_answered_in_json() {
    let server = Server::start().await;
    let table = Request::builder().uri(MAPS).header(
        "accept",
        format!("{PROTOBUF};as=Table;g=meta.k8s.io;v=v1,application/json;as=Table;g=meta.k8s.io;v=v1"),
    );
    let table = server.ask(table.body(Bytes::new()).unwrap()).await;
    assert_eq!((table.content_type(), table.json()["kind"].as_str()), ("application/json", Some("Table")));
    let garbage = server.ask(request("POST", MAPS, Bytes::from_static(b"{}"))).await;
    assert_eq!(garbage.code, 400);
    let message = garbage.json()["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("(must be of type ConfigMap): provided data does not appear to be a protobuf"),
        "{message}"
    );
    let other = sealed("v1", "Pod", &core::Pod::default());
    assert_eq!(server.ask(request("POST", MAPS, other)).await.code, 400);
    server.stop().await;
}

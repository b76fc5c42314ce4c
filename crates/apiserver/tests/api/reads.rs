//! Get, list and watch (section E).

use serde_json::{Value, json};

use crate::server::{Answer, Server};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const ALL: &str = "/api/v1/configmaps";

async fn make(server: &Server, name: &str, labels: Value) -> Value {
    let body = json!({"metadata": {"name": name, "labels": labels}});
    let made = server.post(MAPS, &body).await;
    assert_eq!(made.code, 201, "{}", made.text());
    made.json()
}

async fn several(server: &Server, names: &str) {
    for name in names.chars() {
        make(server, &name.to_string(), json!({"odd": if "ace".contains(name) { "y" } else { "n" }})).await;
    }
}

fn names(list: &Answer) -> String {
    let items = list.json()["items"].clone();
    let items = items.as_array().unwrap_or_else(|| panic!("{}", list.text()));
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// E3, B27: what is no number.
#[tokio::test]
async fn versions_and_limits_are_numbers() {
    let server = Server::start().await;
    make(&server, "a", json!({})).await;
    let unsigned = "resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax";
    for (query, message) in [
        (format!("{MAPS}?resourceVersion=x"), format!("invalid resource version: {unsigned}")),
        (format!("{MAPS}/a?resourceVersion=x"), unsigned.to_owned()),
        (format!("{MAPS}?watch=1&resourceVersion=x"), unsigned.to_owned()),
        (format!("{MAPS}?limit=x"), "strconv.ParseInt: parsing \"x\": invalid syntax".to_owned()),
        (
            format!("{MAPS}?watch=1&timeoutSeconds=x"),
            "strconv.ParseInt: parsing \"x\": invalid syntax".to_owned(),
        ),
    ] {
        let answer = server.get(&query).await;
        assert_eq!((answer.code, answer.message()), (400, message), "{query}");
    }
    server.stop().await;
}

/// E1, E6, E8: every way to say how new an answer must be.
#[tokio::test]
async fn reads_are_as_new_as_asked_for() {
    let server = Server::start().await;
    let first = version(&make(&server, "a", json!({})).await);
    let second = version(&make(&server, "b", json!({})).await);
    for (query, expected, at) in [
        (String::new(), "ab", second),
        ("resourceVersion=0".to_owned(), "ab", second),
        (format!("resourceVersion={first}"), "ab", second),
        (format!("resourceVersion={first}&limit=10"), "a", first),
        (format!("resourceVersion={first}&resourceVersionMatch=NotOlderThan"), "ab", second),
        (format!("resourceVersion={first}&resourceVersionMatch=NotOlderThan&limit=10"), "ab", second),
        ("resourceVersion=0&resourceVersionMatch=NotOlderThan".to_owned(), "ab", second),
        (format!("resourceVersion={first}&resourceVersionMatch=Exact"), "a", first),
    ] {
        let list = server.get(&format!("{MAPS}?{query}")).await;
        assert_eq!((names(&list).as_str(), version(&list.json())), (expected, at), "{query}");
    }
    for query in [String::new(), "?resourceVersion=0".to_owned(), format!("?resourceVersion={first}")] {
        assert_eq!(server.get(&format!("{MAPS}/a{query}")).await.code, 200, "{query}");
    }
    server.stop().await;
}

/// E2: options that contradict each other.
#[tokio::test]
async fn impossible_options_are_refused() {
    let server = Server::start().await;
    several(&server, "ab").await;
    let token = server.get(&format!("{ALL}?limit=1")).await.json()["metadata"]["continue"].clone();
    let token = token.as_str().unwrap();
    for (query, field, why) in [
        (
            "resourceVersionMatch=Exact".to_owned(),
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            format!("resourceVersionMatch=Exact&resourceVersion=3&continue={token}"),
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden when continue is provided",
        ),
        ("sendInitialEvents=true".to_owned(), "sendInitialEvents", "sendInitialEvents is forbidden for list"),
        (
            "watch=1&sendInitialEvents=true".to_owned(),
            "sendInitialEvents",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (
            "watch=1&resourceVersionMatch=NotOlderThan".to_owned(),
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (
            format!("watch=1&continue={token}"),
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden when continue is provided",
        ),
    ] {
        let answer = server.get(&format!("{ALL}?{query}")).await;
        let message = format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: Forbidden: {why}");
        assert_eq!((answer.code, answer.message()), (422, message), "{query}");
    }
    server.stop().await;
}

/// E4, E5, D36: a state that has not happened is waited for; an exact one is not.
#[tokio::test]
async fn the_future_is_waited_for() {
    let server = Server::start().await;
    let now = version(&make(&server, "a", json!({})).await);
    let future = now + 1000;
    // Three seconds pass at once.
    tokio::time::pause();
    let message = format!("Timeout: Too large resource version: {future}, current: {now}");
    let cause = json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]);
    for (uri, waits) in [
        (format!("{MAPS}/a?resourceVersion={future}"), true),
        (format!("{MAPS}?resourceVersion={future}"), true),
        (format!("{MAPS}?resourceVersion={future}&resourceVersionMatch=NotOlderThan"), true),
        (format!("{MAPS}?resourceVersion={future}&resourceVersionMatch=Exact"), false),
        (format!("{MAPS}?resourceVersion={future}&limit=1"), false),
    ] {
        let answer = server.get(&uri).await;
        assert_eq!((answer.code, answer.message()), (504, message.clone()), "{uri}");
        assert_eq!(
            (&answer.json()["reason"], &answer.json()["details"]["causes"]),
            (&json!("Timeout"), &cause)
        );
        assert_eq!(answer.header("retry-after"), if waits { "1" } else { "" }, "{uri}");
    }
    // E33a, E26: an event, as the stream has begun when it is known.
    let query =
        format!("watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion={future}");
    let mut watch = server.watch(&format!("{MAPS}?{query}")).await;
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(504)));
    assert_eq!(event["object"]["message"], json!(message));
    assert!(watch.next().await.is_none());
    tokio::time::resume();
    server.stop().await;
}

/// E9, E11, E14, E16: pages of one moment, in order.
#[tokio::test]
async fn pages_are_of_one_moment() {
    let server = Server::start().await;
    several(&server, "edcba").await;
    let first = server.get(&format!("{MAPS}?limit=2")).await;
    assert_eq!((names(&first).as_str(), &first.json()["metadata"]["remainingItemCount"]), ("ab", &json!(3)));
    let token = first.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    server.delete(&format!("{MAPS}/c"), &json!({})).await;
    make(&server, "b2", json!({})).await;
    let second = server.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!(names(&second), "cd");
    assert_eq!(version(&second.json()), version(&first.json()));
    let token = second.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    let last = server.get(&format!("{MAPS}?limit=2&continue={token}&resourceVersion=0")).await;
    assert_eq!(names(&last), "e");
    let metadata = &last.json()["metadata"];
    assert!(metadata.get("continue").is_none() && metadata.get("remainingItemCount").is_none());
    let refused = server.get(&format!("{MAPS}?continue={token}&resourceVersion=7")).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (400, "specifying resource version is not allowed when using continue")
    );
    // E9, E14: what a selector leaves out does not count, and then nobody knows how much is left.
    let odd = server.get(&format!("{MAPS}?limit=1&labelSelector=odd=y")).await;
    assert_eq!((names(&odd).as_str(), odd.json()["metadata"].get("remainingItemCount")), ("a", None));
    let token = odd.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    let odd = server.get(&format!("{MAPS}?limit=1&labelSelector=odd=y&continue={token}")).await;
    assert_eq!(names(&odd), "e");
    server.stop().await;
}

/// E23, E24, E25, E27, E30, E31: first what is there, then the mark, then what happens.
#[tokio::test]
async fn a_watch_begins_with_what_is_there() {
    let server = Server::start().await;
    several(&server, "ab").await;
    for query in [
        "watch=1",
        "watch=true&resourceVersion=0",
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
    ] {
        let mut watch = server.watch(&format!("{MAPS}?{query}&allowWatchBookmarks=1")).await;
        let mut seen = vec![watch.event().await.1, watch.event().await.1];
        seen.sort();
        assert_eq!(seen, ["a", "b"], "{query}");
        let mark = watch.next().await.unwrap();
        assert_eq!((&mark["type"], &mark["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
        assert_eq!(mark["object"]["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}));
        let made = make(&server, "c", json!({})).await;
        let event = watch.next().await.unwrap();
        assert_eq!((&event["type"], &event["object"]), (&json!("ADDED"), &made));
        assert!(version(&made) > version(&mark["object"]));
        server.delete(&format!("{MAPS}/c"), &json!({})).await;
    }
    // Without bookmarks there is no mark, and from a revision on there are no initial events.
    let mut plain = server.watch(&format!("{MAPS}?watch=1")).await;
    let from = version(&make(&server, "d", json!({})).await);
    for _ in 0..2 {
        plain.event().await;
    }
    assert_eq!(plain.event().await, ("ADDED".to_owned(), "d".to_owned()));
    make(&server, "e", json!({})).await;
    let mut later = server.watch(&format!("{MAPS}?watch=1&resourceVersion={from}")).await;
    assert_eq!(later.event().await, ("ADDED".to_owned(), "e".to_owned()));
    let mut now = server
        .watch(&format!("{MAPS}?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan"))
        .await;
    make(&server, "f", json!({})).await;
    assert_eq!(now.event().await, ("ADDED".to_owned(), "f".to_owned()));
    server.stop().await;
}

/// E28, E29, D26: a selector sees objects come and go; who goes has the revision of its going.
#[tokio::test]
async fn selectors_see_objects_come_and_go() {
    let server = Server::start().await;
    make(&server, "a", json!({"in": "no"})).await;
    let mut watch = server.watch(&format!("{MAPS}?watch=1&labelSelector=in=yes")).await;
    let label = |value: &str| json!({"metadata": {"labels": {"in": value}}});
    let uri = format!("{MAPS}/a");
    server.patch(&uri, &label("yes")).await;
    assert_eq!(watch.event().await.0, "ADDED");
    server.patch(&uri, &json!({"data": {"x": "1"}})).await;
    assert_eq!(watch.event().await.0, "MODIFIED");
    let gone = server.patch(&uri, &label("no")).await.json();
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], version(&event["object"])), (&json!("DELETED"), version(&gone)));
    assert_eq!(event["object"]["metadata"]["labels"]["in"], "yes");
    server.patch(&uri, &json!({"data": {"x": "2"}})).await;
    let back = version(&server.patch(&uri, &label("yes")).await.json());
    assert_eq!(watch.event().await.0, "ADDED");
    server.delete(&uri, &json!({})).await;
    let event = watch.next().await.unwrap();
    assert!(event["type"] == "DELETED" && version(&event["object"]) > back, "{event}");
    server.stop().await;
}

/// E30, E35: a bookmark a minute, one before the end, and the end is no error.
#[tokio::test]
async fn a_quiet_watch_is_kept_up_to_date_and_ends() {
    let server = Server::start().await;
    let start = version(&make(&server, "a", json!({})).await);
    let uri = format!("{MAPS}?watch=1&resourceVersion={start}&timeoutSeconds=90");
    let mut watch = server.watch(&format!("{uri}&allowWatchBookmarks=true")).await;
    let mut silent = server.watch(&uri).await;
    // Time passes at once where nobody has anything to do.
    tokio::time::pause();
    for _ in 0..2 {
        let mark = watch.next().await.unwrap();
        assert_eq!((&mark["type"], version(&mark["object"])), (&json!("BOOKMARK"), start));
        assert!(mark["object"]["metadata"].get("annotations").is_none(), "{mark}");
    }
    assert!(watch.next().await.is_none());
    assert!(silent.next().await.is_none());
    tokio::time::resume();
    server.stop().await;
}

/// E34, E22: what is wrong before a watch is accepted is an ordinary answer.
#[tokio::test]
async fn a_refused_watch_is_an_ordinary_answer() {
    let server = Server::start().await;
    for (uri, code) in [
        ("/api/v1/nopes?watch=1", 404),
        ("/api/v1/configmaps?watch=1&labelSelector=a%20b%20c", 400),
        ("/api/v1/configmaps?watch=1&fieldSelector=data=x", 400),
        ("/api/v1/watch/namespaces/default/configmaps/a?fieldSelector=metadata.name=b", 400),
    ] {
        let answer = server.get(uri).await;
        assert_eq!((answer.code, answer.json()["kind"].as_str()), (code, Some("Status")), "{uri}");
    }
    let nobody = &[("impersonate-user", "nobody")][..];
    assert_eq!(server.get_with("/api/v1/configmaps?watch=1", nobody).await.code, 403);
    server.stop().await;
}

/// E39, G5: columns come with the first event only.
#[tokio::test]
async fn a_table_watch_has_one_header() {
    let server = Server::start().await;
    several(&server, "ab").await;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let request = http::Request::builder().uri(format!("{MAPS}?watch=1")).header("accept", accept);
    let response = server.open(request.body(bytes::Bytes::new()).unwrap()).await;
    let mut watch = crate::server::Watch::of(response);
    let first = watch.next().await.unwrap()["object"].clone();
    assert_eq!((&first["kind"], first["rows"].as_array().unwrap().len()), (&json!("Table"), 1));
    assert_eq!(first["columnDefinitions"][0]["name"], "Name");
    let second = watch.next().await.unwrap()["object"].clone();
    assert!(second["columnDefinitions"].is_null() && second["rows"][0]["cells"].is_array(), "{second}");
    server.stop().await;
}

/// E43, E44: rights are looked at once; a namespace's watch hears of no other.
#[tokio::test]
async fn a_watch_is_of_its_namespace_and_keeps_its_rights() {
    let server = Server::start().await;
    assert_eq!(server.post("/api/v1/namespaces", &json!({"metadata": {"name": "other"}})).await.code, 201);
    let rbac = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let binding = json!({"metadata": {"name": "w"}, "subjects": [{"kind": "User", "name": "w", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}});
    assert_eq!(server.post(rbac, &binding).await.code, 201);
    let open = |uri: &'static str| {
        let request = http::Request::builder().uri(uri).header("impersonate-user", "w");
        server.open(request.body(bytes::Bytes::new()).unwrap())
    };
    const NAMESPACED: &str = "/api/v1/namespaces/default/configmaps?watch=1";
    let mut own = crate::server::Watch::of(open(NAMESPACED).await);
    assert_eq!(server.delete(&format!("{rbac}/w"), &json!({})).await.code, 200);
    assert_eq!(open(NAMESPACED).await.status(), 403);
    let mut all =
        server.watch("/api/v1/configmaps?watch=1&fieldSelector=metadata.name!=kube-root-ca.crt").await;
    let elsewhere =
        server.post("/api/v1/namespaces/other/configmaps", &json!({"metadata": {"name": "there"}})).await;
    assert_eq!(elsewhere.code, 201);
    make(&server, "here", json!({})).await;
    assert_eq!(own.event().await.1, "here");
    let mut seen = vec![all.event().await.1];
    while seen.last().unwrap() != "here" {
        seen.push(all.event().await.1);
    }
    assert!(seen.contains(&"there".to_owned()), "{seen:?}");
    server.stop().await;
}

//! Connections and sessions against a client of ours, over a connection in memory.

use futures::FutureExt as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::sync::{mpsc, oneshot};

use super::frame::Frame;
use super::testing::Client;
use super::{Offer, connection, session};
use crate::agent::{Session, SessionEnd, StreamOptions, TerminalSize};

fn connect() -> (Client, mpsc::Receiver<Offer>, tokio::task::JoinHandle<()>) {
    let (ours, theirs) = duplex(64 * 1024);
    let (sender, offers) = mpsc::channel(8);
    let (reader, writer) = tokio::io::split(theirs);
    (Client::new(ours), offers, tokio::spawn(connection::run(reader, writer, sender)))
}

fn kind(kind: &str) -> Vec<(&'static str, String)> {
    vec![("streamtype", kind.to_owned())]
}

/// H32: frames for streams that are no more, or never were, harm nobody; a reset is seen by who reads.
#[tokio::test]
async fn streams_end_by_either_side() {
    let (mut client, mut offers, _running) = connect();
    client.open(1, false, kind("a")).await;
    let mut stream = offers.recv().await.unwrap().accept();
    client.say(1, b"x", false).await;
    client.reset(1).await;
    let mut text = Vec::new();
    let error = stream.read_to_end(&mut text).await.unwrap_err();
    assert_eq!((text.as_slice(), error.kind()), (&b"x"[..], std::io::ErrorKind::ConnectionReset));
    stream.write_all(b"late").await.expect_err("the client will not read it");
    client.say(1, b"late", true).await;
    client.say(9, b"never opened", true).await;
    assert_eq!(client.listen(&[9]).await[&9].end, Some(Err(2)), "INVALID_STREAM");
    client.open(3, false, kind("b")).await;
    drop(offers.recv().await.unwrap().accept());
    assert_eq!(client.listen(&[3]).await[&3].end, Some(Err(5)), "CANCEL");
    client.open(3, false, kind("again")).await;
    client.ping(7).await;
}

/// What is not SPDY ends the connection, and streams with it.
#[tokio::test]
async fn noise_ends_the_connection() {
    let (mut client, mut offers, running) = connect();
    client.open(1, false, kind("a")).await;
    let mut stream = offers.recv().await.unwrap().accept();
    client.noise(b"\x80\x02GET / HTTP/1.1\r\n\r\n").await;
    running.await.unwrap();
    stream.read(&mut [0]).await.expect_err("the connection is gone");
    stream.gone().await;
}

/// A stream nobody reads holds the connection back; nothing is lost when somebody does.
#[tokio::test]
async fn unread_input_is_bounded_and_kept() {
    let (mut client, mut offers, _running) = connect();
    client.open(1, false, kind("a")).await;
    let mut stream = offers.recv().await.unwrap().accept();
    const SIZE: usize = 16 * 1024 * 1024;
    let sending = async {
        for _ in 0..SIZE / 32_768 {
            client.say(1, &[7; 32_768], false).await;
        }
        client.say(1, b"", true).await;
    };
    let mut sending = std::pin::pin!(sending);
    // As far as it goes without a reader, which is not to the end.
    for _ in 0..2000 {
        assert!(futures::poll!(&mut sending).is_pending());
        tokio::task::yield_now().await;
    }
    let mut sum = 0;
    let reading = async {
        let mut chunk = vec![0; 65_536];
        loop {
            match stream.read(&mut chunk).await.unwrap() {
                0 => return,
                length => sum += length,
            }
        }
    };
    tokio::join!(sending, reading);
    assert_eq!(sum, SIZE);
}

/// H30, H31, H26: a whole session with a terminal, and its end as a Status on the error stream.
#[tokio::test]
async fn a_session_over_streams() {
    let (ours, theirs) = duplex(64 * 1024);
    let mut client = Client::new(ours);
    let (stdin, mut process_input) = duplex(1024);
    let (stdout, mut process_output) = duplex(1024);
    let (end, ended) = oneshot::channel();
    let (resize, mut sizes) = mpsc::channel(4);
    let begun = Session {
        stdin: Some(Box::new(stdin)),
        stdout: Some(Box::new(stdout)),
        stderr: None,
        resize: Some(resize),
        end: async move { ended.await.unwrap_or(SessionEnd::Detached) }.boxed(),
    };
    let wanted = StreamOptions { stdin: true, stdout: true, stderr: false, tty: true };
    let protocol = session::negotiate(["v9", "v4.channel.k8s.io"].into_iter()).unwrap();
    let serving =
        tokio::spawn(session::serve(tokio::io::split(theirs), protocol, wanted, || async { begun }));
    for (id, name) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr"), (9, "resize")] {
        client.open(id, false, kind(name)).await;
    }
    client.say(9, b"{\"Width\":80,\"Height\":24}{\"Width\":", false).await;
    client.say(9, b"81,\"Height\":25}\n", false).await;
    client.say(3, b"ahoy", true).await;
    let mut heard = String::new();
    process_input.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "ahoy");
    assert_eq!(sizes.recv().await, Some(TerminalSize { width: 80, height: 24 }));
    assert_eq!(sizes.recv().await, Some(TerminalSize { width: 81, height: 25 }));
    end.send(SessionEnd::Exited(3)).unwrap();
    process_output.write_all(b"last words").await.unwrap();
    drop(process_output);
    let heard = client.listen(&[1, 5, 7]).await;
    assert_eq!(heard[&5].data, b"last words");
    assert_eq!(heard[&7].end, Some(Err(3)), "stderr was not asked for");
    let status: Value = serde_json::from_slice(&heard[&1].data).unwrap();
    assert_eq!(status["details"]["causes"][0]["message"], "3");
    while let Some(frame) = client.frame().await {
        if matches!(frame, Frame::GoAway { .. }) {
            drop(client);
            break;
        }
    }
    serving.await.unwrap();
}

/// H31: a client that does not open what it asked for is not waited for without end.
#[tokio::test(start_paused = true)]
async fn a_session_needs_its_streams() {
    let (ours, theirs) = duplex(1024);
    let mut client = Client::new(ours);
    let wanted = StreamOptions { stdout: true, ..StreamOptions::default() };
    let protocol = session::negotiate(["v4.channel.k8s.io"].into_iter()).unwrap();
    let start = || async { panic!("it must not begin") };
    let serving = tokio::spawn(session::serve(tokio::io::split(theirs), protocol, wanted, start));
    client.open(1, false, kind("error")).await;
    assert_eq!(client.listen(&[1]).await[&1].end, Some(Err(5)));
    drop(client);
    serving.await.unwrap();
}

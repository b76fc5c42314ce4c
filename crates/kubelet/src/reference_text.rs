//! Durations, socket errors and quoted bytes in the words the reference uses: they end up in events people search for.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

/// `1.234s`, `12ms`, `1m30s`, rounded to milliseconds.
pub(crate) fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0..1000 => format!("{millis}ms"),
        1000..60_000 => format!("{}s", trim(millis, 1000)),
        60_000..3_600_000 => format!("{}m{}s", millis / 60_000, trim(millis % 60_000, 1000)),
        _ => {
            let minutes = millis / 60_000;
            format!("{}h{}m{}s", minutes / 60, minutes % 60, trim(millis % 60_000, 1000))
        }
    }
}

fn trim(value: u128, unit: u128) -> String {
    let text = format!("{}.{:03}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `connection refused`: the error's own words without the number, in lower case.
pub(crate) fn io_words(error: &io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = plain.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

/// `10.0.0.1:80`, `[fd00::1]:80`.
pub(crate) fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A TCP connection; no limit of its own.
///
/// # Errors
/// `dial tcp 10.0.0.1:80: connect: connection refused`.
pub(crate) async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    let found = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<SocketAddr> = found.map(Iterator::collect).unwrap_or_default();
    let mut problem = format!("dial tcp: lookup {host}: no such host");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => problem = format!("dial tcp {address}: connect: {}", io_words(&error)),
        }
    }
    Err(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R5.24, R6.15
    #[test]
    fn durations() {
        let text = |millis| duration(Duration::from_millis(millis));
        assert_eq!([text(12), text(1500), text(2000), text(61_250)], ["12ms", "1.5s", "2s", "1m1.25s"]);
        assert_eq!([text(60_000), text(3_600_000)], ["1m0s", "1h0m0s"]);
    }

    /// R6.19
    #[tokio::test]
    async fn refused_connections() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(dial("127.0.0.1", port).await.is_ok());
        drop(listener);
        let refused = dial("127.0.0.1", port).await.unwrap_err();
        assert_eq!(refused, format!("dial tcp 127.0.0.1:{port}: connect: connection refused"));
        assert_eq!(dial("", port).await.unwrap_err(), "dial tcp: lookup : no such host");
        assert_eq!(host_port("::1", 8), "[::1]:8");
    }
}

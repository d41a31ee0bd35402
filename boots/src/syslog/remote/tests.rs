use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use axum::routing::post;
use axum::{Json, Router};
use reqwest::header::HeaderMap;
use tokio::net::TcpListener;

use super::*;

fn line(text: &str) -> SyslogLine {
    SyslogLine { mac: None, address: Some(Ipv4Addr::LOCALHOST.into()), tag: "t".to_owned(), text: text.to_owned(), step: None }
}

/// A server that answers the numbered call, and keeps the lines that it takes.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Vec<String>>>, Arc<AtomicUsize>);

impl Server {
    fn on(&self, listener: TcpListener, answer: fn(usize, &[SyslogLine]) -> StatusCode) {
        let server = self.clone();
        let handle = move |Json(lines): Json<Vec<SyslogLine>>| {
            let status = answer(server.1.fetch_add(1, Ordering::Relaxed), &lines);
            if status.is_success() {
                server.0.lock().unwrap().extend(lines.into_iter().map(|line| line.text));
            }
            std::future::ready(status)
        };
        let router = Router::new().route(api::paths::SYSLOG, post(handle));
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    }

    async fn until(&self, count: usize) -> Vec<String> {
        let wait = async {
            loop {
                let lines = self.0.lock().unwrap().clone();
                if lines.len() >= count {
                    return lines;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the lines do not arrive")
    }
}

async fn started() -> (RemoteSink, TcpListener) {
    // This has no effect if another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (sink, sending) = sink(Arc::new(
        Upstream::new(vec![format!("http://{}", listener.local_addr().unwrap())], HeaderMap::new(), None).unwrap(),
    ));
    tokio::spawn(sending);
    (sink, listener)
}

#[tokio::test]
async fn a_server_that_restarts_misses_no_line() {
    let (sink, listener) = started().await;
    let expected: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    expected.iter().for_each(|text| sink.send(line(text)));
    drop(listener.accept().await.unwrap()); // the call breaks off
    let server = Server::default();
    server.on(listener, |call, _| if call == 0 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK });
    assert_eq!(server.until(expected.len()).await, expected);
}

#[tokio::test]
async fn a_line_that_the_server_does_not_take_costs_no_other_one() {
    let (sink, listener) = started().await;
    for number in 0..50 {
        sink.send(line(if number == 20 { "too large" } else { "fits" }));
    }
    let server = Server::default();
    server.on(listener, |_, lines| match lines.iter().any(|line| line.text == "too large") {
        true => StatusCode::PAYLOAD_TOO_LARGE,
        false => StatusCode::OK,
    });
    assert_eq!(server.until(49).await, ["fits"; 49]);
    sink.send(line("later"));
    assert_eq!(
        server.until(51).await[49..],
        ["later", "(1 lines of machines were dropped, because the server did not take them)"]
    );
}

#[test]
fn a_call_has_a_limit_of_bytes_that_the_server_takes() {
    let lines = vec![line(&"\"".repeat(8192)); AT_ONCE];
    let count = fitting(&lines, AT_ONCE);
    let bytes = serde_json::to_vec(&lines[..count]).unwrap().len();
    assert!((100..AT_ONCE).contains(&count) && bytes < 4 << 20, "{count} lines, {bytes} bytes");
    assert_eq!(fitting(&[line(&"x".repeat(2 << 20))], AT_ONCE), 1, "a line that is too long goes alone");
    assert_eq!(fitting(&vec![line("x"); AT_ONCE], 3), 3);
}

#[test]
fn only_what_may_go_away_is_tried_again() {
    for (status, expected) in [
        (None, Outcome::Later),
        (Some(503), Outcome::Later),
        (Some(429), Outcome::Later),
        (Some(204), Outcome::Taken),
        (Some(413), Outcome::TooLarge),
        (Some(403), Outcome::Refused),
    ] {
        assert_eq!(outcome(status.map(|status| StatusCode::from_u16(status).unwrap())), expected, "{status:?}");
    }
}

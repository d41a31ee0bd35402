//! What clients of the API wait for: a list of everything, and an event of a watch.

use std::path::Path;
use std::time::{Duration, Instant};

use access::{Grant, Lifetime, Role};
use futures_util::StreamExt;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Certificate, Client, RequestBuilder};
use tokio::sync::mpsc;

use crate::measure::{median, milliseconds};
use crate::process::{Addresses, Process, access};

const WORKFLOWS: &str = "/apis/tinkerbell.org/v1alpha1/namespaces/default/workflows";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const LISTS: usize = 9;
const EVENTS: usize = 200;

/// A client with a token, by TLS.
pub struct Reader {
    client: Client,
    token: String,
    base: String,
}

impl Reader {
    pub fn of(store: &Path, addresses: Addresses) -> Self {
        let access = access(store);
        let now = jiff::Timestamp::now();
        let (token, _) = access.tokens.create("bench", Grant::everywhere(Role::Operator), Lifetime::days(1), now).unwrap();
        let authority = Certificate::from_pem(access.authority.pem().as_bytes()).unwrap();
        let client = Client::builder().tls_certs_only([authority]).build().unwrap();
        Self { client, token, base: format!("https://{}", addresses.https) }
    }

    fn with(&self, request: impl FnOnce(&Client, String) -> RequestBuilder, path: &str) -> RequestBuilder {
        request(&self.client, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    /// Milliseconds until the whole list has come, its size in MiB, and the processor time of the server for it.
    async fn list(&self, server: &Process, accept: &str) -> (f64, f64, f64) {
        let (mut took, mut size, before) = (Vec::new(), 0, server.ticks());
        for _ in 0..LISTS {
            let began = Instant::now();
            let answer = self.with(|client, url| client.get(url), WORKFLOWS).header(ACCEPT, accept).send().await.unwrap();
            size = answer.error_for_status().unwrap().bytes().await.unwrap().len();
            took.push(milliseconds(began));
        }
        let processor = (server.ticks() - before) as f64 * 10.0 / LISTS as f64;
        (median(&took), size as f64 / f64::from(1 << 20), processor)
    }

    pub async fn lists(&self, server: &Process, objects: usize) {
        for (what, accept) in [("whole", "application/json"), ("table", TABLE)] {
            let (took, size, processor) = self.list(server, accept).await;
            println!(
                "list, {what}       {took:8.0} ms for {objects} Workflows by TLS, {size:.0} MiB, {processor:.0} ms of the server's processor (bar 500)"
            );
        }
    }

    /// Milliseconds from the acknowledged change to its event at a watching client.
    pub async fn events(&self) {
        let path = format!("{WORKFLOWS}?watch=true&resourceVersion=0&fieldSelector=metadata.name%3Dinstall-7");
        let watch = self.with(|client, url| client.get(url), &path).send().await.unwrap().error_for_status().unwrap();
        let (seen, mut events) = mpsc::unbounded_channel();
        let watching = tokio::spawn(async move {
            let mut parts = watch.bytes_stream();
            while let Some(Ok(part)) = parts.next().await {
                for _ in part.iter().filter(|byte| **byte == b'\n') {
                    let _ = seen.send(Instant::now()); // an error means that this is over
                }
            }
        });
        let mut next = async || tokio::time::timeout(Duration::from_secs(20), events.recv()).await.expect("no event").unwrap();
        next().await; // the object as it was
        let (mut whole, mut after) = (Vec::new(), Vec::new());
        for number in 0..EVENTS {
            let change = format!("{{\"metadata\":{{\"labels\":{{\"bench\":\"n{number}\"}}}}}}");
            let began = Instant::now();
            let patch = self.with(|client, url| client.patch(url), &format!("{WORKFLOWS}/install-7"));
            let patch = patch.header(CONTENT_TYPE, "application/merge-patch+json").body(change);
            patch.send().await.unwrap().error_for_status().unwrap();
            let acknowledged = Instant::now();
            let seen = next().await;
            whole.push(seen.duration_since(began).as_secs_f64() * 1000.0);
            after.push(seen.saturating_duration_since(acknowledged).as_secs_f64() * 1000.0);
        }
        watching.abort();
        after.sort_by(f64::total_cmp);
        let (middle, late) = (after[EVENTS / 2], after[EVENTS * 99 / 100]);
        println!(
            "watch event       {middle:8.2} ms after the acknowledged commit, {late:.2} ms for 1 % of them; {:.2} ms after the request (bar 10)",
            median(&whole)
        );
    }
}

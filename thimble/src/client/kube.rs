//! Objects by the API in Kubernetes' shape: one, a list, and what changes.

use std::time::Duration;

use anyhow::anyhow;
use model::ObjectName;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::connection::{Connection, Lines, Opened};
use super::resources::{Kind, text};
use super::scope::{Scope, Target, Which};

/// Objects of one answer.
const PAGE: &str = "500";
/// The pause before the server is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// The objects that a list selects, and its revision.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub items: Vec<Value>,
    pub revision: String,
}

/// One object.
pub(super) async fn one(server: &Connection, kind: &Kind, name: &ObjectName) -> anyhow::Result<Value> {
    // The server's text has neither kind nor namespace in the words of commands.
    find(server, kind, name).await?.ok_or_else(|| anyhow!("{} {} does not exist", kind.shown(), kind.full_name(name)))
}

/// One object, if it exists.
pub(super) async fn find(server: &Connection, kind: &Kind, name: &ObjectName) -> anyhow::Result<Option<Value>> {
    let answer = server.call(Method::GET, &kind.object_path(name), String::new()).await?;
    match answer.code {
        code if code.is_success() => Ok(Some(whole(kind, answer.read()?))),
        StatusCode::NOT_FOUND => Ok(None),
        _ => Err(answer.refusal()),
    }
}

/// A list by pages.
pub(super) async fn list(server: &Connection, kind: &Kind, namespace: Option<&str>, scope: &Scope) -> anyhow::Result<Listed> {
    let (mut listed, mut token) = (Listed::default(), String::new());
    loop {
        let more = [("limit", PAGE), ("continue", token.as_str())];
        let more = if token.is_empty() { more.get(..1) } else { more.get(..) };
        let path = format!("{}{}", kind.path(namespace), scope.query(more.unwrap_or_default()));
        let answer = server.call(Method::GET, &path, String::new()).await?;
        if !answer.code.is_success() {
            return Err(answer.refusal());
        }
        let page: Value = answer.read()?;
        let items = page.get("items").and_then(Value::as_array).into_iter().flatten();
        listed.items.extend(items.map(|item| whole(kind, item.clone())));
        text(&page, "/metadata/resourceVersion").clone_into(&mut listed.revision);
        text(&page, "/metadata/continue").clone_into(&mut token);
        if token.is_empty() {
            return Ok(listed);
        }
    }
}

/// The objects that a target means: one, or those of its list.
pub(super) async fn all_of(server: &Connection, target: &Target, scope: &Scope) -> anyhow::Result<Vec<Value>> {
    match &target.which {
        Which::Named(name) => Ok(vec![one(server, target.kind, name).await?]),
        Which::Listed(namespace) => Ok(list(server, target.kind, namespace.as_deref(), scope).await?.items),
    }
}

/// Items of a list name their kind in the list only.
fn whole(kind: &Kind, mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), kind.api_version.into());
        fields.insert("kind".to_owned(), kind.kind.into());
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields"); // for programs that apply, not for people
    }
    object
}

/// A line of a watch.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    change: String,
    object: Value,
}

/// What a watch reports.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    /// New or changed.
    Is(Value),
    Deleted(Value),
}

/// Changes since a list, also over restarts of the server.
pub(super) struct Watch<'c> {
    server: &'c Connection,
    kind: &'static Kind,
    namespace: Option<String>,
    scope: Scope,
    revision: String,
    lines: Option<Lines<Line>>,
    /// Of a list that replaced a watch whose revision the server no longer knew.
    pending: std::collections::VecDeque<Seen>,
}

impl<'c> Watch<'c> {
    pub(super) fn new(
        server: &'c Connection,
        kind: &'static Kind,
        namespace: Option<String>,
        scope: Scope,
        revision: String,
    ) -> Self {
        Self { server, kind, namespace, scope, revision, lines: None, pending: std::collections::VecDeque::new() }
    }

    /// The next change.
    ///
    /// # Errors
    /// If the server refuses the watch. A server that is stopped is waited for.
    pub(super) async fn next(&mut self) -> anyhow::Result<Seen> {
        loop {
            if let Some(seen) = self.pending.pop_front() {
                return Ok(seen);
            }
            let Some(lines) = &mut self.lines else {
                self.open().await?;
                continue;
            };
            let Some(Line { change, object }) = lines.next().await? else {
                self.lines = None;
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            if change == "ERROR" {
                self.lines = None;
                if object.get("code").and_then(Value::as_u64) != Some(410) {
                    return Err(anyhow!("the server ended the watch: {}", text(&object, "/message")));
                }
                self.relist().await?;
                continue;
            }
            text(&object, "/metadata/resourceVersion").clone_into(&mut self.revision);
            match change.as_str() {
                "DELETED" => return Ok(Seen::Deleted(whole(self.kind, object))),
                "BOOKMARK" => {}
                _ => return Ok(Seen::Is(whole(self.kind, object))),
            }
        }
    }

    async fn open(&mut self) -> anyhow::Result<()> {
        let more = [("watch", "true"), ("allowWatchBookmarks", "true"), ("resourceVersion", self.revision.as_str())];
        let path = format!("{}{}", self.kind.path(self.namespace.as_deref()), self.scope.query(&more));
        match self.server.open(&path).await {
            Ok(Opened::Lines(lines)) => self.lines = Some(lines),
            Ok(Opened::Refused(answer)) if answer.code == StatusCode::GONE => self.relist().await?,
            Ok(Opened::Refused(answer)) if !answer.code.is_server_error() => return Err(answer.refusal()),
            Ok(Opened::Refused(_)) | Err(_) => tokio::time::sleep(AGAIN).await, // it starts, or it is stopped
        }
        Ok(())
    }

    /// Shows what is newer than the last change that was seen.
    async fn relist(&mut self) -> anyhow::Result<()> {
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        let listed = list(self.server, self.kind, self.namespace.as_deref(), &self.scope).await?;
        let last = number(&self.revision);
        let newer = |item: &Value| number(text(item, "/metadata/resourceVersion")) > last;
        self.pending.extend(listed.items.into_iter().filter(newer).map(Seen::Is));
        self.revision = listed.revision;
        Ok(())
    }
}

//! The body of a watch: one JSON line for each change, bookmarks now and then.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::refusal::Refusal;
use super::selector::Selector;
use super::store::Store;

/// How long nothing may happen before a bookmark is sent.
const BOOKMARKS: Duration = Duration::from_millis(500);

/// What a watch asks for.
pub(crate) struct Options {
    /// Of which revision its client knows; none: it wants to be told what there is first.
    pub(crate) since: Option<u64>,
    pub(crate) bookmarks: bool,
    /// Wants to know when it has been told what there is.
    pub(crate) marks_initial: bool,
    pub(crate) timeout: Duration,
}

/// A running watch.
struct Watching {
    store: Arc<Store>,
    selector: Selector,
    options: Options,
    at: u64,
    /// Lines to send before anything else.
    pending: Vec<Value>,
    revision: watch::Receiver<u64>,
    epoch: watch::Receiver<u64>,
    ends: Instant,
    over: bool,
}

/// Starts one; it ends when `epoch` changes.
pub(crate) fn stream(
    store: &Arc<Store>,
    selector: Selector,
    options: Options,
    epoch: watch::Receiver<u64>,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + use<> {
    let revision = store.revision();
    let (pending, at) = match options.since {
        Some(since) => (Vec::new(), since),
        None => store.initial(&selector),
    };
    let ends = Instant::now() + options.timeout;
    let store = Arc::clone(store);
    let mut watching = Watching {
        store,
        selector,
        options,
        at,
        pending,
        revision,
        epoch,
        ends,
        over: false,
    };
    if watching.options.marks_initial {
        let mut bookmark = watching.bookmark();
        bookmark["object"]["metadata"]["annotations"] =
            json!({"k8s.io/initial-events-end": "true"});
        watching.pending.push(bookmark);
    }
    unfold(watching, |mut watching| async move {
        watching
            .next()
            .await
            .map(|lines| (Ok(frame(&lines)), watching))
    })
}

fn frame(lines: &[Value]) -> Frame<Bytes> {
    Frame::data(
        lines
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>()
            .into(),
    )
}

impl Watching {
    async fn next(&mut self) -> Option<Vec<Value>> {
        loop {
            if self.over {
                return None;
            }
            if !self.pending.is_empty() {
                return Some(std::mem::take(&mut self.pending));
            }
            self.revision.mark_unchanged();
            match self.store.changes(self.at, &self.selector) {
                Err(refusal) => {
                    self.over = true;
                    return Some(vec![
                        json!({"type": "ERROR", "object": Refusal::status(&refusal)}),
                    ]);
                }
                Ok((events, at)) => {
                    self.at = at;
                    self.pending = events;
                }
            }
            if self.pending.is_empty() {
                self.wait().await;
            }
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.revision.changed() => {}
            _ = self.epoch.changed() => self.over = true,
            () = sleep_until(self.ends) => self.over = true,
            () = tokio::time::sleep(BOOKMARKS), if self.options.bookmarks => self.pending.push(self.bookmark()),
        }
    }

    fn bookmark(&self) -> Value {
        let resource = self.selector.target().resource;
        let metadata = json!({"resourceVersion": self.at.to_string()});
        let object = json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata});
        json!({"type": "BOOKMARK", "object": object})
    }
}

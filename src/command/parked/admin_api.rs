//! Parked events by the admin API of a running dispatcher.

use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;

use super::{ParkedClient, ParkedSubscriptionName};
use crate::channel::parked::{ParkedAction, ParkedChange, ParkedEvent, ParkedListing};
use crate::cli::AdminOptions;
use crate::command::admin::{AdminClient, path_of_name};

/// A client of a running dispatcher.
pub(super) struct AdminParkedClient(AdminClient);

/// The response about one subscription, whatever the request was.
#[derive(Deserialize)]
#[serde(default)]
struct ParkedItem {
    kind: String,
    namespace: String,
    name: String,
    /// The number of parked events.
    parked: u64,
    /// The number of events that were read for this response.
    looked: u64,
    events: Vec<ParkedEvent>,
    /// The number of events that were put back.
    replayed: u64,
    /// The number of events that were deleted.
    dropped: u64,
    /// True if the operation ended before all events were handled.
    stopped: bool,
}

impl Default for ParkedItem {
    fn default() -> Self {
        let (kind, namespace, name) = (String::new(), String::new(), String::new());
        Self {
            kind,
            namespace,
            name,
            parked: 0,
            looked: 0,
            events: Vec::new(),
            replayed: 0,
            dropped: 0,
            stopped: false,
        }
    }
}

impl ParkedItem {
    /// The subscription, and how many parked events it has.
    fn into_count(self) -> (ParkedSubscriptionName, u64) {
        let name = ParkedSubscriptionName {
            kind: self.kind,
            namespace: self.namespace,
            name: self.name,
        };
        (name, self.parked)
    }
}

impl AdminParkedClient {
    pub(super) fn new(options: &AdminOptions) -> anyhow::Result<Self> {
        AdminClient::new(options).map(Self)
    }

    async fn list(&self, name: Option<&str>) -> anyhow::Result<Vec<(ParkedSubscriptionName, u64)>> {
        // If there is no such name, the dispatcher says why; with limit 0 it reads no event.
        let path = name.map_or_else(
            || "/api/v1/parked".to_owned(),
            |name| format!("{}?limit=0", path(name)),
        );
        let items = parse_items(self.0.get(&path).await?)?;
        Ok(items.into_iter().map(ParkedItem::into_count).collect())
    }

    async fn show(
        &self,
        target: &ParkedSubscriptionName,
        older_than: Duration,
    ) -> anyhow::Result<ParkedListing> {
        let path = format!("{}?{}", path(&name(target)), query(target, older_than));
        let ParkedItem {
            parked,
            looked,
            events,
            ..
        } = parse_item(self.0.get(&path).await?)?;
        Ok(ParkedListing {
            parked,
            examined: looked,
            events,
        })
    }

    async fn change(
        &self,
        target: &ParkedSubscriptionName,
        action: ParkedAction,
        older_than: Duration,
    ) -> anyhow::Result<ParkedChange> {
        let verb = match action {
            ParkedAction::Replay => "replay",
            ParkedAction::Discard => "drop",
        };
        let path = format!(
            "{}/{verb}?{}",
            path(&name(target)),
            query(target, older_than)
        );
        let ParkedItem {
            replayed,
            dropped,
            stopped,
            ..
        } = parse_item(self.0.post(&path).await?)?;
        Ok(ParkedChange {
            done: replayed + dropped,
            stopped,
        })
    }
}

impl ParkedClient for AdminParkedClient {
    fn list<'a>(
        &'a self,
        name: Option<&'a str>,
    ) -> BoxFuture<'a, anyhow::Result<Vec<(ParkedSubscriptionName, u64)>>> {
        self.list(name).boxed()
    }

    fn show_parked<'a>(
        &'a self,
        target: &'a ParkedSubscriptionName,
        older_than: Duration,
    ) -> BoxFuture<'a, anyhow::Result<ParkedListing>> {
        self.show(target, older_than).boxed()
    }

    fn change<'a>(
        &'a self,
        target: &'a ParkedSubscriptionName,
        action: ParkedAction,
        older_than: Duration,
    ) -> BoxFuture<'a, anyhow::Result<ParkedChange>> {
        self.change(target, action, older_than).boxed()
    }
}

fn name(target: &ParkedSubscriptionName) -> String {
    format!("{}/{}", target.namespace, target.name)
}

fn path(name: &str) -> String {
    format!("/api/v1/parked/{}", path_of_name(name))
}

fn query(target: &ParkedSubscriptionName, older_than: Duration) -> String {
    format!(
        "kind={}&olderThan=PT{}S",
        target.kind,
        older_than.as_secs_f64()
    )
}

fn parse_items(answer: serde_json::Value) -> anyhow::Result<Vec<ParkedItem>> {
    #[derive(Deserialize)]
    struct ParkedItemsResponse {
        items: Vec<ParkedItem>,
    }
    let answer: ParkedItemsResponse =
        serde_json::from_value(answer).context("the dispatcher's answer is not understood")?;
    Ok(answer.items)
}

fn parse_item(answer: serde_json::Value) -> anyhow::Result<ParkedItem> {
    parse_items(answer)?
        .pop()
        .context("the dispatcher's answer is empty")
}

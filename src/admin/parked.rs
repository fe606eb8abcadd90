//! Parked events over the admin API, for each backend that keeps them: `GET
//! /api/v1/parked[?namespace=]`, `GET /api/v1/parked/NAMESPACE/NAME`, and `POST` to `replay` and
//! `drop` below that.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::answer::{self, AdminRefusal, AdminResponse};
use super::operations::AdminOperations;
use crate::channel::parked::{
    ParkedAction, ParkedChange, ParkedError, ParkedOperation, ParkedStore, ParkingSubscription,
    parking_subscriptions,
};
use crate::model::{BackendKind, RoutingTable, SubscriptionKind, parse_duration};
use crate::wire_text::WireText;

/// Number of events that one response shows at most.
const MOST: usize = 1_000;

/// A request about parked events, with `NAMESPACE/NAME` of the subscription, still percent-encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParkedRequest<'p> {
    /// List how many parked events each subscription has.
    List,
    /// Show the parked events of a subscription, each with the reason.
    Show(&'p str),
    /// Put the parked events back into the queue of the subscription.
    Replay(&'p str),
    /// Delete the parked events of a subscription.
    Drop(&'p str),
}

impl<'p> ParkedRequest<'p> {
    /// Reads a path below `/api/v1/`; `None` if it is not about parked events.
    pub(super) fn of_path(path: &'p str) -> Option<Self> {
        let rest = path.strip_prefix("parked")?;
        match rest.strip_prefix('/') {
            None if rest.is_empty() => Some(Self::List),
            None => None,
            Some(rest) => Some(match rest.rsplit_once('/') {
                Some((name, "replay")) if name.contains('/') => Self::Replay(name),
                Some((name, "drop")) if name.contains('/') => Self::Drop(name),
                _ => Self::Show(rest),
            }),
        }
    }

    /// Returns true if the request changes something.
    pub(super) fn is_change(self) -> bool {
        matches!(self, Self::Replay(_) | Self::Drop(_))
    }
}

/// The outcome of a change for the parked events.
fn outcome_of(action: ParkedAction) -> &'static str {
    match action {
        ParkedAction::Replay => "replayed",
        ParkedAction::Discard => "dropped",
    }
}

/// The parameters of the query, for which the path has no place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ParkedQuery {
    namespace: Option<String>,
    kind: Option<String>,
    older_than: Duration,
    limit: Option<usize>,
    wants_data: bool,
}

impl ParkedQuery {
    fn parse(text: &str) -> Result<Self, String> {
        let mut query = Self::default();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            query.set(&name, &value)?;
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "namespace" => {
                self.namespace = Some(value.to_owned()).filter(|value| !value.is_empty())
            }
            "kind" => {
                self.kind = Some(value.to_ascii_lowercase()).filter(|value| !value.is_empty());
            }
            "olderThan" => {
                self.older_than =
                    parse_duration(value).map_err(|remedy| format!("olderThan {remedy}"))?;
            }
            "limit" => {
                let limit = value.parse();
                self.limit = Some(limit.map_err(|error| format!("limit is no number: {error}"))?);
            }
            // Who may see them has been decided by the same reading.
            "data" => self.wants_data = value != "false",
            name => {
                return Err(format!(
                    "{} is not known: use namespace, kind, olderThan, limit or data",
                    WireText::new(name)
                ));
            }
        }
        Ok(())
    }
}

/// Answers requests about parked events.
pub(super) struct ParkedHandler {
    pub(super) store: Arc<dyn ParkedStore>,
    pub(super) operations: AdminOperations,
}

impl ParkedHandler {
    /// Returns the response, for the subscriptions of this table.
    pub(super) async fn respond(
        &self,
        table: &RoutingTable,
        request: ParkedRequest<'_>,
        query: &str,
    ) -> AdminResponse {
        answer::respond(self.try_respond(table, request, query).await)
    }

    async fn try_respond(
        &self,
        table: &RoutingTable,
        request: ParkedRequest<'_>,
        query: &str,
    ) -> Result<Value, AdminRefusal> {
        let query = ParkedQuery::parse(query).map_err(AdminRefusal::bad_request)?;
        let (ParkedRequest::Show(name) | ParkedRequest::Replay(name) | ParkedRequest::Drop(name)) =
            request
        else {
            return self.list(table, &query).await;
        };
        let name = percent_decode_str(name).decode_utf8_lossy();
        let owners = find_owners(table, &name, query.kind.as_deref())?;
        let mut items = Vec::new();
        for owner in owners {
            items.push(self.respond_for_owner(owner, request, &query).await?);
        }
        Ok(json!({ "items": items }))
    }

    async fn respond_for_owner(
        &self,
        owner: ParkingSubscription,
        request: ParkedRequest<'_>,
        query: &ParkedQuery,
    ) -> Result<Value, AdminRefusal> {
        let action = match request {
            ParkedRequest::Replay(_) => ParkedAction::Replay,
            ParkedRequest::Drop(_) => ParkedAction::Discard,
            ParkedRequest::Show(_) | ParkedRequest::List => return self.show(owner, query).await,
        };
        self.change(owner, action, query.older_than).await
    }

    async fn list(&self, table: &RoutingTable, query: &ParkedQuery) -> Result<Value, AdminRefusal> {
        let mut owners = parking_owners(table);
        owners.retain(|owner| {
            query
                .namespace
                .as_ref()
                .is_none_or(|wanted| owner.subscription.namespace == *wanted)
        });
        let counts = self
            .operations
            .run_on("parked events", &self.store, |store, _stop| {
                let owners = owners.clone();
                async move { store.count(&owners).await }
            });
        let counts = counts.await?;
        let items = owners
            .iter()
            .zip(counts)
            .map(|(owner, count)| owner_json(owner, [("parked", count.into())]));
        Ok(json!({ "items": items.collect::<Vec<_>>() }))
    }

    async fn show(
        &self,
        owner: ParkingSubscription,
        query: &ParkedQuery,
    ) -> Result<Value, AdminRefusal> {
        let (older_than, wants_data) = (query.older_than, query.wants_data);
        let limit = query.limit.unwrap_or(MOST).min(MOST);
        let found = self
            .operations
            .run_on("parked events", &self.store, |store, stop| {
                let owner = owner.clone();
                let operation = ParkedOperation {
                    older_than,
                    wants_data,
                    stop,
                };
                async move { store.show(&owner, limit, &operation).await }
            });
        let found = found.await?;
        let events = json!(found.events);
        Ok(owner_json(
            &owner,
            [
                ("parked", found.parked.into()),
                ("looked", found.examined.into()),
                ("events", events),
            ],
        ))
    }

    async fn change(
        &self,
        owner: ParkingSubscription,
        action: ParkedAction,
        older_than: Duration,
    ) -> Result<Value, AdminRefusal> {
        let changed = self
            .operations
            .run_on("parked events", &self.store, |store, stop| {
                let operation = ParkedOperation {
                    older_than,
                    wants_data: false,
                    stop,
                };
                let owner = owner.clone();
                async move {
                    let change = store.change(&owner, action, &operation).await;
                    // Logged inside the operation, which goes on when its client is gone.
                    log_change(&owner, action, &change);
                    change
                }
            });
        let ParkedChange { done, stopped } = changed.await?;
        let told = [
            (outcome_of(action), done.into()),
            ("stopped", stopped.into()),
        ];
        Ok(owner_json(&owner, told))
    }
}

impl From<ParkedError> for AdminRefusal {
    fn from(error: ParkedError) -> Self {
        let status = match error {
            ParkedError::Busy(_) | ParkedError::NoQueue(_) => StatusCode::CONFLICT,
            ParkedError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

fn log_change(
    owner: &ParkingSubscription,
    action: ParkedAction,
    change: &Result<ParkedChange, ParkedError>,
) {
    let fate = outcome_of(action);
    tracing::info!(
        subscription = %owner.subscription,
        fate,
        ?change,
        "An operator changed parked events"
    );
}

/// Returns the subscriptions that can have parked events: those of channels that are not in memory.
fn parking_owners(table: &RoutingTable) -> Vec<ParkingSubscription> {
    let mut owners = parking_subscriptions(table);
    owners.retain(|owner| owner.backend != BackendKind::Memory);
    owners
}

/// Returns the subscriptions with this name, `NAMESPACE/NAME`. A subscriber of a cluster's channel
/// is also found without the name of the channel.
pub(super) fn find_owners(
    table: &RoutingTable,
    name: &str,
    wanted: Option<&str>,
) -> Result<Vec<ParkingSubscription>, AdminRefusal> {
    let mut found = parking_subscriptions(table);
    found.retain(|owner| {
        let kind = owner.subscription.kind.as_str();
        wanted.is_none_or(|wanted| kind == wanted)
            && owner_names(owner).iter().any(|of| *of == name)
    });
    let Some(first) = found.first().cloned() else {
        let name = WireText::new(name);
        let text = format!("{name} is no subscription or Trigger that this process serves");
        return Err(AdminRefusal::not_found(text));
    };
    found.retain(|owner| owner.backend != BackendKind::Memory);
    if found.is_empty() {
        return Err(AdminRefusal::not_found(in_memory(&first)));
    }
    Ok(found)
}

fn in_memory(owner: &ParkingSubscription) -> String {
    format!(
        "{} is of {}, which is in memory, and channels in memory park nothing and retain nothing: make it \
         a DiskChannel",
        owner.subscription, owner.channel
    )
}

fn owner_names(owner: &ParkingSubscription) -> Vec<String> {
    let key = &owner.subscription;
    let whole = format!("{}/{}", key.namespace, key.name);
    let entry = (key.kind == SubscriptionKind::Subscriber)
        .then(|| key.name.split_once('/'))
        .flatten();
    let short = entry.map(|(_channel, entry)| format!("{}/{entry}", key.namespace));
    std::iter::once(whole).chain(short).collect()
}

/// Returns the name of a subscription together with these members as a JSON object.
pub(super) fn owner_json<const N: usize>(
    owner: &ParkingSubscription,
    told: [(&str, Value); N],
) -> Value {
    let key = &owner.subscription;
    let channel = owner.channel.to_string();
    let named = [
        ("kind", key.kind.as_str()),
        ("namespace", &key.namespace),
        ("name", &key.name),
        ("channel", &channel),
    ];
    let named = named
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()));
    let told = told
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    Value::Object(named.chain(told).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_what_is_asked() {
        for (path, request) in [
            ("parked", Some(ParkedRequest::List)),
            ("parked/a/b", Some(ParkedRequest::Show("a/b"))),
            ("parked/a/b/c", Some(ParkedRequest::Show("a/b/c"))),
            ("parked/a/b/replay", Some(ParkedRequest::Replay("a/b"))),
            ("parked/a/b/c/drop", Some(ParkedRequest::Drop("a/b/c"))),
            // A subscription may be called so.
            ("parked/a/replay", Some(ParkedRequest::Show("a/replay"))),
            (
                "parked/a/replay/replay",
                Some(ParkedRequest::Replay("a/replay")),
            ),
            ("parkedx", None),
            ("channels", None),
        ] {
            assert_eq!(ParkedRequest::of_path(path), request, "{path}");
        }
    }

    #[test]
    fn queries_are_read_or_refused() {
        let query =
            ParkedQuery::parse("namespace=n&kind=Trigger&olderThan=PT1H&limit=7").expect("a query");
        let expected = ParkedQuery {
            namespace: Some("n".to_owned()),
            kind: Some("trigger".to_owned()),
            older_than: Duration::from_hours(1),
            limit: Some(7),
            wants_data: false,
        };
        assert_eq!(query, expected);
        assert_eq!(ParkedQuery::parse(""), Ok(ParkedQuery::default()));
        for wrong in ["olderThan=1h", "limit=x", "older-than=PT1H"] {
            assert!(
                ParkedQuery::parse(wrong).is_err(),
                "{wrong}: nothing more than was meant is dropped"
            );
        }
    }
}

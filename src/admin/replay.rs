//! Replays over the admin API: `GET /api/v1/replay/NAMESPACE/NAME` for the progress of the latest
//! one, `GET` of `count` below that, and `POST` to `start` and `stop`.

use std::num::NonZeroU32;
use std::sync::Arc;

use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::answer::{self, AdminRefusal, AdminResponse};
use super::operations::AdminOperations;
use super::parked::{find_owners, owner_json};
use crate::channel::parked::ParkingSubscription;
use crate::channel::replay::{DEFAULT_RATE, ReplayError, ReplayRequest, ReplayStore};
use crate::model::{HistoryPoint, RoutingTable};
use crate::wire_text::WireText;

/// What a request about replays asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReplayAction {
    /// Tell the progress of the latest replay.
    Progress,
    /// Count what a replay would send.
    Count,
    /// Begin a replay.
    Start,
    /// End the replay that is under way.
    Stop,
}

/// A request about replays, with `NAMESPACE/NAME` of the subscription, still percent-encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplayPath<'p> {
    name: &'p str,
    action: ReplayAction,
}

impl<'p> ReplayPath<'p> {
    /// Reads a path below `/api/v1/`; `None` if it is not about replays.
    pub(super) fn of_path(path: &'p str) -> Option<Self> {
        let rest = path.strip_prefix("replay/")?;
        let below = rest.rsplit_once('/');
        let (name, action) = match below.filter(|(name, _)| name.contains('/')) {
            Some((name, "count")) => (name, ReplayAction::Count),
            Some((name, "start")) => (name, ReplayAction::Start),
            Some((name, "stop")) => (name, ReplayAction::Stop),
            _ => (rest, ReplayAction::Progress),
        };
        Some(Self { name, action })
    }

    /// True if the request changes something.
    pub(super) fn is_change(self) -> bool {
        matches!(self.action, ReplayAction::Start | ReplayAction::Stop)
    }
}

/// The parameters of the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ReplayQuery {
    kind: Option<String>,
    from: Option<HistoryPoint>,
    until: Option<HistoryPoint>,
    filter: Option<String>,
    rate: Option<NonZeroU32>,
}

impl ReplayQuery {
    fn parse(text: &str) -> Result<Self, String> {
        let mut query = Self::default();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            query.set(&name, &value)?;
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let point = || {
            let point = HistoryPoint::parse(value);
            point.map_err(|remedy| format!("{name} {remedy}"))
        };
        match name {
            "kind" => {
                self.kind = Some(value.to_ascii_lowercase()).filter(|value| !value.is_empty());
            }
            "from" => self.from = Some(point()?),
            "until" => self.until = Some(point()?),
            "filter" => self.filter = Some(value.to_owned()),
            "rate" => {
                let rate = value.parse();
                let rate = rate.map_err(|error| format!("rate is no number of events: {error}"));
                self.rate = Some(rate?);
            }
            name => {
                return Err(format!(
                    "{} is not known: use kind, from, until, filter or rate",
                    WireText::new(name)
                ));
            }
        }
        Ok(())
    }

    /// What is asked for of a replay.
    fn request(&self) -> Result<ReplayRequest, AdminRefusal> {
        let missing = || AdminRefusal::bad_request("from is missing: say since when");
        let from = self.from.ok_or_else(missing)?;
        Ok(ReplayRequest {
            from,
            until: self.until,
            filter: self.filter.clone(),
            rate: self.rate.unwrap_or(DEFAULT_RATE),
        })
    }
}

/// Answers requests about replays.
pub(super) struct ReplayHandler {
    pub(super) store: Arc<dyn ReplayStore>,
    pub(super) operations: AdminOperations,
}

impl ReplayHandler {
    /// Returns the response, for the subscriptions of this table.
    pub(super) async fn respond(
        &self,
        table: &RoutingTable,
        path: ReplayPath<'_>,
        query: &str,
    ) -> AdminResponse {
        answer::respond(self.try_respond(table, path, query).await)
    }

    async fn try_respond(
        &self,
        table: &RoutingTable,
        path: ReplayPath<'_>,
        query: &str,
    ) -> Result<Value, AdminRefusal> {
        let query = ReplayQuery::parse(query).map_err(AdminRefusal::bad_request)?;
        let name = percent_decode_str(path.name).decode_utf8_lossy();
        let owner = find_owner(table, &name, query.kind.as_deref())?;
        let of = owner.clone();
        let value = match path.action {
            ReplayAction::Progress => json!(self.store.replay_progress(&owner)?),
            ReplayAction::Count => {
                let request = query.request()?;
                let counted =
                    self.operations
                        .run_on("replays", &self.store, |store, stop| async move {
                            store.count_replay(&of, &request, &stop).await
                        });
                json!(counted.await?)
            }
            ReplayAction::Start => {
                let request = query.request()?;
                let started =
                    self.operations
                        .run_on("replays", &self.store, |store, _stop| async move {
                            store.start_replay(&of, &request).await
                        });
                json!(started.await?)
            }
            ReplayAction::Stop => {
                let stopped =
                    self.operations
                        .run_on("replays", &self.store, |store, _stop| async move {
                            store.stop_replay(&of).await
                        });
                json!(stopped.await?)
            }
        };
        let mut told = owner_json(&owner, []);
        if let (Some(told), Value::Object(value)) = (told.as_object_mut(), value) {
            told.extend(value);
        }
        Ok(told)
    }
}

impl From<ReplayError> for AdminRefusal {
    fn from(error: ReplayError) -> Self {
        let status = match error {
            ReplayError::Filter(_) => StatusCode::BAD_REQUEST,
            ReplayError::RetainsNothing { .. }
            | ReplayError::NothingThere { .. }
            | ReplayError::Busy { .. } => StatusCode::CONFLICT,
            ReplayError::NotRunning(_) => StatusCode::NOT_FOUND,
            ReplayError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

/// Returns the one subscription of this name.
fn find_owner(
    table: &RoutingTable,
    name: &str,
    kind: Option<&str>,
) -> Result<ParkingSubscription, AdminRefusal> {
    let found = find_owners(table, name, kind)?;
    match found.as_slice() {
        [one] => Ok(one.clone()),
        several => {
            let kinds: Vec<&str> = several
                .iter()
                .map(|it| it.subscription.kind.as_str())
                .collect();
            let text = format!(
                "{} is the name of several: say which by kind, {}",
                WireText::new(name),
                kinds.join(" or ")
            );
            Err(AdminRefusal::new(StatusCode::CONFLICT, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_what_is_asked() {
        let path = |name, action| Some(ReplayPath { name, action });
        for (text, expected) in [
            ("replay/a/b", path("a/b", ReplayAction::Progress)),
            ("replay/a/b/count", path("a/b", ReplayAction::Count)),
            ("replay/a/b/c/start", path("a/b/c", ReplayAction::Start)),
            ("replay/a/stop", path("a/stop", ReplayAction::Progress)),
            ("replay/a/stop/stop", path("a/stop", ReplayAction::Stop)),
            ("replay", None),
            ("replays/a/b", None),
        ] {
            assert_eq!(ReplayPath::of_path(text), expected, "{text}");
        }
    }

    #[test]
    fn queries_are_read_or_refused() {
        let query = ReplayQuery::parse("from=PT1H&until=%4012&filter=type%20%3D%20't'&rate=7");
        let query = query.expect("a query");
        assert_eq!(query.until, Some(HistoryPoint::Position(12)));
        assert_eq!(query.filter.as_deref(), Some("type = 't'"));
        assert_eq!(
            query.request().map(|it| it.rate),
            Ok(NonZeroU32::new(7).expect("a rate"))
        );
        assert!(ReplayQuery::default().request().is_err());
        for wrong in ["from=1h", "until=now", "rate=0", "rate=x", "speed=7"] {
            assert!(ReplayQuery::parse(wrong).is_err(), "{wrong}");
        }
    }
}

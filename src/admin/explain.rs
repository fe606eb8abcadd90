//! What became of an event: `GET /api/v1/explain?id=ID[&source=SOURCE]`, a line of JSON for each
//! thing that is known of it; and which events a subscription did not get in the end:
//! `GET /api/v1/explain?kind=KIND&namespace=NS&name=NAME[&limit=N]`, a line for each.

use std::sync::Arc;

use http::StatusCode;
use url::form_urlencoded;

use super::answer::AdminRefusal;
use super::operations::AdminOperations;
use super::status::StatusSource;
use super::waiting::explain_waits;
use crate::model::{
    ChannelKey, ChannelKind, Inventory, ObjectKind, SubscriptionKey, SubscriptionKind,
};
use crate::observation::Explanation;
use crate::wire_text::WireText;

/// Number of subscriptions of which it is said that they are not ready.
const MOST_NOT_READY: usize = 32;
/// Number of events of a subscription that one response has at most.
const MOST_EVENTS: usize = 200;

/// The event or subscription that is asked for, as it is written.
#[derive(Debug, Default)]
struct ExplainQuery {
    id: String,
    source: Option<String>,
    kind: String,
    namespace: Option<String>,
    name: String,
    limit: Option<usize>,
}

/// The event or subscription that is asked for.
#[derive(Debug, PartialEq, Eq)]
enum ExplainTarget {
    Event { id: String, source: Option<String> },
    Undelivered { label: String, most: usize },
}

impl ExplainQuery {
    fn parse(query: &str) -> Result<ExplainTarget, String> {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            asked.set(&name, value.into_owned())?;
        }
        asked.target()
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "id" => self.id = value,
            "source" => self.source = Some(value),
            "kind" => self.kind = value.to_ascii_lowercase(),
            "namespace" => self.namespace = Some(value),
            "name" => self.name = value,
            "limit" => {
                let limit = value.parse();
                self.limit = Some(limit.map_err(|error| format!("limit is no number: {error}"))?);
            }
            name => {
                let name = WireText::new(name);
                return Err(format!(
                    "{name} is not known: use id and source, or kind, namespace, name and limit"
                ));
            }
        }
        Ok(())
    }

    fn target(self) -> Result<ExplainTarget, String> {
        let is_event = !self.id.is_empty();
        match (is_event, self.kind.is_empty(), self.name.is_empty()) {
            (true, true, true) => Ok(ExplainTarget::Event {
                id: self.id,
                source: self.source,
            }),
            (false, false, false) => {
                let namespace = self.namespace.as_deref().unwrap_or("default");
                Ok(ExplainTarget::Undelivered {
                    label: format!("{} {namespace}/{}", self.kind, self.name),
                    most: self.limit.unwrap_or(MOST_EVENTS).min(MOST_EVENTS),
                })
            }
            (false, true, true) => Err("id is missing: /api/v1/explain?id=ID".to_owned()),
            (true, ..) => {
                Err("ask for an event by id, or for a subscription by kind and name".to_owned())
            }
            (false, ..) => Err("kind and name are given together".to_owned()),
        }
    }
}

/// Returns the lines of an event, or of the events of a subscription.
///
/// # Errors
/// Fails with a status and a line of text if the query is not understood, or if there is no such
/// event.
pub(super) async fn explain(
    source: &StatusSource,
    operations: &AdminOperations,
    query: &str,
) -> Result<Vec<u8>, AdminRefusal> {
    let asked = ExplainQuery::parse(query).map_err(AdminRefusal::bad_request)?;
    let counters = Arc::clone(&source.counters);
    let event_id = match &asked {
        ExplainTarget::Event { id, .. } => Some(id.clone()),
        ExplainTarget::Undelivered { .. } => None,
    };
    // Looking through everything takes some dozen milliseconds, which no event waits for.
    let search = move || match asked {
        ExplainTarget::Event { id, source } => counters.observer.explain(&id, source.as_deref()),
        ExplainTarget::Undelivered { label, most } => counters.observer.undelivered(&label, most),
    };
    let searched = operations.run(|_stop| tokio::task::spawn_blocking(search));
    let busy = || {
        let text = "too many ask now: try again";
        AdminRefusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
    };
    let mut explanation = searched.await.and_then(Result::ok).ok_or_else(busy)?;
    if let Some(id) = &event_id {
        let served = Arc::clone(&source.served.borrow().resolution);
        add_not_ready(&mut explanation, id, &served.inventory);
        explain_waits(&mut explanation, source);
    }
    let Explanation { lines, reach, .. } = explanation;
    match (reach, event_id) {
        (None, _) => {
            let text = "events are not kept here: run sealpost without --explain-max-bytes 0";
            Err(AdminRefusal::not_found(text))
        }
        (Some(reach), Some(id)) if lines.is_empty() => {
            let (id, started) = (
                WireText::new(&id),
                super::status::format_time(source.process.started.into()),
            );
            let text = format!(
                "no event with the id {id} is known here: {reach}. This process started at {started}: \
                 of a channel in memory, it knows nothing from before"
            );
            Err(AdminRefusal::not_found(text))
        }
        (Some(_), _) => Ok(lines),
    }
}

/// Adds the subscriptions of the channels that took the event which are not ready now: they are not
/// served, or by their last good form.
fn add_not_ready(explanation: &mut Explanation, id: &str, inventory: &Inventory) {
    if explanation.channels.is_empty() {
        return;
    }
    let unready = inventory.objects.iter().filter_map(|object| {
        let (kind, of) = match object.kind {
            ObjectKind::Trigger => (SubscriptionKind::Trigger, ChannelKind::Broker),
            ObjectKind::Subscription => (SubscriptionKind::Subscription, ChannelKind::Channel),
            _ => return None,
        };
        let why = object.conditions.not_ready.as_ref()?;
        let channel = ChannelKey::new(of, &object.namespace, object.parent()?);
        let key = SubscriptionKey::new(kind, &object.namespace, &object.name);
        Some((channel.to_string(), key.to_string(), &why.message))
    });
    let unready: Vec<_> = unready
        .filter(|(channel, ..)| explanation.channels.contains(channel))
        .take(MOST_NOT_READY)
        .collect();
    for (_, subscription, why) in unready {
        explanation.add_not_ready(id, &subscription, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_or_a_subscription_is_asked_for() {
        let event = ExplainTarget::Event {
            id: "1".to_owned(),
            source: Some("/s".to_owned()),
        };
        assert_eq!(ExplainQuery::parse("id=1&source=/s"), Ok(event));
        let undelivered = ExplainTarget::Undelivered {
            label: "trigger default/t".to_owned(),
            most: 5,
        };
        let asked = ExplainQuery::parse("kind=Trigger&name=t&limit=5");
        assert_eq!(asked, Ok(undelivered));
        for wrong in [
            "",
            "id=",
            "kind=trigger",
            "name=t",
            "id=1&kind=trigger&name=t",
            "limit=x",
            "x=1",
        ] {
            assert!(ExplainQuery::parse(wrong).is_err(), "{wrong}");
        }
    }
}

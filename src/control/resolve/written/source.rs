//! Resolves PingSources (upstream's `sources.knative.dev/v1` and its mtping adapter).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use jiff::Timestamp;

use crate::control::read::kind::ResourceKind;
use crate::control::read::manifest::sources::{PingSourceManifest, PingSourceSpec};
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::{CollectedItem, CollectedItems};
use crate::control::resolve::config::trust;
use crate::control::resolve::destination::{DestinationResolver, WrittenDestination};
use crate::event::{CONTEXT_ATTRIBUTES, Event, is_attribute_name};
use crate::filter::Filter;
use crate::model::{
    BackoffPolicy, CronSchedule, DeliverySpec, NamespacedName, PingSource, ScheduleError,
    Subscription, SubscriptionKey, SubscriptionKind,
};

const TYPE: &str = "dev.knative.sources.ping";
const EVERY_MINUTE: &str = "* * * * *";
/// Resolves every PingSource; one with problems keeps its form of `last`.
pub(crate) fn resolve(
    items: &mut CollectedItems<'_, PingSourceManifest>,
    resolver: &mut DestinationResolver<'_>,
    last: &[Arc<PingSource>],
) -> Vec<Arc<PingSource>> {
    let before: HashMap<&SubscriptionKey, &Arc<PingSource>> = last
        .iter()
        .map(|source| (&source.subscription.key, source))
        .collect();
    let mut sources = Vec::with_capacity(items.len());
    for (NamespacedName { namespace, name }, CollectedItem { object, report, .. }) in items {
        let key = SubscriptionKey {
            kind: SubscriptionKind::PingSource,
            namespace: namespace.clone(),
            name: name.clone(),
        };
        let before = before.get(&key).copied();
        let spec = object
            .as_ref()
            .map(|source| source.spec.clone().unwrap_or_default());
        let made = spec
            .and_then(|spec| resolve_source(&spec, key, resolver, report))
            .filter(|_| !report.has_errors());
        sources.extend(match (made, before) {
            (Some(made), Some(before)) if **before == made => Some(Arc::clone(before)),
            (Some(made), _) => Some(Arc::new(made)),
            // A source without errors that is not served any more, since its sink is not, does not
            // keep its last form.
            (None, before) => before.filter(|_| report.has_errors()).cloned(),
        });
    }
    sources
}

fn resolve_source(
    spec: &PingSourceSpec,
    key: SubscriptionKey,
    resolver: &mut DestinationResolver<'_>,
    report: &mut ObjectReport<'_>,
) -> Option<PingSource> {
    let schedule = resolve_schedule(spec, resolver.settings.now, report);
    let event = build_event(spec, &key, report);
    let Some(sink) = &spec.sink else {
        report.error("spec.sink", "is missing: say who gets the events");
        return None;
    };
    let sink = resolver.resolve(
        &WrittenDestination::at_field("spec.sink".to_owned(), sink),
        report,
    )?;
    let namespace = key.namespace.clone();
    let subscription = Subscription {
        key,
        filter: Filter::MatchAll,
        subscriber: Some(sink),
        reply: None,
        dead_letter_sink: None,
        delivery: default_delivery(),
        sender: resolver
            .sender_rules
            .sender_account(ResourceKind::PingSource, report),
        event_types: None,
        namespace,
    };
    Some(PingSource {
        subscription: Arc::new(subscription),
        schedule: schedule?,
        event: event?,
    })
}

/// The delivery spec of upstream's adapter: five more attempts within two seconds.
fn default_delivery() -> DeliverySpec {
    DeliverySpec {
        retry: 5,
        backoff_policy: Some(BackoffPolicy::Exponential),
        backoff_delay: Some(Duration::from_millis(50)),
        ..DeliverySpec::default()
    }
}

fn resolve_schedule(
    spec: &PingSourceSpec,
    now: i64,
    report: &mut ObjectReport<'_>,
) -> Option<CronSchedule> {
    let written = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let text = written(&spec.schedule).unwrap_or_else(|| EVERY_MINUTE.to_owned());
    let schedule = CronSchedule::parse(&text, written(&spec.timezone).as_deref());
    match schedule {
        Ok(schedule) => {
            let now = Timestamp::from_second(now).unwrap_or(Timestamp::UNIX_EPOCH);
            if schedule.next_after(now).is_none() {
                report.error(
                    "spec.schedule",
                    format!("{text:?} never comes: write one that does"),
                );
            }
            Some(schedule)
        }
        Err(error) => {
            let is_zone =
                matches!(error, ScheduleError::Zone(_)) && written(&spec.timezone).is_some();
            let field = if is_zone {
                "spec.timezone"
            } else {
                "spec.schedule"
            };
            report.error(field, error.to_string());
            None
        }
    }
}

fn build_event(
    spec: &PingSourceSpec,
    key: &SubscriptionKey,
    report: &mut ObjectReport<'_>,
) -> Option<Event> {
    let source = format!(
        "/apis/v1/namespaces/{}/pingsources/{}",
        key.namespace, key.name
    );
    let mut event = Event::new("", &source, TYPE);
    for (name, value) in spec
        .ce_overrides
        .iter()
        .flat_map(|overrides| overrides.extensions.iter().flatten())
    {
        if !is_attribute_name(name) || CONTEXT_ATTRIBUTES.contains(&name.as_str()) || name == "data"
        {
            let rule = "is not the name of an extension: use a-z and 0-9, and none of CloudEvents' \
                 own attributes";
            report.error(
                &format!("spec.ceOverrides.extensions.{name}"),
                format!("{name:?} {rule}"),
            );
        }
        event.set(name, value.as_deref().unwrap_or_default());
    }
    let data = build_data(spec, report)?;
    let content_type = spec.content_type.as_deref().filter(|text| !text.is_empty());
    match content_type.map(HeaderValue::from_str).transpose() {
        Ok(content_type) => Some(event.with_data(content_type, data)),
        Err(_cause) => {
            report.error(
                "spec.contentType",
                "is no media type: write for example application/json",
            );
            None
        }
    }
}

fn build_data(spec: &PingSourceSpec, report: &mut ObjectReport<'_>) -> Option<Bytes> {
    let written = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
    let (field, data) = match (written(&spec.data), written(&spec.data_base64)) {
        (Some(_), Some(_)) => {
            report.error(
                "spec.dataBase64",
                "is there beside data: give one of the two",
            );
            return None;
        }
        (Some(text), None) => ("spec.data", text.into_bytes()),
        (None, Some(text)) => match trust::decode_base64(&text) {
            Some(bytes) => ("spec.dataBase64", bytes),
            None => {
                report.error(
                    "spec.dataBase64",
                    "is not base64: encode the data, or write text into data",
                );
                return None;
            }
        },
        (None, None) => return Some(Bytes::new()),
    };
    if spec.content_type.as_deref() == Some("application/json") && !is_json(&data) {
        report.error(
            field,
            "is not JSON, as contentType says: correct one of the two",
        );
    }
    Some(Bytes::from(data))
}

fn is_json(data: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok()
}

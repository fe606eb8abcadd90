//! The spans of events that are published (contract OB-8, OB-13).

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use opentelemetry_semantic_conventions::attribute::{
    ERROR_TYPE, MESSAGING_DESTINATION_NAME, MESSAGING_OPERATION_NAME, MESSAGING_OPERATION_TYPE,
    MESSAGING_SYSTEM,
};

use crate::channel::PublishError;
use crate::event::Event;
use crate::model::{ChannelKey, ChannelKind};
use crate::telemetry::span_attributes;
use crate::telemetry::tracer::{Span, Tracer};

/// The spans of the events that are published together; none while nothing is traced.
pub(super) struct PublishSpans(Vec<Span>);

impl PublishSpans {
    /// Starts a span for each event, which gets it as parent.
    pub(super) fn start(tracer: &Tracer, key: &ChannelKey, events: &mut [Event]) -> Self {
        if !tracer.is_enabled() {
            return Self(Vec::new());
        }
        let begin = |event: &mut Event| {
            let mut span = tracer.start("publish", SpanKind::Producer, event.trace());
            set_publish_attributes(&mut span, key, event);
            event.set_trace(span.context().cloned());
            span
        };
        Self(events.iter_mut().map(begin).collect())
    }

    /// Marks all of them as failed.
    pub(super) fn set_error(&mut self, error: &PublishError) {
        for span in &mut self.0 {
            span.set_attributes(|| [KeyValue::new(ERROR_TYPE, error_type(error))]);
            span.set_error(|| error.to_string().into());
        }
    }
}

/// The kind of the error, by the result that it is counted as.
fn error_type(error: &PublishError) -> &'static str {
    match error {
        PublishError::Full { .. } | PublishError::NoRoom(_) | PublishError::OverLimit(_) => "full",
        PublishError::TooLarge(_) => "invalid",
        PublishError::Undelivered { .. } => "undelivered",
        PublishError::Unavailable(_) => "unavailable",
    }
}

/// Sets the attributes of the span of a published event.
fn set_publish_attributes(span: &mut Span, key: &ChannelKey, event: &Event) {
    let (kind, name, namespace) = match key.kind {
        ChannelKind::Channel => ("channel", "kn.channel.name", "kn.channel.namespace"),
        ChannelKind::Broker => ("broker", "kn.broker.name", "kn.broker.namespace"),
        ChannelKind::RequestReply => (
            "requestreply",
            "kn.requestreply.name",
            "kn.requestreply.namespace",
        ),
    };
    span.set_attributes(|| {
        [
            KeyValue::new(MESSAGING_SYSTEM, "knative"),
            KeyValue::new(MESSAGING_OPERATION_NAME, "publish"),
            KeyValue::new(MESSAGING_OPERATION_TYPE, "send"),
            KeyValue::new(
                MESSAGING_DESTINATION_NAME,
                format!("{kind}:{}.{}", key.name, key.namespace),
            ),
            KeyValue::new(name, key.name.clone()),
            KeyValue::new(namespace, key.namespace.clone()),
        ]
    });
    span_attributes::set_event_attributes(span, event);
}

//! The spans of events that are published (contract OB-8, OB-13).

use crate::channel::PublishError;
use crate::event::Event;
use crate::model::{ChannelKey, ChannelKind};
use crate::telemetry::span_attributes;
use crate::telemetry::tracer::{Span, SpanKind, Tracer};

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
        self.0
            .iter_mut()
            .for_each(|span| span.set_error(|| error.to_string().into()));
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
            ("messaging.system", "knative".into()),
            ("messaging.operation.name", "publish".into()),
            ("messaging.operation.type", "send".into()),
            (
                "messaging.destination.name",
                format!("{kind}:{}.{}", key.name, key.namespace).into(),
            ),
            (name, key.name.clone().into()),
            (namespace, key.namespace.clone().into()),
        ]
    });
    span_attributes::set_event_attributes(span, event);
}

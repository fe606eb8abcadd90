//! Metrics that only RabbitMQ has: what became of its messages, and the state of its connections.

use crate::telemetry::backend_metrics::BackendMetrics;
use crate::telemetry::counter::{Counter, CounterDescription};
use crate::telemetry::data_point::{MetricValue, float};
use crate::telemetry::gauge::Gauge;
use crate::telemetry::metric_family::MetricFamily;

/// Counters and gauges about RabbitMQ. They are exposed as 0 if no RabbitMQ is configured.
#[derive(Debug, Default)]
pub(crate) struct RabbitmqMetrics {
    /// Connections opened to RabbitMQ.
    pub(crate) connections: Counter,
    /// Connections to RabbitMQ that broke.
    pub(crate) disconnections: Counter,
    /// The state of the connections to RabbitMQ.
    pub(crate) link: RabbitmqLinkGauges,
    /// Messages that RabbitMQ confirmed.
    pub(crate) confirmed: Counter,
    /// Messages that RabbitMQ did not confirm, or not in time.
    pub(crate) unconfirmed: Counter,
    /// Unconfirmed messages that were not sent, since an alarm of memory or disk blocks
    /// publishers.
    pub(crate) blocked: Counter,
    /// Messages that were acknowledged to RabbitMQ, since what follows from them is safe.
    pub(crate) acknowledged: Counter,
    /// Messages that no queue took.
    pub(crate) unroutable: Counter,
    /// Unconfirmed messages that RabbitMQ nacked: a queue without a leader, or a full one.
    pub(crate) nacked: Counter,
    /// Messages that RabbitMQ dead-lettered by a limit of deliveries, of time or of length, and
    /// that were put back or parked.
    pub(crate) given_up: Counter,
    /// Messages for a queue that RabbitMQ does not answer for, which wait for it in a delay queue.
    pub(crate) diverted: Counter,
    /// Messages published on a second connection, since RabbitMQ confirmed nothing on the first.
    pub(crate) published_twice: Counter,
    /// Consumers of RabbitMQ that were restarted.
    pub(crate) consumers_restarted: Counter,
    /// Restarted consumers that had got nothing although their queue had messages.
    pub(crate) consumers_silent: Counter,
}

/// Counters of [`RabbitmqMetrics`]: the name and the help text of each, as they are exposed.
const COUNTERS: &[CounterDescription<RabbitmqMetrics>] = &[
    CounterDescription {
        name: "sealpost_rabbitmq_connections",
        help: "Connections made to RabbitMQ",
        counter: |counters| &counters.connections,
    },
    CounterDescription {
        name: "sealpost_rabbitmq_disconnections",
        help: "Connections to RabbitMQ that broke",
        counter: |counters| &counters.disconnections,
    },
    CounterDescription {
        name: "sealpost_rabbitmq_confirmed",
        help: "Messages that RabbitMQ confirmed",
        counter: |counters| &counters.confirmed,
    },
    CounterDescription {
        name: "sealpost_rabbitmq_unconfirmed",
        help: "Messages not confirmed, or not in time",
        counter: |counters| &counters.unconfirmed,
    },
    // With its suffix, since the gauge has the name without it.
    CounterDescription {
        name: "sealpost_rabbitmq_blocked_total",
        help: "Of those, not sent because of an alarm",
        counter: |counters| &counters.blocked,
    },
    CounterDescription {
        name: "sealpost_rabbitmq_acknowledged",
        help: "Messages acknowledged",
        counter: |counters| &counters.acknowledged,
    },
    CounterDescription {
        name: "sealpost_rabbitmq_unroutable",
        help: "Messages that no queue took",
        counter: |counters| &counters.unroutable,
    },
    CounterDescription {
        name: "sealpost_rabbitmq_nacked",
        help: "Of the unconfirmed, messages that RabbitMQ refused",
        counter: |counters| &counters.nacked,
    },
    CounterDescription {
        name: "sealpost_rabbitmq_given_up",
        help: "Messages that RabbitMQ gave up, put back or parked",
        counter: |counters| &counters.given_up,
    },
    CounterDescription {
        name: "sealpost_rabbitmq_diverted",
        help: "Messages that wait elsewhere for a queue without answer",
        counter: |counters| &counters.diverted,
    },
    CounterDescription {
        name: "sealpost_rabbitmq_published_twice",
        help: "Messages published on two connections",
        counter: |counters| &counters.published_twice,
    },
    CounterDescription {
        name: "sealpost_rabbitmq_consumers_restarted",
        help: "Consumers begun again",
        counter: |counters| &counters.consumers_restarted,
    },
    CounterDescription {
        name: "sealpost_rabbitmq_consumers_silent",
        help: "Of those, got nothing from a full queue",
        counter: |counters| &counters.consumers_silent,
    },
];

impl BackendMetrics for RabbitmqMetrics {
    fn collect_counters(&self) -> Vec<MetricFamily<'static>> {
        COUNTERS
            .iter()
            .map(|counter| counter.collect(self))
            .collect()
    }

    fn collect_gauges(&self) -> Vec<MetricFamily<'static>> {
        let open = self
            .connections
            .get()
            .saturating_sub(self.disconnections.get());
        let open_now = MetricFamily::new(
            "sealpost_rabbitmq_connections_open",
            "Connections to RabbitMQ now",
        )
        .with_point(&[], MetricValue::Gauge(float(open)));
        let [up, blocked] = self.link.collect_families();
        vec![open_now, up, blocked]
    }
}

/// Gauges about the connections to RabbitMQ. They are exposed only if connections are wanted.
#[derive(Debug, Default)]
pub(crate) struct RabbitmqLinkGauges {
    /// Number of connections that should be open.
    pub(crate) wanted: Gauge,
    /// Number of connections that are open.
    pub(crate) open: Gauge,
    /// 1 while messages can be published, else 0.
    pub(crate) publishing: Gauge,
    /// 1 while RabbitMQ takes no messages, since it is short of memory or disk. It says so only to
    /// connections that publish.
    pub(crate) blocked: Gauge,
}

impl RabbitmqLinkGauges {
    /// Makes metric families of the gauges; they have no data points if no connection is wanted.
    fn collect_families(&self) -> [MetricFamily<'static>; 2] {
        let mut up = MetricFamily::new(
            "sealpost_rabbitmq_up",
            "Whether RabbitMQ can be published to and consumed from",
        );
        let mut blocked = MetricFamily::new(
            "sealpost_rabbitmq_blocked",
            "Whether an alarm blocks publishers",
        );
        if self.wanted.get() > 0 {
            let is_up = self.publishing.get() > 0 && self.open.get() >= self.wanted.get();
            up.push_point(&[], MetricValue::of_gauge(is_up.into()));
            let is_blocked = self.blocked.get() > 0;
            blocked.push_point(&[], MetricValue::of_gauge(is_blocked.into()));
        }
        [up, blocked]
    }
}

//! The state of the connections to RabbitMQ, as the connections themselves report it.

use super::metric_family::{MetricFamily, MetricValue};
use super::series::Gauge;

/// Gauges about the connections to RabbitMQ. They are exposed only if connections are wanted.
#[derive(Debug, Default)]
pub struct RabbitmqLinkGauges {
    /// Number of connections that should be open.
    pub wanted: Gauge,
    /// Number of connections that are open.
    pub open: Gauge,
    /// 1 while messages can be published, else 0.
    pub publishing: Gauge,
    /// 1 while RabbitMQ takes no messages, since it is short of memory or disk. It says so only to
    /// connections that publish.
    pub blocked: Gauge,
}

impl RabbitmqLinkGauges {
    /// Makes metric families of the gauges; they have no data points if no connection is wanted.
    #[must_use]
    pub fn collect_families(&self) -> [MetricFamily<'static>; 2] {
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
            up.push_point(&[], MetricValue::Gauge(f64::from(u8::from(is_up))));
            blocked.push_point(
                &[],
                MetricValue::Gauge(f64::from(u8::from(self.blocked.get() > 0))),
            );
        }
        [up, blocked]
    }
}

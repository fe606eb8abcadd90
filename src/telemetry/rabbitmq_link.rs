//! Whether RabbitMQ is there, as its connections see it.

use super::metric_family::{MetricFamily, MetricValue};
use super::series::Gauge;

/// How the way to RabbitMQ is. Nothing is said of it where no connection is wanted.
#[derive(Debug, Default)]
pub struct RabbitmqLinkGauges {
    /// Connections that are to be open.
    pub wanted: Gauge,
    /// Those that are.
    pub open: Gauge,
    /// 1 while messages can be published.
    pub publishing: Gauge,
    /// 1 while RabbitMQ does not take what is published, since it is short of memory or disk. It says so to those who
    /// publish only.
    pub blocked: Gauge,
}

impl RabbitmqLinkGauges {
    /// As families.
    #[must_use]
    pub fn collect_families(&self) -> [MetricFamily<'static>; 2] {
        let mut up =
            MetricFamily::new("sealpost_rabbitmq_up", "Whether RabbitMQ can be published to and consumed from");
        let mut blocked = MetricFamily::new("sealpost_rabbitmq_blocked", "Whether an alarm blocks publishers");
        if self.wanted.get() > 0 {
            let is_up = self.publishing.get() > 0 && self.open.get() >= self.wanted.get();
            up.push_point(&[], MetricValue::Gauge(f64::from(u8::from(is_up))));
            blocked.push_point(&[], MetricValue::Gauge(f64::from(u8::from(self.blocked.get() > 0))));
        }
        [up, blocked]
    }
}

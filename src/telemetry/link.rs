//! Whether RabbitMQ is there, as its connections see it.

use super::family::{Family, Reading};
use super::series::Gauge;

/// How the way to RabbitMQ is. Nothing is said of it where no connection is wanted.
#[derive(Debug, Default)]
pub struct Link {
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

impl Link {
    /// As families.
    #[must_use]
    pub fn read(&self) -> [Family<'static>; 2] {
        let mut up = Family::new("sealpost_rabbitmq_up", "Whether RabbitMQ can be published to and consumed from");
        let mut blocked = Family::new("sealpost_rabbitmq_blocked", "Whether an alarm blocks publishers");
        if self.wanted.get() > 0 {
            let is_up = self.publishing.get() > 0 && self.open.get() >= self.wanted.get();
            up.push(&[], Reading::Gauge(f64::from(u8::from(is_up))));
            blocked.push(&[], Reading::Gauge(f64::from(u8::from(self.blocked.get() > 0))));
        }
        [up, blocked]
    }
}

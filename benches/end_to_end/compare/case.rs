//! What is measured.

use crate::Wire;
use crate::dispatcher::{channel_manifest, subscription_manifest};
use crate::load::Mail;
use crate::sink::{Sink, certificate};

/// One line of the table, or two: by nginx and by sealpost.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) wire: Wire,
    /// Whether nginx can do it, too.
    pub(crate) nginx: bool,
    pub(crate) channels: usize,
    /// Of each channel.
    pub(crate) subscriptions: usize,
    /// Whether each channel's subscriber has authorities that no other has.
    pub(crate) own_authorities: bool,
    /// Whether the last subscription's subscriber answers after two seconds.
    pub(crate) slow: bool,
    /// Bytes.
    body: usize,
    pub(crate) pace: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// 64 requests under way, always.
    Closed,
    /// So many events a second, on up to 64 connections.
    Steady(f64),
    /// So many events a second, on up to 512 connections; what is timed is the way to the
    /// subscribers that are not slow.
    Arrivals(f64),
}

const ONE: Case = Case {
    name: "plain 1x1",
    wire: Wire::Plain,
    nginx: false,
    channels: 1,
    subscriptions: 1,
    own_authorities: false,
    slow: false,
    body: 1024,
    pace: Pace::Closed,
};

/// The yardsticks come first.
pub(crate) const CASES: [Case; 17] = [
    Case { nginx: true, ..ONE },
    Case {
        name: "tls-h1 1x1",
        wire: Wire::TlsHttp1,
        nginx: true,
        ..ONE
    },
    Case {
        name: "tls-h2 1x1",
        wire: Wire::TlsHttp2,
        nginx: true,
        ..ONE
    },
    Case {
        name: "plain paced 1000/s",
        nginx: true,
        pace: Pace::Steady(1000.0),
        ..ONE
    },
    Case {
        name: "plain 1x10",
        subscriptions: 10,
        ..ONE
    },
    Case {
        name: "plain 1x100",
        subscriptions: 100,
        ..ONE
    },
    Case {
        name: "tls-h2 1x10",
        wire: Wire::TlsHttp2,
        subscriptions: 10,
        ..ONE
    },
    Case {
        name: "tls-h1 1000 CA sets",
        wire: Wire::TlsHttp1,
        channels: 1000,
        own_authorities: true,
        ..ONE
    },
    Case {
        name: "tls-h2 1000 CA sets",
        wire: Wire::TlsHttp2,
        channels: 1000,
        own_authorities: true,
        ..ONE
    },
    Case {
        name: "plain ten, none slow",
        subscriptions: 10,
        pace: Pace::Arrivals(100.0),
        ..ONE
    },
    Case {
        name: "plain ten, one slow",
        subscriptions: 10,
        pace: Pace::Arrivals(100.0),
        slow: true,
        ..ONE
    },
    Case {
        name: "plain 100 channels",
        channels: 100,
        ..ONE
    },
    Case {
        name: "plain 1000 channels",
        channels: 1000,
        ..ONE
    },
    Case {
        name: "plain 10000 channels",
        channels: 10_000,
        ..ONE
    },
    Case {
        name: "plain 16 KiB",
        nginx: true,
        body: 16 << 10,
        ..ONE
    },
    Case {
        name: "plain 128 KiB",
        nginx: true,
        body: 128 << 10,
        ..ONE
    },
    Case {
        name: "plain 1 MiB",
        nginx: true,
        body: 1 << 20,
        ..ONE
    },
];

impl Case {
    /// The channels and subscriptions.
    pub(crate) fn manifest(&self, sink: &Sink) -> String {
        let mut yaml = String::new();
        for channel in 0..self.channels {
            let name = if self.channels == 1 {
                "c".to_owned()
            } else {
                format!("c{channel}")
            };
            yaml.push_str(&channel_manifest(&name));
            let authorities = sink.ca().map(|ca| {
                if self.own_authorities {
                    with_another(ca)
                } else {
                    ca.to_owned()
                }
            });
            for index in 1..=self.subscriptions {
                let slow = self.slow && index == self.subscriptions;
                let url = if slow {
                    sink.slow_url()
                } else {
                    sink.url().to_owned()
                };
                let subscription = format!("{name}-s{index}");
                yaml.push_str(&subscription_manifest(
                    &subscription,
                    &name,
                    &url,
                    authorities.as_deref(),
                ));
            }
        }
        yaml
    }

    pub(crate) fn mail(&self) -> Mail {
        let (channels, body) = (self.channels, self.body);
        match self.pace {
            Pace::Closed | Pace::Steady(_) => Mail {
                channels,
                body,
                ..Mail::default()
            },
            Pace::Arrivals(_) => Mail {
                channels,
                body,
                concurrency: 512,
                stamped: true,
                ..Mail::default()
            },
        }
    }
}

/// The sink's authority and one that signed nothing: a set that no other channel has, and that lets
/// the sink in.
fn with_another(ca: &str) -> String {
    format!("{ca}{}", certificate().0.pem())
}

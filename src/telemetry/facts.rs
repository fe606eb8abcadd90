//! What is true of the configuration in effect: its problems, and when certificates end.

use super::family::{Family, Reading, float};

/// What is true of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Its errors and its warnings.
    pub problems: (usize, usize),
    /// When the server's certificate ends, in seconds since the epoch.
    pub server_certificate: Option<i64>,
    /// When the first certificate that a destination is verified by ends.
    pub trust: Vec<TrustEnd>,
}

/// When the first of the certificates ends that a destination is verified by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustEnd {
    /// Whose destination it is: kind, namespace, name.
    pub subscription: (&'static str, String, String),
    /// Which of its destinations: `subscriber`, `reply` or `dead_letter_sink`.
    pub destination: &'static str,
    /// Seconds since the epoch.
    pub not_after: i64,
}

impl Facts {
    /// As families.
    #[must_use]
    pub fn read(self) -> [Family<'static>; 2] {
        let (errors, warnings) = self.problems;
        let mut problems = Family::new("sealpost_configuration_problems", "Problems of the configuration in effect");
        for (severity, count) in [("error", errors), ("warning", warnings)] {
            problems.push(&[("severity", severity.into())], Reading::Gauge(float(count as u64)));
        }
        let mut ends = Family::new(
            "sealpost_certificate_expiration_timestamp_seconds",
            "When a certificate ends; of those that verify a destination, the first one",
        );
        let seconds = |at: i64| Reading::Gauge(float(u64::try_from(at).unwrap_or(0)));
        if let Some(at) = self.server_certificate {
            ends.push(&[("use", "server".into())], seconds(at));
        }
        for TrustEnd { subscription: (kind, namespace, name), destination, not_after } in self.trust {
            let labels = [
                ("use", destination.into()),
                ("subscription_kind", kind.into()),
                ("subscription_namespace", namespace.into()),
                ("subscription_name", name.into()),
            ];
            ends.push(&labels, seconds(not_after));
        }
        [problems, ends]
    }
}

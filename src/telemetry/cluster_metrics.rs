//! Metrics about the cluster that a process follows: whether its API server answers, whether this
//! process holds the Lease, and what it writes.

use std::sync::OnceLock;

use tokio::sync::watch;

use super::counter::Counter;
use super::data_point::MetricValue;
use super::gauge::Gauge;
use super::metric_family::MetricFamily;

/// The metrics about the cluster that a process follows.
#[derive(Debug, Default)]
pub(crate) struct ClusterMetrics {
    /// 1 while the API server answers; 0 before its first answer and while it is away.
    pub(crate) api_server_up: Gauge,
    /// Attempts to write into the cluster, each of an object or of its status.
    pub(crate) writes: Counter,
    /// Attempts of those that failed and are made again.
    pub(crate) write_failures: Counter,
    /// The name of the Lease, and whether this process holds it; unset where nobody needs one.
    lease: OnceLock<(&'static str, watch::Receiver<bool>)>,
}

impl ClusterMetrics {
    /// Exposes from now on whether this process holds the Lease of this name.
    pub(crate) fn expose_lease(&self, name: &'static str, is_leader: watch::Receiver<bool>) {
        // A process is a candidate for one Lease only, so that this is never refused.
        _ = self.lease.set((name, is_leader));
    }

    /// Makes metric families of these metrics.
    #[must_use]
    pub(crate) fn collect_families(&self) -> [MetricFamily<'static>; 4] {
        let up = MetricFamily::new(
            "sealpost_api_server_up",
            "Whether the API server of the cluster answers",
        );
        let mut held = MetricFamily::new(
            "sealpost_lease_held",
            "Whether this process holds the Lease, and so writes into the cluster",
        );
        if let Some((lease, is_leader)) = self.lease.get() {
            let is_leader = i64::from(*is_leader.borrow());
            held.push_point(
                &[("lease", (*lease).into())],
                MetricValue::of_gauge(is_leader),
            );
        }
        let counted = |name, help, counter: &Counter| {
            MetricFamily::new(name, help).with_point(&[], MetricValue::Sum(counter.get()))
        };
        [
            up.with_point(&[], MetricValue::of_gauge(self.api_server_up.get())),
            held,
            counted(
                "sealpost_cluster_writes",
                "Attempts to write objects and their status into the cluster",
                &self.writes,
            ),
            counted(
                "sealpost_cluster_write_failures",
                "Of those, attempts that failed and are made again",
                &self.write_failures,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metric_family::ExpositionFormat;

    fn text(metrics: &ClusterMetrics) -> String {
        let mut text = String::new();
        for family in metrics.collect_families() {
            family.write_to(&mut text, ExpositionFormat::PrometheusText);
        }
        text
    }

    /// A role that needs no Lease has no series of one, so that nobody waits for its holder.
    #[test]
    fn the_lease_is_told_where_there_is_one() {
        let metrics = ClusterMetrics::default();
        assert!(!text(&metrics).contains("sealpost_lease_held"));
        let (leader, is_leader) = watch::channel(false);
        metrics.expose_lease("a-lease", is_leader);
        assert!(text(&metrics).contains("sealpost_lease_held{lease=\"a-lease\"} 0\n"));
        leader.send_replace(true);
        metrics.api_server_up.set(1);
        metrics.writes.increment();
        let told = text(&metrics);
        for line in [
            "sealpost_lease_held{lease=\"a-lease\"} 1",
            "sealpost_api_server_up 1",
            "sealpost_cluster_writes_total 1",
            "sealpost_cluster_write_failures_total 0",
        ] {
            assert!(told.lines().any(|found| found == line), "{line}: {told}");
        }
    }
}

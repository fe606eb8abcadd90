//! All series of the process, by the objects that they belong to.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::SpanContext;

use super::channel_series::ChannelSeries;
use super::history::ShownHistory;
use super::http_metrics::{ClientRequestHistograms, ConnectionMetrics, RequestsByScheme};
use super::request_reply::RequestReplySeries;
use super::series_key::SeriesKey;
use super::subscription_series::SubscriptionSeries;
use super::weak_series::WeakSeries;
use crate::telemetry::histogram::HistogramsByStatus;

/// All series of the process.
#[derive(Debug, Default)]
pub struct SeriesRegistry {
    pub(super) subscriptions: WeakSeries<SubscriptionSeries>,
    pub(super) channels: WeakSeries<ChannelSeries>,
    pub(super) request_replies: WeakSeries<RequestReplySeries>,
    /// Connections of the HTTP listener.
    pub http_connections: Arc<ConnectionMetrics>,
    /// Connections of the HTTPS listener.
    pub https_connections: Arc<ConnectionMetrics>,
    /// Connections of the admin port.
    pub admin_connections: Arc<ConnectionMetrics>,
    /// Connections to destinations, which are opened here, not accepted.
    pub client_connections: Arc<ConnectionMetrics>,
    /// Requests to both event ports, without probes.
    pub requests: RequestsByScheme,
    /// Requests to destinations, by the status of their responses.
    pub sent_requests: HistogramsByStatus<ClientRequestHistograms>,
}

impl SeriesRegistry {
    /// Returns the series of a subscription, which live as long as somebody holds them.
    pub fn subscription(&self, name: &SeriesKey) -> Arc<SubscriptionSeries> {
        self.subscriptions
            .find_or_register(name, SubscriptionSeries::new)
    }

    /// Takes the numbers of all subscriptions into their histories, in this minute since the
    /// epoch.
    pub(crate) fn sample_history(&self, minute: u64) {
        for series in self.subscriptions.live() {
            series.history().sample(minute, series.history_sample());
        }
    }

    /// Returns the history of each subscription that has one, in the order of their names.
    #[must_use]
    pub(crate) fn histories(&self) -> Vec<(SeriesKey, ShownHistory)> {
        let live = self.subscriptions.live();
        let shown = live.iter().filter_map(|series| {
            let shown = series.history().show(series.history_sample())?;
            Some((series.name.clone(), shown))
        });
        shown.collect()
    }

    /// Records a request to a destination: status, if any, duration and size of its body in bytes.
    pub(crate) fn record_sent(
        &self,
        status: Option<u16>,
        took: Duration,
        bytes: usize,
        span: Option<&SpanContext>,
    ) {
        if let Some(sent) = self.sent_requests.for_status(status) {
            sent.duration.record(took, span);
            sent.request_body_size.record(bytes as u64);
        }
    }

    /// Returns the series of a channel or broker, which live as long as somebody holds them.
    pub(crate) fn channel(&self, name: &SeriesKey) -> Arc<ChannelSeries> {
        self.channels.find_or_register(name, ChannelSeries::new)
    }

    /// Returns the series of a RequestReply, which live as long as somebody holds them.
    pub(crate) fn request_reply(&self, name: &SeriesKey) -> Arc<RequestReplySeries> {
        self.request_replies
            .find_or_register(name, RequestReplySeries::new)
    }
}

//! Series: the counters of each subscription, channel and listener, with their names. Who counts
//! holds the series; names are looked up when a configuration is applied. A series nobody holds is
//! gone.

mod by_label;
mod channel_series;
mod drop_counters;
mod failure_log;
mod failure_tracker;
mod families;
mod history;
mod http_metrics;
mod last_end_times;
mod last_error;
mod loss_log;
mod outcome;
mod registry;
mod relay_durations;
mod request_reply;
mod series_key;
mod subscription_series;
mod weak_series;

pub use channel_series::ChannelSeries;
pub use drop_counters::DropReason;
pub use history::{HistoryMinute, ShownHistory};
pub use http_metrics::{
    ClientRequestHistograms, ConnectionMetrics, RequestsByMethod, RequestsByScheme,
    ServerRequestHistograms,
};
pub use last_error::LastError;
pub use outcome::{ArrivalOutcome, DeliveryEnd, DropOutcome as Dropped, RequestReplyOutcome};
pub use registry::SeriesRegistry;
pub use relay_durations::{RelayDurations, SchemeDurations};
pub use request_reply::RequestReplySeries;
pub use series_key::SeriesKey;
pub use subscription_series::SubscriptionSeries;

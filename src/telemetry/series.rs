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
mod told_spells;
mod weak_series;

pub(crate) use channel_series::ChannelSeries;
pub(crate) use drop_counters::DropReason;
pub(crate) use history::{HistoryMinute, ShownHistory};
pub(crate) use http_metrics::ConnectionMetrics;
pub(crate) use last_error::LastError;
pub use outcome::DeliveryEnd;
pub(crate) use outcome::{ArrivalOutcome, DropOutcome as Dropped, RequestReplyOutcome};
pub(crate) use registry::SeriesRegistry;
pub(crate) use relay_durations::{RelayDurations, SchemeDurations};
pub(crate) use request_reply::RequestReplySeries;
pub use series_key::SeriesKey;
pub(crate) use subscription_series::SubscriptionSeries;
pub(crate) use told_spells::{FailingDestination, ParkedCount, ToldSpell};

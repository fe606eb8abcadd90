//! Channels and Brokers that are served if nothing is wrong with them.

use crate::control::read::report::ObjectReport;
use crate::control::resolve::parent::ResolvedParent;
use crate::model::ChannelKey;

/// The field of a dead letter sink.
pub(crate) const SINK_FIELD: &str = "spec.delivery.deadLetterSink";
/// The same field in a template.
pub(crate) const TEMPLATE_SINK_FIELD: &str = "spec.channelTemplate.spec.delivery.deadLetterSink";

/// A channel or Broker as it is written, with its resolved form if it has a good one.
pub(crate) struct ChannelCandidate<'i, 'd> {
    pub(super) key: ChannelKey,
    pub(super) report: &'i mut ObjectReport<'d>,
    pub(super) parent: Option<ResolvedParent>,
    /// The field of its dead letter sink.
    pub(super) sink_field: &'static str,
}

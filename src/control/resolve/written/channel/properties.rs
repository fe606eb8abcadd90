//! The properties of a channel or Broker, as its metadata and its delivery spec say them.

use super::template::{TemplateDelivery, template_backend, template_delivery, template_of};
use crate::control::read::manifest::duck::ObjectMeta;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::config::defaults::ResolvedDefaults;
use crate::control::resolve::config::features;
use crate::control::resolve::delivery::WrittenDelivery;
use crate::control::resolve::destination::DestinationResolver;
use crate::control::resolve::parent::ResolvedParent;
use crate::control::resolve::written::flow::plan::FlowManifest;
use crate::model::BackendKind;

/// The properties as they are written.
pub(super) struct WrittenProperties<'w> {
    pub(super) metadata: &'w ObjectMeta,
    pub(super) backend: BackendKind,
    pub(super) delivery: Option<WrittenDelivery<'w>>,
}

/// Resolves the properties; `None` if the object has errors.
pub(super) fn resolve_parent(
    written: &WrittenProperties<'_>,
    resolver: &mut DestinationResolver<'_>,
    report: &mut ObjectReport<'_>,
) -> Option<ResolvedParent> {
    let acknowledge = features::read_acknowledge_mode(written.metadata, report);
    let retain = features::read_retention(written.metadata, written.backend, report);
    let delivery = written
        .delivery
        .map(|written| written.resolve(report))
        .unwrap_or_default();
    let sink = written.delivery.and_then(WrittenDelivery::dead_letter_sink);
    let dead_letter_sink = sink.and_then(|sink| resolver.resolve(&sink, report));
    (!report.has_errors()).then_some(ResolvedParent {
        backend: written.backend,
        acknowledge,
        retain,
        delivery,
        dead_letter_sink,
    })
}

/// Resolves the properties that all channels of a Sequence or Parallel have.
pub(super) fn resolve_flow_parent<F: FlowManifest>(
    flow: &F,
    defaults: &ResolvedDefaults,
    resolver: &mut DestinationResolver<'_>,
    report: &mut ObjectReport<'_>,
) -> Option<ResolvedParent> {
    let default = defaults.channel_template(&report.object().namespace);
    let template = template_of(flow.channel_template(), default);
    let backend = template_backend(template, "spec.channelTemplate", resolver, report);
    let delivery = template_delivery(template);
    let written = WrittenProperties {
        metadata: flow.metadata(),
        backend,
        delivery: delivery.as_ref().map(TemplateDelivery::written),
    };
    resolve_parent(&written, resolver, report)
}

//! Templates of channels: the backend and the delivery spec that a template asks for.

use crate::control::read::kind::group_of;
use crate::control::read::kind::{RecognizedKind, ResourceKind};
use crate::control::read::manifest::duck;
use crate::control::read::manifest::messaging::ChannelTemplate;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::delivery::{self, WrittenDelivery};
use crate::control::resolve::destination::replacement::replacement_remedy;
use crate::control::resolve::destination::{DestinationResolver, WrittenDestination};
use crate::control::resolve::written::channel_candidate::SINK_FIELD;
use crate::control::settings::{DataDirectoryAvailability, RabbitmqAvailability};
use crate::model::BackendKind;

const NO_RABBITMQ: &str = "needs RabbitMQ: run with --rabbitmq-uri, or use DiskChannel or \
     InMemoryChannel";
const NO_DIRECTORY: &str = "needs a directory: run with --data-dir, or use InMemoryChannel";

/// The remedy for a template of another implementation's kind; `None` for our kinds, and for
/// mistakes.
pub(in crate::control::resolve) fn foreign_template_remedy(
    template: &ChannelTemplate,
) -> Option<&'static str> {
    let [api_version, kind] =
        [&template.api_version, &template.kind].map(|text| text.as_deref().unwrap_or_default());
    let is_foreign = ResourceKind::recognize(api_version, kind) == RecognizedKind::Foreign;
    replacement_remedy(group_of(api_version), kind)
        .filter(|_| is_foreign)
        .map(|_| "write InMemoryChannel, DiskChannel or RabbitmqChannel there")
}

/// True if a template is of another implementation's kind, which is noted: what it is for is left
/// alone.
pub(crate) fn is_left_alone(
    template: Option<WrittenTemplate<'_>>,
    report: &mut ObjectReport<'_>,
) -> bool {
    let foreign = template.filter(|written| foreign_template_remedy(written.template).is_some());
    let Some((kind, field)) =
        foreign.and_then(|written| Some((written.template.kind.as_deref()?, written.field)))
    else {
        return false;
    };
    let own = &report.object().kind;
    let rule = "write InMemoryChannel, DiskChannel or RabbitmqChannel there, or leave the template \
         out";
    let message = format!("{kind} is not made here, so that this {own} is left alone: {rule}");
    report.note(&format!("{field}.kind"), message);
    true
}

/// The template of a channel as it is written, and the field that it stands at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrittenTemplate<'t> {
    pub(crate) template: &'t ChannelTemplate,
    pub(crate) field: &'static str,
}

/// The template of a `Channel` or flow, else the default one.
pub(crate) fn template_of<'t>(
    written: Option<&'t ChannelTemplate>,
    default: Option<&'t ChannelTemplate>,
) -> Option<WrittenTemplate<'t>> {
    let (template, field) = match (written, default) {
        (Some(written), _) => (written, "spec.channelTemplate"),
        (None, Some(default)) => (
            default,
            "spec.channelTemplate (default of ConfigMap default-ch-webhook)",
        ),
        (None, None) => return None,
    };
    Some(WrittenTemplate { template, field })
}

/// The delivery spec of a template.
pub(crate) struct TemplateDelivery {
    pub(crate) field: String,
    spec: duck::DeliverySpecManifest,
}

impl TemplateDelivery {
    /// The delivery spec with its field.
    pub(crate) fn written(&self) -> WrittenDelivery<'_> {
        WrittenDelivery {
            field: &self.field,
            spec: &self.spec,
        }
    }
}

pub(crate) fn template_delivery(template: Option<WrittenTemplate<'_>>) -> Option<TemplateDelivery> {
    let WrittenTemplate { template, field } = template?;
    Some(TemplateDelivery {
        field: format!("{field}.spec.delivery"),
        spec: template.spec.as_ref()?.delivery.clone()?,
    })
}

/// The backend of a template; without one, the default, whose absence is reported at `instead`.
pub(crate) fn template_backend(
    template: Option<WrittenTemplate<'_>>,
    instead: &str,
    resolver: &DestinationResolver<'_>,
    report: &mut ObjectReport<'_>,
) -> BackendKind {
    match template {
        Some(template) => check_template(template, resolver, report),
        None => match resolver.settings.default_backend {
            BackendKind::Memory => BackendKind::Memory,
            BackendKind::Rabbitmq => require_rabbitmq(instead, resolver, report),
            BackendKind::Disk => require_disk(instead, resolver, report),
        },
    }
}

pub(crate) fn require_rabbitmq(
    field: &str,
    resolver: &DestinationResolver<'_>,
    report: &mut ObjectReport<'_>,
) -> BackendKind {
    if resolver.settings.rabbitmq == RabbitmqAvailability::Missing {
        report.error(field, NO_RABBITMQ);
    }
    BackendKind::Rabbitmq
}

pub(crate) fn require_disk(
    field: &str,
    resolver: &DestinationResolver<'_>,
    report: &mut ObjectReport<'_>,
) -> BackendKind {
    if resolver.settings.data_directory == DataDirectoryAvailability::Missing {
        report.error(field, NO_DIRECTORY);
    }
    BackendKind::Disk
}

/// The backend that a template asks for; reports other kinds.
fn check_template(
    template: WrittenTemplate<'_>,
    resolver: &DestinationResolver<'_>,
    report: &mut ObjectReport<'_>,
) -> BackendKind {
    let WrittenTemplate { template, field } = template;
    let kind = template.kind.as_deref().unwrap_or_default();
    let api_version = template.api_version.as_deref().unwrap_or_default();
    let (expected, storage) = match kind {
        "InMemoryChannel" => (ResourceKind::InMemoryChannel, BackendKind::Memory),
        "RabbitmqChannel" => (
            ResourceKind::RabbitmqChannel,
            require_rabbitmq(&format!("{field}.kind"), resolver, report),
        ),
        "DiskChannel" => (
            ResourceKind::DiskChannel,
            require_disk(&format!("{field}.kind"), resolver, report),
        ),
        _ => {
            let rule = "cannot be made here: write InMemoryChannel, DiskChannel or \
                 RabbitmqChannel, or leave the template out";
            report.error(&format!("{field}.kind"), format!("{kind:?} {rule}"));
            return BackendKind::Memory;
        }
    };
    if api_version != expected.api_version() {
        let message = format!(
            "{api_version:?} has no {kind}: write {}",
            expected.api_version()
        );
        report.error(&format!("{field}.apiVersion"), message);
    }
    storage
}

/// Checks and warns of a channel's own delivery spec that a template's replaces.
pub(crate) fn warn_of_overridden_delivery(
    own: Option<&duck::DeliverySpecManifest>,
    by: &str,
    resolver: &mut DestinationResolver<'_>,
    report: &mut ObjectReport<'_>,
) {
    let Some(own) = own else { return };
    delivery::resolve(own, "spec.delivery", report);
    if let Some(sink) = &own.dead_letter_sink {
        resolver.resolve(
            &WrittenDestination::at_field(SINK_FIELD.to_owned(), sink),
            report,
        );
    }
    report.warning(
        "spec.delivery",
        format!("does not count, since {by} replaces it as a whole: write all of it there"),
    );
}

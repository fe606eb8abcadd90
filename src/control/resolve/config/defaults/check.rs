//! Mistakes in the defaults of Brokers and channels, whether or not anything uses them.

use super::DEFAULT_CH_CONFIG;
use crate::control::read::header::is_dns_name;
use crate::control::read::kind::{RecognizedKind, ResourceKind};
use crate::control::read::manifest::defaults::ChannelDefaults;
use crate::control::read::manifest::messaging::ChannelTemplate;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::delivery;
use crate::control::resolve::written::channel::template::foreign_template_remedy;

/// Reports names that no namespace can have: the value was meant for another place.
pub(super) fn check_namespaces<'n>(
    names: impl Iterator<Item = &'n String>,
    key: &str,
    report: &mut ObjectReport<'_>,
) {
    for name in names.filter(|name| !is_dns_name(name, 63) || name.contains('.')) {
        let message = match name.as_str() {
            "clusterDefault" => {
                "is no namespace: it belongs beside namespaceDefaults, and not below it".to_owned()
            }
            _ => format!(
                "{name:?} is not a namespace of Kubernetes: use at most 63 of a-z, 0-9 and '-'"
            ),
        };
        report.error(&format!("data.{key}.namespaceDefaults.{name}"), message);
    }
}

/// Reports the mistakes of default templates, each at its own field.
pub(super) fn check_templates(defaults: &ChannelDefaults, report: &mut ObjectReport<'_>) {
    let names = defaults
        .namespace_defaults
        .iter()
        .flatten()
        .map(|(name, _)| name);
    check_namespaces(names, DEFAULT_CH_CONFIG, report);
    let of_cluster = defaults
        .cluster_default
        .iter()
        .map(|template| ("clusterDefault".to_owned(), template));
    let of_namespaces = defaults.namespace_defaults.iter().flatten();
    let of_namespaces = of_namespaces.filter_map(|(name, template)| {
        Some((format!("namespaceDefaults.{name}"), template.as_ref()?))
    });
    for (place, template) in of_cluster.chain(of_namespaces) {
        check_template(
            template,
            &format!("data.{DEFAULT_CH_CONFIG}.{place}"),
            report,
        );
    }
}

pub(super) fn check_template(
    template: &ChannelTemplate,
    field: &str,
    report: &mut ObjectReport<'_>,
) {
    check_kind(template, field, report);
    if let Some(written) = template
        .spec
        .as_ref()
        .and_then(|spec| spec.delivery.as_ref())
    {
        delivery::resolve(written, &format!("{field}.spec.delivery"), report);
    }
}

/// Reports a template of a kind that does not exist, even if nothing uses the template.
fn check_kind(template: &ChannelTemplate, field: &str, report: &mut ObjectReport<'_>) {
    let [api_version, kind] =
        [&template.api_version, &template.kind].map(|text| text.as_deref().unwrap_or_default());
    let kind_field = format!("{field}.kind");
    match ResourceKind::recognize(api_version, kind) {
        _ if kind.is_empty() => report.error(
            &kind_field,
            "is missing: write InMemoryChannel, DiskChannel or RabbitmqChannel",
        ),
        RecognizedKind::Known(
            ResourceKind::InMemoryChannel
            | ResourceKind::RabbitmqChannel
            | ResourceKind::DiskChannel,
        ) => {}
        RecognizedKind::Foreign if foreign_template_remedy(template).is_some() => {}
        RecognizedKind::Mistaken {
            field: wrong,
            message,
        } => report.error(&format!("{field}.{wrong}"), message),
        RecognizedKind::Known(_) | RecognizedKind::Foreign => {
            report.error(
                &kind_field,
                format!(
                    "{kind:?} cannot be made here: write InMemoryChannel, DiskChannel or \
                     RabbitmqChannel"
                ),
            );
        }
    }
}

//! Resolves references: the kind that one means, and the address of objects that are no channel or
//! Broker of this process (contract IF-2, IF-6).

use super::service_location::{ReferencedObject, SERVING};
use super::{DestinationResolver, ResolvedUrl, WrittenDestination};
use crate::control::read::kind::{RecognizedKind, ResourceKind, group_of};
use crate::control::read::manifest::duck::KReference;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::keys::channel_key;
use crate::model::{ChannelKind, NamespacedName};

/// The kind that a reference means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReferencedKind {
    /// A kind that is read.
    Known(ResourceKind),
    /// Another kind, by its name and its group, which is empty for Kubernetes' own kinds.
    Other { group: String, kind: String },
}

/// The kind that a reference means; `None` if that cannot be said, which is reported.
pub(crate) fn referenced_kind(
    reference: &KReference,
    field: &str,
    report: &mut ObjectReport<'_>,
) -> Option<ReferencedKind> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (written, group, kind) = (
        text(&reference.api_version),
        text(&reference.group),
        text(&reference.kind),
    );
    if kind.is_empty() {
        report.error(
            &format!("{field}.kind"),
            "is missing: write for example Service",
        );
        return None;
    }
    let api_version = api_version(&written, &group, &kind);
    if group_of(&api_version) != group && !group.is_empty() {
        let message = format!(
            "is another group than that of apiVersion {written:?}: leave one of the two out"
        );
        report.error(&format!("{field}.group"), message);
        return None;
    }
    match ResourceKind::recognize(&api_version, &kind) {
        RecognizedKind::Known(kind) => Some(ReferencedKind::Known(kind)),
        RecognizedKind::Mistaken {
            field: wrong,
            message,
        } => {
            let wrong = if wrong == "apiVersion" && written.is_empty() && !group.is_empty() {
                "group"
            } else {
                wrong
            };
            report.error(&format!("{field}.{wrong}"), message);
            None
        }
        RecognizedKind::Foreign => other_kind(&api_version, kind, field, report),
    }
}

/// The `apiVersion` of a reference. If only the group is written, the version is the one that is
/// served.
fn api_version(written: &str, group: &str, kind: &str) -> String {
    if !written.is_empty() || group.is_empty() {
        return written.to_owned();
    }
    let served = ResourceKind::ALL
        .into_iter()
        .filter(|known| known.as_str() == kind)
        .map(ResourceKind::api_version);
    let mut of_group = served.filter(|api_version| group_of(api_version) == group);
    of_group
        .next()
        .map_or_else(|| format!("{group}/v1"), str::to_owned)
}

fn other_kind(
    api_version: &str,
    kind: String,
    field: &str,
    report: &mut ObjectReport<'_>,
) -> Option<ReferencedKind> {
    let group = group_of(api_version).to_owned();
    if group == SERVING && kind == "Service" && api_version != "serving.knative.dev/v1" {
        let message =
            format!("{api_version:?} has no Service that is known here: write {SERVING}/v1");
        report.error(&format!("{field}.apiVersion"), message);
        return None;
    }
    Some(ReferencedKind::Other { group, kind })
}

impl DestinationResolver<'_> {
    /// The URL of the object that a `ref` means.
    pub(super) fn resolve_reference(
        &self,
        reference: &KReference,
        wanted: &WrittenDestination<'_>,
        report: &mut ObjectReport<'_>,
    ) -> Option<ResolvedUrl> {
        let field = format!("{}.ref", wanted.field);
        let meant = referenced_kind(reference, &field, report)?;
        let Some(name) = reference.name.clone().filter(|name| !name.is_empty()) else {
            report.error(&format!("{field}.name"), "is missing: name the object");
            return None;
        };
        let namespace = reference
            .namespace
            .clone()
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or_else(|| report.object().namespace.clone());
        match meant {
            ReferencedKind::Known(kind) => {
                self.resolve_known_kind(kind, NamespacedName { namespace, name }, wanted, report)
            }
            ReferencedKind::Other { group, kind } => {
                let referent = ReferencedObject {
                    group,
                    kind,
                    namespace,
                    name,
                };
                self.resolve_other(&referent, wanted, report)
            }
        }
    }

    fn resolve_known_kind(
        &self,
        kind: ResourceKind,
        name: NamespacedName,
        wanted: &WrittenDestination<'_>,
        report: &mut ObjectReport<'_>,
    ) -> Option<ResolvedUrl> {
        let channel_kind = match kind {
            ResourceKind::Service => {
                let referent = ReferencedObject::service(name.namespace, name.name);
                return self.resolve_service(&referent, wanted, report);
            }
            ResourceKind::Sequence | ResourceKind::Parallel => {
                return self.resolve_flow(kind, name, wanted, report);
            }
            ResourceKind::Broker => ChannelKind::Broker,
            ResourceKind::RequestReply => ChannelKind::RequestReply,
            ResourceKind::Channel
            | ResourceKind::InMemoryChannel
            | ResourceKind::RabbitmqChannel
            | ResourceKind::DiskChannel => ChannelKind::Channel,
            ResourceKind::Trigger
            | ResourceKind::EventPolicy
            | ResourceKind::Subscription
            | ResourceKind::PingSource
            | ResourceKind::ConfigMap
            | ResourceKind::Secret
            | ResourceKind::Pod
            | ResourceKind::EndpointSlice => {
                let rule =
                    "takes no events: refer to a Service, a channel or a Broker, or give a uri";
                let field = format!("{}.ref.kind", wanted.field);
                report.error(&field, format!("{} {rule}", kind.as_str()));
                return None;
            }
        };
        let key = channel_key(channel_kind, name.namespace, name.name);
        self.resolve_local(key, wanted, report)
    }
}

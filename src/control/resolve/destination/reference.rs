//! Resolves references: the kind that one means, and the address of objects that are no channel or
//! Broker of this process (contract IF-2, IF-6).

use url::Url;

use super::replacement::replacement_remedy;
use super::service_location::{ReferencedObject, SERVING, ServiceLocation};
use super::uri;
use super::{DestinationResolver, ResolvedUrl, WrittenDestination};
use crate::control::read::kind::group_of;
use crate::control::read::kind::{RecognizedKind, ResourceKind};
use crate::control::read::manifest::duck::KReference;
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::annotations::ENDPOINT;
use crate::control::settings::ClusterNameLookup;
use crate::model::{DestinationRoute, DestinationUrl};

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

/// Reports a reference to an object of another kind whose address nothing says.
pub(crate) fn report_unreachable(
    group: &str,
    kind: &str,
    field: &str,
    report: &mut ObjectReport<'_>,
) {
    let of = if group.is_empty() {
        String::new()
    } else {
        format!(" of {group}")
    };
    if let Some(remedy) = replacement_remedy(group, kind) {
        report.warn_not_served(
            field,
            format!("leads to a {kind}{of}, which is left alone here: {remedy}"),
        );
        return;
    }
    let ways = format!(
        "add its manifest with the annotation {ENDPOINT}, refer to a Service and say where that is by --resolve, or give \
         its address as uri"
    );
    report.unresolved_reference(
        field,
        format!("leads to a {kind}{of}, and nothing says where that is: {ways}"),
    );
}

impl DestinationResolver<'_> {
    /// The address of an object of another kind: a Service of Knative Serving is found as one of
    /// Kubernetes is, any other object by its manifest.
    pub(crate) fn resolve_other(
        &self,
        referent: &ReferencedObject,
        wanted: &WrittenDestination<'_>,
        report: &mut ObjectReport<'_>,
    ) -> Option<ResolvedUrl> {
        if referent.is_service() || self.service_locations.contains_key(referent) {
            return self.resolve_service(referent, wanted, report);
        }
        report_unreachable(
            &referent.group,
            &referent.kind,
            &format!("{}.ref", wanted.field),
            report,
        );
        None
    }

    /// The address of a Service, or of another object whose manifest says its address.
    pub(crate) fn resolve_service(
        &self,
        referent: &ReferencedObject,
        wanted: &WrittenDestination<'_>,
        report: &mut ObjectReport<'_>,
    ) -> Option<ResolvedUrl> {
        let field = format!("{}.ref", wanted.field);
        let reach = self.service_locations.get(referent);
        if let Some(None) = reach {
            report.unresolved_reference(
                &field,
                format!("{referent} has problems of its own: solve them first"),
            );
            return None;
        }
        let reach = reach.and_then(Option::as_ref);
        // The base URL is that of the annotation, else the host name of the cluster.
        let base = match reach.and_then(|reach| reach.parse_endpoint_annotation(self.mode)) {
            Some(endpoint) => endpoint.clone(),
            None => {
                let scheme = if wanted.ca_certs.is_some() {
                    "https"
                } else {
                    "http"
                };
                let named = format!(
                    "{}.{}.svc.{}",
                    referent.name, referent.namespace, self.settings.cluster_domain
                );
                let url = |host: &str| {
                    Some(DestinationUrl::from(
                        Url::parse(&format!("{scheme}://{host}/")).ok()?,
                    ))
                };
                match (url(&named)?, reach) {
                    // The external name of a channel's own Service is that of the dispatcher, which
                    // this process is.
                    (own, Some(ServiceLocation::ExternalName(_))) if self.is_served_at(&own) => own,
                    (_, Some(ServiceLocation::ExternalName(host))) => url(host)?,
                    (own, _) => own,
                }
            }
        };
        let url = match wanted.uri.map(|text| uri::resolve_relative(&base, text)) {
            None => base,
            Some(Ok(url)) => url,
            Some(Err(message)) => {
                report.error(&wanted.uri_field, message);
                return None;
            }
        };
        // An override, or a URL of this process, goes before the display and before the check that
        // the object exists.
        let (url, target) = self.resolve_url(url, &field, report);
        match (reach, &target) {
            (Some(ServiceLocation::EventDisplay), DestinationRoute::Remote { connect: None })
                if !self.settings.task.relays() =>
            {
                return Some((url, DestinationRoute::EventDisplay));
            }
            (None, DestinationRoute::Remote { connect: None }) => {
                let host = url.host_str().unwrap_or_default();
                let message = format!(
                    "there is no {referent}: add its manifest, or {}",
                    location_remedy(host)
                );
                report.unresolved_reference(&field, message);
                return None;
            }
            (
                Some(
                    ServiceLocation::ClusterHost
                    | ServiceLocation::ExternalName(_)
                    | ServiceLocation::Endpoint { .. },
                ),
                _,
            ) => {
                self.check_host(&url, &target, &field, report);
            }
            _ => {}
        }
        Some((url, target))
    }

    /// Warns of a host name that only a cluster can look up, if there is none.
    pub(crate) fn check_host(
        &self,
        url: &Url,
        target: &DestinationRoute,
        field: &str,
        report: &mut ObjectReport<'_>,
    ) {
        let host = url.host_str().unwrap_or_default();
        let domain = format!(".svc.{}", self.settings.cluster_domain);
        let is_of_cluster = host.ends_with(&domain) || host.ends_with(".svc");
        let is_unknown = self.settings.cluster_names == ClusterNameLookup::Unavailable;
        if is_of_cluster
            && is_unknown
            && matches!(target, DestinationRoute::Remote { connect: None })
        {
            report.warning(
                field,
                format!(
                    "leads to {host}, a name that only a cluster knows: {}",
                    location_remedy(host)
                ),
            );
        }
    }
}

/// The remedy for a host whose address is not known.
fn location_remedy(host: &str) -> String {
    format!(
        "say where it is by --resolve {host}=ADDR:PORT, by the annotation {ENDPOINT} on the manifest of its Service, or by \
         a uri"
    )
}

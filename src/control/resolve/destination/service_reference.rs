//! The addresses of Services, and of other objects whose manifest says where they are.

use url::Url;

use super::replacement::replacement_remedy;
use super::service_location::{ReferencedObject, ServiceLocation};
use super::{DestinationResolver, ResolvedUrl, WrittenDestination, uri};
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::annotations::ENDPOINT;
use crate::control::settings::ClusterNameLookup;
use crate::model::{DestinationRoute, DestinationUrl};

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
        let location = self.service_locations.get(referent);
        if let Some(None) = location {
            report.unresolved_reference(
                &field,
                format!("{referent} has problems of its own: solve them first"),
            );
            return None;
        }
        let location = location.and_then(Option::as_ref);
        let base = self.service_url(referent, location, wanted)?;
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
        let found = self.resolve_url(url, &field, report);
        match (location, &found.route) {
            (Some(ServiceLocation::EventDisplay), DestinationRoute::Remote { connect: None })
                if !self.settings.task.relays() =>
            {
                return Some(ResolvedUrl {
                    route: DestinationRoute::EventDisplay,
                    ..found
                });
            }
            (None, DestinationRoute::Remote { connect: None }) => {
                let host = found.url.host_str().unwrap_or_default();
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
            ) => self.check_host(&found, &field, report),
            _ => {}
        }
        Some(found)
    }

    /// The base URL of a Service: that of the annotation, else the host name of the cluster.
    fn service_url(
        &self,
        referent: &ReferencedObject,
        location: Option<&ServiceLocation>,
        wanted: &WrittenDestination<'_>,
    ) -> Option<DestinationUrl> {
        let endpoint = location.and_then(|location| location.parse_endpoint_annotation(self.mode));
        if let Some(endpoint) = endpoint {
            return Some(endpoint.clone());
        }
        let scheme = if wanted.ca_certs.is_some() {
            "https"
        } else {
            "http"
        };
        let url = |host: &str| {
            let url = Url::parse(&format!("{scheme}://{host}/")).ok()?;
            Some(DestinationUrl::from(url))
        };
        let own = url(&format!(
            "{}.{}.svc.{}",
            referent.name, referent.namespace, self.settings.cluster_domain
        ))?;
        match location {
            // The external name of a channel's own Service is that of the dispatcher, which this
            // process is.
            Some(ServiceLocation::ExternalName(_)) if self.is_served_at(&own) => Some(own),
            Some(ServiceLocation::ExternalName(host)) => url(host),
            _ => Some(own),
        }
    }

    /// Warns of a host name that only a cluster can look up, if there is none.
    pub(crate) fn check_host(
        &self,
        found: &ResolvedUrl,
        field: &str,
        report: &mut ObjectReport<'_>,
    ) {
        let host = found.url.host_str().unwrap_or_default();
        let domain = format!(".svc.{}", self.settings.cluster_domain);
        let is_of_cluster = host.ends_with(&domain) || host.ends_with(".svc");
        let is_unknown = self.settings.cluster_names == ClusterNameLookup::Unavailable;
        if is_of_cluster
            && is_unknown
            && matches!(found.route, DestinationRoute::Remote { connect: None })
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

/// The remedy for a host whose address is not known.
fn location_remedy(host: &str) -> String {
    format!(
        "say where it is by --resolve {host}=ADDR:PORT, by the annotation {ENDPOINT} on the manifest of its Service, or by \
         a uri"
    )
}

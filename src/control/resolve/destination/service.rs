//! Locates the Services that references name, and other objects whose manifest says their address:
//! at a cluster host name, at the endpoint of an annotation, or at the built-in display (contract
//! IF-2, IF-6).

use std::collections::BTreeMap;
use std::fmt;

use super::other_kinds;
use super::uri;
use crate::control::read::manifest::core::{PodManifest, ServiceManifest};
use crate::control::read::manifest::duck::TextMap;
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::annotations::ENDPOINT;
use crate::control::read::schema::core::SERVICE_TYPES;
use crate::control::resolve::collect::{CollectedItem, CollectedObjects, is_dns_name};
use crate::model::NamespacedName;
use crate::model::{DestinationUrl, TransportEncryption};

/// The group of Knative Serving, whose Services have host names as Kubernetes' own have.
pub(crate) const SERVING: &str = "serving.knative.dev";
const ENDPOINT_FIELD: &str = "metadata.annotations.sealpost.dev/endpoint";

/// An object that is no channel or Broker, as references name it. The version of its group does not
/// matter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ReferencedObject {
    /// The API group; empty for Kubernetes' own kinds.
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// The location of every object whose manifest says something about it; `None` if its problems are
/// reported.
pub(crate) type ServiceLocations = BTreeMap<ReferencedObject, Option<ServiceLocation>>;

impl ReferencedObject {
    /// A Service of Kubernetes' core group.
    pub(crate) fn service(namespace: String, name: String) -> Self {
        Self {
            group: String::new(),
            kind: "Service".to_owned(),
            namespace,
            name,
        }
    }

    /// True for a Service, of Kubernetes or of Knative Serving, whose host name is known.
    pub(crate) fn is_service(&self) -> bool {
        self.kind == "Service" && (self.group.is_empty() || self.group == SERVING)
    }
}

impl fmt::Display for ReferencedObject {
    /// Writes `Service ns/name`, with the group if there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            group,
            kind,
            namespace,
            name,
        } = self;
        let of = if group.is_empty() {
            String::new()
        } else {
            format!(" of {group},")
        };
        write!(f, "{kind}{of} {namespace}/{name}")
    }
}

/// The location of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServiceLocation {
    /// At its cluster host name.
    ClusterHost,
    /// At these URLs: one of each scheme, or one alone.
    Endpoint {
        http: Option<DestinationUrl>,
        https: Option<DestinationUrl>,
    },
    /// At a host outside of the cluster, by its name.
    ExternalName(String),
    /// At the built-in display, without HTTP.
    EventDisplay,
}

impl ServiceLocation {
    /// The endpoint URL for a mode; `None` without endpoints.
    pub(crate) fn parse_endpoint_annotation(
        &self,
        mode: TransportEncryption,
    ) -> Option<&DestinationUrl> {
        match self {
            Self::Endpoint { http, https } if mode.prefers_https() => {
                https.as_ref().or(http.as_ref())
            }
            Self::Endpoint { http, https } => http.as_ref().or(https.as_ref()),
            Self::ClusterHost | Self::ExternalName(_) | Self::EventDisplay => None,
        }
    }
}

/// Locates every Service, and every other object whose manifest says its address. One with problems
/// keeps its last location.
pub(crate) fn resolve(
    collected: &mut CollectedObjects<'_>,
    last: &ServiceLocations,
) -> ServiceLocations {
    let CollectedObjects {
        services,
        pods,
        others,
        ..
    } = collected;
    // The Pods of the display come first, since Services are compared with them.
    let mut displays: Vec<DisplayPods> = others
        .values()
        .filter_map(other_kinds::display_pods)
        .collect();
    let of_pod = |((namespace, _), CollectedItem { object, .. }): (
        &NamespacedName,
        &CollectedItem<'_, PodManifest>,
    )| {
        let pod = object.as_deref().filter(|pod| is_event_display_pod(pod))?;
        Some(DisplayPods {
            namespace: namespace.clone(),
            labels: pod.metadata.labels.clone(),
        })
    };
    displays.extend(pods.iter().filter_map(of_pod));
    let mut reaches = ServiceLocations::new();
    for (
        (namespace, name),
        CollectedItem {
            object,
            partly,
            report,
        },
    ) in services
    {
        let service = object.as_ref().or(partly.as_ref());
        let location =
            service.and_then(|service| locate_service(service, namespace, &displays, report));
        let location = location.filter(|_| object.is_some());
        reaches.insert(
            ReferencedObject::service(namespace.clone(), name.clone()),
            location,
        );
    }
    for (referent, report) in others.iter_mut() {
        reaches.extend(
            other_kinds::locate_other(referent, report)
                .map(|location| (referent.clone(), location)),
        );
    }
    // A location with problems is replaced by the last one, so that deliveries go on.
    for (referent, location) in &mut reaches {
        if location.is_none() {
            *location = last.get(referent).cloned().flatten();
        }
    }
    reaches
}

/// The namespace and labels of Pods that the built-in display stands in for.
#[derive(Debug)]
pub(crate) struct DisplayPods {
    pub(crate) namespace: String,
    pub(crate) labels: TextMap,
}

fn locate_service(
    service: &ServiceManifest,
    namespace: &str,
    displays: &[DisplayPods],
    report: &mut ObjectReport<'_>,
) -> Option<ServiceLocation> {
    if let Some(text) = service.metadata.annotation(ENDPOINT) {
        return endpoint(text, report);
    }
    let spec = service.spec.as_ref();
    if let Some(other) = spec
        .and_then(|spec| spec.service_type.as_deref())
        .filter(|of| !SERVICE_TYPES.contains(of))
        && !other.is_empty()
    {
        report.error(
            "spec.type",
            format!(
                "{other:?} is no type of a Service: write {}",
                SERVICE_TYPES.join(" or ")
            ),
        );
        return None;
    }
    if spec.and_then(|spec| spec.service_type.as_deref()) == Some("ExternalName") {
        let host = spec
            .and_then(|spec| spec.external_name.clone())
            .unwrap_or_default();
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        if is_address || !is_dns_name(host.trim_end_matches('.'), 253) {
            let rule = "is no DNS name, which is all that it may be: write the name of a host, \
                 without scheme, port and path";
            report.error("spec.externalName", format!("{host:?} {rule}"));
            return None;
        }
        return Some(ServiceLocation::ExternalName(host));
    }
    let is_selected = |display: &DisplayPods| {
        display.namespace == namespace
            && spec.is_some_and(|spec| selector_matches(&spec.selector, &display.labels))
    };
    Some(if displays.iter().any(is_selected) {
        ServiceLocation::EventDisplay
    } else {
        ServiceLocation::ClusterHost
    })
}

/// Reads the endpoint annotation: one URL, or one of each scheme.
pub(crate) fn endpoint(text: &str, report: &mut ObjectReport<'_>) -> Option<ServiceLocation> {
    let (mut http, mut https) = (None, None);
    for part in text.split(',').map(str::trim) {
        let url = match uri::parse_destination_url(part) {
            Ok(url) => url,
            Err(message) => {
                report.error(ENDPOINT_FIELD, message);
                return None;
            }
        };
        let slot = if url.scheme() == "https" {
            &mut https
        } else {
            &mut http
        };
        if slot.replace(url).is_some() {
            report.error(
                ENDPOINT_FIELD,
                "has two URLs of one scheme: give one URL, or one http and one https URL",
            );
            return None;
        }
    }
    Some(ServiceLocation::Endpoint { http, https })
}

/// True if labels have all that a selector asks for; a Service without a selector selects nothing.
fn selector_matches(selector: &TextMap, labels: &TextMap) -> bool {
    let Some(selector) = selector.as_ref().filter(|selector| !selector.is_empty()) else {
        return false;
    };
    let labels = labels.as_ref();
    selector.iter().all(|(key, value)| {
        labels
            .and_then(|labels| labels.get(key))
            .is_some_and(|label| label == value)
    })
}

fn is_event_display_pod(pod: &PodManifest) -> bool {
    let containers = pod
        .spec
        .iter()
        .flat_map(|spec| spec.containers.iter().flatten());
    containers
        .filter_map(|container| container.image.as_deref())
        .any(is_event_display_image)
}

/// True if the name of an image, without tag and digest, ends in `/event_display`.
pub(crate) fn is_event_display_image(image: &str) -> bool {
    let name = image.split_once('@').map_or(image, |(name, _digest)| name);
    let Some((_, last)) = name.rsplit_once('/') else {
        return false;
    };
    last.split_once(':').map_or(last, |(name, _tag)| name) == "event_display"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_images_of_event_display() {
        for (image, expected) in [
            (
                "gcr.io/knative-releases/knative.dev/eventing/cmd/event_display",
                true,
            ),
            ("gcr.io/knative-releases/event_display:v1.13", true),
            ("localhost:5000/event_display@sha256:0a1b", true),
            ("localhost:5000/event_display:v1@sha256:0a1b", true),
            ("event_display", false),
            ("docker.io/my_event_display", false),
            ("docker.io/event_display/other", false),
            ("docker.io/other:event_display", false),
        ] {
            assert_eq!(is_event_display_image(image), expected, "{image}");
        }
    }
}

//! Objects that references name beside channels and Brokers, and where they are.

use std::collections::BTreeMap;
use std::fmt;

use super::uri;
use crate::control::read::manifest::duck::TextMap;
use crate::control::read::report::ObjectReport;
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

/// The namespace and labels of Pods that the built-in display stands in for.
#[derive(Debug)]
pub(crate) struct DisplayPods {
    pub(crate) namespace: String,
    pub(crate) labels: TextMap,
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

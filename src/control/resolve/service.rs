//! Where a reference to a Service leads: to its cluster host name, to where an annotation says, or to the built-in
//! display (interface.md §2).

use std::collections::BTreeMap;

use super::collect::{Item, Items, Name};
use super::uri;
use crate::control::manifest::config::{Pod, Service};
use crate::control::manifest::duck::Texts;
use crate::control::report::Report;
use crate::control::schema::ENDPOINT;
use crate::model::{Endpoint, TransportEncryption};

const ENDPOINT_FIELD: &str = "metadata.annotations.sealpost.dev/endpoint";

/// How a Service is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// By its cluster host name.
    ClusterHost,
    /// At these URLs: of either scheme, or of one.
    Endpoint { http: Option<Endpoint>, https: Option<Endpoint> },
    /// By the name of a host elsewhere.
    External(String),
    /// It is the built-in display.
    Display,
}

impl Reach {
    /// The endpoint to take in a mode; `None` without endpoints.
    pub(super) fn endpoint(&self, mode: TransportEncryption) -> Option<&Endpoint> {
        match self {
            Self::Endpoint { http, https } if mode.prefers_https() => https.as_ref().or(http.as_ref()),
            Self::Endpoint { http, https } => http.as_ref().or(https.as_ref()),
            Self::ClusterHost | Self::External(_) | Self::Display => None,
        }
    }
}

/// How every Service is reached; `None` for those whose problems are reported. A Service with problems keeps its last
/// good form.
pub(super) fn resolve(
    services: &mut Items<'_, Service>,
    pods: &Items<'_, Pod>,
    last: &BTreeMap<Name, Option<Reach>>,
) -> BTreeMap<Name, Option<Reach>> {
    let displays: Vec<_> = pods.iter().filter(|(_, pod)| pod.object.as_deref().is_some_and(shows_events)).collect();
    services
        .iter_mut()
        .map(|(name, item)| {
            let Item { object, report } = item;
            let reach = object.as_ref().and_then(|service| reach(service, &name.0, &displays, report));
            (name.clone(), reach.or_else(|| last.get(name).cloned().flatten()))
        })
        .collect()
}

fn reach(
    service: &Service,
    namespace: &str,
    displays: &[(&Name, &Item<'_, Pod>)],
    report: &mut Report<'_>,
) -> Option<Reach> {
    if let Some(text) = service.metadata.annotation(ENDPOINT) {
        return endpoint(text, report);
    }
    let spec = service.spec.as_ref();
    if spec.and_then(|spec| spec.of_type.as_deref()) == Some("ExternalName") {
        let host = spec.and_then(|spec| spec.external_name.clone()).unwrap_or_default();
        if let Err(message) = uri::absolute(&format!("http://{host}/")) {
            report.error("spec.externalName", message);
            return None;
        }
        return Some(Reach::External(host));
    }
    let selector = service.spec.as_ref().map(|spec| &spec.selector);
    let selected = |pod: &Pod| selector.is_some_and(|selector| selects(selector, &pod.metadata.labels));
    let is_display =
        displays.iter().any(|(name, pod)| name.0 == namespace && pod.object.as_deref().is_some_and(selected));
    Some(if is_display { Reach::Display } else { Reach::ClusterHost })
}

/// Reads one URL, or one of each scheme.
fn endpoint(text: &str, report: &mut Report<'_>) -> Option<Reach> {
    let (mut http, mut https) = (None, None);
    for part in text.split(',').map(str::trim) {
        let url = match uri::endpoint(part) {
            Ok(url) => url,
            Err(message) => {
                report.error(ENDPOINT_FIELD, message);
                return None;
            }
        };
        let slot = if url.scheme() == "https" { &mut https } else { &mut http };
        if slot.replace(url).is_some() {
            report.error(ENDPOINT_FIELD, "has two URLs of one scheme: give one URL, or one http and one https URL");
            return None;
        }
    }
    Some(Reach::Endpoint { http, https })
}

/// Whether all labels of a selector are there; a Service without selector selects nothing.
fn selects(selector: &Texts, labels: &Texts) -> bool {
    let Some(selector) = selector.as_ref().filter(|selector| !selector.is_empty()) else {
        return false;
    };
    let labels = labels.as_ref();
    selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)).is_some_and(|label| label == value))
}

fn shows_events(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| spec.containers.iter().flatten());
    containers.filter_map(|container| container.image.as_deref()).any(is_event_display)
}

/// Whether the name of an image, without tag and digest, ends in `/event_display`.
fn is_event_display(image: &str) -> bool {
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
            ("gcr.io/knative-releases/knative.dev/eventing/cmd/event_display", true),
            ("gcr.io/knative-releases/event_display:v1.13", true),
            ("localhost:5000/event_display@sha256:0a1b", true),
            ("localhost:5000/event_display:v1@sha256:0a1b", true),
            ("event_display", false),
            ("docker.io/my_event_display", false),
            ("docker.io/event_display/other", false),
            ("docker.io/other:event_display", false),
        ] {
            assert_eq!(is_event_display(image), expected, "{image}");
        }
    }
}

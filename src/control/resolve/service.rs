//! Where a reference to a Service leads, or to another object with a manifest that says so: to its cluster host name, to
//! where an annotation says, or to the built-in display (contract IF-2, IF-6).

use std::collections::BTreeMap;
use std::fmt;

use super::collect::{Collected, Item, is_dns_name};
use super::others;
use super::uri;
use crate::control::manifest::config::{Pod, Service};
use crate::control::manifest::duck::Texts;
use crate::control::report::Report;
use crate::control::schema::{ENDPOINT, SERVICE_TYPES};
use crate::model::{Endpoint, TransportEncryption};

/// The group of Knative Serving, whose Services are found as Kubernetes' own are.
pub(super) const SERVING: &str = "serving.knative.dev";
const ENDPOINT_FIELD: &str = "metadata.annotations.sealpost.dev/endpoint";

/// An object that is no channel or Broker, as references name it. The version of its group does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Referent {
    /// Empty for Kubernetes' own kinds.
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// How every object is reached that a manifest says something about; `None` for those whose problems are reported.
pub(crate) type Reaches = BTreeMap<Referent, Option<Reach>>;

impl Referent {
    /// A Service of Kubernetes.
    pub(super) fn service(namespace: String, name: String) -> Self {
        Self { group: String::new(), kind: "Service".to_owned(), namespace, name }
    }

    /// Whether it is a Service, of Kubernetes or of Knative Serving, so that its host name is known.
    pub(super) fn is_service(&self) -> bool {
        self.kind == "Service" && (self.group.is_empty() || self.group == SERVING)
    }
}

impl fmt::Display for Referent {
    /// `Service ns/name`, with the group where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, kind, namespace, name } = self;
        let of = if group.is_empty() { String::new() } else { format!(" of {group},") };
        write!(f, "{kind}{of} {namespace}/{name}")
    }
}

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

/// How every Service is reached, and everything else that says so. What has problems keeps its last good form.
pub(super) fn resolve(collected: &mut Collected<'_>, last: &Reaches) -> Reaches {
    let Collected { services, pods, others, .. } = collected;
    let mut displays: Vec<Display> = others.values().filter_map(others::display).collect();
    let of_pod = |((namespace, _), Item { object, .. }): (&(String, String), &Item<'_, Pod>)| {
        let pod = object.as_deref().filter(|pod| shows_events(pod))?;
        Some(Display { namespace: namespace.clone(), labels: pod.metadata.labels.clone() })
    };
    displays.extend(pods.iter().filter_map(of_pod));
    let mut reaches = Reaches::new();
    for ((namespace, name), Item { object, partly, report }) in services {
        let service = object.as_ref().or(partly.as_ref());
        let reach = service.and_then(|service| reach(service, namespace, &displays, report));
        let reach = reach.filter(|_| object.is_some());
        reaches.insert(Referent::service(namespace.clone(), name.clone()), reach);
    }
    for (referent, report) in others.iter_mut() {
        reaches.extend(others::reach(referent, report).map(|reach| (referent.clone(), reach)));
    }
    for (referent, reach) in &mut reaches {
        if reach.is_none() {
            *reach = last.get(referent).cloned().flatten();
        }
    }
    reaches
}

/// Pods that the built-in display stands in for.
#[derive(Debug)]
pub(super) struct Display {
    pub(super) namespace: String,
    pub(super) labels: Texts,
}

fn reach(service: &Service, namespace: &str, displays: &[Display], report: &mut Report<'_>) -> Option<Reach> {
    if let Some(text) = service.metadata.annotation(ENDPOINT) {
        return endpoint(text, report);
    }
    let spec = service.spec.as_ref();
    if let Some(other) = spec.and_then(|spec| spec.of_type.as_deref()).filter(|of| !SERVICE_TYPES.contains(of))
        && !other.is_empty()
    {
        report.error("spec.type", format!("{other:?} is no type of a Service: write {}", SERVICE_TYPES.join(" or ")));
        return None;
    }
    if spec.and_then(|spec| spec.of_type.as_deref()) == Some("ExternalName") {
        let host = spec.and_then(|spec| spec.external_name.clone()).unwrap_or_default();
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        if is_address || !is_dns_name(host.trim_end_matches('.'), 253) {
            let rule =
                "is no DNS name, which is all that it may be: write the name of a host, without scheme, port and path";
            report.error("spec.externalName", format!("{host:?} {rule}"));
            return None;
        }
        return Some(Reach::External(host));
    }
    let is_selected = |display: &Display| {
        display.namespace == namespace && spec.is_some_and(|spec| selects(&spec.selector, &display.labels))
    };
    Some(if displays.iter().any(is_selected) { Reach::Display } else { Reach::ClusterHost })
}

/// Reads one URL, or one of each scheme.
pub(super) fn endpoint(text: &str, report: &mut Report<'_>) -> Option<Reach> {
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
pub(super) fn is_event_display(image: &str) -> bool {
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

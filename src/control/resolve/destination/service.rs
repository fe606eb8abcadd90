//! Locates the Services that references name, and other objects whose manifest says their address:
//! at a cluster host name, at the endpoint of an annotation, or at the built-in display (contract
//! IF-2, IF-6).

use super::other_kinds;
use super::service_location::{
    DisplayPods, ReferencedObject, ServiceLocation, ServiceLocations, endpoint,
    is_event_display_image,
};
use crate::control::read::header::is_dns_name;
use crate::control::read::manifest::core::{PodManifest, ServiceManifest};
use crate::control::read::manifest::duck::TextMap;
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::annotations::ENDPOINT;
use crate::control::read::schema::core::SERVICE_TYPES;
use crate::control::resolve::collect::{CollectedItem, CollectedItems, CollectedObjects};
use crate::model::NamespacedName;

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
    displays.extend(display_pods(pods));
    let mut locations = ServiceLocations::new();
    for (NamespacedName { namespace, name }, item) in services {
        let CollectedItem {
            object,
            partly,
            report,
        } = item;
        let service = object.as_ref().or(partly.as_ref());
        let location =
            service.and_then(|service| locate_service(service, namespace, &displays, report));
        locations.insert(
            ReferencedObject::service(namespace.clone(), name.clone()),
            location.filter(|_| object.is_some()),
        );
    }
    for (referent, report) in others.iter_mut() {
        locations.extend(
            other_kinds::locate_other(referent, report)
                .map(|location| (referent.clone(), location)),
        );
    }
    // A location with problems is replaced by the last one, so that deliveries go on.
    for (referent, location) in &mut locations {
        if location.is_none() {
            *location = last.get(referent).cloned().flatten();
        }
    }
    locations
}

/// The Pods among the objects that the built-in display stands in for.
fn display_pods<'i>(
    pods: &'i CollectedItems<'_, PodManifest>,
) -> impl Iterator<Item = DisplayPods> + 'i {
    pods.iter()
        .filter_map(|(name, CollectedItem { object, .. })| {
            let pod = object.as_deref().filter(|pod| is_event_display_pod(pod))?;
            Some(DisplayPods {
                namespace: name.namespace.clone(),
                labels: pod.metadata.labels.clone(),
            })
        })
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
    match spec
        .and_then(|spec| spec.service_type.as_deref())
        .filter(|of| !of.is_empty())
    {
        Some("ExternalName") => return external_name(service, report),
        Some(other) if !SERVICE_TYPES.contains(&other) => {
            let known = SERVICE_TYPES.join(" or ");
            report.error(
                "spec.type",
                format!("{other:?} is no type of a Service: write {known}"),
            );
            return None;
        }
        _ => {}
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

/// The host of a Service of the type `ExternalName`.
fn external_name(
    service: &ServiceManifest,
    report: &mut ObjectReport<'_>,
) -> Option<ServiceLocation> {
    let host = service
        .spec
        .as_ref()
        .and_then(|spec| spec.external_name.clone())
        .unwrap_or_default();
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    if is_address || !is_dns_name(host.trim_end_matches('.'), 253) {
        let rule = "is no DNS name, which is all that it may be: write the name of a host, \
             without scheme, port and path";
        report.error("spec.externalName", format!("{host:?} {rule}"));
        return None;
    }
    Some(ServiceLocation::ExternalName(host))
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

//! The names by which the API server knows the kinds that are read.

use kube::core::{ApiResource, GroupVersion};

use crate::control::read::kind::ResourceKind;

/// The group, version and plural by which the API server knows a kind.
pub(super) fn api_resource(kind: ResourceKind) -> ApiResource {
    let plural = match kind {
        ResourceKind::EventPolicy => "eventpolicies".to_owned(),
        ResourceKind::RequestReply => "requestreplies".to_owned(),
        _ => format!("{}s", kind.as_str().to_ascii_lowercase()),
    };
    let api_version = kind.api_version();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = GroupVersion {
        group: group.to_owned(),
        version: version.to_owned(),
    }
    .with_kind(kind.as_str());
    ApiResource::from_gvk_with_plural(&resource, &plural)
}

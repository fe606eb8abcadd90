//! Which kinds there are, where their paths are, and what is particular to each.

use kube::core::{ApiResource, GroupVersionKind};

use super::refusal::Refusal;

/// A kind of object.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) namespaced: bool,
    /// Has `/status`, and a `generation` that grows with the rest.
    pub(crate) status: bool,
    /// Is there as long as its CustomResourceDefinition is.
    pub(crate) custom: bool,
}

const MESSAGING: &str = "messaging.knative.dev";
const EVENTING: &str = "eventing.knative.dev";
const RBAC: &str = "rbac.authorization.k8s.io";

pub(crate) static RESOURCES: &[Resource] = &[
    built_in("", "v1", "namespaces", "Namespace").of_the_cluster(),
    built_in("", "v1", "configmaps", "ConfigMap"),
    built_in("", "v1", "secrets", "Secret"),
    built_in("", "v1", "events", "Event"),
    built_in("", "v1", "services", "Service"),
    built_in("", "v1", "serviceaccounts", "ServiceAccount"),
    built_in("apps", "v1", "deployments", "Deployment").with_status(),
    built_in("coordination.k8s.io", "v1", "leases", "Lease"),
    built_in("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    built_in(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
    )
    .of_the_cluster(),
    built_in(RBAC, "v1", "clusterroles", "ClusterRole").of_the_cluster(),
    built_in(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding").of_the_cluster(),
    built_in(RBAC, "v1", "roles", "Role"),
    built_in(RBAC, "v1", "rolebindings", "RoleBinding"),
    custom(MESSAGING, "v1", "inmemorychannels", "InMemoryChannel"),
    custom(MESSAGING, "v1", "subscriptions", "Subscription"),
    custom(MESSAGING, "v1alpha1", "rabbitmqchannels", "RabbitmqChannel"),
    custom(MESSAGING, "v1alpha1", "diskchannels", "DiskChannel"),
    custom(EVENTING, "v1", "brokers", "Broker"),
    custom(EVENTING, "v1", "triggers", "Trigger"),
    custom(EVENTING, "v1alpha1", "eventpolicies", "EventPolicy"),
    custom(EVENTING, "v1beta3", "eventtypes", "EventType"),
];

const fn built_in(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
) -> Resource {
    Resource {
        group,
        version,
        plural,
        kind,
        namespaced: true,
        status: false,
        custom: false,
    }
}

const fn custom(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
) -> Resource {
    Resource {
        custom: true,
        ..built_in(group, version, plural, kind).with_status()
    }
}

impl Resource {
    const fn of_the_cluster(self) -> Self {
        Self {
            namespaced: false,
            ..self
        }
    }

    const fn with_status(self) -> Self {
        Self {
            status: true,
            ..self
        }
    }

    /// The resource of this kind.
    pub(crate) fn of(kind: &str) -> &'static Self {
        RESOURCES
            .iter()
            .find(|resource| resource.kind == kind)
            .unwrap_or_else(|| panic!("no kind {kind}"))
    }

    /// As kube names it.
    pub(crate) fn api(&self) -> ApiResource {
        ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk(self.group, self.version, self.kind),
            self.plural,
        )
    }

    /// `apiVersion` of its objects.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// How a refusal names it, and the name of its definition.
    pub(crate) fn full_name(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Path of its collection in a namespace, or in all of them.
    pub(crate) fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            "/api/"
        } else {
            "/apis/"
        };
        let within = namespace
            .filter(|_| self.namespaced)
            .map(|name| format!("/namespaces/{name}"));
        format!(
            "{root}{}{}/{}",
            self.api_version(),
            within.unwrap_or_default(),
            self.plural
        )
    }

    /// Whether an update must say which version it changes.
    pub(crate) fn is_strict(&self) -> bool {
        self.custom || self.plural == "leases"
    }
}

/// What a path points at.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) resource: &'static Resource,
    /// Empty: all namespaces, or the cluster.
    pub(crate) namespace: String,
    /// Empty: the collection.
    pub(crate) name: String,
    /// Empty: the object itself.
    pub(crate) subresource: String,
}

impl Target {
    /// Reads a path.
    pub(crate) fn parse(path: &str) -> Result<Self, Refusal> {
        Self::find(path).ok_or_else(|| Refusal::new(404, "NotFound", "404 page not found"))
    }

    fn find(path: &str) -> Option<Self> {
        let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version) = match *parts.first()? {
            "api" => ("", *parts.get(1)?),
            "apis" => (*parts.get(1)?, *parts.get(2)?),
            _ => return None,
        };
        parts.drain(..if group.is_empty() { 2 } else { 3 });
        let namespace = if parts.len() > 2 && parts[0] == "namespaces" {
            let namespace = parts[1].to_owned();
            parts.drain(..2);
            namespace
        } else {
            String::new()
        };
        let plural = parts.first()?;
        let part = |at: usize| {
            parts
                .get(at)
                .map(|part| (*part).to_owned())
                .unwrap_or_default()
        };
        let resource = RESOURCES
            .iter()
            .find(|r| (r.group, r.version, r.plural) == (group, version, plural))?;
        Some(Self {
            resource,
            namespace,
            name: part(1),
            subresource: part(2),
        })
    }
}

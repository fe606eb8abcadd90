//! The fields of Kubernetes' own kinds (release 1.34). What is deeper than anything that is read here is not looked at.

use super::{Fields, LIST_OF_TEXTS, Shape, TEXTS, field, usual};

/// `metadata`.
pub(crate) static OBJECT_META: Fields = usual(
    "ObjectMeta",
    &[
        field("name", Shape::Text),
        field("namespace", Shape::Text),
        field("labels", TEXTS),
        field("annotations", TEXTS),
        field("uid", Shape::Text),
        field("generation", Shape::Integer),
        field("generateName", Shape::Text),
        field("resourceVersion", Shape::Text),
        field("creationTimestamp", Shape::Text),
        field("deletionTimestamp", Shape::Text),
        field("deletionGracePeriodSeconds", Shape::Integer),
        field("finalizers", LIST_OF_TEXTS),
        field("ownerReferences", Shape::List(&Shape::Object(&OWNER))),
        field("managedFields", Shape::Any),
        field("selfLink", Shape::Text),
        field("clusterName", Shape::Text),
    ],
);

static OWNER: Fields = usual(
    "OwnerReference",
    &[
        field("apiVersion", Shape::Text),
        field("kind", Shape::Text),
        field("name", Shape::Text),
        field("uid", Shape::Text),
        field("controller", Shape::Boolean),
        field("blockOwnerDeletion", Shape::Boolean),
    ],
);

const API_VERSION: super::Field = field("apiVersion", Shape::Text);
const KIND: super::Field = field("kind", Shape::Text);
const METADATA: super::Field = field("metadata", Shape::Object(&OBJECT_META));
const STATUS: super::Field = field("status", Shape::Any);

/// `ConfigMap`; which keys its data may have is said by its name.
pub(super) static CONFIG_MAP: Fields = usual(
    "ConfigMap",
    &[
        API_VERSION,
        KIND,
        METADATA,
        field("data", TEXTS),
        field("binaryData", TEXTS),
        field("immutable", Shape::Boolean),
    ],
);

/// `Secret`.
pub(super) static SECRET: Fields = usual(
    "Secret",
    &[
        API_VERSION,
        KIND,
        METADATA,
        field("data", TEXTS),
        field("stringData", TEXTS),
        field("immutable", Shape::Boolean),
        field("type", Shape::Text),
    ],
);

/// `Service`.
pub(super) static SERVICE: Fields =
    usual("Service", &[API_VERSION, KIND, METADATA, field("spec", Shape::Object(&SERVICE_SPEC)), STATUS]);

/// What `spec.type` of a Service may be.
pub(crate) const SERVICE_TYPES: [&str; 4] = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];

static SERVICE_SPEC: Fields = usual(
    "ServiceSpec",
    &[
        field("selector", TEXTS),
        field("ports", Shape::List(&Shape::Object(&SERVICE_PORT))),
        field("type", Shape::Choice(&SERVICE_TYPES)),
        field("externalName", Shape::Text),
        field("clusterIP", Shape::Text),
        field("clusterIPs", LIST_OF_TEXTS),
        field("externalIPs", LIST_OF_TEXTS),
        field("sessionAffinity", Shape::Text),
        field("sessionAffinityConfig", Shape::Any),
        field("loadBalancerIP", Shape::Text),
        field("loadBalancerClass", Shape::Text),
        field("loadBalancerSourceRanges", LIST_OF_TEXTS),
        field("allocateLoadBalancerNodePorts", Shape::Boolean),
        field("externalTrafficPolicy", Shape::Text),
        field("internalTrafficPolicy", Shape::Text),
        field("trafficDistribution", Shape::Text),
        field("healthCheckNodePort", Shape::Integer),
        field("publishNotReadyAddresses", Shape::Boolean),
        field("ipFamilies", LIST_OF_TEXTS),
        field("ipFamilyPolicy", Shape::Text),
    ],
);
static SERVICE_PORT: Fields = usual(
    "ServicePort",
    &[
        field("name", Shape::Text),
        field("protocol", Shape::Text),
        field("appProtocol", Shape::Text),
        field("port", Shape::Integer),
        field("targetPort", Shape::IntegerOrText),
        field("nodePort", Shape::Integer),
    ],
);

/// `Pod`.
pub(super) static POD: Fields =
    usual("Pod", &[API_VERSION, KIND, METADATA, field("spec", Shape::Object(&POD_SPEC)), STATUS]);

/// What says which containers run, with the fields that one kind has besides.
macro_rules! pod_spec {
    ($name:ident, $text:literal, $($more:expr),*) => {
        static $name: Fields = usual(
            $text,
            &[$($more,)*
            field("containers", Shape::List(&Shape::Object(&CONTAINER))),
            field("initContainers", Shape::List(&Shape::Object(&CONTAINER))),
            field("ephemeralContainers", Shape::Any),
            field("volumes", Shape::Any),
            field("restartPolicy", Shape::Text),
            field("terminationGracePeriodSeconds", Shape::Integer),
            field("activeDeadlineSeconds", Shape::Integer),
            field("dnsPolicy", Shape::Text),
            field("dnsConfig", Shape::Any),
            field("nodeSelector", TEXTS),
            field("nodeName", Shape::Text),
            field("serviceAccountName", Shape::Text),
            field("serviceAccount", Shape::Text),
            field("automountServiceAccountToken", Shape::Boolean),
            field("hostNetwork", Shape::Boolean),
            field("hostPID", Shape::Boolean),
            field("hostIPC", Shape::Boolean),
            field("hostUsers", Shape::Boolean),
            field("hostname", Shape::Text),
            field("hostnameOverride", Shape::Text),
            field("hostAliases", Shape::Any),
            field("subdomain", Shape::Text),
            field("setHostnameAsFQDN", Shape::Boolean),
            field("shareProcessNamespace", Shape::Boolean),
            field("securityContext", Shape::Any),
            field("imagePullSecrets", Shape::Any),
            field("affinity", Shape::Any),
            field("tolerations", Shape::Any),
            field("topologySpreadConstraints", Shape::Any),
            field("schedulerName", Shape::Text),
            field("schedulingGates", Shape::Any),
            field("priorityClassName", Shape::Text),
            field("priority", Shape::Integer),
            field("preemptionPolicy", Shape::Text),
            field("readinessGates", Shape::Any),
            field("runtimeClassName", Shape::Text),
            field("enableServiceLinks", Shape::Boolean),
            field("overhead", Shape::Any),
            field("os", Shape::Any),
            field("resources", Shape::Any),
            field("resourceClaims", Shape::Any),
            ],
        );
    };
}

pod_spec!(POD_SPEC, "PodSpec",);
pod_spec!(
    REVISION_SPEC,
    "RevisionSpec",
    field("containerConcurrency", Shape::Integer),
    field("timeoutSeconds", Shape::Integer),
    field("responseStartTimeoutSeconds", Shape::Integer),
    field("idleTimeoutSeconds", Shape::Integer)
);

/// What Deployments and their like make Pods of.
pub(crate) static POD_TEMPLATE: Fields = usual("PodTemplateSpec", &[METADATA, field("spec", Shape::Object(&POD_SPEC))]);
/// What Services and Configurations of Knative make them of.
pub(crate) static REVISION_TEMPLATE: Fields =
    usual("RevisionTemplateSpec", &[METADATA, field("spec", Shape::Object(&REVISION_SPEC))]);

static CONTAINER: Fields = usual(
    "Container",
    &[
        field("name", Shape::Text),
        field("image", Shape::Text),
        field("imagePullPolicy", Shape::Text),
        field("command", LIST_OF_TEXTS),
        field("args", LIST_OF_TEXTS),
        field("workingDir", Shape::Text),
        field("ports", Shape::Any),
        field("env", Shape::Any),
        field("envFrom", Shape::Any),
        field("resources", Shape::Any),
        field("resizePolicy", Shape::Any),
        field("restartPolicy", Shape::Text),
        field("restartPolicyRules", Shape::Any),
        field("volumeMounts", Shape::Any),
        field("volumeDevices", Shape::Any),
        field("livenessProbe", Shape::Any),
        field("readinessProbe", Shape::Any),
        field("startupProbe", Shape::Any),
        field("lifecycle", Shape::Any),
        field("terminationMessagePath", Shape::Text),
        field("terminationMessagePolicy", Shape::Text),
        field("securityContext", Shape::Any),
        field("stdin", Shape::Boolean),
        field("stdinOnce", Shape::Boolean),
        field("tty", Shape::Boolean),
    ],
);

/// `EndpointSlice`, of a cluster only.
pub(super) static ENDPOINT_SLICE: Fields = usual(
    "EndpointSlice",
    &[
        API_VERSION,
        KIND,
        METADATA,
        field("addressType", Shape::Text),
        field("endpoints", Shape::Any),
        field("ports", Shape::Any),
    ],
);

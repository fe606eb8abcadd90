//! The fields of Kubernetes' own kinds (release 1.34). Fields below those that are read here are
//! not checked.

use super::{FieldShape, LIST_OF_TEXTS, ObjectSchema, TEXTS, object_schema, schema_field};

/// The fields of `metadata`, which every object has.
pub(crate) static OBJECT_META: ObjectSchema = object_schema(
    "ObjectMeta",
    &[
        schema_field("name", FieldShape::Text),
        schema_field("namespace", FieldShape::Text),
        schema_field("labels", TEXTS),
        schema_field("annotations", TEXTS),
        schema_field("uid", FieldShape::Text),
        schema_field("generation", FieldShape::Integer),
        schema_field("generateName", FieldShape::Text),
        schema_field("resourceVersion", FieldShape::Text),
        schema_field("creationTimestamp", FieldShape::Text),
        schema_field("deletionTimestamp", FieldShape::Text),
        schema_field("deletionGracePeriodSeconds", FieldShape::Integer),
        schema_field("finalizers", LIST_OF_TEXTS),
        schema_field(
            "ownerReferences",
            FieldShape::List(&FieldShape::Object(&OWNER)),
        ),
        schema_field("managedFields", FieldShape::Any),
        schema_field("selfLink", FieldShape::Text),
        schema_field("clusterName", FieldShape::Text),
    ],
);

static OWNER: ObjectSchema = object_schema(
    "OwnerReference",
    &[
        schema_field("apiVersion", FieldShape::Text),
        schema_field("kind", FieldShape::Text),
        schema_field("name", FieldShape::Text),
        schema_field("uid", FieldShape::Text),
        schema_field("controller", FieldShape::Boolean),
        schema_field("blockOwnerDeletion", FieldShape::Boolean),
    ],
);

const API_VERSION: super::SchemaField = schema_field("apiVersion", FieldShape::Text);
const KIND: super::SchemaField = schema_field("kind", FieldShape::Text);
const METADATA: super::SchemaField = schema_field("metadata", FieldShape::Object(&OBJECT_META));
const STATUS: super::SchemaField = schema_field("status", FieldShape::Any);

/// A `ConfigMap`; its name decides which keys its data may have.
pub(super) static CONFIG_MAP: ObjectSchema = object_schema(
    "ConfigMap",
    &[
        API_VERSION,
        KIND,
        METADATA,
        schema_field("data", TEXTS),
        schema_field("binaryData", TEXTS),
        schema_field("immutable", FieldShape::Boolean),
    ],
);

/// A `Secret`, with its data encoded or as text.
pub(super) static SECRET: ObjectSchema = object_schema(
    "Secret",
    &[
        API_VERSION,
        KIND,
        METADATA,
        schema_field("data", TEXTS),
        schema_field("stringData", TEXTS),
        schema_field("immutable", FieldShape::Boolean),
        schema_field("type", FieldShape::Text),
    ],
);

/// A `Service` of the core group.
pub(super) static SERVICE: ObjectSchema = object_schema(
    "Service",
    &[
        API_VERSION,
        KIND,
        METADATA,
        schema_field("spec", FieldShape::Object(&SERVICE_SPEC)),
        STATUS,
    ],
);

/// The values that `spec.type` of a Service may have.
pub(crate) const SERVICE_TYPES: [&str; 4] =
    ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];

static SERVICE_SPEC: ObjectSchema = object_schema(
    "ServiceSpec",
    &[
        schema_field("selector", TEXTS),
        schema_field(
            "ports",
            FieldShape::List(&FieldShape::Object(&SERVICE_PORT)),
        ),
        schema_field("type", FieldShape::Choice(&SERVICE_TYPES)),
        schema_field("externalName", FieldShape::Text),
        schema_field("clusterIP", FieldShape::Text),
        schema_field("clusterIPs", LIST_OF_TEXTS),
        schema_field("externalIPs", LIST_OF_TEXTS),
        schema_field("sessionAffinity", FieldShape::Text),
        schema_field("sessionAffinityConfig", FieldShape::Any),
        schema_field("loadBalancerIP", FieldShape::Text),
        schema_field("loadBalancerClass", FieldShape::Text),
        schema_field("loadBalancerSourceRanges", LIST_OF_TEXTS),
        schema_field("allocateLoadBalancerNodePorts", FieldShape::Boolean),
        schema_field("externalTrafficPolicy", FieldShape::Text),
        schema_field("internalTrafficPolicy", FieldShape::Text),
        schema_field("trafficDistribution", FieldShape::Text),
        schema_field("healthCheckNodePort", FieldShape::Integer),
        schema_field("publishNotReadyAddresses", FieldShape::Boolean),
        schema_field("ipFamilies", LIST_OF_TEXTS),
        schema_field("ipFamilyPolicy", FieldShape::Text),
    ],
);
static SERVICE_PORT: ObjectSchema = object_schema(
    "ServicePort",
    &[
        schema_field("name", FieldShape::Text),
        schema_field("protocol", FieldShape::Text),
        schema_field("appProtocol", FieldShape::Text),
        schema_field("port", FieldShape::Integer),
        schema_field("targetPort", FieldShape::IntegerOrText),
        schema_field("nodePort", FieldShape::Integer),
    ],
);

/// A `Pod` of the core group.
pub(super) static POD: ObjectSchema = object_schema(
    "Pod",
    &[
        API_VERSION,
        KIND,
        METADATA,
        schema_field("spec", FieldShape::Object(&POD_SPEC)),
        STATUS,
    ],
);

/// The fields of a Pod's `spec`, with those that one kind has besides.
macro_rules! pod_spec {
    ($name:ident, $text:literal, $($more:expr),*) => {
        static $name: ObjectSchema = object_schema(
            $text,
            &[$($more,)*
            schema_field("containers", FieldShape::List(&FieldShape::Object(&CONTAINER))),
            schema_field("initContainers", FieldShape::List(&FieldShape::Object(&CONTAINER))),
            schema_field("ephemeralContainers", FieldShape::Any),
            schema_field("volumes", FieldShape::Any),
            schema_field("restartPolicy", FieldShape::Text),
            schema_field("terminationGracePeriodSeconds", FieldShape::Integer),
            schema_field("activeDeadlineSeconds", FieldShape::Integer),
            schema_field("dnsPolicy", FieldShape::Text),
            schema_field("dnsConfig", FieldShape::Any),
            schema_field("nodeSelector", TEXTS),
            schema_field("nodeName", FieldShape::Text),
            schema_field("serviceAccountName", FieldShape::Text),
            schema_field("serviceAccount", FieldShape::Text),
            schema_field("automountServiceAccountToken", FieldShape::Boolean),
            schema_field("hostNetwork", FieldShape::Boolean),
            schema_field("hostPID", FieldShape::Boolean),
            schema_field("hostIPC", FieldShape::Boolean),
            schema_field("hostUsers", FieldShape::Boolean),
            schema_field("hostname", FieldShape::Text),
            schema_field("hostnameOverride", FieldShape::Text),
            schema_field("hostAliases", FieldShape::Any),
            schema_field("subdomain", FieldShape::Text),
            schema_field("setHostnameAsFQDN", FieldShape::Boolean),
            schema_field("shareProcessNamespace", FieldShape::Boolean),
            schema_field("securityContext", FieldShape::Any),
            schema_field("imagePullSecrets", FieldShape::Any),
            schema_field("affinity", FieldShape::Any),
            schema_field("tolerations", FieldShape::Any),
            schema_field("topologySpreadConstraints", FieldShape::Any),
            schema_field("schedulerName", FieldShape::Text),
            schema_field("schedulingGates", FieldShape::Any),
            schema_field("priorityClassName", FieldShape::Text),
            schema_field("priority", FieldShape::Integer),
            schema_field("preemptionPolicy", FieldShape::Text),
            schema_field("readinessGates", FieldShape::Any),
            schema_field("runtimeClassName", FieldShape::Text),
            schema_field("enableServiceLinks", FieldShape::Boolean),
            schema_field("overhead", FieldShape::Any),
            schema_field("os", FieldShape::Any),
            schema_field("resources", FieldShape::Any),
            schema_field("resourceClaims", FieldShape::Any),
            ],
        );
    };
}

pod_spec!(POD_SPEC, "PodSpec",);
pod_spec!(
    REVISION_SPEC,
    "RevisionSpec",
    schema_field("containerConcurrency", FieldShape::Integer),
    schema_field("timeoutSeconds", FieldShape::Integer),
    schema_field("responseStartTimeoutSeconds", FieldShape::Integer),
    schema_field("idleTimeoutSeconds", FieldShape::Integer)
);

/// The template of which Deployments and their like make Pods.
pub(crate) static POD_TEMPLATE: ObjectSchema = object_schema(
    "PodTemplateSpec",
    &[
        METADATA,
        schema_field("spec", FieldShape::Object(&POD_SPEC)),
    ],
);
/// The template of which Services and Configurations of Knative Serving make Pods.
pub(crate) static REVISION_TEMPLATE: ObjectSchema = object_schema(
    "RevisionTemplateSpec",
    &[
        METADATA,
        schema_field("spec", FieldShape::Object(&REVISION_SPEC)),
    ],
);

static CONTAINER: ObjectSchema = object_schema(
    "Container",
    &[
        schema_field("name", FieldShape::Text),
        schema_field("image", FieldShape::Text),
        schema_field("imagePullPolicy", FieldShape::Text),
        schema_field("command", LIST_OF_TEXTS),
        schema_field("args", LIST_OF_TEXTS),
        schema_field("workingDir", FieldShape::Text),
        schema_field("ports", FieldShape::Any),
        schema_field("env", FieldShape::Any),
        schema_field("envFrom", FieldShape::Any),
        schema_field("resources", FieldShape::Any),
        schema_field("resizePolicy", FieldShape::Any),
        schema_field("restartPolicy", FieldShape::Text),
        schema_field("restartPolicyRules", FieldShape::Any),
        schema_field("volumeMounts", FieldShape::Any),
        schema_field("volumeDevices", FieldShape::Any),
        schema_field("livenessProbe", FieldShape::Any),
        schema_field("readinessProbe", FieldShape::Any),
        schema_field("startupProbe", FieldShape::Any),
        schema_field("lifecycle", FieldShape::Any),
        schema_field("terminationMessagePath", FieldShape::Text),
        schema_field("terminationMessagePolicy", FieldShape::Text),
        schema_field("securityContext", FieldShape::Any),
        schema_field("stdin", FieldShape::Boolean),
        schema_field("stdinOnce", FieldShape::Boolean),
        schema_field("tty", FieldShape::Boolean),
    ],
);

/// An `EndpointSlice`, which is read in a cluster only.
pub(super) static ENDPOINT_SLICE: ObjectSchema = object_schema(
    "EndpointSlice",
    &[
        API_VERSION,
        KIND,
        METADATA,
        schema_field("addressType", FieldShape::Text),
        schema_field("endpoints", FieldShape::Any),
        schema_field("ports", FieldShape::Any),
    ],
);

//! The fields of Knative's kinds (upstream's schemas of release 1.22: `eventing.knative.dev/v1` and
//! `v1alpha1`, `messaging.knative.dev/v1`, `sources.knative.dev/v1`), and of the YAML inside its
//! ConfigMaps.

use super::core::OBJECT_META;
use super::{
    FieldShape, LIST_OF_TEXTS, ObjectSchema, SchemaField, TEXTS, UnknownFieldStrictness,
    object_schema, schema_field,
};

pub(super) const API_VERSION: SchemaField = schema_field("apiVersion", FieldShape::Text);
pub(super) const KIND: SchemaField = schema_field("kind", FieldShape::Text);
pub(super) const METADATA: SchemaField = schema_field("metadata", FieldShape::Object(&OBJECT_META));
/// The status is written by controllers, for users, and is not checked.
pub(super) const STATUS: SchemaField = schema_field("status", FieldShape::Any);

/// Defines the schema of a kind with this `spec`.
macro_rules! kind {
    ($visibility:vis $name:ident, $text:literal, $spec:ident) => {
        $visibility static $name: ObjectSchema =
            object_schema($text, &[API_VERSION, KIND, METADATA, schema_field("spec", FieldShape::Object(&$spec)), STATUS]);
    };
}

kind!(pub(super) BROKER, "Broker", BROKER_SPEC);
kind!(pub(super) TRIGGER, "Trigger", TRIGGER_SPEC);
kind!(pub(super) EVENT_POLICY, "EventPolicy", EVENT_POLICY_SPEC);
kind!(pub(super) REQUEST_REPLY, "RequestReply", REQUEST_REPLY_SPEC);
kind!(pub(super) CHANNEL, "Channel", CHANNEL_SPEC);
kind!(pub(super) IN_MEMORY_CHANNEL, "InMemoryChannel", PHYSICAL_CHANNEL_SPEC);
kind!(pub(super) RABBITMQ_CHANNEL, "RabbitmqChannel", PHYSICAL_CHANNEL_SPEC);
kind!(pub(super) DISK_CHANNEL, "DiskChannel", PHYSICAL_CHANNEL_SPEC);
kind!(pub(super) SUBSCRIPTION, "Subscription", SUBSCRIPTION_SPEC);
kind!(pub(super) PING_SOURCE, "PingSource", PING_SOURCE_SPEC);

pub(super) static REFERENCE: ObjectSchema = object_schema(
    "KReference",
    &[
        API_VERSION,
        KIND,
        schema_field("name", FieldShape::Text),
        schema_field("namespace", FieldShape::Text),
        schema_field("address", FieldShape::Text),
        schema_field("group", FieldShape::Text),
    ],
);

static DESTINATION: ObjectSchema = object_schema(
    "Destination",
    &[
        schema_field("ref", FieldShape::Object(&REFERENCE)),
        schema_field("uri", FieldShape::Text),
        schema_field("CACerts", FieldShape::Text),
        schema_field("audience", FieldShape::Text),
    ],
);
pub(super) const TO: FieldShape = FieldShape::Object(&DESTINATION);

static DELIVERY: ObjectSchema = object_schema(
    "DeliverySpec",
    &[
        schema_field("deadLetterSink", TO),
        schema_field("retry", FieldShape::Integer),
        schema_field(
            "backoffPolicy",
            FieldShape::Choice(&["linear", "exponential"]),
        ),
        schema_field("backoffDelay", FieldShape::Text),
        schema_field("backoffMax", FieldShape::Text),
        schema_field("timeout", FieldShape::Text),
        schema_field("retryAfterMax", FieldShape::Text),
        schema_field("format", FieldShape::Choice(&["binary", "json"])),
    ],
);
pub(super) const DELIVERED: SchemaField = schema_field("delivery", FieldShape::Object(&DELIVERY));

static BROKER_SPEC: ObjectSchema = ObjectSchema {
    former: &[(
        "channelTemplate",
        "write it into a ConfigMap under channel-template-spec, and name that in config",
    )],
    ..object_schema(
        "BrokerSpec",
        &[
            schema_field("config", FieldShape::Object(&REFERENCE)),
            DELIVERED,
        ],
    )
};

static TRIGGER_SPEC: ObjectSchema = object_schema(
    "TriggerSpec",
    &[
        schema_field("broker", FieldShape::Text),
        schema_field("brokerRef", FieldShape::Object(&REFERENCE)),
        schema_field("filter", FieldShape::Object(&TRIGGER_FILTER)),
        schema_field("filters", FieldShape::List(&FieldShape::Object(&FILTER))),
        schema_field("subscriber", TO),
        DELIVERED,
    ],
);

static TRIGGER_FILTER: ObjectSchema = ObjectSchema {
    name: "TriggerFilter",
    fields: &[schema_field("attributes", FieldShape::Conditions)],
    former: &[("sourceAndType", "write source and type into attributes")],
    strictness: UnknownFieldStrictness::NeverIgnored,
};

static FILTER: ObjectSchema = ObjectSchema {
    name: "SubscriptionsAPIFilter",
    fields: &[
        schema_field("exact", FieldShape::Conditions),
        schema_field("prefix", FieldShape::Conditions),
        schema_field("suffix", FieldShape::Conditions),
        schema_field("all", FieldShape::List(&FieldShape::Object(&FILTER))),
        schema_field("any", FieldShape::List(&FieldShape::Object(&FILTER))),
        schema_field("not", FieldShape::Object(&FILTER)),
        schema_field("cesql", FieldShape::Text),
    ],
    former: &[("sql", "write cesql")],
    strictness: UnknownFieldStrictness::NeverIgnored,
};

static EVENT_POLICY_SPEC: ObjectSchema = ObjectSchema {
    name: "EventPolicySpec",
    fields: &[
        schema_field("to", FieldShape::List(&FieldShape::Object(&POLICY_TO))),
        schema_field("from", FieldShape::List(&FieldShape::Object(&POLICY_FROM))),
        schema_field("filters", FieldShape::List(&FieldShape::Object(&FILTER))),
    ],
    former: &[],
    strictness: UnknownFieldStrictness::NeverIgnored,
};

/// A schema of policies, whose unknown fields are never ignored.
const fn policy_schema(name: &'static str, fields: &'static [SchemaField]) -> ObjectSchema {
    ObjectSchema {
        name,
        fields,
        former: &[],
        strictness: UnknownFieldStrictness::NeverIgnored,
    }
}

static POLICY_TO: ObjectSchema = policy_schema(
    "EventPolicySpecTo",
    &[
        schema_field("ref", FieldShape::Object(&POLICY_TO_REFERENCE)),
        schema_field("selector", FieldShape::Object(&POLICY_SELECTOR)),
    ],
);
static POLICY_TO_REFERENCE: ObjectSchema = policy_schema(
    "EventPolicyToReference",
    &[API_VERSION, KIND, schema_field("name", FieldShape::Text)],
);
static POLICY_SELECTOR: ObjectSchema = policy_schema(
    "EventPolicySelector",
    &[
        API_VERSION,
        KIND,
        schema_field("matchLabels", FieldShape::Conditions),
        schema_field(
            "matchExpressions",
            FieldShape::List(&FieldShape::Object(&MATCH_EXPRESSION)),
        ),
    ],
);
static MATCH_EXPRESSION: ObjectSchema = policy_schema(
    "LabelSelectorRequirement",
    &[
        schema_field("key", FieldShape::Text),
        schema_field(
            "operator",
            FieldShape::Choice(&["In", "NotIn", "Exists", "DoesNotExist"]),
        ),
        schema_field("values", LIST_OF_TEXTS),
    ],
);
static POLICY_FROM: ObjectSchema = policy_schema(
    "EventPolicySpecFrom",
    &[
        schema_field("ref", FieldShape::Object(&POLICY_FROM_REFERENCE)),
        schema_field("sub", FieldShape::Text),
    ],
);
static POLICY_FROM_REFERENCE: ObjectSchema = policy_schema(
    "EventPolicyFromReference",
    &[
        API_VERSION,
        KIND,
        schema_field("name", FieldShape::Text),
        schema_field("namespace", FieldShape::Text),
    ],
);

static REQUEST_REPLY_SPEC: ObjectSchema = object_schema(
    "RequestReplySpec",
    &[
        schema_field("brokerRef", FieldShape::Object(&REFERENCE)),
        schema_field("correlationAttribute", FieldShape::Text),
        schema_field("replyAttribute", FieldShape::Text),
        schema_field("timeout", FieldShape::Text),
        DELIVERED,
    ],
);

static CHANNEL_SPEC: ObjectSchema = ObjectSchema {
    former: &[("subscribable", "write its subscribers into subscribers")],
    ..object_schema(
        "ChannelSpec",
        &[
            schema_field("channelTemplate", FieldShape::Template),
            DELIVERED,
            schema_field(
                "subscribers",
                FieldShape::List(&FieldShape::Object(&SUBSCRIBER)),
            ),
        ],
    )
};
pub(super) static PHYSICAL_CHANNEL_SPEC: ObjectSchema = ObjectSchema {
    former: &[("subscribable", "write its subscribers into subscribers")],
    ..object_schema(
        "PhysicalChannelSpec",
        &[
            DELIVERED,
            schema_field(
                "subscribers",
                FieldShape::List(&FieldShape::Object(&SUBSCRIBER)),
            ),
        ],
    )
};

static SUBSCRIBER: ObjectSchema = ObjectSchema {
    former: &[
        ("subscriberURI", "write subscriberUri"),
        ("replyURI", "write replyUri"),
        ("deadLetterSink", "write it into delivery"),
    ],
    ..object_schema(
        "SubscriberSpec",
        &[
            schema_field("name", FieldShape::Text),
            schema_field("uid", FieldShape::Text),
            schema_field("generation", FieldShape::Integer),
            schema_field("namespace", FieldShape::Text),
            schema_field("subscriberUri", FieldShape::Text),
            schema_field("subscriberCACerts", FieldShape::Text),
            schema_field("subscriberAudience", FieldShape::Text),
            schema_field("replyUri", FieldShape::Text),
            schema_field("replyCACerts", FieldShape::Text),
            schema_field("replyAudience", FieldShape::Text),
            DELIVERED,
            schema_field("auth", FieldShape::Object(&AUTH)),
        ],
    )
};
static AUTH: ObjectSchema = object_schema(
    "AuthStatus",
    &[
        schema_field("serviceAccountName", FieldShape::Text),
        schema_field("serviceAccountNames", LIST_OF_TEXTS),
    ],
);

static SUBSCRIPTION_SPEC: ObjectSchema = object_schema(
    "SubscriptionSpec",
    &[
        schema_field("channel", FieldShape::Object(&REFERENCE)),
        schema_field("subscriber", TO),
        schema_field("reply", TO),
        DELIVERED,
    ],
);

static PING_SOURCE_SPEC: ObjectSchema = ObjectSchema {
    former: &[("jsonData", "write data, and contentType: application/json")],
    ..object_schema(
        "PingSourceSpec",
        &[
            schema_field("schedule", FieldShape::Text),
            schema_field("timezone", FieldShape::Text),
            schema_field("contentType", FieldShape::Text),
            schema_field("data", FieldShape::Text),
            schema_field("dataBase64", FieldShape::Text),
            schema_field("sink", TO),
            schema_field("ceOverrides", FieldShape::Object(&OVERRIDES)),
        ],
    )
};
static OVERRIDES: ObjectSchema =
    object_schema("CloudEventOverrides", &[schema_field("extensions", TEXTS)]);

/// A channel template of a kind that is served here, or without a kind.
pub(crate) static TEMPLATE: ObjectSchema = object_schema(
    "ChannelTemplateSpec",
    &[
        API_VERSION,
        KIND,
        METADATA,
        schema_field("spec", FieldShape::Object(&PHYSICAL_CHANNEL_SPEC)),
    ],
);
/// A channel template of a kind that is not served here: its `spec` is not checked.
pub(super) static FOREIGN_TEMPLATE: ObjectSchema = object_schema(
    "ForeignChannelTemplateSpec",
    &[
        API_VERSION,
        KIND,
        METADATA,
        schema_field("spec", FieldShape::Any),
    ],
);

/// The content of the key `default-ch-config` of `default-ch-webhook`.
pub(crate) static CHANNEL_DEFAULTS: ObjectSchema = object_schema(
    "ChannelDefaults",
    &[
        schema_field("clusterDefault", FieldShape::Template),
        schema_field("namespaceDefaults", FieldShape::Map(&FieldShape::Template)),
    ],
);

/// The content of the key `default-br-config` of `config-br-defaults`.
pub(crate) static BROKER_DEFAULTS: ObjectSchema = object_schema(
    "BrokerDefaults",
    &[
        schema_field("clusterDefault", FieldShape::Object(&BROKER_DEFAULT)),
        schema_field(
            "namespaceDefaults",
            FieldShape::Map(&FieldShape::Object(&BROKER_DEFAULT)),
        ),
    ],
);
static BROKER_DEFAULT: ObjectSchema = object_schema(
    "BrokerDefault",
    &[
        schema_field("brokerClass", FieldShape::Text),
        schema_field(
            "brokerClasses",
            FieldShape::Map(&FieldShape::Object(&BROKER_CONFIG)),
        ),
        API_VERSION,
        KIND,
        schema_field("name", FieldShape::Text),
        schema_field("namespace", FieldShape::Text),
        schema_field("address", FieldShape::Text),
        schema_field("group", FieldShape::Text),
        DELIVERED,
        schema_field("disallowDifferentNamespaceConfig", FieldShape::Boolean),
    ],
);
static BROKER_CONFIG: ObjectSchema = object_schema(
    "BrokerConfig",
    &[
        schema_field("brokerClass", FieldShape::Text),
        API_VERSION,
        KIND,
        schema_field("name", FieldShape::Text),
        schema_field("namespace", FieldShape::Text),
        schema_field("address", FieldShape::Text),
        schema_field("group", FieldShape::Text),
        DELIVERED,
    ],
);

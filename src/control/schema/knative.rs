//! The fields of Knative's kinds (upstream's schemas of release 1.22: `eventing.knative.dev/v1` and `v1alpha1`,
//! `messaging.knative.dev/v1`, `sources.knative.dev/v1`), and of what stands as YAML inside its ConfigMaps.

use super::core::OBJECT_META;
use super::{Field, Fields, LIST_OF_TEXTS, Shape, Strictness, TEXTS, field, usual};
use crate::control::kind::Kind;

pub(super) const API_VERSION: Field = field("apiVersion", Shape::Text);
pub(super) const KIND: Field = field("kind", Shape::Text);
pub(super) const METADATA: Field = field("metadata", Shape::Object(&OBJECT_META));
/// Written by controllers, for users.
pub(super) const STATUS: Field = field("status", Shape::Any);

/// A kind with this `spec`.
macro_rules! kind {
    ($visibility:vis $name:ident, $text:literal, $spec:ident) => {
        $visibility static $name: Fields =
            usual($text, &[API_VERSION, KIND, METADATA, field("spec", Shape::Object(&$spec)), STATUS]);
    };
}

kind!(pub(super) BROKER, "Broker", BROKER_SPEC);
kind!(pub(super) TRIGGER, "Trigger", TRIGGER_SPEC);
kind!(pub(super) EVENT_POLICY, "EventPolicy", EVENT_POLICY_SPEC);
kind!(pub(super) REQUEST_REPLY, "RequestReply", REQUEST_REPLY_SPEC);
kind!(pub(super) CHANNEL, "Channel", CHANNEL_SPEC);
kind!(pub(super) IN_MEMORY_CHANNEL, "InMemoryChannel", PHYSICAL_CHANNEL_SPEC);
kind!(pub(super) RABBITMQ_CHANNEL, "RabbitmqChannel", PHYSICAL_CHANNEL_SPEC);
kind!(pub(super) SUBSCRIPTION, "Subscription", SUBSCRIPTION_SPEC);
kind!(pub(super) PING_SOURCE, "PingSource", PING_SOURCE_SPEC);

pub(super) static REFERENCE: Fields = usual(
    "KReference",
    &[
        API_VERSION,
        KIND,
        field("name", Shape::Text),
        field("namespace", Shape::Text),
        field("address", Shape::Text),
        field("group", Shape::Text),
    ],
);

static DESTINATION: Fields = usual(
    "Destination",
    &[
        field("ref", Shape::Object(&REFERENCE)),
        field("uri", Shape::Text),
        field("CACerts", Shape::Text),
        field("audience", Shape::Text),
    ],
);
pub(super) const TO: Shape = Shape::Object(&DESTINATION);

static DELIVERY: Fields = usual(
    "DeliverySpec",
    &[
        field("deadLetterSink", TO),
        field("retry", Shape::Integer),
        field("backoffPolicy", Shape::Choice(&["linear", "exponential"])),
        field("backoffDelay", Shape::Text),
        field("backoffMax", Shape::Text),
        field("timeout", Shape::Text),
        field("retryAfterMax", Shape::Text),
        field("format", Shape::Choice(&["binary", "json"])),
    ],
);
pub(super) const DELIVERED: Field = field("delivery", Shape::Object(&DELIVERY));

static BROKER_SPEC: Fields = Fields {
    former: &[("channelTemplate", "write it into a ConfigMap under channel-template-spec, and name that in config")],
    ..usual("BrokerSpec", &[field("config", Shape::Object(&REFERENCE)), DELIVERED])
};

static TRIGGER_SPEC: Fields = usual(
    "TriggerSpec",
    &[
        field("broker", Shape::Text),
        field("brokerRef", Shape::Object(&REFERENCE)),
        field("filter", Shape::Object(&TRIGGER_FILTER)),
        field("filters", Shape::List(&Shape::Object(&FILTER))),
        field("subscriber", TO),
        DELIVERED,
    ],
);

static TRIGGER_FILTER: Fields = Fields {
    name: "TriggerFilter",
    fields: &[field("attributes", Shape::Conditions)],
    former: &[("sourceAndType", "write source and type into attributes")],
    strictness: Strictness::Always,
};

static FILTER: Fields = Fields {
    name: "SubscriptionsAPIFilter",
    fields: &[
        field("exact", Shape::Conditions),
        field("prefix", Shape::Conditions),
        field("suffix", Shape::Conditions),
        field("all", Shape::List(&Shape::Object(&FILTER))),
        field("any", Shape::List(&Shape::Object(&FILTER))),
        field("not", Shape::Object(&FILTER)),
        field("cesql", Shape::Text),
    ],
    former: &[("sql", "write cesql")],
    strictness: Strictness::Always,
};

static EVENT_POLICY_SPEC: Fields = Fields {
    name: "EventPolicySpec",
    fields: &[
        field("to", Shape::List(&Shape::Object(&POLICY_TO))),
        field("from", Shape::List(&Shape::Object(&POLICY_FROM))),
        field("filters", Shape::List(&Shape::Object(&FILTER))),
    ],
    former: &[],
    strictness: Strictness::Always,
};

/// Fields of policies.
const fn closed(name: &'static str, fields: &'static [Field]) -> Fields {
    Fields { name, fields, former: &[], strictness: Strictness::Always }
}

static POLICY_TO: Fields = closed(
    "EventPolicySpecTo",
    &[field("ref", Shape::Object(&POLICY_TO_REFERENCE)), field("selector", Shape::Object(&POLICY_SELECTOR))],
);
static POLICY_TO_REFERENCE: Fields = closed("EventPolicyToReference", &[API_VERSION, KIND, field("name", Shape::Text)]);
static POLICY_SELECTOR: Fields = closed(
    "EventPolicySelector",
    &[
        API_VERSION,
        KIND,
        field("matchLabels", Shape::Conditions),
        field("matchExpressions", Shape::List(&Shape::Object(&MATCH_EXPRESSION))),
    ],
);
static MATCH_EXPRESSION: Fields = closed(
    "LabelSelectorRequirement",
    &[
        field("key", Shape::Text),
        field("operator", Shape::Choice(&["In", "NotIn", "Exists", "DoesNotExist"])),
        field("values", LIST_OF_TEXTS),
    ],
);
static POLICY_FROM: Fields =
    closed("EventPolicySpecFrom", &[field("ref", Shape::Object(&POLICY_FROM_REFERENCE)), field("sub", Shape::Text)]);
static POLICY_FROM_REFERENCE: Fields = closed(
    "EventPolicyFromReference",
    &[API_VERSION, KIND, field("name", Shape::Text), field("namespace", Shape::Text)],
);

static REQUEST_REPLY_SPEC: Fields = usual(
    "RequestReplySpec",
    &[
        field("brokerRef", Shape::Object(&REFERENCE)),
        field("correlationAttribute", Shape::Text),
        field("replyAttribute", Shape::Text),
        field("timeout", Shape::Text),
        DELIVERED,
    ],
);

static CHANNEL_SPEC: Fields = Fields {
    former: &[("subscribable", "write its subscribers into subscribers")],
    ..usual(
        "ChannelSpec",
        &[
            field("channelTemplate", Shape::Template),
            DELIVERED,
            field("subscribers", Shape::List(&Shape::Object(&SUBSCRIBER))),
        ],
    )
};
pub(super) static PHYSICAL_CHANNEL_SPEC: Fields = Fields {
    former: &[("subscribable", "write its subscribers into subscribers")],
    ..usual("PhysicalChannelSpec", &[DELIVERED, field("subscribers", Shape::List(&Shape::Object(&SUBSCRIBER)))])
};

static SUBSCRIBER: Fields = Fields {
    former: &[
        ("subscriberURI", "write subscriberUri"),
        ("replyURI", "write replyUri"),
        ("deadLetterSink", "write it into delivery"),
    ],
    ..usual(
        "SubscriberSpec",
        &[
            field("name", Shape::Text),
            field("uid", Shape::Text),
            field("generation", Shape::Integer),
            field("namespace", Shape::Text),
            field("subscriberUri", Shape::Text),
            field("subscriberCACerts", Shape::Text),
            field("subscriberAudience", Shape::Text),
            field("replyUri", Shape::Text),
            field("replyCACerts", Shape::Text),
            field("replyAudience", Shape::Text),
            DELIVERED,
            field("auth", Shape::Object(&AUTH)),
        ],
    )
};
static AUTH: Fields =
    usual("AuthStatus", &[field("serviceAccountName", Shape::Text), field("serviceAccountNames", LIST_OF_TEXTS)]);

static SUBSCRIPTION_SPEC: Fields = usual(
    "SubscriptionSpec",
    &[field("channel", Shape::Object(&REFERENCE)), field("subscriber", TO), field("reply", TO), DELIVERED],
);

static PING_SOURCE_SPEC: Fields = Fields {
    former: &[("jsonData", "write data, and contentType: application/json")],
    ..usual(
        "PingSourceSpec",
        &[
            field("schedule", Shape::Text),
            field("timezone", Shape::Text),
            field("contentType", Shape::Text),
            field("data", Shape::Text),
            field("dataBase64", Shape::Text),
            field("sink", TO),
            field("ceOverrides", Shape::Object(&OVERRIDES)),
        ],
    )
};
static OVERRIDES: Fields = usual("CloudEventOverrides", &[field("extensions", TEXTS)]);

/// A channel template, and what it is where its kind is one of ours.
pub(crate) static TEMPLATE: Fields =
    usual("ChannelTemplateSpec", &[API_VERSION, KIND, METADATA, field("spec", Shape::Object(&PHYSICAL_CHANNEL_SPEC))]);
/// A template of a kind that is not made here: its `spec` is its own.
pub(super) static FOREIGN_TEMPLATE: Fields =
    usual("ForeignChannelTemplateSpec", &[API_VERSION, KIND, METADATA, field("spec", Shape::Any)]);

/// `default-ch-config` of `default-ch-webhook`.
pub(crate) static CHANNEL_DEFAULTS: Fields = usual(
    "ChannelDefaults",
    &[field("clusterDefault", Shape::Template), field("namespaceDefaults", Shape::Map(&Shape::Template))],
);

/// `default-br-config` of `config-br-defaults`.
pub(crate) static BROKER_DEFAULTS: Fields = usual(
    "BrokerDefaults",
    &[
        field("clusterDefault", Shape::Object(&BROKER_DEFAULT)),
        field("namespaceDefaults", Shape::Map(&Shape::Object(&BROKER_DEFAULT))),
    ],
);
static BROKER_DEFAULT: Fields = usual(
    "BrokerDefault",
    &[
        field("brokerClass", Shape::Text),
        field("brokerClasses", Shape::Map(&Shape::Object(&BROKER_CONFIG))),
        API_VERSION,
        KIND,
        field("name", Shape::Text),
        field("namespace", Shape::Text),
        field("address", Shape::Text),
        field("group", Shape::Text),
        DELIVERED,
        field("disallowDifferentNamespaceConfig", Shape::Boolean),
    ],
);
static BROKER_CONFIG: Fields = usual(
    "BrokerConfig",
    &[
        field("brokerClass", Shape::Text),
        API_VERSION,
        KIND,
        field("name", Shape::Text),
        field("namespace", Shape::Text),
        field("address", Shape::Text),
        field("group", Shape::Text),
        DELIVERED,
    ],
);

/// What an object of an older `apiVersion` of a kind has that the present one does not, for whoever rewrites it.
pub(crate) fn legacy(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Trigger => "and filter.attributes with source and type where filter.sourceAndType was",
        Kind::Broker => {
            "and a ConfigMap with channel-template-spec, named in spec.config, where spec.channelTemplate was"
        }
        Kind::Channel | Kind::InMemoryChannel => "and spec.subscribers where spec.subscribable was",
        Kind::PingSource => "and data with contentType: application/json where jsonData was",
        _ => return None,
    })
}

//! The annotations of channels, Brokers, Triggers and Subscriptions that mean something here.

/// Whether a channel answers when it has an event: `true` or `false` (contract 2.5).
pub const ASYNC_HANDLER: &str = "messaging.knative.dev/async-handler";
/// What keeps the events of a channel of a cluster: `memory` or `rabbitmq`. On a Broker it is copied to the Broker's channel,
/// since its key begins so (contract 5.6).
pub const BACKEND: &str = "messaging.knative.dev/backend";
/// Who serves a Broker (contract 5.6).
pub const BROKER_CLASS: &str = "eventing.knative.dev/broker.class";
/// In which order events are delivered: `ordered` or `unordered`.
pub const DELIVERY_ORDER: &str = "sealpost.dev/delivery-order";
/// By which version of HTTP a subscriber is spoken to.
pub const HTTP_VERSION: &str = "sealpost.dev/http-version";
/// For whom the dispatcher of a channel is: `cluster` or `namespace`.
pub const SCOPE: &str = "eventing.knative.dev/scope";
/// By which Knative knows the form of `spec.subscribers` of a channel: `v1` (contract 11.8).
pub const SUBSCRIBABLE: &str = "messaging.knative.dev/subscribable";

/// All of them. The others are nobody's business: `kubectl.kubernetes.io/last-applied-configuration` repeats the whole
/// object, and others are written by programs that nobody here knows.
pub const READ: [&str; 7] = [ASYNC_HANDLER, BACKEND, BROKER_CLASS, DELIVERY_ORDER, HTTP_VERSION, SCOPE, SUBSCRIBABLE];

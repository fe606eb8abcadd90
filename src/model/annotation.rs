//! The annotations of channels, Brokers, Triggers and Subscriptions that mean something here.

/// Whether a channel answers when it has an event: `true` or `false` (control-plane.md 3.3).
pub const ASYNC_HANDLER: &str = "messaging.knative.dev/async-handler";
/// What keeps the events of a channel of a cluster: `memory` or `rabbitmq`. On a Broker it is copied to the Broker's channel,
/// since its key begins so (control-plane.md 5.6).
pub const BACKEND: &str = "messaging.knative.dev/backend";
/// Who serves a Broker (control-plane.md 4.2).
pub const BROKER_CLASS: &str = "eventing.knative.dev/broker.class";
/// In which order events are delivered: `ordered` or `unordered`.
pub const DELIVERY_ORDER: &str = "sealpost.dev/delivery-order";
/// By which version of HTTP a subscriber is spoken to.
pub const HTTP_VERSION: &str = "sealpost.dev/http-version";
/// For whom the dispatcher of a channel is: `cluster` or `namespace`.
pub const SCOPE: &str = "eventing.knative.dev/scope";
/// By which Knative knows the form of `spec.subscribers` of a channel: `v1` (control-plane.md 11.8).
pub const SUBSCRIBABLE: &str = "messaging.knative.dev/subscribable";

/// All of them. The others are nobody's business: `kubectl.kubernetes.io/last-applied-configuration` repeats the whole
/// object, and others are written by programs that nobody here knows.
pub const READ: [&str; 7] = [ASYNC_HANDLER, BACKEND, BROKER_CLASS, DELIVERY_ORDER, HTTP_VERSION, SCOPE, SUBSCRIBABLE];

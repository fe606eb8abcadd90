//! The annotations of channels, Brokers, Triggers and Subscriptions that this process obeys.

/// `true` if a channel answers its sender as soon as the event is in every queue, else `false`
/// (contract 2.5).
pub(crate) const ASYNC_HANDLER: &str = "messaging.knative.dev/async-handler";
/// The backend of a cluster's channel: `memory`, `rabbitmq` or `disk`. On a Broker, Knative copies the
/// annotation to the Broker's channel, since its key begins with `messaging.knative.dev` (contract
/// 5.6).
pub(crate) const BACKEND: &str = "messaging.knative.dev/backend";
/// The class of a Broker, which names the implementation that serves it (contract 5.6).
pub(crate) const BROKER_CLASS: &str = "eventing.knative.dev/broker.class";
/// The order in which the events of a subscription are delivered: `ordered` or `unordered`.
pub(crate) const DELIVERY_ORDER: &str = "sealpost.dev/delivery-order";
/// The version of HTTP by which a subscriber is spoken to.
pub(crate) const HTTP_VERSION: &str = "sealpost.dev/http-version";
/// The time for which a channel or Broker on disk keeps events that were delivered, such as `P7D`.
pub(crate) const RETAIN: &str = "sealpost.dev/retain";
/// The scope of a channel's dispatcher: `cluster` or `namespace`.
pub(crate) const SCOPE: &str = "eventing.knative.dev/scope";
/// The point in what its channel on disk has retained with which a Trigger or Subscription that is
/// made anew begins: a time, or `earliest`.
pub(crate) const START_AT: &str = "sealpost.dev/start-at";
/// The version by which Knative knows the schema of a channel's `spec.subscribers`: `v1` (contract
/// 11.8).
pub(crate) const SUBSCRIBABLE: &str = "messaging.knative.dev/subscribable";

/// All annotations that are read and shown. Every other one is dropped:
/// `kubectl.kubernetes.io/last-applied-configuration` repeats the whole object, and others are
/// written by programs that nobody here knows.
pub(crate) const READ: [&str; 9] = [
    ASYNC_HANDLER,
    BACKEND,
    BROKER_CLASS,
    DELIVERY_ORDER,
    HTTP_VERSION,
    RETAIN,
    SCOPE,
    START_AT,
    SUBSCRIBABLE,
];

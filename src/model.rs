//! What the data plane works with: everything here is already resolved and valid.
//!
//! The control plane builds one immutable [`RoutingTable`]; ingress, dispatcher and delivery read it. Policies are
//! data that can be compared, so that "did it change?" is `==`.

mod access;
mod addressable;
pub mod annotation;
mod channel;
mod delivery_spec;
mod duration;
mod event_types;
mod inventory;
mod observability;
mod relay;
mod request_reply;
mod routing_table;
mod schedule;
mod source;
mod subscription;
mod transport_encryption;
mod trust_bundle;

pub use access::{Access, AuthorizationMode, Discovery, Oidc, Policy, Rule, SUBJECT_PREFIX, ServiceAccount, Subject};
pub use addressable::{Addressable, Endpoint, HttpVersions, Target};
pub use channel::{Acknowledge, Channel, ChannelKey, ChannelKind, Storage};
pub use delivery_spec::{BackoffPolicy, DeliverySpec, Format, Order};
pub use duration::parse_duration;
pub use event_types::EventTypeOwner;
pub use inventory::{
    Address, Condition, Conditions, Entrance, FilterErrors, FlowForm, FlowSubscription, Form, Inventory, Object,
    ObjectKind, ObjectTrouble, Present, Subscriber, Unready,
};
pub use observability::{Export, Observability};
pub use relay::{BrokerRelay, Relays, Role, TriggerRelay};
pub use request_reply::{INDEX, REPLICAS, RequestReply};
pub use routing_table::{Find, Hosts, RoutingTable};
pub use schedule::{Schedule, ScheduleError};
pub use source::Source;
pub use subscription::{Subscription, SubscriptionKey, SubscriptionKind};
pub use transport_encryption::{Scheme, TransportEncryption};
pub use trust_bundle::{Certificate, Fingerprint, TrustBundle, TrustError};

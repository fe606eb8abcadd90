//! The values that the data plane works with: everything here is already resolved and valid.
//!
//! The control plane builds one immutable [`RoutingTable`]; ingress, dispatcher and delivery read
//! it. All values can be compared, so that "did it change?" is `==`.

mod addressable;
pub(crate) mod annotation;
mod authorization;
mod byte_size;
mod channel;
mod delivery_spec;
mod destination_role;
mod duration;
mod event_types;
mod history_point;
mod inventory;
mod namespaced_name;
mod observability;
mod relay;
mod request_reply;
mod routing_table;
mod schedule;
mod source;
mod subscription;
mod table_source;
mod transport_encryption;
mod trust_bundle;

pub use addressable::Addressable;
pub use addressable::DestinationRoute;
pub(crate) use addressable::DestinationUrl;
pub use addressable::HttpVersions;
pub use authorization::AuthorizationMode;
pub use authorization::AuthorizationRule;
pub use authorization::OidcAuthentication;
pub use authorization::OidcDiscovery;
pub use authorization::SenderAuthorization;
pub use authorization::ServiceAccount;
pub(crate) use authorization::{EventPolicy, SUBJECT_PREFIX, SubjectPattern};
pub(crate) use byte_size::parse_byte_size;
pub use channel::AcknowledgeMode;
pub use channel::BackendKind;
pub use channel::Channel;
pub use channel::ChannelKey;
pub use channel::ChannelKind;
pub(crate) use delivery_spec::{BackoffPolicy, DeliveryFormat, DeliveryOrder, DeliverySpec};
pub use destination_role::DestinationRole;
pub(crate) use duration::parse_duration;
pub(crate) use event_types::EventTypeOwner;
pub(crate) use history_point::{HistoryPoint, time_text};
pub(crate) use inventory::{
    AddressStatus, Condition, FilterErrors, FlowStatus, FlowSubscription, Inventory,
    InventoryObject, LiveStatus, NotReadyReason, ObjectConditions, ObjectKind, ObjectStatus,
    ObjectTrouble, StatusAddress, SubscriberId,
};
pub(crate) use namespaced_name::NamespacedName;
pub(crate) use observability::{ExporterEndpoint, ObservabilityConfig, parse_collector_url};
pub(crate) use relay::{BrokerRelay, ProcessRole, RelayTable, TriggerRelay};
pub(crate) use request_reply::{REPLY_INDEX, REPLY_REPLICAS, RequestReply};
pub(crate) use routing_table::AddressLookup;
pub use routing_table::RoutingTable;
pub use routing_table::ServiceHosts;
pub(crate) use schedule::{CronSchedule, ScheduleError};
pub(crate) use source::PingSource;
pub(crate) use subscription::{Subscription, SubscriptionKey, SubscriptionKind};
pub(crate) use table_source::TableSource;
pub use transport_encryption::TransportEncryption;
pub(crate) use transport_encryption::UriScheme;
pub use trust_bundle::TrustBundle;
pub(crate) use trust_bundle::{TrustError, TrustFingerprint, TrustedCertificate};

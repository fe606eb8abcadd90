//! The values that the data plane works with: everything here is already resolved and valid.
//!
//! The control plane builds one immutable [`RoutingTable`]; ingress, dispatcher and delivery read
//! it. All values can be compared, so that "did it change?" is `==`.

mod addressable;
pub mod annotation;
mod authorization;
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

pub use addressable::{Addressable, DestinationRoute, DestinationUrl, HttpVersions};
pub use authorization::{
    AuthorizationMode, AuthorizationRule, EventPolicy, OidcAuthentication, OidcDiscovery,
    SUBJECT_PREFIX, SenderAuthorization, ServiceAccount, SubjectPattern,
};
pub use channel::{AcknowledgeMode, BackendKind, Channel, ChannelKey, ChannelKind};
pub use delivery_spec::{BackoffPolicy, DeliveryFormat, DeliveryOrder, DeliverySpec};
pub use destination_role::DestinationRole;
pub use duration::parse_duration;
pub use event_types::EventTypeOwner;
pub use history_point::{HistoryPoint, time_text};
pub use inventory::{
    AddressStatus, Condition, FilterErrors, FlowStatus, FlowSubscription, Inventory,
    InventoryObject, LiveStatus, NotReadyReason, ObjectConditions, ObjectKind, ObjectStatus,
    ObjectTrouble, StatusAddress, SubscriberId,
};
pub use namespaced_name::NamespacedName;
pub use observability::{ExporterEndpoint, ObservabilityConfig};
pub use relay::{BrokerRelay, ProcessRole, RelayTable, TriggerRelay};
pub use request_reply::{REPLY_INDEX, REPLY_REPLICAS, RequestReply};
pub use routing_table::{AddressLookup, RoutingTable, ServiceHosts};
pub use schedule::{CronSchedule, ScheduleError};
pub use source::PingSource;
pub use subscription::{Subscription, SubscriptionKey, SubscriptionKind};
pub use table_source::TableSource;
pub use transport_encryption::{TransportEncryption, UriScheme};
pub use trust_bundle::{TrustBundle, TrustError, TrustFingerprint, TrustedCertificate};

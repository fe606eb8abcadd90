//! What is known before the parts of the process are built: options, limits, certificates, and the
//! ports that are bound.

use super::certificate::ServerCertificateKeeper;
use super::descriptor_shares::DescriptorShares;
use super::listeners::BoundListeners;
use super::namespace_limits::NamespaceLimitFile;
use super::operators::OperatorAccess;
use crate::cli::RunOptions;
use crate::tls::{MinTlsVersion, SystemRoots};

/// What the parts of the process are built by.
pub(super) struct ProcessSetup {
    pub(super) options: RunOptions,
    pub(super) descriptor_shares: DescriptorShares,
    pub(super) outgoing_tls: OutgoingTls,
    pub(super) certificates: ServerCertificateKeeper,
    /// The limits of namespaces; `None` if they have none.
    pub(super) namespace_limits: Option<NamespaceLimitFile>,
}

/// What every connection that is opened over TLS has in common.
#[derive(Clone)]
pub(super) struct OutgoingTls {
    pub(super) roots: SystemRoots,
    pub(super) min_version: MinTlsVersion,
}

/// The ports and the socket that are bound and not served yet.
pub(super) struct BoundPorts {
    pub(super) listeners: BoundListeners,
    pub(super) operators: OperatorAccess,
}

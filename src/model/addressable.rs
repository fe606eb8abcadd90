//! Where an event goes: a resolved destination.

use std::net::SocketAddr;
use std::sync::Arc;

use url::Url;

use super::{ChannelKey, TrustBundle};

/// A destination: where it is, how it is reached and whom it is trusted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressable {
    /// The address as Knative would show it; absolute, `http` or `https`.
    pub url: Url,
    /// How events get there.
    pub target: Target,
    /// What its server certificate is verified against, besides the roots of the system.
    pub trust: Arc<TrustBundle>,
    /// Audience of the token that it wants, if any.
    pub audience: Option<String>,
}

/// How events get to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// By HTTP to the URL's host; to `connect` instead of what DNS says, if set. TLS still verifies the URL's host.
    Remote {
        /// Where the host really is.
        connect: Option<SocketAddr>,
    },
    /// Into a channel or broker of this process.
    Local(ChannelKey),
    /// Onto standard output, as Knative's `event_display` prints.
    Display,
}

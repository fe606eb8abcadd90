//! What the ConfigMaps and Secrets of the system namespace say about all objects, and annotations that go before them.

pub(crate) mod backends;
pub(super) mod certificate;
pub(super) mod defaults;
pub(super) mod features;
pub(super) mod flags;
pub(super) mod key_ring;
pub(super) mod logging;
pub(super) mod observability;
pub(super) mod trust;

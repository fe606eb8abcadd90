//! The facts that the status of every channel depends on.

use std::sync::Arc;

use serde_json::Value;

use crate::control::channel_kind::ServedChannelKind;
use crate::model::TransportEncryption;

/// The facts that hold for all channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReconcileContext {
    /// The kind of the channels.
    pub(super) kind: ServedChannelKind,
    pub(super) mode: TransportEncryption,
    /// True if senders must show tokens (`authentication-oidc`).
    pub(super) oidc: bool,
    /// The TLS Secret of the dispatcher, as it was last seen.
    pub(super) certificate: ObservedCertificate,
    pub(super) endpoints: ObservedEndpoints,
    /// The host of the dispatcher's Service: `<dispatcher>.<system namespace>.svc.<domain>`.
    pub(super) dispatcher: String,
    pub(super) cluster_domain: String,
}

/// The TLS Secret of the dispatcher, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ObservedCertificate {
    /// There is no such Secret, or it cannot be read.
    Missing,
    /// The Secret exists, with this `ca.crt`, if it has one (contract 4.8).
    Known(Option<String>),
}

/// The readiness of the dispatcher's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ObservedEndpoints {
    /// The dispatcher has no EndpointSlice.
    Missing,
    /// The dispatcher has EndpointSlices, but no pod is ready.
    NotReady,
    /// At least one pod of the dispatcher is ready.
    Ready,
}

impl ObservedEndpoints {
    /// Says if the dispatcher has a ready pod. An endpoint is ready unless it says that it is not
    /// (contract 1.16).
    pub(super) fn of_slices(slices: &[Arc<Value>]) -> Self {
        let of = |slice: &Arc<Value>| {
            slice
                .get("endpoints")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let is_ready = |endpoint: Value| {
            endpoint
                .pointer("/conditions/ready")
                .and_then(Value::as_bool)
                .unwrap_or(true)
        };
        match slices {
            [] => Self::Missing,
            slices if slices.iter().flat_map(of).any(is_ready) => Self::Ready,
            _ => Self::NotReady,
        }
    }
}

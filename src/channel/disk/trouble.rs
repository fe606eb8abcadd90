//! Reasons for which a subscription on disk is not served.

use std::borrow::Cow;

use super::log::LogError;
use crate::channel::trouble_reason::{TroubleReason, TroubleScope};

/// Reason for which a log does not take events of a subscription, or does not give them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DiskTrouble {
    /// The log is being opened, or the queue declared.
    NotDeclared,
    /// The disk fails: a write, a sync or the opening of the directory has failed, with this cause.
    Failing(String),
    /// The log cannot be used, for this reason: it is damaged, or not what it should be.
    Unusable(String),
}

impl DiskTrouble {
    /// The trouble that an error of the log means.
    pub(super) fn of_error(error: &LogError) -> Self {
        match error {
            LogError::Poisoned { cause } => Self::Failing(cause.to_string()),
            LogError::Unreadable { .. } | LogError::Locked { .. } => {
                Self::Failing(error.to_string())
            }
            _ => Self::Unusable(error.to_string()),
        }
    }

    fn message(self) -> Cow<'static, str> {
        match self {
            Self::NotDeclared => "its log is not open yet".into(),
            Self::Failing(cause) => format!("the disk fails: {cause}").into(),
            Self::Unusable(cause) => cause.into(),
        }
    }
}

impl From<DiskTrouble> for TroubleReason {
    /// Tells apart what whoever reports on all backends needs to know. Events wait nowhere else.
    fn from(trouble: DiskTrouble) -> Self {
        let scope = match &trouble {
            DiskTrouble::NotDeclared => TroubleScope::UndeclaredQueue,
            DiskTrouble::Failing(_) | DiskTrouble::Unusable(_) => TroubleScope::Queue,
        };
        Self {
            scope,
            keeps_unordered_events: false,
            condition: "DiskUnavailable",
            message: trouble.message(),
        }
    }
}

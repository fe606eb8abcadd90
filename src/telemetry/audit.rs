//! The audit log: a line for each change of the configuration that takes effect, and for each
//! request of an operator that changes something or reads data, whether it was allowed or not.
//!
//! The lines have the target `audit`. They are a part of the log at whatever level it has, unless
//! its directives name `audit`, and go to a file of their own, too, if there is one. No line holds
//! the value of a field, a token or the data of an event.

use std::net::IpAddr;
use std::path::Path;

use super::audit_file::tell_of_trouble;
use crate::wire_text::escaped_excerpt;

/// The target of the lines.
pub(super) const TARGET: &str = "audit";
/// Longest text of others in a line, in bytes.
const LONGEST: usize = 300;

/// Objects that were added, changed and removed, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AuditedObjects {
    pub(crate) added: String,
    pub(crate) changed: String,
    pub(crate) removed: String,
}

/// Records a configuration that is served from now on.
pub(crate) fn record_configuration(objects: &AuditedObjects, errors: usize) {
    let AuditedObjects {
        added,
        changed,
        removed,
    } = objects;
    tracing::info!(
        target: "audit",
        audit = "configuration",
        added,
        changed,
        removed,
        errors,
        "Configuration changed"
    );
    tell_of_trouble();
}

/// Records a file of settings that is in effect from now on, or is refused.
pub(crate) fn record_file(what: &str, file: &Path, outcome: &str) {
    tracing::info!(
        target: "audit",
        audit = "configuration",
        what,
        file = %file.display(),
        outcome,
        "Settings changed"
    );
    tell_of_trouble();
}

/// Records a level of the log that is set.
pub(crate) fn record_log_level(level: &str) {
    tracing::info!(
        target: "audit",
        audit = "configuration",
        what = "log level",
        level,
        "Settings changed"
    );
    tell_of_trouble();
}

/// Who asks an operator's request, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuditedPeer {
    /// Somebody who could open the admin socket, with the id of the user.
    Socket(Option<u32>),
    /// Somebody at the admin port, with the address.
    Port(Option<IpAddr>),
}

impl AuditedPeer {
    /// Who it is, if the request was allowed.
    fn allowed_by(self) -> &'static str {
        match self {
            Self::Socket(_) => "admin socket",
            Self::Port(_) => "token of --admin-token-file",
        }
    }

    fn text(self) -> String {
        match self {
            Self::Socket(Some(user)) => format!("uid {user}"),
            Self::Socket(None) => "unknown user".to_owned(),
            Self::Port(Some(address)) => address.to_canonical().to_string(),
            Self::Port(None) => "unknown address".to_owned(),
        }
    }
}

/// A request of an operator. If it is dropped without an outcome, its client has gone, which is
/// recorded, too.
#[derive(Debug)]
pub(crate) struct AuditedRequest {
    /// What is asked for: the path, with the parameters if the request is allowed.
    path: String,
    query: String,
    peer: AuditedPeer,
    is_recorded: bool,
}

impl AuditedRequest {
    pub(crate) fn new(path: &str, query: &str, peer: AuditedPeer) -> Self {
        Self {
            path: escaped_excerpt(path, LONGEST),
            query: escaped_excerpt(query, LONGEST),
            peer,
            is_recorded: false,
        }
    }

    /// Records that the request is not allowed, for this reason. What else it says is not repeated:
    /// whoever may not ask chooses no text of a line.
    pub(crate) fn record_refused(mut self, status: u16, reason: &str) {
        self.is_recorded = true;
        tracing::info!(
            target: "audit",
            audit = "operator",
            action = self.path,
            peer = self.peer.text(),
            outcome = "refused",
            status,
            reason = escaped_excerpt(reason.trim_end(), LONGEST),
            "Operator's request refused"
        );
        tell_of_trouble();
    }

    /// Records what came of a request that was allowed.
    pub(crate) fn record_answered(mut self, status: u16, answer: &str) {
        self.is_recorded = true;
        let outcome = if status < 300 { "done" } else { "failed" };
        self.record_allowed(outcome, status, answer);
    }

    fn record_allowed(&self, outcome: &str, status: u16, answer: &str) {
        tracing::info!(
            target: "audit",
            audit = "operator",
            action = self.path,
            parameters = self.query,
            by = self.peer.allowed_by(),
            peer = self.peer.text(),
            outcome,
            status,
            answer = escaped_excerpt(answer.trim_end(), LONGEST),
            "Operator's request"
        );
        tell_of_trouble();
    }
}

impl Drop for AuditedRequest {
    fn drop(&mut self) {
        if !self.is_recorded {
            self.record_allowed("client gone, what was begun goes on", 0, "");
        }
    }
}

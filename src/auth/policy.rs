//! Whether a sender may send an event: pure, and the same for requests and for events from inside the process
//! (contract 7.8, AU-9 to AU-13).

use std::sync::Arc;

use http::StatusCode;

use crate::event::Event;
use crate::filter::cesql::Meter;
use crate::model::{Access, AuthorizationMode, Policy, Rule, SUBJECT_PREFIX, ServiceAccount};
use crate::wire_text::WireText;

/// Why an event is not taken from its sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The sender proves nothing, or nothing that counts (contract A-10).
    #[error("{0}")]
    Unauthenticated(String),
    /// It is known who sends, and that they may not (contract A-11).
    #[error("{subject} may not send this event here: {remedy}")]
    Forbidden {
        /// Who.
        subject: WireText,
        /// What would let them.
        remedy: &'static str,
    },
    /// It is not known who may send (contract A-12).
    #[error("{0}")]
    Unknown(String),
    /// Nobody may, since there is nothing to send to (contract A-32).
    #[error("{0}")]
    Absent(String),
    /// Nobody can be verified now.
    #[error("tokens cannot be verified now ({0}): try again later")]
    Unavailable(&'static str),
}

impl Denial {
    /// The status that says so by HTTP.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::Unknown(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Absent(_) => StatusCode::NOT_FOUND,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Whether a subject whose token is good may send all of these events.
///
/// # Errors
/// If it may not, or the rule is not known.
pub fn authorize(access: &Access, subject: &str, events: &[Event]) -> Result<(), Denial> {
    let (allowed, remedy) = match &access.rule {
        Rule::Default(mode, namespace) => by_mode(*mode, namespace, subject),
        Rule::Policies(policies) => {
            let allowed = events.iter().all(|event| any_allows(policies, subject, event));
            return if allowed { Ok(()) } else { Err(by_policies(subject)) };
        }
        Rule::Only(expected) => (subject == expected, "only the channel of this trigger may"),
        Rule::Unknown(reason) => return Err(Denial::Unknown(reason.clone())),
        Rule::Absent(reason) => return Err(Denial::Absent(reason.clone())),
    };
    if allowed { Ok(()) } else { Err(Denial::Forbidden { subject: WireText::of(subject), remedy }) }
}

/// Whether there is any event that a subject may send whose token is good.
///
/// # Errors
/// If there is none, whatever it sends, or the rule is not known.
pub fn authorize_any(access: &Access, subject: &str) -> Result<(), Denial> {
    let Rule::Policies(policies) = &access.rule else { return authorize(access, subject, &[]) };
    if policies.iter().any(|policy| is_for(policy, subject)) { Ok(()) } else { Err(by_policies(subject)) }
}

fn by_policies(subject: &str) -> Denial {
    Denial::Forbidden {
        subject: WireText::of(subject),
        remedy: "add it to an EventPolicy of this address, or check the filters there",
    }
}

fn is_for(policy: &Policy, subject: &str) -> bool {
    policy.subjects.iter().any(|allowed| allowed.matches(subject))
}

/// Whether one policy allows it: all are asked, so that their names do not matter (unlike contract G-52). All of
/// them together may be as much work as one.
fn any_allows(policies: &[Arc<Policy>], subject: &str, event: &Event) -> bool {
    let mut meter = Meter::default();
    policies.iter().any(|policy| is_for(policy, subject) && policy.filter.decide_within(event, &mut meter) == Ok(true))
}

/// Contract AU-11.
fn by_mode(mode: AuthorizationMode, namespace: &str, subject: &str) -> (bool, &'static str) {
    match mode {
        AuthorizationMode::AllowAll => (true, ""),
        AuthorizationMode::AllowSameNamespace => {
            let account = subject.strip_prefix(SUBJECT_PREFIX).and_then(|rest| rest.strip_prefix(namespace));
            let same = account.is_some_and(|rest| rest.starts_with(':'));
            (same, "default-authorization-mode is allow-same-namespace: add an EventPolicy that names it")
        }
        AuthorizationMode::DenyAll => {
            (false, "default-authorization-mode is deny-all: add an EventPolicy that names it")
        }
    }
}

/// What an event from inside the process would prove by a token, had it come over the wire.
#[derive(Clone, Copy, Debug)]
pub struct Inside<'s> {
    /// As whom it is sent.
    pub sender: Option<&'s ServiceAccount>,
    /// The audience that its token would be for.
    pub audience: Option<&'s str>,
}

/// Whether an event may come in from inside. Who is inside needs no signature, but is asked for all the rest.
///
/// # Errors
/// As for a request with the token that would have been sent.
pub fn admit_inside(access: Option<&Access>, inside: Inside<'_>, event: &Event) -> Result<(), Denial> {
    let Some(access) = access else { return Ok(()) };
    let wanted = access.audience.as_str();
    match inside {
        Inside { sender: Some(sender), audience: Some(audience) } if audience == wanted => {
            authorize(access, &sender.to_string(), std::slice::from_ref(event))
        }
        Inside { sender: Some(_), audience: Some(_) } => {
            Err(Denial::Unauthenticated(format!("the destination is given with another audience than {wanted}")))
        }
        Inside { sender: None, .. } => {
            Err(Denial::Unauthenticated("the subscription has no ServiceAccount to send as".to_owned()))
        }
        Inside { audience: None, .. } => {
            Err(Denial::Unauthenticated(format!("the destination is given without its audience {wanted}")))
        }
    }
}

#[cfg(test)]
mod tests;

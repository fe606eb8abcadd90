//! Decides whether a sender may send an event. The decision is pure, and the same for requests and
//! for events from inside the process (contract 7.8, AU-9 to AU-13).

use std::sync::Arc;

use http::StatusCode;

use crate::event::Event;
use crate::filter::cesql::WorkMeter;
use crate::model::{
    AuthorizationMode, AuthorizationRule, EventPolicy, SUBJECT_PREFIX, SenderAuthorization,
    ServiceAccount,
};
use crate::wire_text::WireText;

/// The reason for which an event is not taken from its sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessDenial {
    /// The sender has sent no token, or none that is valid (contract A-10).
    #[error("{0}")]
    Unauthenticated(String),
    /// The sender is known, and may not send this event (contract A-11).
    #[error("{subject} may not send this event here: {remedy}")]
    Forbidden {
        /// The subject of the sender's token.
        subject: WireText,
        /// The change that would let the sender in.
        remedy: &'static str,
    },
    /// It is not known who may send, for the reason that the text names (contract A-12).
    #[error("{0}")]
    PolicyUnknown(String),
    /// Nobody may send, since there is nothing to send to (contract A-32).
    #[error("{0}")]
    DestinationMissing(String),
    /// No sender can be verified now, since the keys of the issuer are not known.
    #[error("tokens cannot be verified now ({0}): try again later")]
    KeysUnavailable(&'static str),
}

impl AccessDenial {
    /// Returns the HTTP status of the response.
    #[must_use]
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::PolicyUnknown(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::DestinationMissing(_) => StatusCode::NOT_FOUND,
            Self::KeysUnavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Checks whether a subject whose token was verified may send all of these events.
///
/// # Errors
/// Fails if it may not, or if the rule is not known.
pub(crate) fn authorize(
    access: &SenderAuthorization,
    subject: &str,
    events: &[Event],
) -> Result<(), AccessDenial> {
    match &access.rule {
        AuthorizationRule::Default(mode, namespace) => {
            allow_by_mode(*mode, namespace, subject).map_err(|remedy| forbidden(subject, remedy))
        }
        AuthorizationRule::Policies(policies) => {
            let mut events = events.iter();
            let all_allowed = events.all(|event| any_policy_allows(policies, subject, event));
            all_allowed
                .then_some(())
                .ok_or_else(|| denied_by_policies(subject))
        }
        AuthorizationRule::OnlySubject(expected) if subject == expected => Ok(()),
        AuthorizationRule::OnlySubject(_) => {
            Err(forbidden(subject, "only the channel of this trigger may"))
        }
        AuthorizationRule::Unknown(reason) => Err(AccessDenial::PolicyUnknown(reason.clone())),
        AuthorizationRule::ObjectMissing(reason) => {
            Err(AccessDenial::DestinationMissing(reason.clone()))
        }
    }
}

fn forbidden(subject: &str, remedy: &'static str) -> AccessDenial {
    AccessDenial::Forbidden {
        subject: WireText::new(subject),
        remedy,
    }
}

/// Checks whether there is any event that a subject whose token was verified may send, before the
/// event is read.
///
/// # Errors
/// Fails if there is none, or if the rule is not known.
pub(crate) fn authorize_any(
    access: &SenderAuthorization,
    subject: &str,
) -> Result<(), AccessDenial> {
    let AuthorizationRule::Policies(policies) = &access.rule else {
        return authorize(access, subject, &[]);
    };
    if policies
        .iter()
        .any(|policy| is_for_subject(policy, subject))
    {
        Ok(())
    } else {
        Err(denied_by_policies(subject))
    }
}

fn denied_by_policies(subject: &str) -> AccessDenial {
    forbidden(
        subject,
        "add it to an EventPolicy of this address, or check the filters there",
    )
}

fn is_for_subject(policy: &EventPolicy, subject: &str) -> bool {
    policy
        .subjects
        .iter()
        .any(|allowed| allowed.matches(subject))
}

/// Returns true if one policy allows the event: all policies are asked, so that their names do not
/// matter (unlike contract G-52). Their filters share the work limit of one.
fn any_policy_allows(policies: &[Arc<EventPolicy>], subject: &str, event: &Event) -> bool {
    let mut meter = WorkMeter::default();
    policies.iter().any(|policy| {
        is_for_subject(policy, subject)
            && policy.filter.decide_within(event, &mut meter) == Ok(true)
    })
}

/// Checks the subject by the default mode of the namespace (contract AU-11).
///
/// # Errors
/// Fails with the remedy if the mode refuses the subject.
fn allow_by_mode(
    mode: AuthorizationMode,
    namespace: &str,
    subject: &str,
) -> Result<(), &'static str> {
    match mode {
        AuthorizationMode::AllowAll => Ok(()),
        AuthorizationMode::AllowSameNamespace => {
            let account = subject
                .strip_prefix(SUBJECT_PREFIX)
                .and_then(|rest| rest.strip_prefix(namespace));
            if account.is_some_and(|rest| rest.starts_with(':')) {
                return Ok(());
            }
            Err(
                "default-authorization-mode is allow-same-namespace: add an EventPolicy that \
                 names it",
            )
        }
        AuthorizationMode::DenyAll => {
            Err("default-authorization-mode is deny-all: add an EventPolicy that names it")
        }
    }
}

/// The claims that an event from inside the process would prove by a token, had it come over the
/// wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InternalSender<'s> {
    /// The ServiceAccount as which the event is sent.
    pub sender: Option<&'s ServiceAccount>,
    /// The audience that its token would be for.
    pub audience: Option<&'s str>,
}

/// Checks whether an event from inside the process may be taken. It needs no signature, but has to
/// meet all the other conditions.
///
/// # Errors
/// Fails as a request with the token that would have been sent.
pub(crate) fn authorize_internal(
    access: Option<&SenderAuthorization>,
    inside: InternalSender<'_>,
    event: &Event,
) -> Result<(), AccessDenial> {
    let Some(access) = access else { return Ok(()) };
    let sender = authenticate_internal(inside, &access.audience)?;
    authorize(access, &sender.to_string(), std::slice::from_ref(event))
}

/// Returns the sender, if its token would be for the audience that is wanted.
fn authenticate_internal<'s>(
    inside: InternalSender<'s>,
    wanted: &str,
) -> Result<&'s ServiceAccount, AccessDenial> {
    let denial = match (inside.sender, inside.audience) {
        (Some(sender), Some(audience)) if audience == wanted => return Ok(sender),
        (Some(_), Some(_)) => {
            format!("the destination is given with another audience than {wanted}")
        }
        (None, _) => "the subscription has no ServiceAccount to send as".to_owned(),
        (_, None) => format!("the destination is given without its audience {wanted}"),
    };
    Err(AccessDenial::Unauthenticated(denial))
}

#[cfg(test)]
mod tests;

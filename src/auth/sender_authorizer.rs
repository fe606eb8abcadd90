//! Authorizes the senders of requests: takes the credentials of a request, verifies and authorizes
//! them.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::issuer_keys::IssuerKeyStore;
use super::policy::{self, AccessDenial};
use super::token_verifier;
use crate::event::Event;
use crate::model::SenderAuthorization;
use crate::telemetry::counters::ProcessCounters;

/// The `Authorization` fields of a request. They are not shown by `Debug`.
#[derive(Clone, Default)]
pub struct RequestCredentials {
    fields: Vec<http::HeaderValue>,
}

impl std::fmt::Debug for RequestCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.fields.len())
    }
}

impl RequestCredentials {
    /// Takes the credentials of a request, if the channel asks for them; else the fields are not
    /// looked at. Two are enough to see that there is more than one.
    #[must_use]
    pub fn of_headers(headers: &HeaderMap, access: Option<&SenderAuthorization>) -> Self {
        match access {
            Some(_) => Self {
                fields: headers
                    .get_all(AUTHORIZATION)
                    .iter()
                    .take(2)
                    .cloned()
                    .collect(),
            },
            None => Self::default(),
        }
    }

    /// Returns the token (contract AU-6): after `Bearer`, or alone, as upstream takes it.
    fn bearer_token(&self) -> Result<&str, AccessDenial> {
        let refused = |text: &str| Err(AccessDenial::Unauthenticated(text.to_owned()));
        let value = match &self.fields[..] {
            [] => return refused("send a token as Authorization: Bearer TOKEN"),
            [value] => value,
            _ => return refused("send one Authorization header only"),
        };
        let Ok(text) = value.to_str() else {
            return refused("the token has characters that no token has");
        };
        let text = text.trim();
        let token = match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            Some(_) => return refused("send the token as Authorization: Bearer TOKEN"),
            None => text,
        };
        if token.is_empty() || token.eq_ignore_ascii_case("bearer") {
            return refused("send a token as Authorization: Bearer TOKEN");
        }
        Ok(token)
    }
}

/// Authenticates and authorizes the senders of events, and counts those that are refused.
pub struct SenderAuthorizer {
    keys: Arc<IssuerKeyStore>,
    counters: Arc<ProcessCounters>,
}

impl SenderAuthorizer {
    /// Makes an authorizer that verifies tokens by these keys.
    #[must_use]
    pub fn new(keys: Arc<IssuerKeyStore>, counters: Arc<ProcessCounters>) -> Self {
        Self { keys, counters }
    }

    /// Authenticates the sender, and checks that there is anything at all that it may send here;
    /// costs nothing if the channel asks for no authentication. It is called before events are
    /// read, so that a sender that may not send takes no memory. A refusal is
    /// [counted](Self::count_denial) by the caller.
    ///
    /// # Errors
    /// Fails if the token is missing or not valid, if the sender may send nothing here, or if that
    /// cannot be decided.
    pub async fn authenticate(
        &self,
        access: Option<&SenderAuthorization>,
        credentials: &RequestCredentials,
    ) -> Result<SenderIdentity, AccessDenial> {
        let Some(access) = access else {
            return Ok(SenderIdentity::default());
        };
        Box::pin(self.verify_token(access, credentials)).await
    }

    async fn verify_token(
        &self,
        access: &SenderAuthorization,
        credentials: &RequestCredentials,
    ) -> Result<SenderIdentity, AccessDenial> {
        let token = credentials.bearer_token()?;
        let subject =
            token_verifier::verify(&self.keys, &access.oidc, token, &access.audience).await?;
        policy::authorize_any(access, &subject)?;
        Ok(SenderIdentity {
            subject: Some(subject),
        })
    }

    /// Checks that an authenticated sender may send all of these events, and counts a refusal.
    ///
    /// # Errors
    /// Fails if it may not send one of them, or if that cannot be decided.
    pub fn authorize(
        &self,
        access: Option<&SenderAuthorization>,
        sender: &SenderIdentity,
        events: &[Event],
    ) -> Result<(), AccessDenial> {
        let (Some(access), Some(subject)) = (access, &sender.subject) else {
            return Ok(());
        };
        policy::authorize(access, subject, events).inspect_err(|denial| self.count_denial(denial))
    }

    /// Counts a refusal by its kind.
    pub(crate) fn count_denial(&self, denial: &AccessDenial) {
        match denial {
            AccessDenial::Unauthenticated(_) => self.counters.unauthenticated.increment(),
            AccessDenial::Forbidden { .. } => self.counters.forbidden.increment(),
            AccessDenial::PolicyUnknown(_)
            | AccessDenial::DestinationMissing(_)
            | AccessDenial::KeysUnavailable(_) => self.counters.undecidable.increment(),
        }
    }
}

/// The sender of a request, as far as it was authenticated.
#[derive(Clone, Debug, Default)]
pub struct SenderIdentity {
    /// The subject of the token; `None` if no authentication is asked for.
    subject: Option<Arc<str>>,
}

impl SenderIdentity {
    /// Returns the subject of the token; empty if no authentication was asked for.
    #[must_use]
    pub(crate) fn subject(&self) -> &str {
        self.subject.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;

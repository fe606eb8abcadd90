//! The entrance of events that ask for proof: takes the credentials of a request, verifies and authorizes them.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::keys::Keys;
use super::policy::{self, Denial};
use super::verifier;
use crate::event::Event;
use crate::model::Access;
use crate::telemetry::counters::Counters;

/// What a request carries as proof. Not shown by `Debug`.
#[derive(Clone, Default)]
pub struct Credentials {
    found: Vec<http::HeaderValue>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.found.len())
    }
}

impl Credentials {
    /// Those of a request, if they are asked for; what is asked for nothing is not looked for.
    #[must_use]
    pub fn of(headers: &HeaderMap, access: Option<&Access>) -> Self {
        match access {
            Some(_) => Self { found: headers.get_all(AUTHORIZATION).iter().take(2).cloned().collect() },
            None => Self::default(),
        }
    }

    /// The token (contract AU-6): after `Bearer`, or alone, as upstream takes it.
    fn token(&self) -> Result<&str, Denial> {
        let refused = |text: &str| Err(Denial::Unauthenticated(text.to_owned()));
        let value = match &self.found[..] {
            [] => return refused("send a token as Authorization: Bearer TOKEN"),
            [value] => value,
            _ => return refused("send one Authorization header only"),
        };
        let Ok(text) = value.to_str() else { return refused("the token has characters that no token has") };
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

/// Lets events in.
pub struct Gate {
    keys: Arc<Keys>,
    counters: Arc<Counters>,
}

impl Gate {
    /// A gate that verifies by these keys.
    #[must_use]
    pub fn new(keys: Arc<Keys>, counters: Arc<Counters>) -> Self {
        Self { keys, counters }
    }

    /// Who sends, if there is anything at all that they may send here. Free where nothing is asked for. It is asked before
    /// events are read, so that nobody who may not send takes memory; who refuses for that has it [counted](Self::count).
    ///
    /// # Errors
    /// If they prove nothing, or may send nothing, or that cannot be told.
    pub async fn identify(&self, access: Option<&Access>, credentials: &Credentials) -> Result<Sender, Denial> {
        let Some(access) = access else { return Ok(Sender::default()) };
        Box::pin(self.verify(access, credentials)).await
    }

    async fn verify(&self, access: &Access, credentials: &Credentials) -> Result<Sender, Denial> {
        let token = credentials.token()?;
        let subject = verifier::verify(&self.keys, &access.oidc, token, &access.audience).await?;
        policy::authorize_any(access, &subject)?;
        Ok(Sender { subject: Some(subject) })
    }

    /// Whether who was identified may send all of these events.
    ///
    /// # Errors
    /// If they may not.
    pub fn authorize(&self, access: Option<&Access>, sender: &Sender, events: &[Event]) -> Result<(), Denial> {
        let (Some(access), Some(subject)) = (access, &sender.subject) else { return Ok(()) };
        policy::authorize(access, subject, events).inspect_err(|denial| self.count(denial))
    }

    /// Counts that somebody was refused.
    pub fn count(&self, denial: &Denial) {
        match denial {
            Denial::Unauthenticated(_) => self.counters.unauthenticated.increment(),
            Denial::Forbidden { .. } => self.counters.forbidden.increment(),
            Denial::Unknown(_) | Denial::Absent(_) | Denial::Unavailable(_) => self.counters.undecidable.increment(),
        }
    }
}

/// Who sends.
#[derive(Clone, Debug, Default)]
pub struct Sender {
    /// Nobody in particular where nothing is asked for.
    subject: Option<Arc<str>>,
}

#[cfg(test)]
mod tests;

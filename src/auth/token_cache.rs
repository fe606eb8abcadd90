//! Tokens to send: one for each ServiceAccount and audience, kept until it is about to end (contract 7.2, 7.3).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderValue;
use moka::future::Cache;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::model::{Addressable, ServiceAccount};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::log_rate_limit::LogRateLimit;
use crate::wire_text::escaped_excerpt;

/// What is asked for, and the longest that is believed.
pub const LIFETIME: Duration = Duration::from_secs(3600);
/// A token is not used in the last part of its life (contract 7.3).
const MARGIN: Duration = Duration::from_secs(300);
/// A token that has not this part of its usable life before it is replaced by whoever uses it next.
const FRESH: f64 = 0.8;
/// After a failure, nobody asks again for this time.
const PAUSE: Duration = Duration::from_secs(1);
/// An issuer that does not answer for this time has failed.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Whoever has a token that is still good waits no longer for the next one.
const TIMEOUT_AHEAD: Duration = Duration::from_secs(2);
/// Tokens kept at most.
const MAX_TOKENS: u64 = 20_000;
/// A token that nobody uses is forgotten after this time.
const IDLE: Duration = Duration::from_secs(7200);

/// Issues tokens.
pub trait TokenIssuer: Send + Sync + 'static {
    /// A new token of this account, for this audience only.
    fn issue<'a>(
        &'a self,
        account: &'a ServiceAccount,
        audience: &'a str,
    ) -> BoxFuture<'a, Result<IssuedToken, TokenError>>;
}

/// A token as issued. Not shown by `Debug`.
pub struct IssuedToken {
    /// The token itself.
    pub token: String,
    /// How long it is valid from now on.
    pub lifetime: Duration,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issued({:?})", self.lifetime)
    }
}

/// Bytes of a reason at most, which may repeat what the API server says.
const LONGEST_REASON: usize = 512;

/// Why there is no token. One line, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no token for {account} and the audience {audience}: {reason}")]
pub struct TokenError {
    /// Whose.
    pub account: String,
    /// For whom.
    pub audience: String,
    /// What happened.
    pub reason: String,
}

impl TokenError {
    /// An error of this account and audience.
    #[must_use]
    pub fn new(account: &ServiceAccount, audience: &str, reason: impl fmt::Display) -> Self {
        Self {
            account: account.to_string(),
            audience: audience.to_owned(),
            reason: escaped_excerpt(reason, LONGEST_REASON),
        }
    }
}

/// Where there is no cluster: issues nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoTokenIssuer;

impl TokenIssuer for NoTokenIssuer {
    fn issue<'a>(
        &'a self,
        account: &'a ServiceAccount,
        audience: &'a str,
    ) -> BoxFuture<'a, Result<IssuedToken, TokenError>> {
        let reason = "there is no API server to ask: run with --kubernetes, or remove the audience";
        std::future::ready(Err(TokenError::new(account, audience, reason))).boxed()
    }
}

/// A token while it is kept.
struct CachedToken {
    authorization: HeaderValue,
    /// Whoever uses it from then on tries to replace it.
    refresh_at: Instant,
    /// Not used from then on.
    expires_at: Instant,
}

/// The token of one account for one audience.
#[derive(Default)]
struct TokenCacheEntry {
    token: ArcSwapOption<CachedToken>,
    /// Held by whoever asks the issuer.
    request: Mutex<TokenRequestState>,
}

/// How asking went.
#[derive(Default)]
struct TokenRequestState {
    /// When it failed last, and why.
    last_failure: Option<(Instant, TokenError)>,
    log_limit: LogRateLimit,
}

type TokenCacheKey = (Arc<ServiceAccount>, String);

/// By what tokens may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenTransport {
    /// Https, so that nobody on the way can use them.
    #[default]
    HttpsOnly,
    /// Http, too, as upstream does.
    Any,
}

/// The tokens in use.
pub struct TokenCache {
    transport: TokenTransport,
    issuer: Arc<dyn TokenIssuer>,
    entries: Cache<TokenCacheKey, Arc<TokenCacheEntry>>,
    counters: Arc<ProcessCounters>,
}

impl TokenCache {
    /// No tokens yet; they will be asked of `issuer`.
    #[must_use]
    pub fn new(issuer: Arc<dyn TokenIssuer>, counters: Arc<ProcessCounters>) -> Self {
        let entries = Cache::builder().max_capacity(MAX_TOKENS).time_to_idle(IDLE).build();
        Self { transport: TokenTransport::default(), issuer, entries, counters }
    }

    /// The same tokens, to be sent by this.
    #[must_use]
    pub fn with_transport(self, transport: TokenTransport) -> Self {
        Self { transport, ..self }
    }

    /// The value of `Authorization` for a request, if the sender has to prove who it is there: it has a ServiceAccount, and
    /// the destination an audience (contract AU-1).
    ///
    /// # Errors
    /// If there is no token, or it must not be sent there. Then nothing may be sent.
    pub async fn authorization_for(
        &self,
        sender: Option<&Arc<ServiceAccount>>,
        to: &Addressable,
    ) -> Result<Option<HeaderValue>, TokenError> {
        let (Some(sender), Some(audience)) = (sender, &to.audience) else { return Ok(None) };
        if self.transport == TokenTransport::HttpsOnly && to.url.scheme() != "https" {
            let remedy = "give its https address, set transport-encryption, or run with --tokens-over-http";
            return Err(TokenError::new(sender, audience, format!("tokens are not sent over http: {remedy}")));
        }
        Box::pin(self.authorization_field(sender, audience)).await.map(Some)
    }

    /// `Bearer` and the token of an account for an audience. Callers that need the same one at the same time ask for it
    /// once.
    ///
    /// # Errors
    /// If there is none, and none can be had.
    pub async fn authorization_field(
        &self,
        account: &Arc<ServiceAccount>,
        audience: &str,
    ) -> Result<HeaderValue, TokenError> {
        let key = (Arc::clone(account), audience.to_owned());
        let entry = match self.entries.get(&key).await {
            Some(entry) => entry,
            None => self.entries.get_with(key, std::future::ready(Arc::default())).await,
        };
        let now = Instant::now();
        let kept = entry.token.load_full().filter(|kept| now < kept.expires_at);
        match kept {
            Some(kept) if now < kept.refresh_at => Ok(kept.authorization.clone()),
            // One replaces it; all others go on with it, as does that one if it has to.
            Some(kept) => match entry.request.try_lock() {
                Ok(mut asking) => {
                    let asked =
                        self.reuse_or_request_token(&entry, &mut asking, (account, audience), TIMEOUT_AHEAD).await;
                    Ok(asked.unwrap_or_else(|_error| kept.authorization.clone()))
                }
                Err(_busy) => Ok(kept.authorization.clone()),
            },
            None => {
                let mut asking = entry.request.lock().await;
                self.reuse_or_request_token(&entry, &mut asking, (account, audience), TIMEOUT).await
            }
        }
    }

    /// The token that somebody else has just asked for, or one that is asked for now, unless that has just failed.
    async fn reuse_or_request_token(
        &self,
        entry: &TokenCacheEntry,
        asking: &mut TokenRequestState,
        wanted: (&ServiceAccount, &str),
        limit: Duration,
    ) -> Result<HeaderValue, TokenError> {
        let now = Instant::now();
        if let Some(kept) = entry.token.load_full().filter(|kept| now < kept.refresh_at) {
            return Ok(kept.authorization.clone());
        }
        if let Some((_, error)) = asking.last_failure.as_ref().filter(|(at, _)| now.duration_since(*at) < PAUSE) {
            return Err(error.clone());
        }
        match self.request_token(wanted, limit).await {
            Ok(kept) => {
                let header = kept.authorization.clone();
                entry.token.store(Some(Arc::new(kept)));
                *asking = TokenRequestState::default();
                Ok(header)
            }
            Err(error) => {
                self.counters.token_failures.increment();
                if asking.log_limit.is_due() {
                    tracing::warn!(%error, "A token could not be had");
                }
                asking.last_failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn request_token(
        &self,
        (account, audience): (&ServiceAccount, &str),
        limit: Duration,
    ) -> Result<CachedToken, TokenError> {
        self.counters.token_requests.increment();
        let asked = Instant::now();
        let issued = tokio::time::timeout(limit, self.issuer.issue(account, audience)).await;
        let IssuedToken { token, lifetime } = match issued {
            Ok(issued) => issued?,
            Err(_elapsed) => {
                let reason = format!("no answer within {} s", limit.as_secs());
                return Err(TokenError::new(account, audience, reason));
            }
        };
        let unusable = |_error| TokenError::new(account, audience, "the issuer gave something that is no token");
        let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(unusable)?;
        header.set_sensitive(true);
        let usable = usable_lifetime(lifetime.min(LIFETIME));
        Ok(CachedToken { authorization: header, refresh_at: asked + usable.mul_f64(FRESH), expires_at: asked + usable })
    }
}

/// The part of a lifetime in which a token is used: all but the last five minutes; of a token that lives hardly longer
/// than that, the first half.
fn usable_lifetime(lifetime: Duration) -> Duration {
    lifetime.saturating_sub(MARGIN).max(lifetime.min(MARGIN * 2) / 2)
}

#[cfg(test)]
mod tests;

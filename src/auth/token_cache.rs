//! The tokens that this process sends: one for each ServiceAccount and audience, kept until it is
//! about to expire (contract 7.2, 7.3).

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

/// Lifetime that is requested for a token, and the longest one that is believed.
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);
/// Last part of a token's life, in which it is not used (contract 7.3).
const MARGIN: Duration = Duration::from_secs(300);
/// Part of a token's usable life after which its next user requests another one.
const FRESH: f64 = 0.8;
/// Time after a failed request in which no other one is sent for the same token.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest time that a request for a token may take if there is none to use.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that a request may take while there is a token that can still be used.
const TIMEOUT_AHEAD: Duration = Duration::from_secs(2);
/// Number of tokens that are kept at most.
const MAX_TOKENS: u64 = 20_000;
/// Time after which a token that is not used is forgotten.
const IDLE: Duration = Duration::from_secs(7200);

/// Issues tokens for ServiceAccounts.
pub trait TokenIssuer: Send + Sync + 'static {
    /// Issues a new token for this account, for this audience only.
    fn issue<'a>(
        &'a self,
        account: &'a ServiceAccount,
        audience: &'a str,
    ) -> BoxFuture<'a, Result<IssuedToken, TokenError>>;
}

/// A token as it was issued. It is not shown by `Debug`.
pub struct IssuedToken {
    /// The token itself, which is a secret.
    pub token: String,
    /// Time for which the token is valid from now on.
    pub lifetime: Duration,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issued({:?})", self.lifetime)
    }
}

/// Longest reason in bytes; it may repeat what the API server says.
const LONGEST_REASON: usize = 512;

/// The reason for which there is no token. Its text is one line without secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no token for {account} and the audience {audience}: {reason}")]
pub struct TokenError {
    /// The ServiceAccount that the token was for, as its subject.
    pub account: String,
    /// The audience that the token was for.
    pub audience: String,
    /// The reason, escaped and cut to 512 bytes.
    pub reason: String,
}

impl TokenError {
    /// Makes an error about a token for this account and audience.
    #[must_use]
    pub(crate) fn new(account: &ServiceAccount, audience: &str, reason: impl fmt::Display) -> Self {
        Self {
            account: account.to_string(),
            audience: audience.to_owned(),
            reason: escaped_excerpt(reason, LONGEST_REASON),
        }
    }
}

/// The issuer of a process without a cluster: it fails always, with a remedy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoTokenIssuer;

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

/// A token in the cache, as the value of a header field.
struct CachedToken {
    authorization: HeaderValue,
    /// The time from which on its next user tries to replace it.
    refresh_at: Instant,
    /// The time from which on it is not used.
    expires_at: Instant,
}

/// The token of one account for one audience, and the state of requests for it.
#[derive(Default)]
struct TokenCacheEntry {
    token: ArcSwapOption<CachedToken>,
    /// Locked by the task that requests a token.
    request: Mutex<TokenRequestState>,
}

/// The last failure to get a token, so that failures are neither repeated nor logged too often.
#[derive(Default)]
struct TokenRequestState {
    /// The time of the last failure, and its error.
    last_failure: Option<(Instant, TokenError)>,
    log_limit: LogRateLimit,
}

impl TokenRequestState {
    /// Returns the last failure, which is shared for a second, so that waiting callers do not ask
    /// one after the other.
    fn fresh_failure(&self, now: Instant) -> Option<&TokenError> {
        let (at, error) = self.last_failure.as_ref()?;
        (now.duration_since(*at) < PAUSE).then_some(error)
    }
}

type TokenCacheKey = (Arc<ServiceAccount>, String);

/// The token that is wanted: for this account and this audience.
#[derive(Clone, Copy, Debug)]
struct WantedToken<'w> {
    account: &'w Arc<ServiceAccount>,
    audience: &'w str,
}

/// The schemes by which tokens may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenTransport {
    /// Only https, so that nobody on the way can read the tokens; this is the default.
    #[default]
    HttpsOnly,
    /// Http and https, as upstream does.
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
    /// Makes a cache without tokens; they will be requested from `issuer`.
    #[must_use]
    pub fn new(issuer: Arc<dyn TokenIssuer>, counters: Arc<ProcessCounters>) -> Self {
        let entries = Cache::builder()
            .max_capacity(MAX_TOKENS)
            .time_to_idle(IDLE)
            .build();
        Self {
            transport: TokenTransport::default(),
            issuer,
            entries,
            counters,
        }
    }

    /// Returns the same cache, whose tokens may be sent by these schemes.
    #[must_use]
    pub fn with_transport(self, transport: TokenTransport) -> Self {
        Self { transport, ..self }
    }

    /// Returns the value of `Authorization` for a request, if the sender has to authenticate: it
    /// has a ServiceAccount, and the destination an audience (contract AU-1).
    ///
    /// # Errors
    /// Fails if there is no token, or if it must not be sent over http. Then nothing may be sent.
    pub(crate) async fn authorization_for(
        &self,
        sender: Option<&Arc<ServiceAccount>>,
        to: &Addressable,
    ) -> Result<Option<HeaderValue>, TokenError> {
        let (Some(sender), Some(audience)) = (sender, &to.audience) else {
            return Ok(None);
        };
        if self.transport == TokenTransport::HttpsOnly && to.url.scheme() != "https" {
            let remedy =
                "give its https address, set transport-encryption, or run with --tokens-over-http";
            return Err(TokenError::new(
                sender,
                audience,
                format!("tokens are not sent over http: {remedy}"),
            ));
        }
        Box::pin(self.authorization_field(sender, audience))
            .await
            .map(Some)
    }

    /// Returns `Bearer` and the token of an account for an audience. Callers that need the same
    /// token at the same time cause one request only.
    ///
    /// # Errors
    /// Fails if there is none in the cache, and none can be requested.
    pub async fn authorization_field(
        &self,
        account: &Arc<ServiceAccount>,
        audience: &str,
    ) -> Result<HeaderValue, TokenError> {
        let wanted = WantedToken { account, audience };
        let entry = self.cache_entry(wanted).await;
        let now = Instant::now();
        let kept = entry.token.load_full().filter(|kept| now < kept.expires_at);
        match kept {
            Some(kept) if now < kept.refresh_at => Ok(kept.authorization.clone()),
            Some(kept) => Ok(self.replace_ahead(&entry, &kept, wanted).await),
            None => {
                let mut asking = entry.request.lock().await;
                let asked = self.reuse_or_request_token(&entry, &mut asking, wanted, TIMEOUT);
                asked.await
            }
        }
    }

    /// Replaces a token that can still be used. One caller does so; all others go on with the old
    /// one, as does that caller if the request fails.
    async fn replace_ahead(
        &self,
        entry: &TokenCacheEntry,
        kept: &CachedToken,
        wanted: WantedToken<'_>,
    ) -> HeaderValue {
        let Ok(mut asking) = entry.request.try_lock() else {
            return kept.authorization.clone();
        };
        let replaced = self.reuse_or_request_token(entry, &mut asking, wanted, TIMEOUT_AHEAD);
        let replaced = replaced.await;
        replaced.unwrap_or_else(|_error| kept.authorization.clone())
    }

    async fn cache_entry(&self, wanted: WantedToken<'_>) -> Arc<TokenCacheEntry> {
        let key = (Arc::clone(wanted.account), wanted.audience.to_owned());
        match self.entries.get(&key).await {
            Some(entry) => entry,
            None => {
                self.entries
                    .get_with(key, std::future::ready(Arc::default()))
                    .await
            }
        }
    }

    /// Returns the token that another caller has just requested, or requests one, unless a request
    /// has just failed.
    async fn reuse_or_request_token(
        &self,
        entry: &TokenCacheEntry,
        asking: &mut TokenRequestState,
        wanted: WantedToken<'_>,
        limit: Duration,
    ) -> Result<HeaderValue, TokenError> {
        let now = Instant::now();
        // Another caller may have replaced the token while this one waited for the lock.
        if let Some(kept) = entry.token.load_full().filter(|kept| now < kept.refresh_at) {
            return Ok(kept.authorization.clone());
        }
        if let Some(error) = asking.fresh_failure(now) {
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
                self.record_failure(asking, &error);
                Err(error)
            }
        }
    }

    fn record_failure(&self, asking: &mut TokenRequestState, error: &TokenError) {
        self.counters.token_failures.increment();
        if asking.log_limit.is_due() {
            tracing::warn!(%error, "A token could not be had");
        }
        asking.last_failure = Some((Instant::now(), error.clone()));
    }

    async fn request_token(
        &self,
        WantedToken { account, audience }: WantedToken<'_>,
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
        let Some(authorization) = bearer_field(&token) else {
            let reason = "the issuer gave something that is no token";
            return Err(TokenError::new(account, audience, reason));
        };
        // The lifetime counts from before the request, so that a slow issuer does not lengthen it.
        let usable = usable_lifetime(lifetime.min(LIFETIME));
        Ok(CachedToken {
            authorization,
            refresh_at: asked + usable.mul_f64(FRESH),
            expires_at: asked + usable,
        })
    }
}

/// Returns the value of `Authorization` for this token; `None` if it is not fit for a header field.
fn bearer_field(token: &str) -> Option<HeaderValue> {
    let mut field = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    field.set_sensitive(true);
    Some(field)
}

/// Returns the part of a lifetime in which a token is used: all but the last five minutes; of a
/// token that lives hardly longer than that, the first half.
fn usable_lifetime(lifetime: Duration) -> Duration {
    lifetime
        .saturating_sub(MARGIN)
        .max(lifetime.min(MARGIN * 2) / 2)
}

#[cfg(test)]
mod tests;

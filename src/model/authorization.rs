//! What a channel asks of senders: a token of an issuer for its audience, and a subject that is allowed to send
//! (contract 7.5 to 7.8). Data only; `auth` decides by it.

use std::fmt;
use std::sync::Arc;

use super::{Addressable, TrustBundle};
use crate::filter::Filter;

/// Where the keys are told that tokens are verified with (`oidc-discovery-base-url`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OidcDiscovery {
    /// By the API server of the cluster, asked with the credentials of this process; and if it says that they are
    /// elsewhere, there, trusting these certificates.
    Cluster(Arc<TrustBundle>),
    /// Elsewhere: the base URL, and what its certificates are verified with.
    BaseUrl(Addressable),
    /// Nowhere, since the URL is none. Nothing can be verified.
    Unavailable,
}

impl OidcDiscovery {
    /// Whether both name the same issuer, however it is reached and trusted.
    #[must_use]
    pub fn is_same_issuer(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cluster(_), Self::Cluster(_)) | (Self::Unavailable, Self::Unavailable) => true,
            (Self::BaseUrl(a), Self::BaseUrl(b)) => a.url == b.url,
            _ => false,
        }
    }
}

/// That tokens are asked for, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcAuthentication {
    /// Where their keys are told.
    pub discovery: OidcDiscovery,
}

/// Who sends, by name of its ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceAccount {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`; a valid one, so that it can stand in a path.
    pub name: String,
}

impl fmt::Display for ServiceAccount {
    /// The subject of its tokens: `system:serviceaccount:NAMESPACE:NAME`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SUBJECT_PREFIX}{}:{}", self.namespace, self.name)
    }
}

/// What subjects of ServiceAccounts begin with.
pub const SUBJECT_PREFIX: &str = "system:serviceaccount:";

/// Who is allowed by a policy (`status.from` of an `EventPolicy`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectPattern {
    /// The one with this name, whatever its case.
    Exact(String),
    /// Everybody whose name begins with this text, in this case (contract AU-10).
    Prefix(String),
}

impl SubjectPattern {
    /// Reads an entry of `status.from`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }

    /// Whether it means this subject.
    #[must_use]
    pub fn matches(&self, subject: &str) -> bool {
        match self {
            Self::Exact(name) => name.eq_ignore_ascii_case(subject),
            Self::Prefix(prefix) => subject.starts_with(prefix.as_str()),
        }
    }
}

/// An `EventPolicy`: who may send what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPolicy {
    /// Who; nobody if there is none.
    pub subjects: Vec<SubjectPattern>,
    /// What they may send.
    pub filter: Filter,
}

/// `default-authorization-mode`: who may send to a channel that no policy is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthorizationMode {
    /// ServiceAccounts of the channel's namespace.
    #[default]
    AllowSameNamespace,
    /// Everybody with a token.
    AllowAll,
    /// Nobody.
    DenyAll,
}

impl AuthorizationMode {
    /// Reads a flag's value, whatever its case; `None` if it is not a mode.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::AllowSameNamespace, Self::AllowAll, Self::DenyAll]
            .into_iter()
            .find(|mode| mode.as_str().eq_ignore_ascii_case(text))
    }

    /// The flag's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowSameNamespace => "allow-same-namespace",
            Self::AllowAll => "allow-all",
            Self::DenyAll => "deny-all",
        }
    }
}

/// Who may send, of those whose token is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorizationRule {
    /// No policy is for this channel: the mode decides, which may look at the channel's namespace.
    Default(AuthorizationMode, String),
    /// Whoever one of these allows.
    Policies(Vec<Arc<EventPolicy>>),
    /// Only this subject (contract AU-13).
    OnlySubject(String),
    /// It is not known who (contract AU-12, AU-13). Why.
    Unknown(String),
    /// Who may is told by an object that is not there (contract AU-13). Which.
    ObjectMissing(String),
}

/// What a channel, Broker or Trigger asks of those who send to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderAuthorization {
    /// Whose tokens.
    pub oidc: Arc<OidcAuthentication>,
    /// The audience that a token must be for.
    pub audience: String,
    /// Who may send.
    pub rule: AuthorizationRule,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract AU-10, 7.8.
    #[test]
    fn subjects() {
        let writer = "system:serviceaccount:orders:invoice-writer";
        for (pattern, subject, matches) in [
            (writer, writer, true),
            ("System:ServiceAccount:Orders:Invoice-Writer", writer, true),
            ("system:serviceaccount:orders:invoice", writer, false),
            ("system:serviceaccount:orders:*", writer, true),
            ("system:serviceaccount:orders:invoice-writer*", writer, true),
            ("system:serviceaccount:order:*", writer, false),
            ("System:serviceaccount:orders:*", writer, false),
            ("*", writer, true),
            ("system:*:orders:invoice-writer", writer, false),
            ("", writer, false),
            ("", "", true),
        ] {
            assert_eq!(SubjectPattern::parse(pattern).matches(subject), matches, "{pattern} {subject}");
        }
    }

    #[test]
    fn modes() {
        for mode in [AuthorizationMode::AllowSameNamespace, AuthorizationMode::AllowAll, AuthorizationMode::DenyAll] {
            assert_eq!(AuthorizationMode::parse(&mode.as_str().to_ascii_uppercase()), Some(mode));
        }
        assert_eq!(AuthorizationMode::parse("nobody"), None);
        assert_eq!(AuthorizationMode::parse(" deny-all"), None);
    }
}

//! The demands of a channel on its senders: a token of an issuer for the channel's audience, and a
//! subject that is allowed to send (contract 7.5 to 7.8). This is data only; the module `auth`
//! decides by it.

use std::fmt;
use std::sync::Arc;

use super::{Addressable, TrustBundle};
use crate::filter::Filter;

/// The place where an issuer publishes the keys that its tokens are verified with
/// (`oidc-discovery-base-url`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OidcDiscovery {
    /// At the API server of the cluster, asked with the credentials of this process; if the API
    /// server says that the keys are elsewhere, they are read there, trusting these certificates.
    Cluster(Arc<TrustBundle>),
    /// At this base URL, whose certificates are verified with the trust of the `Addressable`.
    BaseUrl(Addressable),
    /// Nowhere, since the configured URL is invalid: no token can be verified.
    Unavailable,
}

impl OidcDiscovery {
    /// True if both name the same issuer, however it is reached and trusted.
    #[must_use]
    pub(crate) fn is_same_issuer(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cluster(_), Self::Cluster(_)) | (Self::Unavailable, Self::Unavailable) => true,
            (Self::BaseUrl(a), Self::BaseUrl(b)) => a.url == b.url,
            _ => false,
        }
    }
}

/// The demand that senders show tokens, and the issuer of these tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcAuthentication {
    /// The place where the issuer publishes its keys.
    pub discovery: OidcDiscovery,
}

/// A sender, named by its ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceAccount {
    /// The namespace of the ServiceAccount.
    pub namespace: String,
    /// The name of the ServiceAccount; always a valid one, so that it can stand in a path.
    pub name: String,
}

impl fmt::Display for ServiceAccount {
    /// Writes the subject of its tokens: `system:serviceaccount:NAMESPACE:NAME`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SUBJECT_PREFIX}{}:{}", self.namespace, self.name)
    }
}

/// The beginning of every subject that is a ServiceAccount.
pub(crate) const SUBJECT_PREFIX: &str = "system:serviceaccount:";

/// The subjects that an entry of an `EventPolicy`'s `status.from` allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectPattern {
    /// The subject with this name, whatever its case.
    Exact(String),
    /// Every subject that begins with this text, in this case (contract AU-10).
    Prefix(String),
}

impl SubjectPattern {
    /// Reads an entry of `status.from`; a trailing `*` makes it a prefix.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }

    /// True if the pattern allows this subject.
    #[must_use]
    pub(crate) fn matches(&self, subject: &str) -> bool {
        match self {
            Self::Exact(name) => name.eq_ignore_ascii_case(subject),
            Self::Prefix(prefix) => subject.starts_with(prefix.as_str()),
        }
    }
}

/// An `EventPolicy` after resolution: the subjects that may send, and the events that they may
/// send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPolicy {
    /// The subjects that are allowed; an empty list allows nobody.
    pub subjects: Vec<SubjectPattern>,
    /// The filter that an event must pass to be allowed.
    pub filter: Filter,
}

/// `default-authorization-mode`: decides who may send to a channel that no policy applies to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthorizationMode {
    /// Only ServiceAccounts of the channel's namespace may send.
    #[default]
    AllowSameNamespace,
    /// Everybody with a valid token may send.
    AllowAll,
    /// Nobody may send, whatever the token.
    DenyAll,
}

impl AuthorizationMode {
    /// Reads the flag's value, whatever its case; `None` if it is not a mode.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::AllowSameNamespace, Self::AllowAll, Self::DenyAll]
            .into_iter()
            .find(|mode| mode.as_str().eq_ignore_ascii_case(text))
    }

    /// The value of the flag, as it is written in `config-features`.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AllowSameNamespace => "allow-same-namespace",
            Self::AllowAll => "allow-all",
            Self::DenyAll => "deny-all",
        }
    }
}

/// The rule that decides who may send, among the senders whose token is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorizationRule {
    /// No policy applies to this channel: the mode decides. The text is the channel's namespace,
    /// which `AllowSameNamespace` compares.
    Default(AuthorizationMode, String),
    /// Every sender that one of these policies allows may send.
    Policies(Vec<Arc<EventPolicy>>),
    /// Only this subject may send (contract AU-13).
    OnlySubject(String),
    /// The rule is not known, for the reason given here: nobody may send (contract AU-12, AU-13).
    Unknown(String),
    /// The object that the rule depends on, named here, does not exist (contract AU-13).
    ObjectMissing(String),
}

/// The demands of a channel, Broker or Trigger on those who send to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderAuthorization {
    /// The issuer whose tokens are valid.
    pub oidc: Arc<OidcAuthentication>,
    /// The audience that a token must be for.
    pub audience: String,
    /// The rule that decides which subjects may send.
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
            assert_eq!(
                SubjectPattern::parse(pattern).matches(subject),
                matches,
                "{pattern} {subject}"
            );
        }
    }

    #[test]
    fn modes() {
        for mode in [
            AuthorizationMode::AllowSameNamespace,
            AuthorizationMode::AllowAll,
            AuthorizationMode::DenyAll,
        ] {
            assert_eq!(
                AuthorizationMode::parse(&mode.as_str().to_ascii_uppercase()),
                Some(mode)
            );
        }
        assert_eq!(AuthorizationMode::parse("nobody"), None);
        assert_eq!(AuthorizationMode::parse(" deny-all"), None);
    }
}

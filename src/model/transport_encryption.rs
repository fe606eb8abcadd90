//! `transport-encryption`: the mode that decides which listener takes events and which addresses
//! are advertised.

/// The scheme by which a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UriScheme {
    /// The request came by the listener without TLS.
    Http,
    /// The request came by the listener with TLS.
    Https,
}

impl UriScheme {
    /// The scheme as it stands in a URL: `http` or `https`.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The mode of transport encryption (contract CR-37 to CR-40).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransportEncryption {
    /// Events are taken by HTTP only.
    #[default]
    Disabled,
    /// Events are taken by HTTP and HTTPS; HTTPS is preferred.
    Permissive,
    /// Events are taken by HTTPS only.
    Strict,
}

impl TransportEncryption {
    /// Reads the flag's value, whatever its case; `None` if it is not a mode.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Disabled, Self::Permissive, Self::Strict]
            .into_iter()
            .find(|mode| mode.as_str().eq_ignore_ascii_case(text))
    }

    /// The value of the flag, as it is written in `config-features`.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Permissive => "permissive",
            Self::Strict => "strict",
        }
    }

    /// True if events that come by this scheme are taken.
    #[must_use]
    pub(crate) fn accepts(self, scheme: UriScheme) -> bool {
        match scheme {
            UriScheme::Http => self != Self::Strict,
            UriScheme::Https => self != Self::Disabled,
        }
    }

    /// True if a destination that offers both schemes is reached over HTTPS.
    #[must_use]
    pub(crate) fn prefers_https(self) -> bool {
        self != Self::Disabled
    }
}

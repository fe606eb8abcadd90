//! `transport-encryption`: which listener takes events and which addresses are advertised.

/// The scheme by which a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UriScheme {
    /// The plain listener.
    Http,
    /// The TLS listener.
    Https,
}

impl UriScheme {
    /// `http` or `https`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The mode (contract CR-37 to CR-40).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransportEncryption {
    /// Events by HTTP only.
    #[default]
    Disabled,
    /// Events by both; HTTPS is preferred.
    Permissive,
    /// Events by HTTPS only.
    Strict,
}

impl TransportEncryption {
    /// Reads a flag's value, whatever its case; `None` if it is not a mode.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Disabled, Self::Permissive, Self::Strict]
            .into_iter()
            .find(|mode| mode.as_str().eq_ignore_ascii_case(text))
    }

    /// The flag's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Permissive => "permissive",
            Self::Strict => "strict",
        }
    }

    /// Whether events that come by this scheme are taken.
    #[must_use]
    pub fn accepts(self, scheme: UriScheme) -> bool {
        match scheme {
            UriScheme::Http => self != Self::Strict,
            UriScheme::Https => self != Self::Disabled,
        }
    }

    /// Whether a destination that offers both is reached over HTTPS.
    #[must_use]
    pub fn prefers_https(self) -> bool {
        self != Self::Disabled
    }
}

//! Where an event goes: a resolved destination.

use std::net::SocketAddr;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;
use url::{Position, Url};

use super::{ChannelKey, TrustBundle};

/// A destination: where it is, how it is reached and whom it is trusted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressable {
    /// The address as Knative would show it; absolute, `http` or `https`.
    pub url: Endpoint,
    /// How events get there.
    pub target: Target,
    /// What its server certificate is verified against, besides the roots of the system.
    pub trust: Arc<TrustBundle>,
    /// Audience of the token that it wants, if any.
    pub audience: Option<String>,
}

/// How events get to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// By HTTP to the URL's host; to `connect` instead of what DNS says, if set. TLS still verifies the URL's host.
    Remote {
        /// Where the host really is.
        connect: Option<SocketAddr>,
    },
    /// Into a channel or broker of this process.
    Local(ChannelKey),
    /// Onto standard output, as Knative's `event_display` prints.
    Display,
    /// Nowhere, for this reason: what is sent there fails.
    Nowhere(Arc<str>),
}

/// A URL, and the same as the URI of a request: made once, where the routing table is, not for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Arc<Parts>);

/// By which versions of HTTP somebody is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpVersions {
    /// HTTP/2 or HTTP/1.1, as both sides agree over TLS.
    #[default]
    Agreed,
    /// HTTP/1.1, whatever else is offered.
    OnlyHttp1,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    url: Url,
    versions: HttpVersions,
    /// Without user and fragment, which are not sent; `None` if no request can carry it.
    uri: Option<Uri>,
}

impl Endpoint {
    /// What requests to it are sent to; `None` for a URL that no request can carry.
    #[must_use]
    pub fn uri(&self) -> Option<&Uri> {
        self.0.uri.as_ref()
    }
}

impl Endpoint {
    /// The same, spoken to by these versions.
    #[must_use]
    pub fn speaking(mut self, versions: HttpVersions) -> Self {
        if self.versions() != versions {
            Arc::make_mut(&mut self.0).versions = versions;
        }
        self
    }

    /// By which versions it is spoken to.
    #[must_use]
    pub fn versions(&self) -> HttpVersions {
        self.0.versions
    }
}

impl From<Url> for Endpoint {
    fn from(url: Url) -> Self {
        let sent = || format!("{}://{}", url.scheme(), &url[Position::BeforeHost..Position::AfterQuery]);
        let uri = if url.has_host() { Uri::try_from(sent()).ok() } else { None };
        Self(Arc::new(Parts { url, versions: HttpVersions::default(), uri }))
    }
}

impl FromStr for Endpoint {
    type Err = url::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Url::parse(text).map(Self::from)
    }
}

impl Deref for Endpoint {
    type Target = Url;

    fn deref(&self) -> &Url {
        &self.0.url
    }
}

impl PartialEq<Url> for Endpoint {
    fn eq(&self, other: &Url) -> bool {
        self.0.url == *other
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.url.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_to_what_the_url_says_without_user_and_fragment() {
        for (url, uri) in [
            ("http://Sink.NS/", "http://sink.ns/"),
            ("https://sink:443", "https://sink/"),
            ("https://u:p@sink:8443/a%20b?c=d&e#f", "https://sink:8443/a%20b?c=d&e"),
            ("http://[::1]:80/x", "http://[::1]/x"),
            ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
        ] {
            let endpoint: Endpoint = url.parse().expect("a URL");
            assert_eq!(endpoint.uri().expect("a URI").to_string(), uri);
            assert_eq!(endpoint, Url::parse(url).expect("a URL"), "the URL itself stays");
        }
        assert_eq!("mailto:a@b".parse::<Endpoint>().expect("a URL").uri(), None);
    }
}

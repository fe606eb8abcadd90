//! A destination of events after resolution: its URL, how it is reached, and what it is trusted by.

use std::net::SocketAddr;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;
use url::{Position, Url};

use super::{ChannelKey, TrustBundle};

/// A destination: its URL, how it is reached, what its certificate is verified against, and the
/// audience of its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressable {
    /// The address as Knative would show it; absolute, `http` or `https`.
    pub url: DestinationUrl,
    /// The means by which events get there.
    pub route: DestinationRoute,
    /// The certificates that its server certificate is verified against, besides the roots of the
    /// system.
    pub trust: Arc<TrustBundle>,
    /// The audience of the token that it wants; no token is sent if `None`.
    pub audience: Option<String>,
}

/// The means by which events get to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationRoute {
    /// By HTTP to the URL's host; to `connect` instead of what DNS says, if set. TLS still verifies
    /// the URL's host.
    Remote {
        /// The address that is connected to; `None` looks the host up in DNS.
        connect: Option<SocketAddr>,
    },
    /// Into a channel, a Broker or a RequestReply of this process, without HTTP.
    Local(ChannelKey),
    /// To the sender whose request waits for this reply at a RequestReply of this process.
    WaitingRequest(ChannelKey),
    /// Onto standard output, as Knative's `event_display` prints.
    EventDisplay,
    /// Nowhere, for this reason: every event that is sent there fails.
    Unresolved(Arc<str>),
}

impl DestinationRoute {
    /// The channel, Broker or RequestReply of this process that the route leads into; `None` for
    /// every other route.
    #[must_use]
    pub(crate) fn local_channel(&self) -> Option<&ChannelKey> {
        if let Self::Local(key) = self {
            Some(key)
        } else {
            None
        }
    }
}

/// A URL, and the same URL as the URI of a request, which is made once with the routing table and
/// not for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationUrl(Arc<DestinationUrlParts>);

/// The versions of HTTP by which a destination is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpVersions {
    /// HTTP/2 or HTTP/1.1, as both sides agree over TLS.
    #[default]
    Agreed,
    /// HTTP/1.1, whatever else is offered.
    OnlyHttp1,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct DestinationUrlParts {
    url: Url,
    /// The text as it was written, if `url` prints another one.
    written: Option<Box<str>>,
    /// The versions of HTTP by which the destination is spoken to.
    versions: HttpVersions,
    /// The URI of requests, without user and fragment, which are not sent; `None` if no request
    /// can carry it.
    uri: Option<Uri>,
}

impl DestinationUrl {
    /// Keeps `text`, as which the URL was written, unless a parser has to clean it first of
    /// surrounding blanks or control characters: such a text is not what the URL is known by.
    #[must_use]
    pub(crate) fn from_written(url: Url, text: &str) -> Self {
        let is_clean = text.trim() == text && !text.contains(char::is_control);
        let written = Some(text)
            .filter(|text| is_clean && *text != url.as_str())
            .map(Box::from);
        let sent = || {
            format!(
                "{}://{}",
                url.scheme(),
                &url[Position::BeforeHost..Position::AfterQuery]
            )
        };
        let uri = if url.has_host() {
            Uri::try_from(sent()).ok()
        } else {
            None
        };
        Self(Arc::new(DestinationUrlParts {
            url,
            written,
            versions: HttpVersions::default(),
            uri,
        }))
    }

    /// The text by which others know the destination: byte for byte as it was written (contract
    /// DP-29).
    #[must_use]
    pub(crate) fn as_written(&self) -> &str {
        self.0.written.as_deref().unwrap_or(self.0.url.as_str())
    }

    /// The URI that requests are sent to; `None` for a URL that no request can carry.
    #[must_use]
    pub(crate) fn uri(&self) -> Option<&Uri> {
        self.0.uri.as_ref()
    }

    /// The same URL, spoken to by these versions of HTTP.
    #[must_use]
    pub fn with_http_versions(mut self, versions: HttpVersions) -> Self {
        if self.http_versions() != versions {
            Arc::make_mut(&mut self.0).versions = versions;
        }
        self
    }

    /// The versions of HTTP by which the destination is spoken to.
    #[must_use]
    pub(crate) fn http_versions(&self) -> HttpVersions {
        self.0.versions
    }
}

/// A URL that nobody has written, but that this process has made: it is written as Knative would
/// write it.
impl From<Url> for DestinationUrl {
    fn from(url: Url) -> Self {
        let text = without_root_slash(&url).to_owned();
        Self::from_written(url, &text)
    }
}

impl FromStr for DestinationUrl {
    type Err = url::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Url::parse(text).map(|url| Self::from_written(url, text))
    }
}

impl Deref for DestinationUrl {
    type Target = Url;

    fn deref(&self) -> &Url {
        &self.0.url
    }
}

impl PartialEq<Url> for DestinationUrl {
    fn eq(&self, other: &Url) -> bool {
        self.0.url == *other
    }
}

impl std::fmt::Display for DestinationUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.url.fmt(f)
    }
}

/// A URL as Knative writes it: without the slash of an empty path.
pub(super) fn without_root_slash(url: &Url) -> &str {
    let text = url.as_str();
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    text.strip_suffix('/').filter(|_| bare).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_to_what_the_url_says_without_user_and_fragment() {
        for (url, uri) in [
            ("http://Sink.NS/", "http://sink.ns/"),
            ("https://sink:443", "https://sink/"),
            (
                "https://u:p@sink:8443/a%20b?c=d&e#f",
                "https://sink:8443/a%20b?c=d&e",
            ),
            ("http://[::1]:80/x", "http://[::1]/x"),
            (
                "https://bücher.example/ü",
                "https://xn--bcher-kva.example/%C3%BC",
            ),
        ] {
            let endpoint: DestinationUrl = url.parse().expect("a URL");
            assert_eq!(endpoint.uri().expect("a URI").to_string(), uri);
            assert_eq!(
                endpoint,
                Url::parse(url).expect("a URL"),
                "the URL itself stays"
            );
        }
        assert_eq!(
            "mailto:a@b".parse::<DestinationUrl>().expect("a URL").uri(),
            None
        );
    }

    #[test]
    fn a_url_is_called_what_it_was_written_as() {
        for text in [
            "http://10.1.2.3:80",
            "HTTP://Sink.NS:080",
            "http://sink/a%2fb/../c d?q={x}#f",
            "http://[::1]:80",
        ] {
            assert_eq!(
                text.parse::<DestinationUrl>().expect("a URL").as_written(),
                text
            );
        }
        for text in [" http://Sink ", "http://Si\nnk"] {
            assert_eq!(
                text.parse::<DestinationUrl>().expect("a URL").as_written(),
                "http://sink/",
                "it had to be cleaned"
            );
        }
        for (made, text) in [
            ("http://sink/", "http://sink"),
            ("http://sink/a/", "http://sink/a/"),
        ] {
            assert_eq!(
                DestinationUrl::from(Url::parse(made).expect("a URL")).as_written(),
                text
            );
        }
    }
}

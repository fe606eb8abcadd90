//! URIs of destinations: which are allowed, and how a relative one is resolved.

use url::Url;

/// Reads an absolute http or https URL.
///
/// # Errors
/// What is wrong and what to write instead.
pub(super) fn absolute(text: &str) -> Result<Url, String> {
    // Kept out of the message: a URI that is refused for its user name has a password in it.
    const EXAMPLE: &str = "write for example http://sink.example/events";
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(url::ParseError::RelativeUrlWithoutBase) => {
            return Err(format!("is relative, so it has no host: {EXAMPLE}"));
        }
        Err(error) => return Err(format!("is not a URI ({error}): {EXAMPLE}")),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("has the scheme {:?}: events go over http or https; {EXAMPLE}", url.scheme()));
    }
    // The parser repairs `http:/host` and `http:host`, which other implementations refuse or read as a path.
    let has_authority = text.get(url.scheme().len()..).is_some_and(|rest| rest.starts_with("://"));
    if !has_authority || url.host_str().is_none_or(str::is_empty) {
        return Err(format!("has no host: {EXAMPLE}"));
    }
    plain(&url)?;
    Ok(url)
}

/// Resolves a relative URI against the URL of a reference (RFC 3986 §5).
///
/// # Errors
/// If it is absolute or changes the host.
pub(super) fn relative(base: &Url, text: &str) -> Result<Url, String> {
    if Url::parse(text).is_ok() {
        return Err("is absolute beside a ref: keep one of the two, or write only a path such as /events".to_owned());
    }
    let url = base.join(text).map_err(|error| format!("is not a URI ({error}): write a path such as /events"))?;
    plain(&url)?;
    if url.origin() != base.origin() {
        return Err("names another host than its ref: write only a path such as /events".to_owned());
    }
    Ok(url)
}

fn plain(url: &Url) -> Result<(), String> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err("contains a user name or password, which events are never sent with: remove it".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_uris() {
        for (text, expected) in [
            ("http://sink", Ok("http://sink/")),
            ("HTTPS://Sink:8443/a?b=c", Ok("https://sink:8443/a?b=c")),
            ("http://[::1]:80/x", Ok("http://[::1]/x")),
            ("/path", Err("is relative")),
            ("sink", Err("is relative")),
            ("", Err("is relative")),
            ("sink:8080", Err("has the scheme")),
            ("ftp://sink", Err("has the scheme \"ftp\"")),
            ("http:/sink", Err("has no host")),
            ("http://", Err("is not a URI (empty host)")),
            ("http://a b", Err("is not a URI")),
            ("http://sink:99999", Err("is not a URI")),
            ("http://user:secret@sink", Err("contains a user name")),
        ] {
            match (absolute(text), expected) {
                (Ok(url), Ok(expected)) => assert_eq!(url.as_str(), expected),
                (Err(message), Err(expected)) => {
                    assert!(message.starts_with(expected), "{text}: {message}");
                    assert!(!message.contains("secret"), "{message}");
                }
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    /// The examples of RFC 3986 §5.2 that Knative's documentation relies on, and what is refused.
    #[test]
    fn relative_uris() {
        let base = Url::parse("http://sink.ns/base/x").expect("base");
        for (text, expected) in [
            ("/events", Ok("http://sink.ns/events")),
            ("events", Ok("http://sink.ns/base/events")),
            ("../events?q=1", Ok("http://sink.ns/events?q=1")),
            ("", Ok("http://sink.ns/base/x")),
            ("?q", Ok("http://sink.ns/base/x?q")),
            ("http://other/", Err("is absolute")),
            ("//other/events", Err("names another host")),
            ("//u:p@sink.ns/events", Err("contains a user name")),
        ] {
            match (relative(&base, text), expected) {
                (Ok(url), Ok(expected)) => assert_eq!(url.as_str(), expected),
                (Err(message), Err(expected)) => assert!(message.starts_with(expected), "{text}: {message}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }
}

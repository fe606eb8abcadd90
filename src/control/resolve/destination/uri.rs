//! Checks the URIs of destinations, and resolves relative ones.

use std::borrow::Cow;

use url::Url;

use crate::model::DestinationUrl;

/// Reads an absolute http or https URL.
///
/// # Errors
/// Says what is wrong, and what to write instead.
pub(crate) fn parse_absolute_url(text: &str) -> Result<Url, String> {
    // The URI itself is kept out of the message: one that is refused for its user name has a
    // password in it.
    const EXAMPLE: &str = "write for example http://sink.example/events";
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(url::ParseError::RelativeUrlWithoutBase) => {
            return Err(format!("is relative, so it has no host: {EXAMPLE}"));
        }
        Err(error) if !template_remedy(text).ends_with("correct it") => {
            return Err(format!("is not a URI ({error}){}", template_remedy(text)));
        }
        Err(error) => return Err(format!("is not a URI ({error}): {EXAMPLE}")),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "has the scheme {:?}: events go over http or https; {EXAMPLE}",
            url.scheme()
        ));
    }
    // The parser repairs `http:/host` and `http:host`, which other implementations refuse or read
    // as a path.
    let has_authority = text
        .get(url.scheme().len()..)
        .is_some_and(|rest| rest.starts_with("://"));
    if !has_authority || url.host_str().is_none_or(str::is_empty) {
        return Err(format!("has no host: {EXAMPLE}"));
    }
    check_no_user_info(&url)?;
    check_host(&url)?;
    Ok(url)
}

/// Checks that no part of a path is a placeholder. In a URI, braces stand encoded (RFC 3986 §2).
fn check_no_placeholder(path: &str) -> Result<(), String> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let Some(from) = path.find(['{', '}']) else {
        return Ok(());
    };
    let rest = path.get(from..).unwrap_or_default();
    let end = rest.find('}').map_or(rest.len(), |end| end + 1);
    let found = rest.get(..end).unwrap_or_default();
    let remedy =
        "which nothing fills in: write the path itself, or %7B and %7D if braces are meant";
    Err(format!("has {found} in its path, {remedy}"))
}

/// Checks that a request can carry the host and port: no host name has other characters.
fn check_host(url: &Url) -> Result<(), String> {
    let host = url.host_str().unwrap_or_default();
    if url.port() == Some(0) {
        return Err(
            "has the port 0, at which nobody can be reached: write the port of the server"
                .to_owned(),
        );
    }
    if host.starts_with("__") && host.ends_with("__") {
        return Err(format!(
            "has the host {host}: is this a template that was not rendered? Render it first"
        ));
    }
    let odd = host
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']')));
    match odd {
        Some(odd) => Err(format!(
            "has {odd:?} in its host, which no request can carry{}",
            template_remedy(host)
        )),
        None => Ok(()),
    }
}

/// The remedy for a text, which is another one if it looks like a template that was not rendered.
fn template_remedy(text: &str) -> &'static str {
    let is_template = ["{", "}", "$", "%7B", "<", "%24"]
        .iter()
        .any(|sign| text.contains(sign));
    if is_template {
        ": is this a template that was not rendered? Render it first"
    } else {
        ": correct it"
    }
}

/// Reads an absolute URL, and keeps the text as which it was written.
///
/// # Errors
/// Says what is wrong, and what to write instead.
pub(crate) fn parse_destination_url(text: &str) -> Result<DestinationUrl, String> {
    let (_scheme, rest) = text.split_once("://").unwrap_or_default();
    let url = parse_reconciled_url(text)?;
    check_no_placeholder(
        rest.find('/')
            .and_then(|path| rest.get(path..))
            .unwrap_or_default(),
    )?;
    Ok(url)
}

/// Reads an absolute URL of a status, and keeps the text: a controller has taken it from an object,
/// and its path is sent as it stands, as upstream does.
///
/// # Errors
/// Says what is wrong.
pub(crate) fn parse_reconciled_url(text: &str) -> Result<DestinationUrl, String> {
    parse_absolute_url(text).map(|url| DestinationUrl::from_written(url, text))
}

/// Removes user name and password from a text that should be a URL. If it is none, nothing says
/// where a password ends, so that all before the last `@` is removed.
pub(crate) fn without_user_info(text: &str) -> Cow<'_, str> {
    // `user:secret@host` is a URL with the scheme `user`, which has no host.
    let parsed = Url::parse(text).ok().filter(Url::has_host);
    if parsed
        .as_ref()
        .is_some_and(|url| url.username().is_empty() && url.password().is_none())
    {
        return Cow::Borrowed(text);
    }
    let scheme = [":/", ":\\"]
        .iter()
        .find_map(|end| text.find(end))
        .map_or(0, |colon| colon + 1);
    let (scheme, rest) = text.split_at(scheme);
    let inside = rest.trim_start_matches(['/', '\\']);
    let slashes = rest.strip_suffix(inside).unwrap_or_default();
    let end = inside
        .find(['/', '\\', '?', '#'])
        .filter(|_| parsed.is_some())
        .unwrap_or(inside.len());
    let at = inside.get(..end).and_then(|authority| authority.rfind('@'));
    let host = at.and_then(|at| inside.get(at + 1..));
    host.map_or(Cow::Borrowed(text), |host| {
        Cow::Owned(format!("{scheme}{slashes}{host}"))
    })
}

/// Resolves a relative URI against the URL of a reference (RFC 3986 §5).
///
/// # Errors
/// Fails if the URI is absolute or changes the host.
pub(crate) fn resolve_relative(base: &Url, text: &str) -> Result<DestinationUrl, String> {
    if Url::parse(text).is_ok() {
        return Err(
            "is absolute beside a ref: keep one of the two, or write only a path such as /events"
                .to_owned(),
        );
    }
    let url = base
        .join(text)
        .map_err(|error| format!("is not a URI ({error}): write a path such as /events"))?;
    check_no_user_info(&url)?;
    check_no_placeholder(text)?;
    if url.origin() != base.origin() {
        return Err(
            "names another host than its ref: write only a path such as /events".to_owned(),
        );
    }
    let joined = url.to_string();
    Ok(DestinationUrl::from_written(url, &joined))
}

fn check_no_user_info(url: &Url) -> Result<(), String> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "contains a user name or password, which events are never sent with: remove it"
                .to_owned(),
        );
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
            (
                "http://${SINK_HOST}/x",
                Err("has '$' in its host, which no request can carry: is this a template"),
            ),
            (
                "http://{{host}}/x",
                Err("has '{' in its host, which no request can carry: is this a template"),
            ),
            (
                "http://<host>/x",
                Err("is not a URI (invalid international domain name): is this a template"),
            ),
            (
                "http://my_service:8080/$%7Bx%7D?q={x}",
                Ok("http://my_service:8080/$%7Bx%7D?q={x}"),
            ),
            (
                "http://my_service:8080/${x}/y",
                Err("has {x} in its path, which nothing fills in"),
            ),
            (
                "http://sink/{tenant}",
                Err("has {tenant} in its path, which nothing fills in"),
            ),
            ("http://sink/a}b", Err("has } in its path")),
            ("http://sink:0/", Err("has the port 0")),
            (
                "https://__HOST__:80/x",
                Err("has the host __host__: is this a template"),
            ),
            ("http://_a__/x", Ok("http://_a__/x")),
        ] {
            match (parse_destination_url(text), expected) {
                (Ok(url), Ok(expected)) => assert_eq!((*url).as_str(), expected),
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
            ("/a/{b}", Err("has {b} in its path")),
            ("http://other/", Err("is absolute")),
            ("//other/events", Err("names another host")),
            ("//u:p@sink.ns/events", Err("contains a user name")),
        ] {
            match (resolve_relative(&base, text), expected) {
                (Ok(url), Ok(expected)) => assert_eq!(url.as_str(), expected),
                (Err(message), Err(expected)) => {
                    assert!(message.starts_with(expected), "{text}: {message}")
                }
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }

    #[test]
    fn user_names_and_passwords_are_left_out() {
        for (text, clean) in [
            ("http://Sink:80", "http://Sink:80"),
            ("http://sink/a@b", "http://sink/a@b"),
            ("mailto:a@b", "b"),
            ("http://user:secret@Sink:80?q=a@b", "http://Sink:80?q=a@b"),
            ("http:\\\\user:se@cret@sink\\x", "http:\\\\sink\\x"),
            ("http://user:se/cret@sink", "http://sink"),
            ("user:secret@a b", "a b"),
            ("//user:secret@sink", "//sink"),
            ("bad://uri", "bad://uri"),
            ("a b", "a b"),
        ] {
            assert_eq!(without_user_info(text), clean, "{text}");
        }
    }
}

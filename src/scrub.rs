//! Removal of what may be a secret from texts that people see: of URLs user, password, query and
//! fragment; of certificates everything else, such as a private key that was pasted among them.
//!
//! Segments of a path stay, since nothing tells a secret from a name there.

use std::borrow::Cow;

use url::{Position, Url};

/// Text that is shown instead of a URL that cannot be parsed, if it may hold a password: nothing
/// says where that would end.
const HIDDEN: &str = "(hidden: it is no URL)";
/// First and last line of a certificate in PEM (RFC 7468, 5.1).
const CERTIFICATE: [&str; 2] = ["-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"];

/// Shortens every URL in a sentence to scheme, host, port and path.
#[must_use]
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        clean.extend([before, "://"]);
        let (url, behind) = after.split_at(after.find(ends_url).unwrap_or(after.len()));
        let (_user, url) = url.split_at(userinfo_length(url));
        // A URL in the path of another one has secrets of its own.
        let nested = url.find("://").unwrap_or(url.len());
        rest = match url.find(['?', '#']).filter(|hidden| *hidden < nested) {
            Some(hidden) => {
                push_without_query(&mut clean, url, hidden);
                behind
            }
            None => after
                .get(after.len() - url.len() - behind.len()..)
                .unwrap_or_default(),
        };
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

/// Adds a URL up to its query or fragment, and the punctuation after it, which is that of the
/// sentence.
fn push_without_query(clean: &mut String, url: &str, query: usize) {
    let (shown, hidden) = url.split_at(query);
    clean.push_str(shown);
    let last = hidden.chars().next_back();
    clean.extend(last.filter(|last| is_closing_punctuation(*last)));
}

/// Does the same as [`text`], for a sentence that nobody else needs as it is.
#[must_use]
pub(crate) fn string(sentence: String) -> String {
    match text(&sentence) {
        Cow::Owned(clean) => clean,
        Cow::Borrowed(_) => sentence,
    }
}

/// Shortens a text that is as a whole a URL, or a reference that is resolved against one. It stays
/// as it was written, if there is nothing to remove.
#[must_use]
pub(crate) fn url(written: &str) -> Cow<'_, str> {
    match Url::parse(written).ok().filter(Url::has_host) {
        Some(url) if has_no_secret_part(&url) => text(written),
        Some(url) => {
            let bare = [
                &url[..Position::BeforeUsername],
                &url[Position::BeforeHost..Position::AfterPath],
            ]
            .concat();
            text(&bare).into_owned().into()
        }
        None => {
            let is_path = written.starts_with('/')
                && !written.starts_with("//")
                && !written.starts_with("/\\");
            if (written.contains('@') || written.contains("%40")) && !is_path {
                return Cow::Borrowed(HIDDEN);
            }
            text(written.split(['?', '#']).next().unwrap_or_default())
        }
    }
}

/// Certificates of a text in PEM, without everything between and around them.
#[must_use]
pub(crate) fn certificates(text: &str) -> String {
    let [begin, end] = CERTIFICATE;
    let (mut shown, mut rest) = (String::new(), text);
    while let Some((_, after)) = rest.split_once(begin) {
        // A certificate that is cut short by something else is dropped; what follows may be another
        // one.
        rest = match after.split_once(end) {
            Some((body, behind)) if body.bytes().all(is_base64) => {
                shown.extend([begin, body, end, "\n"]);
                behind
            }
            _ => after,
        };
    }
    shown
}

/// True if a URL has none of the parts that may be secrets.
fn has_no_secret_part(url: &Url) -> bool {
    let has_user = !url.username().is_empty() || url.password().is_some();
    !has_user && url.query().is_none() && url.fragment().is_none()
}

/// Length in bytes of user and password, with which this authority begins; `url` is the authority,
/// and what follows it.
///
/// A port is a number: where something else stands in its place, it may be a password that has a
/// `/` in it, and ends at the last `@`.
fn userinfo_length(url: &str) -> usize {
    let behind = |text: &str| {
        let encoded = text.rfind("%40").map_or(0, |at| at + 3);
        text.rfind('@').map_or(0, |at| at + 1).max(encoded)
    };
    let authority = url.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let host = authority.get(behind(authority)..).unwrap_or_default();
    let port = host
        .rsplit_once(']')
        .map_or(host, |(_literal, port)| port)
        .split_once(':')
        .map_or("", |(_, port)| port);
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    behind(if is_port { authority } else { url })
}

/// True for a character that no URL contains, and that ends it in a sentence.
fn ends_url(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '"' | '<' | '>')
}

/// True for a character that closes a sentence or a quotation, and stays when the end of a URL is
/// cut off before it.
fn is_closing_punctuation(c: char) -> bool {
    matches!(c, '\'' | '`' | ')' | ']' | ',' | '.' | ';' | ':')
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || matches!(byte, b'+' | b'/' | b'=')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls_in_sentences() {
        for (sentence, clean) in [
            ("no URL at all? #1, a@b", "no URL at all? #1, a@b"),
            ("https://u:p@host:1/a/b?token=x#y", "https://host:1/a/b"),
            ("https://host?token=x, and more", "https://host, and more"),
            (
                "\"http://u@h/\" and 'amqps://u:p@ss@r/%2f?k=v'",
                "\"http://h/\" and 'amqps://r/%2f'",
            ),
            ("https://host/at@path", "https://host/at@path"),
            ("https://[::1]:80/at@path", "https://[::1]:80/at@path"),
            ("https://u:p@[::1]:80/at@path", "https://[::1]:80/at@path"),
            ("https://h?code=a`b'c", "https://h"),
            ("https://u'v:p@h/", "https://h/"),
            ("http://user:se/cret@sink", "http://sink"),
            ("http://u%3Asecret%40127.0.0.1:1/", "http://127.0.0.1:1/"),
            ("http://us@er:se/cret@sink", "http://sink"),
            ("http://user:se?cret@sink", "http://sink"),
            ("a://b://c@d?e", "a://b://d"),
            (
                "http://proxy/https://u:p@host/x?y and z",
                "http://proxy/https://host/x and z",
            ),
            ("http://h/?to=https://u:p@host/x", "http://h/"),
            ("(see http://h/p?x): refused", "(see http://h/p: refused"),
            ("ends in ://", "ends in ://"),
        ] {
            assert_eq!(text(sentence), clean, "{sentence}");
        }
    }

    #[test]
    fn urls_as_they_are_written() {
        for (written, clean) in [
            ("HTTP://Sink.NS:080", "HTTP://Sink.NS:080"),
            ("http://sink/a%2fb/../c d", "http://sink/a%2fb/../c d"),
            ("https://u:p@Sink:443/a?code=x#y", "https://sink/a"),
            ("https://sink?code='x y'", "https://sink/"),
            ("http:\\\\user:se@cret@sink\\x", "http://sink/x"),
            ("http:/\n/user:secret@sink", "http://sink/"),
            ("http://user:se/cret@sink", HIDDEN),
            ("http://u%3Asecret%40127.0.0.1:1/", HIDDEN),
            ("//user:secret@sink/x", HIDDEN),
            ("user:secret@sink", HIDDEN),
            ("mailto:a@b?c", HIDDEN),
            ("/hook?code=a@b", "/hook"),
            ("/at@path#x", "/at@path"),
            ("hook?code=x", "hook"),
            ("?code=x", ""),
            ("unresolved:/ns/name", "unresolved:/ns/name"),
            (
                "http://proxy/https://u:p@host/x",
                "http://proxy/https://host/x",
            ),
        ] {
            assert_eq!(url(written), clean, "{written}");
        }
    }

    #[test]
    fn certificates_only() {
        let [begin, end] = CERTIFICATE;
        let one = format!("{begin}\nMIIB+/=\n{end}\n");
        let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
        for (pem, shown) in [
            (one.clone(), one.clone()),
            (
                format!("{key}{one}a secret{one}{key}"),
                format!("{one}{one}"),
            ),
            (format!("{begin}\n{key}{end}\n{one}"), one.clone()),
            (key.to_owned(), String::new()),
            (format!("{begin}\nc2VjcmV0\n"), String::new()),
            ("a secret".to_owned(), String::new()),
        ] {
            assert_eq!(certificates(&pem), shown, "{pem}");
        }
    }

    proptest! {
        /// Whatever is written around it, nothing of a user, a password, a query or a fragment is
        /// left.
        #[test]
        fn no_secret_is_left(
            scheme in "(https?|amqps?)", user in "[a-z!$&'()*+,;=`{}|~%:-]{0,5}", host in "[a-z]{1,9}(:[0-9]{1,4})?",
            path in "(/[a-z@%'`]{0,5}){0,3}", tail in "[?#][a-z@:/%'`=&?#]{0,5}", before in "[a-z (,'\"]{0,5}",
        ) {
            let (whole, bare) = (format!("{scheme}://{user}SECRET@{host}{path}{tail}SECRET"), format!("{scheme}://{host}{path}"));
            prop_assert!(text(&whole).starts_with(&bare), "{}", text(&whole));
            for shown in [text(&whole), url(&whole), text(&format!("{before} {whole} and so on"))] {
                prop_assert!(!shown.contains("SECRET"), "{shown}");
            }
        }

        /// Nothing is taken out twice.
        #[test]
        fn what_is_clean_stays(sentence in "[a-z:/@?#'\" ]{0,40}") {
            let clean = text(&sentence).into_owned();
            prop_assert_eq!(text(&clean), clean.as_str());
            let clean = url(&sentence).into_owned();
            prop_assert!(clean == HIDDEN || url(&clean) == clean.as_str());
        }
    }
}

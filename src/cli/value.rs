//! Reads the values of flags: durations, sizes, rates, addresses and attributes.

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use crate::model::{HistoryPoint, parse_byte_size, parse_duration};

/// Reads an ISO 8601 duration such as `PT20S`.
pub(super) fn parse_duration_value(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|remedy| format!("it {remedy}"))
}

/// Reads a time: RFC 3339, or a duration before now.
pub(super) fn parse_moment(text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(time.into());
    }
    let remedy = || "write a time such as 2026-11-29T10:00:00Z, or a duration ago such as PT1H";
    let ago = parse_duration(text).map_err(|_remedy| remedy().to_owned())?;
    let time = SystemTime::now().checked_sub(ago);
    time.ok_or_else(|| "it is before the beginning of time".to_owned())
}

/// Reads a duration that is not zero: a limit of nothing would be no limit, or would let nothing
/// pass.
pub(super) fn parse_nonzero_duration(text: &str) -> Result<Duration, String> {
    match parse_duration_value(text)? {
        Duration::ZERO => Err("it is nothing: write how long, such as PT10S".to_owned()),
        duration => Ok(duration),
    }
}

/// Reads a number of bytes that is not zero.
pub(super) fn parse_nonzero_size(text: &str) -> Result<usize, String> {
    match parse_size(text)? {
        0 => Err("nothing fits into 0 bytes: write how many, such as 64KiB or 10MiB".to_owned()),
        bytes => Ok(bytes),
    }
}

/// Reads the limit of a request's head, in bytes. HTTP libraries need 8 KiB to work with, and
/// HTTP/2 counts in 32 bits.
pub(super) fn parse_head_size(text: &str) -> Result<usize, String> {
    match parse_size(text)? {
        bytes @ 8192..=0x4000_0000 => Ok(bytes),
        _ => Err("write a size from 8KiB to 1GiB".to_owned()),
    }
}

/// Reads a number from 1 to a thousand millions. A larger one is a mistake, and more than queues
/// can count.
pub(super) fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1_000_000_000) => Ok(count),
        _ => Err("write a number from 1 to 1000000000".to_owned()),
    }
}

/// Reads `HOST:PORT` to listen on. A missing host is not guessed: one guess would open the port to
/// everybody.
pub(super) fn parse_listen_address(text: &str) -> Result<String, String> {
    let Some((host, port)) = split_port(text) else {
        return Err("write HOST:PORT, such as 127.0.0.1:8080".to_owned());
    };
    if port.parse::<u16>().is_err() {
        return Err(format!(
            "{port} is not a port: write one up to 65535, or 0 for any that is free"
        ));
    }
    if host.is_empty() || host == "*" {
        return Err(format!(
            "it names no host: write 127.0.0.1:{port} for this machine only, 0.0.0.0:{port} \
             for everybody"
        ));
    }
    let in_brackets = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match in_brackets {
        Some(host) if host.parse::<std::net::Ipv6Addr>().is_ok() => Ok(text.to_owned()),
        None if host.parse::<std::net::Ipv6Addr>().is_ok() => Err(format!("write [{host}]:{port}")),
        None if !host.contains(['/', ':', '[', ']', ' ', '@']) => Ok(text.to_owned()),
        _ => Err("write HOST:PORT without anything else, such as 127.0.0.1:8080".to_owned()),
    }
}

/// Splits a text into host and port; the host is empty if the text is a port alone.
fn split_port(text: &str) -> Option<(&str, &str)> {
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.rsplit_once(':') {
        Some((host, port)) if is_port(port) => Some((host, port)),
        _ if is_port(text) => Some(("", text)),
        _ => None,
    }
}

/// Reads an `http` or `https` URL with a host.
pub(super) fn parse_http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| match text.split_once("://") {
        Some(_) => "write a URL that begins with http:// or https:// and names a host".to_owned(),
        None => format!(
            "write it with its scheme: http://{0} or https://{0}",
            text.trim_start_matches('/')
        ),
    })
}

/// Checks an `http` or `https` URL, and gives its text as it was written.
pub(super) fn parse_http_address(text: &str) -> Result<String, String> {
    parse_http_url(text).map(|_url| text.to_owned())
}

/// Reads a text that is not empty.
pub(super) fn parse_nonempty_text(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("it is empty: leave it out, or write something".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// Reads a number of bytes: a number alone, or one with `KiB`, `MiB` or `GiB`.
pub(super) fn parse_size(text: &str) -> Result<usize, String> {
    parse_byte_size(text).map_err(str::to_owned)
}

/// Reads a fraction from 0 to 1.
pub(super) fn parse_fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(part) if (0.0..=1.0).contains(&part) => Ok(part),
        _ => Err("write a number from 0 to 1".to_owned()),
    }
}

/// Reads a number of events per second: `100` or `100/s`.
pub(super) fn parse_rate(text: &str) -> Result<f64, String> {
    match text.strip_suffix("/s").unwrap_or(text).parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e6 => Ok(rate),
        _ => Err("write events per second, such as 100 or 100/s".to_owned()),
    }
}

/// Header fields that `sealpost send` sets itself, from other flags.
const OWN_HEADERS: [HeaderName; 4] = [
    http::header::CONTENT_TYPE,
    http::header::CONTENT_LENGTH,
    http::header::TRANSFER_ENCODING,
    http::header::HOST,
];

/// Reads `Name: value` of a header field.
pub(super) fn parse_header_field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    const REMEDY: &str = "write NAME: VALUE, such as Prefer: reply";
    let (name, value) = text.split_once(':').ok_or(REMEDY)?;
    let name: HeaderName = name.trim().parse().map_err(|_invalid| REMEDY)?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_invalid| REMEDY)?;
    if OWN_HEADERS.contains(&name) {
        return Err(format!(
            "{name} follows from what is sent: use --content-type, or the URL"
        ));
    }
    if name.as_str().starts_with("ce-") {
        return Err(format!("{name} is an attribute of the event: use --ext"));
    }
    Ok((name, value))
}

/// Reads events per second, of which there are whole numbers only.
pub(super) fn parse_whole_rate(text: &str) -> Result<NonZeroU32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse();
    number.map_err(|_no_number: std::num::ParseIntError| {
        "write a whole number of events per second, such as 100 or 100/s".to_owned()
    })
}

/// Checks a point in what is retained; the text is sent as it is.
pub(super) fn parse_history_point(text: &str) -> Result<String, String> {
    let point = HistoryPoint::parse(text).map_err(str::to_owned);
    point.map(|_point| text.to_owned())
}

/// Checks a namespace with a name.
pub(super) fn parse_namespaced_name(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(text.to_owned()),
        _ => Err("is no NAMESPACE/NAME".to_owned()),
    }
}

/// The attributes that are no extensions, and the flags that set them instead.
const NO_EXTENSIONS: [(&str, &str); 9] = [
    ("id", "use --id"),
    ("source", "use --source"),
    ("type", "use --type"),
    ("subject", "use --subject"),
    ("datacontenttype", "use --content-type"),
    ("data", "use --data"),
    ("specversion", "events are sent in version 1.0"),
    ("time", "it cannot be set here"),
    ("dataschema", "it cannot be set here"),
];

/// Reads `name=value` of an extension for `sealpost send`.
pub(super) fn parse_extension(text: &str) -> Result<(String, String), String> {
    parse_name_value(text, |remedy| remedy)
}

/// Reads `name=value` of an extension for a command that makes its events itself.
pub(super) fn parse_override_extension(text: &str) -> Result<(String, String), String> {
    parse_name_value(text, |_remedy| "the command sets it, or nobody")
}

fn parse_name_value(
    text: &str,
    remedy: impl Fn(&'static str) -> &'static str,
) -> Result<(String, String), String> {
    let Some((name, value)) = text
        .split_once('=')
        .filter(|(name, _)| crate::event::is_attribute_name(name))
    else {
        return Err("write name=value, the name of a-z and 0-9 only".to_owned());
    };
    match NO_EXTENSIONS
        .iter()
        .find(|(attribute, _)| *attribute == name)
    {
        Some((_, of_send)) => Err(format!("{name} is not an extension: {}", remedy(of_send))),
        None => Ok((name.to_owned(), value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the one command has flags for, the other one has none for.
    #[test]
    fn remedies_name_flags_of_their_own_command() {
        assert!(parse_extension("id=x").is_err_and(|error| error.contains("use --id")));
        assert!(
            parse_override_extension("id=x").is_err_and(
                |error| error == "id is not an extension: the command sets it, or nobody"
            )
        );
        assert_eq!(
            parse_override_extension("tenant=a=b"),
            Ok(("tenant".to_owned(), "a=b".to_owned()))
        );
    }

    #[test]
    fn addresses_are_whole_or_told() {
        for text in [
            "127.0.0.1:8080",
            "localhost:0",
            "[::1]:8443",
            "[::]:1",
            "0.0.0.0:65535",
            "my-host.example:80",
        ] {
            assert_eq!(parse_listen_address(text).as_deref(), Ok(text));
        }
        for (text, words) in [
            (
                ":8080",
                "127.0.0.1:8080 for this machine only, 0.0.0.0:8080",
            ),
            ("8080", "127.0.0.1:8080 for this machine only"),
            ("*:8080", "0.0.0.0:8080"),
            ("localhost", "HOST:PORT"),
            ("localhost:", "HOST:PORT"),
            ("localhost:http", "HOST:PORT"),
            ("127.0.0.1:70000", "70000 is not a port"),
            ("::1:8080", "[::1]:8080"),
            ("http://127.0.0.1:8080", "without anything else"),
            ("", "HOST:PORT"),
        ] {
            let refused = parse_listen_address(text).expect_err(text);
            assert!(refused.contains(words), "{text}: {refused}");
        }
    }

    #[test]
    fn urls_need_a_scheme_and_a_host() {
        for text in ["http://127.0.0.1:8080/x", "https://[::1]/x", "HTTP://a"] {
            assert!(parse_http_url(text).is_ok(), "{text}");
        }
        for text in ["127.0.0.1:8080/x", "localhost:8080/x", "//a/x", "/x", ""] {
            assert!(
                parse_http_url(text).is_err_and(|refused| refused.contains("http://")),
                "{text}"
            );
        }
        assert_eq!(
            parse_http_url("127.0.0.1:8080/x"),
            Err(
                "write it with its scheme: http://127.0.0.1:8080/x or https://127.0.0.1:8080/x"
                    .to_owned()
            )
        );
        assert!(
            parse_http_url("ftp://a/x")
                .is_err_and(|refused| refused.contains("begins with http://"))
        );
    }

    #[test]
    fn attributes_are_no_extensions() {
        assert_eq!(
            parse_extension("tenant=a=b"),
            Ok(("tenant".to_owned(), "a=b".to_owned()))
        );
        for (name, _) in NO_EXTENSIONS {
            assert!(
                parse_extension(&format!("{name}=5"))
                    .is_err_and(|refused| refused.contains("not an extension"))
            );
        }
    }
}

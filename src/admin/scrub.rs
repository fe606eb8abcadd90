//! Takes out of a text what may be a secret of a URL in it: user, password, query and fragment.

/// The text with every URL shortened to scheme, host, port and path.
pub(super) fn scrub(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        clean.push_str(before);
        clean.push_str("://");
        let (url, behind) = after.split_at(after.find(ends_url).unwrap_or(after.len()));
        let url = url.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = url.split_at(url.find(['/', '\\']).unwrap_or(url.len()));
        clean.push_str(authority.rsplit('@').next().unwrap_or_default());
        clean.push_str(path);
        rest = behind;
    }
    clean.push_str(rest);
    clean
}

/// What no URL contains, as it stands in a sentence.
fn ends_url(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '<' | '>' | '`')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_urls() {
        for (text, clean) in [
            ("no URL at all? #1, a@b", "no URL at all? #1, a@b"),
            ("https://u:p@host:1/a/b?token=x#y", "https://host:1/a/b"),
            ("https://host?token=x, and more", "https://host and more"),
            ("\"http://u@h/\" and 'amqps://u:p@ss@r/%2f?k=v'", "\"http://h/\" and 'amqps://r/%2f'"),
            ("https://host/at@path", "https://host/at@path"),
            ("a://b://c@d?e", "a://b://c@d"),
            ("ends in ://", "ends in ://"),
        ] {
            assert_eq!(scrub(text), clean, "{text}");
        }
    }
}

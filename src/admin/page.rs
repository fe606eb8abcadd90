//! The status page: one HTML document that loads nothing else, and a policy by which the browser
//! loads nothing else.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use sha2::{Digest, Sha256};

/// The page, joined of its parts: each has one subject. Scripts see what stands before them.
const HTML: &str = concat!(
    include_str!("page/head.html"),
    "<style>\n",
    include_str!("page/style/base.css"),
    include_str!("page/style/table.css"),
    include_str!("page/style/detail.css"),
    include_str!("page/style/graph.css"),
    "</style>\n</head>\n",
    include_str!("page/body.html"),
    "<script>\n",
    include_str!("page/script/words.js"),
    include_str!("page/script/document.js"),
    include_str!("page/script/reasons.js"),
    include_str!("page/script/history.js"),
    include_str!("page/script/charts.js"),
    include_str!("page/script/row.js"),
    include_str!("page/script/group.js"),
    include_str!("page/script/table.js"),
    include_str!("page/script/graph.js"),
    include_str!("page/script/token.js"),
    include_str!("page/script/event.js"),
    include_str!("page/script/live.js"),
    include_str!("page/script/browse.js"),
    include_str!("page/script/replay.js"),
    include_str!("page/script/detail.js"),
    include_str!("page/script/process.js"),
    include_str!("page/script/ask.js"),
    "</script>\n</body>\n</html>\n"
);

/// The status page as it is served.
pub(super) struct StatusPage {
    /// The text of the page, in UTF-8.
    pub(super) html: Bytes,
    /// The `Content-Security-Policy`: it allows the page's own script and style by their hashes,
    /// and requests to where the page came from.
    pub(super) content_security_policy: HeaderValue,
}

impl StatusPage {
    pub(super) fn new() -> Self {
        let (script, style) = (
            csp_hash(HTML, "<script>", "</script>"),
            csp_hash(HTML, "<style>", "</style>"),
        );
        let policy = format!(
            "default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data:; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        // Hashes are ASCII. If the policy could not be a header value all the same, nothing at all
        // is allowed.
        let content_security_policy =
            HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Self {
            html: Bytes::from_static(HTML.as_bytes()),
            content_security_policy,
        }
    }
}

/// Returns the hash by which a policy names the text between two tags.
fn csp_hash(html: &str, begin: &str, end: &str) -> String {
    let inner = html
        .split_once(begin)
        .and_then(|(_, rest)| rest.split_once(end))
        .map_or("", |(inner, _)| inner);
    format!("sha256-{}", STANDARD.encode(Sha256::digest(inner)))
}

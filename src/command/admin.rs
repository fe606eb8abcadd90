//! The client of a running dispatcher, by its admin port or its admin socket.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::cli::AdminOptions;
use crate::scrub;
use crate::tls::{self, MinTlsVersion, SystemRoots};

/// The characters that stay unencoded in a path; the ids of a channel's subscribers contain a
/// slash.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `NAMESPACE/NAME` as it stands in a path.
pub(super) fn path_of_name(name: &str) -> PercentEncode<'_> {
    utf8_percent_encode(name, PLAIN)
}

/// A client of one running dispatcher.
pub(super) struct AdminClient {
    client: reqwest::Client,
    /// The URL before the path, without a slash at its end.
    base: String,
    /// The address of the dispatcher, without secrets, for error messages.
    display_address: String,
    /// The header field with the token; `None` if no token is sent.
    authorization: Option<HeaderValue>,
}

impl AdminClient {
    /// A client of the dispatcher that the options name. Nothing is sent yet.
    ///
    /// # Errors
    /// Fails if the token cannot be read.
    pub(super) fn new(options: &AdminOptions) -> anyhow::Result<Self> {
        let client = client_builder()?;
        let authorization = options
            .admin_token_file
            .as_deref()
            .map(bearer_authorization)
            .transpose()?;
        let (client, base, place) = match (options.url(), &options.admin_socket) {
            (None, Some(path)) => (
                client.unix_socket(path.clone()),
                "http://localhost",
                path.display().to_string(),
            ),
            (url, _) => {
                let url = url.unwrap_or_default();
                (client, url, scrub::url(url).into_owned())
            }
        };
        Ok(Self {
            client: client.build()?,
            base: base.to_owned(),
            display_address: place,
            authorization,
        })
    }

    /// Reads the JSON at this path.
    ///
    /// # Errors
    /// Fails if the dispatcher does not respond, or not with 200 and JSON.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send_request(Method::GET, path).await
    }

    /// Carries out the action that this path means.
    ///
    /// # Errors
    /// Fails if the dispatcher does not respond, or refuses.
    pub(super) async fn post(&self, path: &str) -> anyhow::Result<Value> {
        self.send_request(Method::POST, path).await
    }

    /// Asks for what is at this path, which may go on as long as the dispatcher does.
    ///
    /// # Errors
    /// Fails if the dispatcher does not respond, or not with 200.
    pub(super) async fn open(&self, path: &str) -> anyhow::Result<reqwest::Response> {
        let answer = self.send(Method::GET, path).await?;
        let status = answer.status();
        if status == StatusCode::OK {
            return Ok(answer);
        }
        let body = answer.bytes().await.unwrap_or_default();
        bail!(
            "{}",
            refusal_message(status, &String::from_utf8_lossy(&body))
        );
    }

    async fn send(&self, method: Method, path: &str) -> anyhow::Result<reqwest::Response> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request
            .send()
            .await
            .map_err(|error| anyhow!("{}", super::request_failure_reason(&error)))
            .with_context(|| self.remedy())
    }

    fn remedy(&self) -> String {
        format!(
            "no dispatcher answers at {}: is it running, and is --admin or --admin-socket right?",
            self.display_address
        )
    }

    async fn send_request(&self, method: Method, path: &str) -> anyhow::Result<Value> {
        let answer = self.send(method, path).await?;
        let remedy = || self.remedy();
        let (status, body) = (answer.status(), answer.bytes().await.with_context(remedy)?);
        if status != StatusCode::OK {
            let body = String::from_utf8_lossy(&body);
            bail!("{}", refusal_message(status, &body));
        }
        serde_json::from_slice(&body)
            .with_context(|| format!("{}{path} did not answer with JSON", self.display_address))
    }
}

/// A client that believes the roots of the system, and follows neither proxies nor redirects.
fn client_builder() -> anyhow::Result<reqwest::ClientBuilder> {
    let config = tls::client_config(
        &crate::model::TrustBundle::default(),
        &SystemRoots::load(),
        MinTlsVersion::Tls12,
    )?;
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none()))
}

/// The message for a response whose status is not 200.
fn refusal_message(status: StatusCode, body: &str) -> String {
    match body
        .lines()
        .next()
        .map(super::printable)
        .filter(|line| !line.trim().is_empty())
    {
        Some(line) => format!("the dispatcher answered {}: {line}", status.as_u16()),
        None => format!("the dispatcher answered {status}"),
    }
}

/// The header field with the token in this file.
fn bearer_authorization(file: &Path) -> anyhow::Result<HeaderValue> {
    let flag = || format!("--admin-token-file {}", file.display());
    let text = std::fs::read_to_string(file).with_context(flag)?;
    if text.trim().is_empty() {
        bail!("{}: it is empty", flag());
    }
    let mut header =
        HeaderValue::from_str(&format!("Bearer {}", text.trim())).with_context(flag)?;
    header.set_sensitive(true);
    Ok(header)
}

//! The API server as issuer: tokens by `TokenRequest`, and its own configuration and keys (contract
//! 1A, 7.2, 7.5).
//!
//! This needs `create` on `serviceaccounts/token` in the namespaces of the ServiceAccounts, and
//! what every ServiceAccount may read.

use std::path::PathBuf;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Request;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec, TokenRequestStatus};
use k8s_openapi::api::core::v1::ServiceAccount as Object;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;

use super::audience::is_api_server_audience;
use super::discovery::ApiServerDocuments;
use super::token_cache::{IssuedToken, LIFETIME, TokenError, TokenIssuer};
use crate::model::ServiceAccount;

/// Asks the API server of the cluster for tokens and documents.
#[derive(Clone)]
pub struct ApiServerIssuer {
    client: kube::Client,
    token_file: Option<PathBuf>,
}

impl ApiServerIssuer {
    /// Makes an issuer that uses this client.
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self {
            client,
            token_file: None,
        }
    }

    /// Returns the same issuer with the file of the token by which this process authenticates; the
    /// token tells the API server's audiences.
    #[must_use]
    pub fn with_token_file(self, token_file: Option<PathBuf>) -> Self {
        Self { token_file, ..self }
    }

    /// Refuses the API server's own audiences. The token is read from its file each time, since the
    /// kubelet replaces it; that costs little beside the request.
    async fn check_audience(&self, audience: &str) -> Result<(), String> {
        let own = match &self.token_file {
            Some(file) => match tokio::fs::read_to_string(file).await {
                Ok(token) => Some(token),
                Err(error) => {
                    return Err(format!(
                        "{}, which tells the API server's audiences: {error}",
                        file.display()
                    ));
                }
            },
            None => None,
        };
        if is_api_server_audience(audience, own.as_deref()) {
            let remedy = "give the destination an audience of its own";
            return Err(format!(
                "this audience is the API server's, for which nobody gets a token here: {remedy}"
            ));
        }
        Ok(())
    }

    async fn request_token(
        &self,
        account: &ServiceAccount,
        audience: &str,
    ) -> Result<IssuedToken, String> {
        self.check_audience(audience).await?;
        let spec = TokenRequestSpec {
            audiences: vec![audience.to_owned()],
            expiration_seconds: i64::try_from(LIFETIME.as_secs()).ok(),
            bound_object_ref: None,
        };
        let request = TokenRequest {
            spec,
            ..TokenRequest::default()
        };
        let accounts: Api<Object> = Api::namespaced(self.client.clone(), &account.namespace);
        let answer = accounts
            .create_token_request(&account.name, &PostParams::default(), &request)
            .await
            .map_err(|error| api_error_text(&error))?;
        let status = answer.status.ok_or("the API server gave no token")?;
        issued_token(status)
    }
}

impl TokenIssuer for ApiServerIssuer {
    fn issue<'a>(
        &'a self,
        account: &'a ServiceAccount,
        audience: &'a str,
    ) -> BoxFuture<'a, Result<IssuedToken, TokenError>> {
        self.request_token(account, audience)
            .map(move |issued| issued.map_err(|reason| TokenError::new(account, audience, reason)))
            .boxed()
    }
}

impl ApiServerDocuments for ApiServerIssuer {
    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Bytes, String>> {
        async move {
            let request = Request::get(path)
                .body(Vec::new())
                .map_err(|error| error.to_string())?;
            let text = self.client.request_text(request).await;
            text.map(Bytes::from)
                .map_err(|error| format!("{path}: {}", api_error_text(&error)))
        }
        .boxed()
    }
}

fn issued_token(status: TokenRequestStatus) -> Result<IssuedToken, String> {
    let left = status
        .expiration_timestamp
        .0
        .duration_since(Timestamp::now());
    let lifetime = left
        .try_into()
        .map_err(|_past| "the API server gave a token that has expired".to_owned())?;
    Ok(IssuedToken {
        token: status.token,
        lifetime,
    })
}

/// Returns the message of the API server, or the error of the request, in one line.
fn api_error_text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!(
            "the API server answered {}: {}",
            status.code, status.message
        ),
        other => other.to_string(),
    }
    .replace('\n', " ")
}

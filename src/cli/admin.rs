//! The flags that name a running dispatcher, and the right to ask it.

use std::path::PathBuf;

use clap::Args;

use super::value;

/// The admin address that is asked by default.
const DEFAULT: &str = "http://127.0.0.1:9090";

/// The address of a running dispatcher, and the credentials with which it is asked.
#[derive(Clone, Debug, Args)]
pub struct AdminOptions {
    /// Admin address of the dispatcher [default: --admin-socket if that is given, else
    /// http://127.0.0.1:9090]
    #[arg(long, value_name = "URL", env = "SEALPOST_ADMIN", value_parser = value::parse_http_address)]
    pub admin: Option<String>,

    /// File with the token that the dispatcher was given by its --admin-token-file
    #[arg(long, value_name = "FILE", env = "SEALPOST_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,

    /// Admin socket of the dispatcher, which needs no token; --admin goes before it
    #[arg(long, value_name = "PATH", env = "SEALPOST_ADMIN_SOCKET")]
    pub admin_socket: Option<PathBuf>,
}

impl AdminOptions {
    /// The URL of the admin API, without a slash at its end; `None` if the socket is asked.
    #[must_use]
    pub(crate) fn url(&self) -> Option<&str> {
        match (&self.admin, &self.admin_socket) {
            (Some(url), _) => Some(url.trim_end_matches('/')),
            (None, Some(_)) => None,
            (None, None) => Some(DEFAULT),
        }
    }
}

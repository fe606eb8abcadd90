//! The access of operators besides the admin port: a token and a socket.

use std::path::Path;

use anyhow::Context;

use crate::admin::AdminToken;
use crate::cli::RunOptions;
use crate::server::socket::OwnerSocket;
use crate::tls::development_ca;

/// Name of the socket's file in the state directory.
const NAME: &str = "admin.sock";

/// The admin token and the admin socket.
pub(super) struct OperatorAccess {
    /// The token that operators show; `None` if no file is given.
    pub(super) token: Option<AdminToken>,
    /// The socket, bound; `None` if there is none.
    pub(super) socket: Option<OwnerSocket>,
}

impl OperatorAccess {
    /// Checks the token and binds the socket.
    ///
    /// # Errors
    /// Fails if one of them is asked for and cannot be had.
    pub(super) async fn open(options: &RunOptions) -> anyhow::Result<Self> {
        let token = options
            .admin_token_file
            .as_deref()
            .map(AdminToken::new)
            .transpose()?;
        Ok(Self {
            token,
            socket: bind_socket(options).await?,
        })
    }
}

/// Binds the socket that the options name, else one in the state directory; in a cluster there is
/// none unless it is named. A socket that was not asked for may be missing.
async fn bind_socket(options: &RunOptions) -> anyhow::Result<Option<OwnerSocket>> {
    let socket = match &options.admin_socket {
        Some(path) => {
            let bound = OwnerSocket::bind(path).await;
            bound.with_context(|| format!("--admin-socket {}", path.display()))?
        }
        None if options.kubernetes => return Ok(None),
        None => match bind_in_state_dir(&options.state_dir).await {
            Ok(socket) => socket,
            Err(error) => {
                let socket = options.state_dir.join(NAME);
                tracing::warn!(
                    socket = %socket.display(),
                    %error,
                    "There is no admin socket: name another one with --admin-socket"
                );
                return Ok(None);
            }
        },
    };
    tracing::info!(socket = %socket.path().display(), "Listening on the admin socket");
    Ok(Some(socket))
}

async fn bind_in_state_dir(state_dir: &Path) -> std::io::Result<OwnerSocket> {
    development_ca::create_state_directory(state_dir)?;
    OwnerSocket::bind(&state_dir.join(NAME)).await
}

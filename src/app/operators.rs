//! How operators come in besides the admin port: by a token, and by a socket.

use std::path::Path;

use anyhow::Context;

use crate::admin::AdminToken;
use crate::cli::RunOptions;
use crate::server::socket::OwnerSocket;
use crate::tls::development_ca;

/// The file of the socket in the state directory.
const NAME: &str = "admin.sock";

/// What operators may show, and where they may come in.
pub(super) struct OperatorAccess {
    /// The token, if there is one.
    pub(super) token: Option<AdminToken>,
    /// The socket, if there is one.
    pub(super) socket: Option<OwnerSocket>,
}

impl OperatorAccess {
    /// Reads the token and listens on the socket.
    ///
    /// # Errors
    /// If one of them is asked for and cannot be there.
    pub(super) async fn open(options: &RunOptions) -> anyhow::Result<Self> {
        let token = options.admin_token_file.as_deref().map(AdminToken::new).transpose()?;
        Ok(Self { token, socket: bind_socket(options).await? })
    }
}

/// The socket that the options name, else one in the state directory; in a cluster there is none unless it is named. One
/// that nobody has asked for may be missing.
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
                tracing::warn!(socket = %socket.display(), %error, "There is no admin socket: name another one with --admin-socket");
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

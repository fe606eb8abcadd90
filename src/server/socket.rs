//! A Unix socket that only its owner can open, served as a plain connection is.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection::{http_builder, serve_connection};
use super::connection_activity::ConnectionActivity;
use super::handshake_log::HandshakeLog;
use super::{ACCEPT_PAUSE, ListenerContext, ListenerLimits, RequestHandler};
use crate::model::UriScheme;

/// Longest path of a socket in bytes: the system has room for 108, of which one ends the path.
const LONGEST: usize = 107;
/// Number of connections that may wait to be accepted.
const BACKLOG: u32 = 64;

/// A Unix socket that is listened on. Its file is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct OwnerSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, which tell it from a file that stands at the same path later.
    file_identity: (u64, u64),
}

impl OwnerSocket {
    /// Binds the socket and listens, for its owner only. The file of a process that is gone is
    /// replaced.
    ///
    /// # Errors
    /// Fails if the path is too long or cannot be used, if another process listens there, or if a
    /// file there is no socket.
    pub(crate) async fn bind(path: &Path) -> io::Result<Self> {
        let bytes = path.as_os_str().len();
        if bytes > LONGEST {
            let text = format!(
                "a path of {bytes} bytes is too long for a socket, which has {LONGEST} at most"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        remove_stale_socket(path).await?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        // The mode is set before the socket listens, so that nobody else can connect.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let file = file_identity(path)?;
        Ok(Self {
            listener: socket.listen(BACKLOG)?,
            path: path.to_owned(),
            file_identity: file,
        })
    }

    /// Returns the path of the socket's file.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Answers requests until `stop`, as [`super::serve`] does; the file is removed before running
    /// requests finish.
    pub(crate) async fn serve<H: RequestHandler>(
        self,
        limits: ListenerLimits,
        handler: Arc<H>,
        stop: CancellationToken,
    ) {
        let shared = Arc::new(ListenerContext {
            handler,
            http: http_builder(&limits),
            limits,
            tls: None,
            handshake_log: HandshakeLog::default(),
            slots: None,
            stop,
        });
        let mut connections = JoinSet::new();
        while let Some(stream) = self.accept(&shared.stop).await {
            while connections.try_join_next().is_some() {}
            let shared = Arc::clone(&shared);
            let user = stream.peer_cred().ok().map(|peer| peer.uid());
            let activity = ConnectionActivity::new().with_peer_user(user);
            connections.spawn(serve_connection(stream, UriScheme::Http, activity, shared));
        }
        // The file is removed first, so that new clients see at once that nobody listens.
        drop(self);
        while connections.join_next().await.is_some() {}
    }

    /// Waits for the next connection; `None` when the listener stops.
    async fn accept(&self, stop: &CancellationToken) -> Option<UnixStream> {
        loop {
            match stop.run_until_cancelled(self.listener.accept()).await? {
                Ok((stream, _peer)) => return Some(stream),
                Err(error) => {
                    tracing::warn!(
                        %error,
                        "Could not accept a connection on the socket, trying again"
                    );
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for OwnerSocket {
    fn drop(&mut self) {
        let is_ours = file_identity(&self.path).is_ok_and(|file| file == self.file_identity);
        if is_ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "The file of the socket stays");
        }
    }
}

fn file_identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Removes the socket of a process that is gone; fails if a process listens there, or if the file
/// is no socket.
async fn remove_stale_socket(path: &Path) -> io::Result<()> {
    let file = match std::fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !file.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file that is no socket",
        ));
    }
    match UnixStream::connect(path).await {
        Ok(stream) => Err(in_use(&stream)?),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}

/// Makes the error that says which process listens at the other end.
fn in_use(stream: &UnixStream) -> io::Result<io::Error> {
    let owner = stream
        .peer_cred()?
        .pid()
        .map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"));
    Ok(io::Error::new(
        io::ErrorKind::AddrInUse,
        format!("{owner} listens there"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_its_owners_and_one_at_a_time() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let path = directory.path().join("s");
        let socket = OwnerSocket::bind(&path).await.expect("bound");
        let mode = std::fs::metadata(&path)
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let taken = OwnerSocket::bind(&path)
            .await
            .expect_err("taken")
            .to_string();
        assert_eq!(
            taken,
            format!("process {} listens there", std::process::id())
        );
        // As a process leaves it that is killed.
        let stale = directory.path().join("stale");
        std::fs::rename(&path, &stale).expect("renamed");
        drop(socket);
        let again = OwnerSocket::bind(&stale)
            .await
            .expect("the stale one is replaced");
        drop(again);
        assert!(!stale.exists(), "it is removed at the end");
    }

    #[tokio::test]
    async fn what_is_no_socket_stays() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let path = directory.path().join("s");
        std::fs::write(&path, "x").expect("written");
        assert!(OwnerSocket::bind(&path).await.is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "x");
        let long = directory.path().join("x".repeat(LONGEST));
        assert!(
            OwnerSocket::bind(&long)
                .await
                .is_err_and(|error| error.to_string().contains("too long for a socket"))
        );
        let nowhere = OwnerSocket::bind(&directory.path().join("no/s")).await;
        assert!(nowhere.is_err_and(|error| error.kind() == io::ErrorKind::NotFound));
    }

    /// What stands in its place later is not removed.
    #[tokio::test]
    async fn another_file_is_not_removed() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let path = directory.path().join("s");
        let socket = OwnerSocket::bind(&path).await.expect("bound");
        std::fs::remove_file(&path).expect("removed");
        let other = OwnerSocket::bind(&path).await.expect("bound");
        drop(socket);
        assert!(path.exists());
        drop(other);
        assert!(!path.exists());
    }
}

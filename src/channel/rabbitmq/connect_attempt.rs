//! One attempt to connect, which ends its socket if it is given up.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Second handle of the socket of an attempt to connect, by which it can be closed.
#[derive(Default)]
pub(super) enum HandshakeSocket {
    #[default]
    Unconnected,
    Connected(TcpStream),
    /// The attempt was given up, or has succeeded: its socket is left alone.
    Done,
}

/// Attempt to connect. If it is given up, it closes its socket: lapin would wait for an answer for
/// ever, with a thread and a socket for each attempt.
#[derive(Default)]
pub(super) struct ConnectAttempt {
    pub(super) socket: Arc<Mutex<HandshakeSocket>>,
}

impl ConnectAttempt {
    /// Leaves the socket open, since the attempt has succeeded.
    pub(super) fn keep_socket(self) {
        *lock_socket(&self.socket) = HandshakeSocket::Done;
    }
}

impl Drop for ConnectAttempt {
    fn drop(&mut self) {
        if let HandshakeSocket::Connected(socket) =
            std::mem::replace(&mut *lock_socket(&self.socket), HandshakeSocket::Done)
            && let Err(error) = socket.shutdown(Shutdown::Both)
        {
            tracing::debug!(
                %error,
                "The socket of an attempt to connect to RabbitMQ was closed before"
            );
        }
    }
}

fn lock_socket(socket: &Mutex<HandshakeSocket>) -> MutexGuard<'_, HandshakeSocket> {
    socket.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers the socket of an attempt, so that it can be closed.
///
/// # Errors
/// If the attempt was given up meanwhile, or the system has no handle left.
pub(super) fn remember_socket(
    socket: &Mutex<HandshakeSocket>,
    stream: &tokio::net::TcpStream,
) -> io::Result<()> {
    let handle = TcpStream::from(stream.as_fd().try_clone_to_owned()?);
    let mut socket = lock_socket(socket);
    if matches!(*socket, HandshakeSocket::Done) {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    *socket = HandshakeSocket::Connected(handle);
    Ok(())
}

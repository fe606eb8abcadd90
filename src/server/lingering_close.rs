//! Closes a connection whose peer may still be sending. If it were closed at once, the system would
//! answer what still comes with a reset, and the peer might never see the response that was written
//! before (RFC 9112, 9.6).

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::STOP_GRACE;

/// Longest time for which bytes from the peer are read and forgotten.
const LINGER: Duration = Duration::from_secs(5);
/// Longest time without a byte from the peer.
const SILENCE: Duration = Duration::from_secs(1);
/// Bytes that are read at once.
const READ: usize = 16 * 1024;

/// Shuts down the writing side, then reads and forgets until the peer has closed, is silent, or has
/// taken too long; a stop of the listener shortens that.
pub(super) async fn close_lingering<S>(mut stream: Box<S>, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let until_closed = async {
        if let Err(error) = stream.shutdown().await {
            tracing::trace!(%error, "Nothing more can be written");
        }
        let mut forgotten = vec![0; READ];
        // Ends when nothing comes for a second, at the end of the stream, or by an error.
        while let Ok(Ok(1..)) = tokio::time::timeout(SILENCE, stream.read(&mut forgotten)).await {}
    };
    let limit = async {
        if stop
            .run_until_cancelled(tokio::time::sleep(LINGER))
            .await
            .is_none()
        {
            tokio::time::sleep(STOP_GRACE).await;
        }
    };
    tokio::select! {
        () = until_closed => {}
        () = limit => tracing::debug!("Gave up reading what nobody wanted"),
    }
}

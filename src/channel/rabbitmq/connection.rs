//! An open connection to RabbitMQ, shared by all who use it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lapin::Connection;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::amqp_error::error_text;
use super::message::amqp_value::short_string;

/// Longest time for the orderly close of a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// An open connection, shared by all who use it.
pub(super) struct OpenAmqpConnection {
    /// The connection itself, as lapin gives it.
    pub(super) connection: Connection,
    /// IP address and port of the node that the connection leads to.
    pub(super) address: SocketAddr,
    /// Cancelled when the connection is given up, be it closed or hung.
    pub(super) broken: CancellationToken,
}

impl OpenAmqpConnection {
    /// Awaits a future of the connection, until the connection is given up.
    ///
    /// # Errors
    /// If the future fails, or the connection breaks before it is done.
    pub(super) async fn run<T>(
        &self,
        act: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, String> {
        match self.broken.run_until_cancelled(act).await {
            Some(done) => done.map_err(|error| error_text(&error)),
            None => Err("the connection to RabbitMQ is broken".to_owned()),
        }
    }

    /// Does the same as [`OpenAmqpConnection::run`], for `limit` at most.
    ///
    /// # Errors
    /// Those of [`OpenAmqpConnection::run`], and that RabbitMQ does not answer in time.
    pub(super) async fn run_within<T>(
        &self,
        limit: Duration,
        act: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, String> {
        let done = tokio::time::timeout(limit, self.run(act)).await;
        done.unwrap_or_else(|_elapsed| Err(format!("no answer within {limit:?}")))
    }
}

/// Closes a connection in the order of AMQP, if RabbitMQ answers within [`CLOSE_TIMEOUT`].
pub(super) async fn close_connection(current: &AmqpConnectionWatch) {
    let open = current.borrow().clone();
    let Some(open) = open.filter(|open| !open.broken.is_cancelled()) else {
        return;
    };
    open.broken.cancel();
    let closed = tokio::time::timeout(
        CLOSE_TIMEOUT,
        open.connection.close(200, short_string("stopped")),
    )
    .await;
    if !matches!(closed, Ok(Ok(()))) {
        tracing::debug!("A connection to RabbitMQ was not closed in order");
    }
}

/// Receiver of the connection as it is now; `None` while there is none.
pub(super) type AmqpConnectionWatch = watch::Receiver<Option<Arc<OpenAmqpConnection>>>;

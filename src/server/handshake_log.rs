//! Logs TLS handshakes with senders that fail, with the address of the peer, whose operator has to
//! mend something. Everybody who can connect can make handshakes fail, so that each listener logs
//! one line a minute at WARN, and the others at DEBUG.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::tls::refusal;
use crate::wire_text::WireText;

/// Time from one line at WARN to the next.
const PERIOD: Duration = Duration::from_secs(60);

/// The time of the last line at WARN, and the number of failures since then that were not logged at
/// WARN.
#[derive(Debug, Default)]
pub(super) struct HandshakeLog(Mutex<(Option<Instant>, u64)>);

impl HandshakeLog {
    /// Logs that the handshake with this peer failed. A peer that only went away is logged at
    /// DEBUG.
    pub(super) fn log_failure(&self, peer: Option<SocketAddr>, error: &io::Error) {
        let peer = peer_name(peer);
        if is_disconnect(error) {
            // Probes of load balancers connect, and close.
            tracing::debug!(
                peer,
                "A peer closed its connection before the end of the TLS handshake"
            );
            return;
        }
        let reason =
            refusal::describe_tls_error(error).unwrap_or_else(|| WireText::new(error).into());
        self.log_line(&peer, &reason);
    }

    /// Logs that the handshake with this peer took longer than `limit`.
    pub(super) fn log_timeout(&self, peer: Option<SocketAddr>, limit: Duration) {
        self.log_line(
            &peer_name(peer),
            &format!("it was not over after {limit:?}"),
        );
    }

    fn log_line(&self, peer: &str, reason: &str) {
        match self.take_unlogged_count(Instant::now()) {
            Some(untold) => tracing::warn!(peer, reason, untold, "TLS handshake failed"),
            None => tracing::debug!(peer, reason, "Another TLS handshake failed"),
        }
    }

    /// Returns the number of failures that were not logged since the last line, if there may be a
    /// line now; else counts this one.
    fn take_unlogged_count(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, untold) = &mut *told;
        if last.is_some_and(|last| now.saturating_duration_since(last) < PERIOD) {
            *untold += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(untold))
    }
}

fn peer_name(peer: Option<SocketAddr>) -> String {
    peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string())
}

/// Returns true if the peer went away without a TLS alert.
fn is_disconnect(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_minute_counts_the_others() {
        let (handshakes, start) = (HandshakeLog::default(), Instant::now());
        assert_eq!(handshakes.take_unlogged_count(start), Some(0));
        assert!((0..9).all(|_| {
            handshakes
                .take_unlogged_count(start + Duration::from_secs(59))
                .is_none()
        }));
        assert_eq!(handshakes.take_unlogged_count(start + PERIOD), Some(9));
        assert_eq!(handshakes.take_unlogged_count(start + PERIOD * 2), Some(0));
    }
}

//! Shares the file descriptors of the process. Each connection takes one; without shares, senders
//! whose connections are accepted would leave none for deliveries.

use crate::cli::LimitOptions;

/// Descriptors that the process needs for itself: its runtime, listeners, files, and connections to
/// RabbitMQ and to an API server.
const OWN: u64 = 32;
/// Host names that are looked up at once at most; each lookup takes a thread, too.
const LOOKUPS: u64 = 768;

/// Numbers of connections that may be open at once, and of host names that may be looked up at
/// once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DescriptorShares {
    /// Connections on each event port.
    pub(super) senders: usize,
    /// Connections on the admin port, and as many on the admin socket.
    pub(super) operators: usize,
    /// Connections to the destinations of deliveries.
    pub(super) destinations: usize,
    /// Host names that are looked up at once.
    pub(super) lookups: usize,
}

impl DescriptorShares {
    /// Raises the limit of the process as far as the system lets it, and shares it.
    pub(super) fn raise_limit(limits: &LimitOptions) -> Self {
        let limit = match rlimit::increase_nofile_limit(u64::MAX) {
            Ok(limit) => limit,
            Err(error) => {
                tracing::warn!(%error, "Could not raise the limit of open files");
                rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(1024, |(soft, _hard)| soft)
            }
        };
        let shares = Self::divide(limit, limits.max_connections);
        if shares.senders < limits.max_connections {
            tracing::warn!(
                limit,
                max_connections = shares.senders,
                "The limit of open files does not allow --max-connections: so many are taken \
                 on each port, further ones wait; raise it, by ulimit -n or LimitNOFILE"
            );
        }
        tracing::debug!(limit, ?shares, "Descriptors");
        shares
    }

    /// Divides the limit: half of what the process does not need for itself is for senders, and
    /// most of the rest for deliveries.
    fn divide(limit: u64, max_connections: usize) -> Self {
        let rest = limit.saturating_sub(OWN).max(16);
        let count = |share: u64| usize::try_from(share).unwrap_or(usize::MAX);
        let (each, operators, lookups) = (
            rest / 4,
            (rest / 32).clamp(1, 4096),
            (rest / 8).min(LOOKUPS),
        );
        Self {
            senders: max_connections.min(count(each)).max(1),
            operators: count(operators),
            destinations: count(rest - 2 * each - 2 * operators - lookups),
            lookups: count(lookups),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_are_no_more_than_there_are() {
        for limit in [64, 128, 256, 1024, 4096, 65_536, 1_048_576, u64::MAX] {
            let DescriptorShares {
                senders,
                operators,
                destinations,
                lookups,
            } = DescriptorShares::divide(limit, usize::MAX);
            let all = [
                senders,
                senders,
                operators,
                operators,
                destinations,
                lookups,
            ]
            .map(|share| share as u64);
            assert!(
                all.iter().sum::<u64>() <= limit - OWN && all.iter().all(|share| *share > 0),
                "{limit}: {all:?}"
            );
        }
        assert_eq!(DescriptorShares::divide(1_048_576, 10_000).senders, 10_000);
        assert_eq!(
            DescriptorShares::divide(64, 10_000),
            DescriptorShares {
                senders: 8,
                operators: 1,
                destinations: 10,
                lookups: 4
            }
        );
    }
}

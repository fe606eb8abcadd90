//! Names to addresses: one question for all connections that are opened to a host at about the same time, in whichever
//! client. A burst of events to a host that is new would else ask as often, on a thread each.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use moka::future::Cache;
use tower_service::Service;

/// How long an answer is used.
const FRESH: Duration = Duration::from_secs(1);
/// Answers kept at most.
const MAX_ANSWERS: u64 = 10_000;

/// Asks the system. Clones share the answers; failures are not kept.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    answers: Cache<Name, Arc<[SocketAddr]>>,
    turn: Arc<AtomicUsize>,
}

impl Default for Lookup {
    fn default() -> Self {
        let answers = Cache::builder().max_capacity(MAX_ANSWERS).time_to_live(FRESH).build();
        Self { answers, turn: Arc::default() }
    }
}

impl Service<Name> for Lookup {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Arc<io::Error>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (answers, turn) = (self.answers.clone(), self.turn.fetch_add(1, Ordering::Relaxed));
        async move {
            let answer = answers.try_get_with(name.clone(), ask(name)).await?;
            Ok(in_turn(&answer, turn).into_iter())
        }
        .boxed()
    }
}

async fn ask(name: Name) -> io::Result<Arc<[SocketAddr]>> {
    Ok(GaiResolver::new().call(name).await?.collect())
}

/// Those who share an answer do not all begin with its first address, but with the next one of the family that comes
/// first.
fn in_turn(answer: &[SocketAddr], turn: usize) -> Vec<SocketAddr> {
    let mut addresses = answer.to_vec();
    let is_ipv4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let family = addresses.iter().take_while(|address| address.is_ipv4() == is_ipv4).count();
    if let Some(first) = addresses.get_mut(..family).filter(|first| !first.is_empty()) {
        let turn = turn % first.len();
        first.rotate_left(turn);
    }
    addresses
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    fn addresses(all: &[&str]) -> Vec<SocketAddr> {
        all.iter().map(|ip| SocketAddr::new(ip.parse().expect("an address"), 0)).collect()
    }

    #[test]
    fn every_address_of_the_first_family_has_its_turn() {
        let all = addresses(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "::1"]);
        assert_eq!(in_turn(&all, 0), all);
        assert_eq!(in_turn(&all, 1), addresses(&["10.0.0.2", "10.0.0.3", "10.0.0.1", "::1"]));
        assert_eq!(in_turn(&all, 5), addresses(&["10.0.0.3", "10.0.0.1", "10.0.0.2", "::1"]));
        assert_eq!(in_turn(&addresses(&["::1", "10.0.0.1"]), 7), addresses(&["::1", "10.0.0.1"]));
        assert_eq!(in_turn(&[], 3), []);
    }

    #[tokio::test]
    async fn an_answer_is_kept_and_a_failure_is_told_to_all() {
        let lookup = Lookup::default();
        let name = |name: &str| name.parse::<Name>().expect("a name");
        let failed = join_all((0..3).map(|_| lookup.clone().call(name("no such host.invalid")))).await;
        assert!(failed.into_iter().all(|failed| failed.is_err()), "there is no such host");
        lookup.answers.run_pending_tasks().await;
        assert_eq!(lookup.answers.entry_count(), 0, "a failure is not kept");
        let found = join_all((0..100).map(|_| lookup.clone().call(name("localhost")))).await;
        assert!(found.into_iter().all(|found| found.expect("found").all(|address| address.ip().is_loopback())));
        lookup.answers.run_pending_tasks().await;
        assert_eq!(lookup.answers.entry_count(), 1);
    }
}

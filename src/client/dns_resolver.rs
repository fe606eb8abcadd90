//! Resolves host names to addresses, with one query for all connections that are opened to a host
//! at about the same time by any client. The system's resolver has no callback, so that each query
//! blocks a thread. Queries for different hosts therefore run at once, and hosts whose lookups were
//! slow get a small part of the threads only.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use moka::future::Cache;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tower_service::Service;

use crate::telemetry::series::ConnectionMetrics;
use crate::wire_text::WireText;

/// How long an answer of the resolver is used without asking again.
const FRESH_TTL: Duration = Duration::from_secs(1);
/// How long an answer is used if a newer one does not come, and how long the newer one is waited
/// for.
const STALE_TTL: Duration = Duration::from_secs(300);
const REFRESH_WAIT: Duration = Duration::from_millis(200);
/// Number of hosts whose answers are kept at most, in each cache.
const MAX_ANSWERS: u64 = 10_000;
/// A lookup that takes longer than this makes its host one of the slow hosts from the next lookup
/// on.
const SLOW: Duration = Duration::from_secs(1);
/// How long it is known at most that the lookups of a host fail, so that it is logged once, and
/// when it is over.
const FAILING_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a host counts as slow.
const SLOW_FOR: Duration = Duration::from_secs(600);
/// Slow hosts may have one part in this many of the queries that run at once.
const SLOW_SHARE: usize = 8;
/// Queries that may run at once in tests that set no limit.
#[cfg(test)]
const SOME: usize = 16;

type DnsResult = Result<Arc<[SocketAddr]>, Arc<io::Error>>;
/// Receives the result of a query; `None` until there is one.
type DnsResultReceiver = watch::Receiver<Option<DnsResult>>;
type ResolveFunction = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Looks up hosts by the system's resolver. Clones share caches and limits; failed lookups are not
/// cached.
#[derive(Clone)]
pub(super) struct DnsResolver(Arc<DnsResolverState>);

struct DnsResolverState {
    resolve: Box<ResolveFunction>,
    /// The answers that are used at once, and those that are used if no newer one comes.
    fresh: Cache<Name, Arc<[SocketAddr]>>,
    stale: Cache<Name, Arc<[SocketAddr]>>,
    /// The hosts whose last lookup was slow.
    slow_hosts: Cache<Name, ()>,
    /// The hosts whose last lookup failed while they were known by an older answer.
    failing_hosts: Cache<Name, ()>,
    /// The metrics in which failed lookups are counted.
    metrics: Arc<ConnectionMetrics>,
    /// The queries that are running, each with the receiver of its result.
    queries: Mutex<HashMap<Name, DnsResultReceiver>>,
    /// The permits for queries about slow hosts, and about all other hosts.
    slow_permits: Arc<Semaphore>,
    other_permits: Arc<Semaphore>,
    turn: AtomicUsize,
}

impl DnsResolverState {
    /// Returns the permits of slow hosts if this host is one, else those of all others.
    fn permits_for(&self, name: &Name) -> &Arc<Semaphore> {
        if self.slow_hosts.contains_key(name) {
            &self.slow_permits
        } else {
            &self.other_permits
        }
    }

    /// Keeps the answer about a host, and whether the host is slow.
    async fn keep(&self, name: &Name, answer: &DnsResult, took: Duration) {
        if took > SLOW {
            self.slow_hosts.insert(name.clone(), ()).await;
        } else {
            self.slow_hosts.invalidate(name).await;
        }
        match answer {
            Ok(answer) => {
                self.fresh.insert(name.clone(), Arc::clone(answer)).await;
                self.stale.insert(name.clone(), Arc::clone(answer)).await;
                self.record_found(name).await;
            }
            Err(error) => self.record_failure(name, error).await,
        }
    }

    /// Counts a failed lookup, and logs the first one of a host whose older answer is used instead.
    /// Where there is none, the attempt fails, and whoever made it logs that.
    async fn record_failure(&self, name: &Name, error: &io::Error) {
        self.metrics.lookups_failed.increment();
        if self.stale.contains_key(name) && !self.failing_hosts.contains_key(name) {
            self.failing_hosts.insert(name.clone(), ()).await;
            tracing::warn!(
                host = %WireText::new(name.as_str()),
                %error,
                "A name cannot be looked up: its last addresses are used for up to 5 min"
            );
        }
    }

    async fn record_found(&self, name: &Name) {
        if self.failing_hosts.contains_key(name) {
            self.failing_hosts.invalidate(name).await;
            let host = WireText::new(name.as_str());
            tracing::info!(%host, "A name can be looked up again");
        }
    }
}

impl DnsResolver {
    /// Makes a resolver that runs at most `questions` queries of the system's resolver at once, and
    /// counts those that fail in these metrics.
    pub(super) fn new(questions: usize, metrics: Arc<ConnectionMetrics>) -> Self {
        Self::with_resolve_function(
            |host| (host, 0).to_socket_addrs().map(Iterator::collect),
            questions,
            metrics,
        )
    }

    pub(super) fn with_resolve_function(
        resolve: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
        questions: usize,
        metrics: Arc<ConnectionMetrics>,
    ) -> Self {
        let cache = |time| {
            Cache::builder()
                .max_capacity(MAX_ANSWERS)
                .time_to_live(time)
                .build()
        };
        let slow = (questions / SLOW_SHARE).max(1);
        Self(Arc::new(DnsResolverState {
            resolve: Box::new(resolve),
            fresh: cache(FRESH_TTL),
            stale: cache(STALE_TTL),
            slow_hosts: Cache::builder()
                .max_capacity(MAX_ANSWERS)
                .time_to_live(SLOW_FOR)
                .build(),
            failing_hosts: Cache::builder()
                .max_capacity(MAX_ANSWERS)
                .time_to_live(FAILING_FOR)
                .build(),
            metrics,
            queries: Mutex::default(),
            slow_permits: Arc::new(Semaphore::new(slow)),
            other_permits: Arc::new(Semaphore::new(questions.saturating_sub(slow).max(1))),
            turn: AtomicUsize::new(0),
        }))
    }

    /// Returns true if this host is a name of which no answer is known: a connection to it that is
    /// being opened waits for its lookup.
    pub(super) fn is_waited_for(&self, host: &str) -> bool {
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let is_known =
            |name: Name| self.0.fresh.contains_key(&name) || self.0.stale.contains_key(&name);
        !is_address && !host.parse().is_ok_and(is_known)
    }

    async fn lookup(&self, name: Name) -> DnsResult {
        if let Some(answer) = self.0.fresh.get(&name).await {
            return Ok(answer);
        }
        let Some(stale) = self.0.stale.get(&name).await else {
            return self.query(name).await;
        };
        match tokio::time::timeout(REFRESH_WAIT, self.query(name)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Ok(stale),
        }
    }

    /// Starts a query, or waits for the one about this host that is running. A query goes on when
    /// nobody waits for it any more, and its answer is cached.
    async fn query(&self, name: Name) -> DnsResult {
        let running = self.lock_queries().get(&name).cloned();
        let result = match running {
            Some(result) => result,
            None => self.start_query(name).await?,
        };
        self.wait_for_result(result).await
    }

    /// Starts a query about this host when there is a permit for one; returns the receiver of its
    /// result.
    async fn start_query(&self, name: Name) -> Result<DnsResultReceiver, Arc<io::Error>> {
        let permits = self.0.permits_for(&name);
        // The lock is not held while a permit is waited for; the map is looked into again after
        // that, since another task may have started the query meanwhile.
        let permit = Arc::clone(permits)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let mut queries = self.lock_queries();
        if let Some(result) = queries.get(&name) {
            return Ok(result.clone());
        }
        let (sender, result) = watch::channel(None);
        queries.insert(name.clone(), result.clone());
        drop(queries);
        let query = DnsQuery {
            resolver: self.clone(),
            name,
            result: sender,
        };
        tokio::task::spawn_blocking(move || {
            query.run();
            drop(permit);
        });
        Ok(result)
    }

    async fn wait_for_result(&self, mut asked: DnsResultReceiver) -> DnsResult {
        let told = asked
            .wait_for(Option::is_some)
            .await
            .map(|told| told.clone());
        told.ok()
            .flatten()
            .unwrap_or_else(|| Err(Arc::new(io::Error::other("the question was given up"))))
    }

    fn lock_queries(&self) -> MutexGuard<'_, HashMap<Name, DnsResultReceiver>> {
        self.0
            .queries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One running query; it removes itself from the running queries when it is dropped, even after a
/// panic.
struct DnsQuery {
    resolver: DnsResolver,
    name: Name,
    result: watch::Sender<Option<DnsResult>>,
}

impl DnsQuery {
    /// Asks the system's resolver. Runs on a thread that may block.
    fn run(self) {
        let started = Instant::now();
        let answer = (self.resolver.0.resolve)(self.name.as_str());
        let answer = answer.map(Arc::from).map_err(Arc::new);
        let later = self.resolver.0.keep(&self.name, &answer, started.elapsed());
        // Inserting into these caches never waits, so that one poll is enough.
        if later.now_or_never().is_none() {
            tracing::debug!("An answer was not kept");
        }
        self.result.send_replace(Some(answer));
    }
}

impl Drop for DnsQuery {
    fn drop(&mut self) {
        self.resolver.lock_queries().remove(&self.name);
    }
}

impl Service<Name> for DnsResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Arc<io::Error>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (lookup, turn) = (self.clone(), self.0.turn.fetch_add(1, Ordering::Relaxed));
        async move { Ok(rotate_addresses(&lookup.lookup(name).await?, turn).into_iter()) }.boxed()
    }
}

/// Returns the addresses in the order in which this caller tries them. Callers that share an answer
/// do not all begin with its first address: the addresses of its first address family are rotated
/// by `turn`.
fn rotate_addresses(answer: &[SocketAddr], turn: usize) -> Vec<SocketAddr> {
    let mut addresses = answer.to_vec();
    let is_ipv4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let family = addresses
        .iter()
        .take_while(|address| address.is_ipv4() == is_ipv4)
        .count();
    if let Some(first) = addresses
        .get_mut(..family)
        .filter(|first| !first.is_empty())
    {
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
        all.iter()
            .map(|ip| SocketAddr::new(ip.parse().expect("an address"), 0))
            .collect()
    }

    #[test]
    fn every_address_of_the_first_family_has_its_turn() {
        let all = addresses(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "::1"]);
        assert_eq!(rotate_addresses(&all, 0), all);
        assert_eq!(
            rotate_addresses(&all, 1),
            addresses(&["10.0.0.2", "10.0.0.3", "10.0.0.1", "::1"])
        );
        assert_eq!(
            rotate_addresses(&all, 5),
            addresses(&["10.0.0.3", "10.0.0.1", "10.0.0.2", "::1"])
        );
        assert_eq!(
            rotate_addresses(&addresses(&["::1", "10.0.0.1"]), 7),
            addresses(&["::1", "10.0.0.1"])
        );
        assert_eq!(rotate_addresses(&[], 3), []);
    }

    fn name(name: &str) -> Name {
        name.parse().expect("a name")
    }

    #[tokio::test]
    async fn an_answer_is_kept_and_a_failure_is_told_to_all() {
        let lookup = DnsResolver::new(SOME, Arc::default());
        let failed =
            join_all((0..3).map(|_| lookup.clone().call(name("no such host.invalid")))).await;
        assert!(
            failed.into_iter().all(|failed| failed.is_err()),
            "there is no such host"
        );
        lookup.0.fresh.run_pending_tasks().await;
        assert_eq!(lookup.0.fresh.entry_count(), 0, "a failure is not kept");
        let found = join_all((0..100).map(|_| lookup.clone().call(name("localhost")))).await;
        assert!(found.into_iter().all(|found| {
            found
                .expect("found")
                .all(|address| address.ip().is_loopback())
        }));
        lookup.0.fresh.run_pending_tasks().await;
        assert_eq!(lookup.0.fresh.entry_count(), 1);
    }

    /// A host whose answer does not come is asked for once, however often it is wanted, and others
    /// are found meanwhile.
    #[tokio::test(flavor = "multi_thread")]
    async fn hosts_that_hang_are_asked_for_once_each() {
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let (asked, hold) = (Arc::new(AtomicUsize::new(0)), Mutex::new(hold));
        let counted = Arc::clone(&asked);
        let resolve = move |host: &str| {
            counted.fetch_add(1, Ordering::Relaxed);
            if host.starts_with("hangs") {
                hold.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .recv()
                    .ok();
            }
            Ok(addresses(&["127.0.0.1"]))
        };
        let lookup = DnsResolver::with_resolve_function(resolve, SOME, Arc::default());
        let impatient = || {
            tokio::time::timeout(
                Duration::from_millis(20),
                lookup.clone().call(name("hangs")),
            )
        };
        for _ in 0..5 {
            assert!(impatient().await.is_err(), "it hangs");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert!(lookup.clone().call(name("good")).await.is_ok());
        drop(release);
        let found =
            tokio::time::timeout(Duration::from_secs(10), lookup.clone().call(name("hangs"))).await;
        assert!(found.expect("in time").is_ok());
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    /// What was found before is used while the question hangs; hosts that were slow have few of the
    /// questions.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_known_is_used_while_it_hangs() {
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let (first, hold) = (std::sync::atomic::AtomicBool::new(true), Mutex::new(hold));
        let resolve = move |_: &str| {
            if !first.swap(false, Ordering::Relaxed) {
                hold.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .recv()
                    .ok();
            }
            Ok(addresses(&["127.0.0.1"]))
        };
        let lookup = DnsResolver::with_resolve_function(resolve, SOME, Arc::default());
        assert!(lookup.is_waited_for("known") && !lookup.is_waited_for("[::1]"));
        assert!(lookup.clone().call(name("known")).await.is_ok());
        assert!(!lookup.is_waited_for("known"));
        while !lookup.lock_queries().is_empty() {
            tokio::task::yield_now().await;
        }
        lookup.0.fresh.invalidate(&name("known")).await;
        let found =
            tokio::time::timeout(Duration::from_secs(5), lookup.clone().call(name("known"))).await;
        assert!(found.expect("at once").is_ok());
        for host in 0..4 {
            lookup
                .0
                .slow_hosts
                .insert(name(&format!("slow{host}")), ())
                .await;
        }
        let slow = (0..4).map(|host| {
            tokio::time::timeout(
                Duration::from_millis(20),
                lookup.clone().call(name(&format!("slow{host}"))),
            )
        });
        assert!(
            join_all(slow)
                .await
                .into_iter()
                .all(|waited| waited.is_err())
        );
        assert_eq!(lookup.0.slow_permits.available_permits(), 0);
        assert_eq!(
            lookup.lock_queries().len(),
            1 + SOME / SLOW_SHARE,
            "the others have not been asked"
        );
        drop(release);
    }

    /// What the log says, in lines.
    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("a lock").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Failures of a name that was known are counted each, and logged once, as is their end. A name
    /// that was not known fails with the attempt.
    #[tokio::test]
    async fn a_known_name_that_fails_is_logged_once() {
        let output = Output::default();
        let to = output.clone();
        let log = tracing_subscriber::fmt()
            .with_writer(move || to.clone())
            .with_ansi(false)
            .finish();
        let _told = tracing::subscriber::set_default(log);
        let metrics = Arc::new(ConnectionMetrics::default());
        let lookup = DnsResolver::new(SOME, Arc::clone(&metrics));
        let took = Duration::from_millis(1);
        let found: DnsResult = Ok(addresses(&["127.0.0.1"]).into());
        let failed: DnsResult = Err(Arc::new(io::Error::other("no server answers")));
        let host = name("known");
        for answer in [&failed, &found, &failed, &failed, &found, &found, &failed] {
            lookup.0.keep(&host, answer, took).await;
        }
        assert_eq!(metrics.lookups_failed.get(), 4);
        let written = output.0.lock().expect("a lock").clone();
        let written = String::from_utf8(written).expect("text");
        let lines: Vec<&str> = written.lines().collect();
        let expected = [
            "its last addresses are used for up to 5 min host=known error=no server answers",
            "A name can be looked up again host=known",
            "its last addresses are used for up to 5 min host=known error=no server answers",
        ];
        assert_eq!(lines.len(), expected.len(), "{written}");
        for (line, words) in lines.iter().zip(expected) {
            assert!(line.contains(words), "{line}");
        }
        assert!(lookup.clone().call(host).await.is_ok(), "it is used");
    }

    /// The last answer is used while newer ones fail.
    #[tokio::test]
    async fn the_last_addresses_are_used_while_lookups_fail() {
        let metrics = Arc::new(ConnectionMetrics::default());
        let asked = AtomicUsize::new(0);
        let resolve = move |_: &str| match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(addresses(&["127.0.0.1"])),
            _ => Err(io::Error::other("no server answers")),
        };
        let lookup = DnsResolver::with_resolve_function(resolve, SOME, Arc::clone(&metrics));
        for _ in 0..3 {
            assert!(lookup.clone().call(name("known")).await.is_ok());
            lookup.0.fresh.invalidate(&name("known")).await;
            while !lookup.lock_queries().is_empty() {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(metrics.lookups_failed.get(), 2);
        assert!(lookup.0.failing_hosts.contains_key(&name("known")));
        assert!(lookup.clone().call(name("other")).await.is_err());
        assert!(!lookup.0.failing_hosts.contains_key(&name("other")));
    }
}

//! The fake API server: HTTPS, requests to verbs, verbs to the store. Faults are ordered here, too.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::journal::{Entry, Journal};
use super::resource::{Resource, Target};
use super::store::{Edit, Store};
use super::tokens::Tokens;
use crate::support::pki::Identity;

/// What a server holds.
pub(crate) struct Server {
    pub(crate) store: Arc<Store>,
    pub(crate) tokens: Tokens,
    pub(crate) journal: Journal,
    pub(crate) url: OnceLock<String>,
    pub(crate) epoch: watch::Sender<u64>,
    pub(crate) expiry: Mutex<Expiry>,
    orders: Mutex<Vec<Order>>,
    slow: Mutex<Option<Slow>>,
    given_up: AtomicUsize,
}

/// How a watch is told that its revision is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// As an API server does: 200, and an `ERROR` event.
    Event,
    /// As some proxies and aggregated servers do: by the status.
    Status,
}

/// What is answered late.
struct Slow {
    by: Duration,
    matches: Box<dyn Fn(&Parts) -> bool + Send + Sync>,
}

struct Order {
    times: usize,
    code: u16,
    matches: Box<dyn Fn(&Entry) -> bool + Send + Sync>,
}

/// A running fake; ended when it is dropped.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) server: Arc<Server>,
    _listener: JoinSet<()>,
}

impl Fake {
    /// Starts one with nothing in it.
    pub(crate) async fn start(identity: &Identity, admin: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Arc::new(Server {
            store: Arc::new(Store::new()),
            tokens: Tokens::new(admin),
            journal: Journal::default(),
            url: OnceLock::new(),
            epoch: watch::Sender::new(0),
            expiry: Mutex::new(Expiry::Event),
            orders: Mutex::default(),
            slow: Mutex::default(),
            given_up: AtomicUsize::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, identity.acceptor(), Arc::clone(&server)));
        Self {
            address,
            server,
            _listener: tasks,
        }
    }

    /// Answers the next requests that match with this status, instead of doing what they ask.
    pub(crate) fn refuse(
        &self,
        times: usize,
        code: u16,
        matches: impl Fn(&Entry) -> bool + Send + Sync + 'static,
    ) {
        self.server.orders.lock().expect("lock").push(Order {
            times,
            code,
            matches: Box::new(matches),
        });
    }

    /// Takes so long for each request that matches, as one with webhooks before it does.
    pub(crate) fn delay(
        &self,
        by: Duration,
        matches: impl Fn(&Parts) -> bool + Send + Sync + 'static,
    ) {
        *self.server.slow.lock().expect("lock") = Some(Slow {
            by,
            matches: Box::new(matches),
        });
    }

    /// How many requests nobody waited for any more.
    pub(crate) fn given_up(&self) -> usize {
        self.server.given_up.load(Ordering::SeqCst)
    }

    /// Ends all refusals that were ordered.
    pub(crate) fn relent(&self) {
        self.server.orders.lock().expect("lock").clear();
    }

    /// Forgets the history of changes.
    pub(crate) fn compact(&self, expiry: Expiry) {
        *self.server.expiry.lock().expect("lock") = expiry;
        self.server.store.compact();
    }

    /// Ends all watches, in good order.
    pub(crate) fn end_watches(&self) {
        self.server.epoch.send_modify(|epoch| *epoch += 1);
    }

    /// Puts objects in as they are, status included: for those too many to be created one by one.
    pub(crate) fn seed(&self, objects: impl IntoIterator<Item = Value>) {
        for object in objects {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let resource = Resource::of(&text(&object["kind"]));
            let (namespace, subresource) = (text(&object["metadata"]["namespace"]), String::new());
            let name = text(&object["metadata"]["name"]);
            let mut target = Target {
                resource,
                namespace,
                name,
                subresource,
            };
            let status = json!({"status": object["status"]});
            self.server
                .store
                .create(&target, object)
                .unwrap_or_else(|refusal| panic!("{}", refusal.status()));
            target.subresource = "status".to_owned();
            self.server
                .store
                .edit(&target, Edit::Merge(&status))
                .expect("it is there");
        }
    }

    /// The issuer of tokens.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.server.tokens
    }
}

/// A request whose answer is on its way.
struct Lingering<'s> {
    server: &'s Server,
    over: bool,
}

impl Drop for Lingering<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.server.given_up.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Server {
    /// Waits as it was told to for such a request.
    async fn linger(&self, parts: &Parts) {
        let delay = self
            .slow
            .lock()
            .expect("lock")
            .as_ref()
            .filter(|slow| (slow.matches)(parts))
            .map(|slow| slow.by);
        let Some(delay) = delay else { return };
        let mut lingering = Lingering {
            server: self,
            over: false,
        };
        tokio::time::sleep(delay).await;
        lingering.over = true;
    }

    /// The status that was ordered for such a request.
    pub(crate) fn ordered(&self, entry: &Entry) -> Option<u16> {
        let mut orders = self.orders.lock().expect("lock");
        let order = orders
            .iter_mut()
            .find(|order| order.times > 0 && (order.matches)(entry))?;
        order.times -= 1;
        Some(order.code)
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, server: Arc<Server>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, tls.clone(), Arc::clone(&server)));
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, server: Arc<Server>) {
    stream.set_nodelay(true).expect("a socket");
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| answer(request, Arc::clone(&server)));
    drop(
        Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

async fn answer(
    request: Request<Incoming>,
    server: Arc<Server>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(Response::new(Full::default().boxed()));
    };
    server.linger(&parts).await;
    Ok(super::api::answer(&server, &parts, &body.to_bytes()))
}

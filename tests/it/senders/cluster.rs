//! With an API server: its tokens, its keys, its EventTypes, by the rights of Knative's own installation and no more
//! (control-plane.md 1A, 1.14, 7, 8). Everything but the watching of objects is the product's.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use sealpost::auth::discovery::{ClusterDocuments, Fetcher};
use sealpost::auth::keys::{Keeper, Keys};
use sealpost::auth::token::TokenIssuer;
use sealpost::auth::{Gate, Tokens, kubernetes};
use sealpost::channel::memory::MemoryBackend;
use sealpost::channel::storages::Storages;
use sealpost::client::{ClientCache, Limits};
use sealpost::control::{self, Settings};
use sealpost::delivery::{Delivery, Options};
use sealpost::dispatcher::Dispatcher;
use sealpost::display::Display;
use sealpost::event_type;
use sealpost::ingress::Ingress;
use sealpost::ingress::entrance::{Entrance, HttpsWhenDisabled};
use sealpost::model::RoutingTable;
use sealpost::router::{Router, Serving};
use sealpost::server::body::{Budget, Intake};
use sealpost::server::{self, Limits as Connections};
use sealpost::telemetry::counters::Counters;
use sealpost::tls::{MinVersion, SystemRoots};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::cluster::{Cluster, objects};
use crate::support::eventually;
use crate::support::sender::{event, plain};
use crate::support::subscriber::{Reply, Subscriber};

const OF_FEED: &str = "messaging.knative.dev/inmemorychannel/t/feed";

/// A dispatcher inside the test, as the pod `imc-dispatcher` of a cluster.
struct Inside {
    url: String,
    counters: Arc<Counters>,
    _running: JoinSet<()>,
}

/// What the cluster's controllers have written, as it stands in the API.
fn table(manifests: &str) -> Arc<RoutingTable> {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("m.yaml");
    std::fs::write(&path, manifests).expect("written");
    let resolution = control::resolve(&control::read(&[path]), None, &Settings::default());
    assert!(resolution.problems.iter().all(|problem| !problem.is_error()), "{:?}", resolution.problems);
    resolution.table
}

impl Inside {
    async fn start(client: Client, manifests: &str) -> Self {
        let table = table(manifests);
        let counters = Arc::new(Counters::default());
        let clients = Arc::new(ClientCache::new(SystemRoots::load(), MinVersion::Tls12, Limits::default()));
        let cluster = Arc::new(kubernetes::Cluster::new(client.clone()));
        let documents = Arc::clone(&cluster) as Arc<dyn ClusterDocuments>;
        let keys = Arc::new(Keys::default());
        let fetcher = Arc::new(Fetcher::new(Arc::clone(&clients), Some(documents)));
        let keeper = Keeper::new(Arc::clone(&keys), fetcher, Arc::clone(&counters));
        let tokens = Tokens::new(cluster as Arc<dyn TokenIssuer>, Arc::clone(&counters));
        let creator = Arc::new(event_type::kubernetes::Cluster::new(client));
        let (event_types, maker) = event_type::maker(creator, Arc::clone(&counters));
        let mut running = JoinSet::new();
        let stop = CancellationToken::new();
        let (tables, receiver) = watch::channel(Arc::clone(&table));
        running.spawn(keeper.run(receiver, stop.clone()));
        running.spawn(maker.run(stop.clone()));

        let nothing = Serving { table: Arc::new(table.without_channels()), publishers: Vec::new() };
        let router = Router::new(nothing, 255, Arc::clone(&counters)).with_event_types(event_types.clone());
        let router = Arc::new(router);
        let options = Options {
            default_timeout: Duration::from_secs(10),
            jitter: 0.0,
            broker_filter_host: "broker-filter.test".into(),
        };
        let delivery = Delivery::new(clients, Arc::clone(&router), Display::default(), options, Arc::clone(&counters));
        let delivery = Arc::new(delivery.with_tokens(Arc::new(tokens)).with_event_types(event_types));
        let backend = Arc::new(Storages::new(MemoryBackend::new(1000, Arc::clone(&counters)), None));
        let mut dispatcher = Dispatcher::new(backend, Arc::clone(&router), delivery, 16);
        dispatcher.apply(&table);
        let (changes, receiver) = mpsc::channel(1);
        running.spawn(dispatcher.run(receiver, stop.clone()));

        let intake = Intake { max_bytes: 1 << 20, timeout: Duration::from_secs(10), budget: Budget::new(1 << 24) };
        let entrance = Entrance::new(intake, HttpsWhenDisabled::Refuse);
        let gate = Arc::new(Gate::new(Arc::clone(&keys), Arc::clone(&counters)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let handler = Arc::new(Ingress::new(router, entrance, gate));
        running.spawn(server::serve(listener, None, Connections::default(), handler, stop));
        running.spawn(async move {
            // Whoever holds these keeps the others running.
            let _kept = (tables, changes);
            std::future::pending::<()>().await;
        });
        if let Some(oidc) = table.oidc() {
            eventually("keys are known", || keys.are_known(oidc)).await;
        }
        Self { url, counters, _running: running }
    }

    async fn send(&self, id: &str, token: &str) -> u16 {
        let request = event(&plain(), format!("{}/t/feed", self.url), id);
        let request = request.header("authorization", format!("Bearer {token}"));
        request.send().await.expect("an answer").status().as_u16()
    }
}

/// Channel `t/feed` as imc-controller has left it, with this subscriber.
fn feed(subscriber: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-features, namespace: knative-eventing}}\n\
         data: {{authentication-oidc: enabled, eventtype-auto-create: enabled}}\n---\n\
         apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\n\
         metadata: {{name: feed, namespace: t, uid: feed-uid}}\nspec:\n  subscribers:\n  - uid: s-uid\n    name: s\n    \
         subscriberUri: '{subscriber}'\n    subscriberAudience: of-subscriber\n    {more}\n    \
         auth: {{serviceAccountName: s-oidc}}\nstatus:\n  address: {{name: http, url: 'http://feed-kn-channel.t.svc.cluster.local', audience: '{OF_FEED}'}}\n"
    )
}

async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.namespace("t").await;
    for account in ["t/s-oidc", "t/writer"] {
        cluster.create(&objects::object("ServiceAccount", account)).await;
    }
    cluster
}

/// The claims of a bearer token; its signature is for others.
fn claims(authorization: &str) -> Value {
    let token = authorization.strip_prefix("Bearer ").expect("a bearer token");
    jsonwebtoken::dangerous::insecure_decode::<Value>(token).expect("a token").claims
}

/// C23, 7.2, 7.3, 7.5, 8.1 to 8.3: from the API server's own token to the subscriber's, by the upstream ServiceAccount's
/// rights; the API is asked for nothing but what table 1A has.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_event_types_of_a_cluster() {
    let cluster = cluster().await;
    let subscriber = Subscriber::answering(|_| Reply::event("answer", "r")).await;
    let reply = Subscriber::ok().await;
    let more = format!("replyUri: '{}'", reply.url());
    let inside = Inside::start(cluster.client("imc-dispatcher").await, &feed(&subscriber.url(), &more)).await;
    let before = cluster.log().len();
    let writer = cluster.token("t/writer", Some(OF_FEED)).await;
    let stranger = cluster.token("t/writer", Some("of-something-else")).await;
    assert_eq!(inside.send("wrong", &stranger).await, 401);
    for number in 0..50 {
        assert_eq!(inside.send(&number.to_string(), &writer).await, 202, "sync: the subscriber has it");
    }
    let received = subscriber.received();
    assert_eq!(received.len(), 50);
    let of_first = claims(received[0].header("authorization").expect("a token"));
    assert_eq!(of_first["sub"], "system:serviceaccount:t:s-oidc");
    assert_eq!(of_first["aud"], json!(["of-subscriber"]), "7.2: for the subscriber and nobody else");
    assert!(received.iter().all(|request| request.header("authorization") != Some(&format!("Bearer {writer}"))));
    assert!(reply.received().iter().all(|request| request.header("authorization").is_none()), "AU-1");
    assert_eq!(inside.counters.token_requests.get(), 1, "7.3");

    eventually("both types are made", || inside.counters.event_types_created.get() == 2).await;
    let made = cluster.list("EventType", "t").await;
    let of_type = |ty: &str| {
        let has = |object: &&Value| object["spec"]["attributes"][0]["value"] == ty;
        made.iter().find(has).unwrap_or_else(|| panic!("no EventType of {ty}: {made:?}"))
    };
    let (sent, answered) = (of_type("test.event"), of_type("answer"));
    assert_eq!(sent["metadata"]["ownerReferences"][0]["uid"], "feed-uid", "8.2");
    assert_eq!(sent["spec"]["reference"]["address"], "http");
    assert_eq!(answered["spec"]["reference"]["kind"], "Subscription", "8.3");
    assert_eq!(answered["metadata"]["ownerReferences"][0]["uid"], "s-uid");

    let asked: Vec<_> = cluster.log()[before..].iter().map(|entry| format!("{entry:?}")).collect();
    let mine: Vec<_> = asked.iter().filter(|entry| entry.contains("imc-dispatcher")).collect();
    assert!(!mine.is_empty(), "{asked:?}");
    for entry in mine {
        assert!(["s-oidc", "eventtypes"].iter().any(|known| entry.contains(known)), "1A knows nothing of {entry}");
    }
}

/// 7.2: a ServiceAccount that is not there has no token: nothing is sent, and the event is not lost for want of retries.
#[tokio::test(flavor = "multi_thread")]
async fn no_account_no_delivery() {
    let cluster = cluster().await;
    cluster.delete("ServiceAccount", "t/s-oidc").await;
    let subscriber = Subscriber::ok().await;
    let more = "delivery: {retry: 20, backoffPolicy: linear, backoffDelay: PT0.2S}";
    let inside = Inside::start(cluster.client("imc-dispatcher").await, &feed(&subscriber.url(), more)).await;
    let writer = cluster.token("t/writer", Some(OF_FEED)).await;
    let comes_back = async {
        eventually("it was tried", || inside.counters.token_failures.get() > 0).await;
        assert_eq!(subscriber.count(), 0);
        cluster.create(&objects::object("ServiceAccount", "t/s-oidc")).await;
    };
    let (status, ()) = tokio::join!(inside.send("1", &writer), comes_back);
    assert_eq!((status, subscriber.count()), (202, 1));
}

/// A subscriber that sends its callers elsewhere does not get their tokens there (gaps.md G-58).
#[tokio::test(flavor = "multi_thread")]
async fn tokens_stay_at_their_origin() {
    let cluster = cluster().await;
    let thief = Subscriber::ok().await;
    let elsewhere = thief.url();
    let subscriber = Subscriber::answering(move |_| Reply::status(307).header("location", elsewhere.clone())).await;
    let inside = Inside::start(cluster.client("imc-dispatcher").await, &feed(&subscriber.url(), "")).await;
    let writer = cluster.token("t/writer", Some(OF_FEED)).await;
    assert_eq!(inside.send("1", &writer).await, 500);
    assert_eq!((subscriber.count(), thief.count()), (1, 0));
}

/// Keys that the API server has rotated are found by the first token of the new one.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated() {
    let cluster = cluster().await;
    let Some(fake) = cluster.only_fake("its keys are not rotated by a request") else { return };
    let subscriber = Subscriber::ok().await;
    let inside = Inside::start(cluster.client("imc-dispatcher").await, &feed(&subscriber.url(), "")).await;
    for algorithm in [jsonwebtoken::Algorithm::RS256, jsonwebtoken::Algorithm::ES256] {
        fake.tokens().rotate_keys(algorithm);
        let token = cluster.token("t/writer", Some(OF_FEED)).await;
        let started = std::time::Instant::now();
        loop {
            match inside.send("1", &token).await {
                202 => break,
                // Until keys may be fetched again.
                401 => assert!(started.elapsed() < Duration::from_secs(15), "the new key is not found"),
                other => panic!("{other}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// 5.11: the role `ingress` may have tokens of one ServiceAccount only, and asks for no other.
#[tokio::test(flavor = "multi_thread")]
async fn rights_are_those_of_the_role() {
    let cluster = cluster().await;
    let counters = Arc::new(Counters::default());
    let account = |namespace: &str, name: &str| {
        Arc::new(sealpost::model::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() })
    };
    let ingress = account("knative-eventing", "mt-broker-ingress-oidc");
    let subscription = account("t", "s-oidc");
    for (role, of_ingress, of_subscription) in
        [("mt-broker-ingress", true, false), ("mt-broker-filter", true, true), ("imc-dispatcher", true, true)]
    {
        let issuer = Arc::new(kubernetes::Cluster::new(cluster.client(role).await));
        let tokens = Tokens::new(issuer, Arc::clone(&counters));
        for (account, granted) in [(&ingress, of_ingress), (&subscription, of_subscription)] {
            let header = tokens.header(account, "x").await;
            assert_eq!(header.is_ok(), granted, "{role} {account}: {header:?}");
            if let Err(error) = header {
                assert!(error.to_string().contains("the API server answered 403"), "{error}");
            }
        }
    }
}

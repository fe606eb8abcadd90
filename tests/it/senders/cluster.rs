//! With an API server: its tokens, its keys, its EventTypes, by the rights of Knative's own
//! installation and no more (contract 1A, 1.14, 7.1 to 7.10, 8.1 to 8.3). Everything but the
//! watching of objects is the product's.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use sealpost::auth::discovery::{ApiServerDocuments, IssuerFetcher};
use sealpost::auth::issuer_keys::{IssuerKeyRefresher, IssuerKeyStore};
use sealpost::auth::token_cache::TokenIssuer;
use sealpost::auth::{SenderAuthorizer, TokenCache, TokenTransport, kubernetes};
use sealpost::channel::backends::ChannelBackends;
use sealpost::channel::memory::MemoryBackend;
use sealpost::client::{ClientCache, ClientLimits};
use sealpost::control::{self, ControlSettings, ControlTask, ObjectSource};
use sealpost::delivery::{DeliveryOptions, EventDeliverer};
use sealpost::dispatcher::Dispatcher;
use sealpost::display::EventDisplay;
use sealpost::event::AttributeLimit;
use sealpost::event_type::{self, EventTypeObserver};
use sealpost::ingress::Ingress;
use sealpost::ingress::request_reader::{HttpsWhenDisabled, RequestReader};
use sealpost::model::RoutingTable;
use sealpost::relay::{BrokerFilter, BrokerIngress, RelayDependencies};
use sealpost::router::{Router, ServedTable};
use sealpost::server::body::{BodyReader, MemoryBudget};
use sealpost::server::{self, ListenerLimits as Connections, RequestHandler};
use sealpost::telemetry::counters::ProcessCounters;
use sealpost::telemetry::tracer::Tracer;
use sealpost::tls::{MinTlsVersion, SystemRoots};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::cluster::{Cluster, ISSUER, objects};
use crate::support::eventually;
use crate::support::sender::{event, plain};
use crate::support::subscriber::{Reply, Subscriber};

const OF_FEED: &str = "messaging.knative.dev/inmemorychannel/t/feed";

/// A dispatcher inside the test, as the pod `imc-dispatcher` of a cluster.
struct Inside {
    url: String,
    counters: Arc<ProcessCounters>,
    _running: JoinSet<()>,
}

/// What the cluster's controllers have written, as it stands in the API.
fn table(manifests: &str, task: ControlTask) -> Arc<RoutingTable> {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("m.yaml");
    std::fs::write(&path, manifests).expect("written");
    let resolution = control::resolve(
        &control::read_manifests(&[path]),
        None,
        &ControlSettings {
            task,
            ..ControlSettings::default()
        },
    );
    assert!(
        resolution
            .problems
            .iter()
            .all(|problem| !problem.is_error()),
        "{:?}",
        resolution.problems
    );
    resolution.table
}

/// What every role is built of.
struct Parts {
    table: Arc<RoutingTable>,
    counters: Arc<ProcessCounters>,
    clients: Arc<ClientCache>,
    keys: Arc<IssuerKeyStore>,
    gate: Arc<SenderAuthorizer>,
    tokens: Arc<TokenCache>,
    event_types: EventTypeObserver,
    router: Arc<Router>,
    running: JoinSet<()>,
}

impl Parts {
    fn new(client: Client, table: Arc<RoutingTable>) -> Self {
        let counters = Arc::new(ProcessCounters::default());
        let clients = Arc::new(ClientCache::new(
            SystemRoots::load(),
            MinTlsVersion::Tls12,
            ClientLimits::default(),
        ));
        let cluster = Arc::new(kubernetes::ApiServerIssuer::new(client.clone()));
        let documents = Arc::clone(&cluster) as Arc<dyn ApiServerDocuments>;
        let keys = Arc::new(IssuerKeyStore::default());
        let fetcher = Arc::new(IssuerFetcher::new(Arc::clone(&clients), Some(documents)));
        let keeper = IssuerKeyRefresher::new(Arc::clone(&keys), fetcher, Arc::clone(&counters));
        let tokens = Arc::new(
            TokenCache::new(cluster as Arc<dyn TokenIssuer>, Arc::clone(&counters))
                .with_transport(TokenTransport::Any),
        );
        let creator = Arc::new(event_type::kubernetes::ClusterEventTypes::new(client));
        let (event_types, maker) = event_type::observer_and_worker(creator, Arc::clone(&counters));
        let mut running = JoinSet::new();
        let (tables, receiver) = watch::channel(Arc::clone(&table));
        running.spawn(async move {
            keeper.run(receiver, CancellationToken::new()).await;
            drop(tables);
        });
        running.spawn(maker.run(CancellationToken::new()));
        let serving = ServedTable::without_channels(Arc::clone(&table));
        let router =
            Router::new(serving, 255, Arc::clone(&counters)).with_event_types(event_types.clone());
        let (router, gate) = (
            Arc::new(router),
            Arc::new(SenderAuthorizer::new(
                Arc::clone(&keys),
                Arc::clone(&counters),
            )),
        );
        Self {
            table,
            counters,
            clients,
            keys,
            gate,
            tokens,
            event_types,
            router,
            running,
        }
    }

    /// Serves by this handler, once tokens can be verified.
    async fn serve(mut self, handler: impl RequestHandler) -> Inside {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let stop = CancellationToken::new();
        self.running.spawn(server::serve(
            listener,
            None,
            Connections::default(),
            Arc::new(handler),
            stop,
        ));
        let oidc = self.table.oidc().expect("tokens are asked for");
        eventually("keys are known", || self.keys.are_known(oidc)).await;
        Inside {
            url,
            counters: self.counters,
            _running: self.running,
        }
    }

    fn relay(&self) -> RelayDependencies<ClientCache> {
        RelayDependencies {
            transport: Arc::clone(&self.clients),
            router: Arc::clone(&self.router),
            request_reader: entrance(),
            timeout: Duration::from_secs(10),
            sender_authorizer: Arc::clone(&self.gate),
            tokens: Arc::clone(&self.tokens),
            event_types: self.event_types.clone(),
            counters: Arc::clone(&self.counters),
            tracer: Tracer::default(),
        }
    }
}

fn entrance() -> RequestReader {
    let intake = BodyReader {
        max_bytes: 1 << 20,
        timeout: Duration::from_secs(10),
        budget: MemoryBudget::new(1 << 24),
    };
    RequestReader::new(intake, AttributeLimit::default(), HttpsWhenDisabled::Refuse)
}

impl Inside {
    /// In the role `channel`.
    async fn start(client: Client, manifests: &str) -> Self {
        let mut parts = Parts::new(client, table(manifests, ControlTask::ServeManifests));
        let options = DeliveryOptions {
            default_timeout: Duration::from_secs(10),
            jitter: 0.0,
            attributes: AttributeLimit::default(),
            broker_filter_host: "broker-filter.test".into(),
        };
        let (clients, counters) = (Arc::clone(&parts.clients), Arc::clone(&parts.counters));
        let delivery = EventDeliverer::new(
            clients,
            Arc::clone(&parts.router),
            EventDisplay::default(),
            options,
            Arc::clone(&counters),
        );
        let delivery = delivery
            .with_tokens(Arc::clone(&parts.tokens))
            .with_event_types(parts.event_types.clone());
        let backend = Arc::new(ChannelBackends::new(MemoryBackend::new(1000, counters)));
        let mut dispatcher =
            Dispatcher::new(backend, Arc::clone(&parts.router), Arc::new(delivery), 16);
        dispatcher.apply(&parts.table);
        let (changes, receiver) = mpsc::channel(1);
        parts.running.spawn(async move {
            dispatcher.run(receiver, CancellationToken::new()).await;
            drop(changes);
        });
        let ingress = Ingress::new(
            Arc::clone(&parts.router),
            entrance(),
            Arc::clone(&parts.gate),
        );
        parts.serve(ingress).await
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
         auth: {{serviceAccountName: s-oidc-messaging.knative.dev-subscription}}\nstatus:\n  address: {{name: http, url: 'http://feed-kn-channel.t.svc.cluster.local', audience: '{OF_FEED}'}}\n"
    )
}

async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.namespace("t").await;
    for account in [
        "t/s-oidc-messaging.knative.dev-subscription",
        "t/t-oidc-eventing.knative.dev-trigger",
        "t/writer",
    ] {
        cluster
            .create(&objects::object("ServiceAccount", account))
            .await;
    }
    cluster
}

/// The claims of a bearer token; its signature is for others.
fn claims(authorization: &str) -> Value {
    let token = authorization
        .strip_prefix("Bearer ")
        .expect("a bearer token");
    jsonwebtoken::dangerous::insecure_decode::<Value>(token)
        .expect("a token")
        .claims
}

/// Contract C23, 7.2, 7.3, 7.5, 8.1 to 8.3: from the API server's own token to the subscriber's, by
/// the upstream ServiceAccount's rights; the API is asked for nothing but what contract 1A has.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_event_types_of_a_cluster() {
    let cluster = cluster().await;
    let subscriber = Subscriber::answering(|_| Reply::event("answer", "r")).await;
    let reply = Subscriber::ok().await;
    let more = format!("replyUri: '{}'", reply.url());
    let inside = Inside::start(
        cluster.client("imc-dispatcher").await,
        &feed(&subscriber.url(), &more),
    )
    .await;
    let before = cluster.log().len();
    let writer = cluster.token("t/writer", Some(OF_FEED)).await;
    let stranger = cluster.token("t/writer", Some("of-something-else")).await;
    assert_eq!(inside.send("wrong", &stranger).await, 401);
    for number in 0..50 {
        assert_eq!(
            inside.send(&number.to_string(), &writer).await,
            202,
            "sync: the subscriber has it"
        );
    }
    let received = subscriber.received();
    assert_eq!(received.len(), 50);
    let of_first = claims(received[0].header("authorization").expect("a token"));
    assert_eq!(
        of_first["sub"],
        "system:serviceaccount:t:s-oidc-messaging.knative.dev-subscription"
    );
    assert_eq!(
        of_first["aud"],
        json!(["of-subscriber"]),
        "7.2: for the subscriber and nobody else"
    );
    assert!(
        received
            .iter()
            .all(|request| request.header("authorization") != Some(&format!("Bearer {writer}")))
    );
    assert!(
        reply
            .received()
            .iter()
            .all(|request| request.header("authorization").is_none()),
        "contract AU-1"
    );
    assert_eq!(inside.counters.token_requests.get(), 1, "7.3");

    eventually("both types are made", || {
        inside.counters.event_types_created.get() == 2
    })
    .await;
    let made = cluster.list("EventType", "t").await;
    let of_type = |ty: &str| {
        let has = |object: &&Value| object["spec"]["attributes"][0]["value"] == ty;
        made.iter()
            .find(has)
            .unwrap_or_else(|| panic!("no EventType of {ty}: {made:?}"))
    };
    let (sent, answered) = (of_type("test.event"), of_type("answer"));
    assert_eq!(
        sent["metadata"]["ownerReferences"][0]["uid"], "feed-uid",
        "8.2"
    );
    assert_eq!(sent["spec"]["reference"]["address"], "http");
    assert_eq!(answered["spec"]["reference"]["kind"], "Subscription", "8.3");
    assert_eq!(answered["metadata"]["ownerReferences"][0]["uid"], "s-uid");

    let asked: Vec<_> = cluster.log()[before..]
        .iter()
        .map(|entry| format!("{entry:?}"))
        .collect();
    let mine: Vec<_> = asked
        .iter()
        .filter(|entry| entry.contains("imc-dispatcher"))
        .collect();
    assert!(!mine.is_empty(), "{asked:?}");
    for entry in mine {
        assert!(
            ["s-oidc-messaging.knative.dev-subscription", "eventtypes"]
                .iter()
                .any(|known| entry.contains(known)),
            "1A knows nothing of {entry}"
        );
    }
}

/// Contract 7.2: a ServiceAccount that is not there has no token: nothing is sent, and the event is
/// not lost for want of retries.
#[tokio::test(flavor = "multi_thread")]
async fn no_account_no_delivery() {
    let cluster = cluster().await;
    cluster
        .delete(
            "ServiceAccount",
            "t/s-oidc-messaging.knative.dev-subscription",
        )
        .await;
    let subscriber = Subscriber::ok().await;
    let more = "delivery: {retry: 20, backoffPolicy: linear, backoffDelay: PT0.2S}";
    let inside = Inside::start(
        cluster.client("imc-dispatcher").await,
        &feed(&subscriber.url(), more),
    )
    .await;
    let writer = cluster.token("t/writer", Some(OF_FEED)).await;
    let comes_back = async {
        eventually("it was tried", || inside.counters.token_failures.get() > 0).await;
        assert_eq!(subscriber.count(), 0);
        cluster
            .create(&objects::object(
                "ServiceAccount",
                "t/s-oidc-messaging.knative.dev-subscription",
            ))
            .await;
    };
    let (status, ()) = tokio::join!(inside.send("1", &writer), comes_back);
    assert_eq!((status, subscriber.count()), (202, 1));
}

/// A subscriber that sends its callers elsewhere does not get their tokens there (contract G-58).
#[tokio::test(flavor = "multi_thread")]
async fn tokens_stay_at_their_origin() {
    let cluster = cluster().await;
    let thief = Subscriber::ok().await;
    let elsewhere = thief.url();
    let subscriber =
        Subscriber::answering(move |_| Reply::status(307).header("location", elsewhere.clone()))
            .await;
    let inside = Inside::start(
        cluster.client("imc-dispatcher").await,
        &feed(&subscriber.url(), ""),
    )
    .await;
    let writer = cluster.token("t/writer", Some(OF_FEED)).await;
    assert_eq!(inside.send("1", &writer).await, 500);
    assert_eq!((subscriber.count(), thief.count()), (1, 0));
}

/// Keys that the API server has rotated are found by the first token of the new one.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated() {
    let cluster = cluster().await;
    let Some(fake) = cluster.only_fake("its keys are not rotated by a request") else {
        return;
    };
    let subscriber = Subscriber::ok().await;
    let inside = Inside::start(
        cluster.client("imc-dispatcher").await,
        &feed(&subscriber.url(), ""),
    )
    .await;
    for algorithm in [
        jsonwebtoken::Algorithm::RS256,
        jsonwebtoken::Algorithm::ES256,
    ] {
        fake.tokens().rotate_keys(algorithm);
        let token = cluster.token("t/writer", Some(OF_FEED)).await;
        let started = std::time::Instant::now();
        loop {
            match inside.send("1", &token).await {
                202 => break,
                // Until keys may be fetched again.
                401 => assert!(
                    started.elapsed() < Duration::from_secs(15),
                    "the new key is not found"
                ),
                other => panic!("{other}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Contract 5.11: the role `ingress` may have tokens of one ServiceAccount only, and asks for no
/// other.
#[tokio::test(flavor = "multi_thread")]
async fn rights_are_those_of_the_role() {
    let cluster = cluster().await;
    let counters = Arc::new(ProcessCounters::default());
    let account = |namespace: &str, name: &str| {
        Arc::new(sealpost::model::ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    };
    let ingress = account("knative-eventing", "mt-broker-ingress-oidc");
    let subscription = account("t", "s-oidc-messaging.knative.dev-subscription");
    for (role, of_ingress, of_subscription) in [
        ("mt-broker-ingress", true, false),
        ("mt-broker-filter", true, true),
        ("imc-dispatcher", true, true),
    ] {
        let issuer = Arc::new(kubernetes::ApiServerIssuer::new(cluster.client(role).await));
        let tokens = TokenCache::new(issuer, Arc::clone(&counters));
        for (account, granted) in [(&ingress, of_ingress), (&subscription, of_subscription)] {
            let header = tokens.authorization_field(account, "x").await;
            assert_eq!(header.is_ok(), granted, "{role} {account}: {header:?}");
            if let Err(error) = header {
                assert!(
                    error.to_string().contains("the API server answered 403"),
                    "{error}"
                );
            }
        }
    }
}

/// Whoever may edit a channel chooses audiences: of the API server's, nobody gets a token, and it
/// is not asked for one.
#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_for_the_api_server() {
    let cluster = cluster().await;
    let directory = tempfile::TempDir::new().expect("a directory");
    cluster
        .write_token(directory.path(), "imc-dispatcher")
        .await;
    let file = directory.path().join("token");
    let issuer = kubernetes::ApiServerIssuer::new(cluster.client("imc-dispatcher").await)
        .with_token_file(Some(file.clone()));
    let tokens = TokenCache::new(Arc::new(issuer), Arc::default());
    let (namespace, name) = (
        "t".to_owned(),
        "s-oidc-messaging.knative.dev-subscription".to_owned(),
    );
    let account = Arc::new(sealpost::model::ServiceAccount { namespace, name });
    let asked = || {
        cluster
            .log()
            .iter()
            .filter(|entry| format!("{entry:?}").contains("s-oidc-"))
            .count()
    };
    let before = asked();
    for audience in [
        ISSUER,
        "https://kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "Kubernetes",
        "",
    ] {
        let error = tokens
            .authorization_field(&account, audience)
            .await
            .expect_err(audience);
        assert!(
            error
                .to_string()
                .contains("this audience is the API server's"),
            "{error}"
        );
    }
    assert_eq!(asked(), before);
    tokens
        .authorization_field(&account, "of-subscriber")
        .await
        .expect("a token");
    assert!(asked() > before, "the count is of these requests");
    std::fs::remove_file(file).expect("removed");
    let error = tokens
        .authorization_field(&account, "of-another")
        .await
        .expect_err("it is not known whose audience that is");
    assert!(
        error
            .to_string()
            .contains("which tells the API server's audiences"),
        "{error}"
    );
}

const FEATURES: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config-features, namespace: knative-eventing}\ndata: {authentication-oidc: enabled, eventtype-auto-create: enabled}\n---\n";

/// Sends an event with a token; its status.
async fn ask(url: &str, token: &str) -> u16 {
    let request = event(&plain(), url, "1").header("ce-knativebrokerttl", "7");
    let request = request.header("authorization", format!("Bearer {token}"));
    request.send().await.expect("an answer").status().as_u16()
}

/// Contract 5.11, AU-1, BI-11: the role `ingress` hands on as itself, whoever sent.
#[tokio::test(flavor = "multi_thread")]
async fn the_role_ingress_proves_who_it_is() {
    let cluster = cluster().await;
    let channel = Subscriber::replying(&[202]).await;
    let broker = format!(
        "{FEATURES}apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: b, namespace: t, uid: b-uid}}\n\
         status:\n  address: {{name: http, url: 'http://b', audience: of-b}}\n  \
         annotations: {{knative.dev/channelAddress: '{}', knative.dev/channelAudience: of-channel}}\n",
        channel.url()
    );
    let parts = Parts::new(
        cluster.client("mt-broker-ingress").await,
        table(&broker, ControlTask::RelayBrokers(ObjectSource::Written)),
    );
    let ingress = BrokerIngress::new(parts.relay(), 255);
    let inside = parts.serve(ingress).await;
    let writer = cluster.token("t/writer", Some("of-b")).await;
    assert_eq!(ask(&format!("{}/t/b", inside.url), &writer).await, 202);
    let shown = claims(
        channel.received()[0]
            .header("authorization")
            .expect("a token"),
    );
    assert_eq!(
        shown["sub"],
        "system:serviceaccount:knative-eventing:mt-broker-ingress-oidc"
    );
    assert_eq!(shown["aud"], json!(["of-channel"]));
    eventually("its type is made", || {
        inside.counters.event_types_created.get() == 1
    })
    .await;
    let made = cluster.list("EventType", "t").await.remove(0);
    assert_eq!(made["spec"]["reference"]["kind"], "Broker");
}

/// Contract 5.12, AU-1, AU-13, G-51: the role `filter` hands on as the Trigger, on every way, and
/// never the channel's token.
#[tokio::test(flavor = "multi_thread")]
async fn the_role_filter_proves_who_it_is() {
    let cluster = cluster().await;
    let subscriber = Subscriber::answering(|_| Reply::event("answer", "r")).await;
    let (broker, sink) = (Subscriber::replying(&[202]).await, Subscriber::ok().await);
    let manifests = format!(
        "{FEATURES}apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: b, namespace: t}}\n\
         status: {{address: {{url: '{}', audience: of-b}}}}\n---\n\
         apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t, namespace: t, uid: u}}\nspec: {{broker: b}}\n\
         status:\n  subscriberUri: '{}'\n  subscriberAudience: of-subscriber\n  deadLetterSinkUri: '{}'\n  \
         auth: {{serviceAccountName: t-oidc-eventing.knative.dev-trigger}}\n---\n\
         apiVersion: messaging.knative.dev/v1\nkind: Subscription\n\
         metadata: {{name: b-t-u, namespace: t, ownerReferences: [{{kind: Trigger, name: t, uid: u}}]}}\n\
         spec: {{channel: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}}, reply: {{uri: 'http://r'}}}}\n\
         status: {{auth: {{serviceAccountName: s-oidc-messaging.knative.dev-subscription}}}}\n",
        broker.url(),
        subscriber.url(),
        sink.url()
    );
    let parts = Parts::new(
        cluster.client("mt-broker-filter").await,
        table(
            &manifests,
            ControlTask::RelayTriggers(ObjectSource::Written),
        ),
    );
    let filter = BrokerFilter::new(parts.relay());
    let inside = parts.serve(filter).await;
    let channel = cluster
        .token(
            "t/s-oidc-messaging.knative.dev-subscription",
            Some("mt-broker-filter"),
        )
        .await;
    let stranger = cluster.token("t/writer", Some("mt-broker-filter")).await;
    let url = |purpose: &str| format!("{}/triggers/t/t/u{purpose}", inside.url);
    for (purpose, to, audience) in [
        ("", &subscriber, Some("of-subscriber")),
        ("/reply", &broker, Some("of-b")),
        ("/dls", &sink, None),
    ] {
        assert_eq!(ask(&url(purpose), &stranger).await, 403, "{purpose}");
        assert_eq!(to.count(), 0);
        assert!(
            (200..300).contains(&ask(&url(purpose), &channel).await),
            "{purpose}"
        );
        let received = to.received();
        let shown = received[0].header("authorization").map(claims);
        let proved = shown.map(|claims| (claims["sub"].clone(), claims["aud"].clone()));
        let expected = audience.map(|audience| {
            (
                json!("system:serviceaccount:t:t-oidc-eventing.knative.dev-trigger"),
                json!([audience]),
            )
        });
        assert_eq!(proved, expected, "{purpose}");
    }
    eventually("the type of the answer is made", || {
        inside.counters.event_types_created.get() == 1
    })
    .await;
    let made = cluster.list("EventType", "t").await.remove(0);
    assert_eq!(
        (
            &made["spec"]["reference"]["kind"],
            &made["spec"]["attributes"][0]["value"]
        ),
        (&json!("Trigger"), &json!("answer"))
    );
}

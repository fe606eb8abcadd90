//! Every query of dashboards and rules, asked of a real Prometheus that scrapes three real processes
//! to which everything happens that a dispatcher can meet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::prometheus::Prometheus;
use super::{dashboards, list, rules, string};
use crate::support::amqp_proxy::Proxy;
use crate::support::cluster::Cluster;
use crate::support::dispatcher::Dispatcher;
use crate::support::pki::Ca;
use crate::support::pod::Pod;
use crate::support::rabbitmq::{namespace, shared};
use crate::support::sender::{event, plain, trusting};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{block, eventually, features};

/// How long all queries may take until they have data.
const PATIENCE: Duration = Duration::from_secs(60);

/// An object of this kind in the namespace.
fn object(api: &str, kind: &str, namespace: &str, name: &str, rest: &str) -> String {
    format!(
        "---\napiVersion: {api}\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: {namespace}\n{rest}"
    )
}

/// A subscription, with what it delivers to.
fn subscription(namespace: &str, channel: (&str, &str), name: &str, spec: &str) -> String {
    let (kind, channel) = channel;
    let api = if kind == "InMemoryChannel" {
        "messaging.knative.dev/v1"
    } else {
        "messaging.knative.dev/v1alpha1"
    };
    let rest =
        format!("spec:\n  channel: {{apiVersion: {api}, kind: {kind}, name: {channel}}}\n{spec}");
    object(
        "messaging.knative.dev/v1",
        "Subscription",
        namespace,
        name,
        &rest,
    )
}

fn to(url: &str) -> String {
    format!("  subscriber: {{uri: '{url}'}}\n")
}

fn trusted(url: &str, ca: &Ca) -> String {
    format!(
        "  subscriber:\n    uri: {url}\n    CACerts: {}",
        block(&ca.pem, 6)
    )
}

/// Destinations, each with its way to answer.
struct Destinations {
    ok: Subscriber,
    failing: Subscriber,
    refusing: Subscriber,
    slow: Subscriber,
    secure: Subscriber,
    ca: Ca,
}

impl Destinations {
    async fn start() -> Self {
        let ca = Ca::new("corporate");
        Self {
            ok: Subscriber::ok().await,
            failing: Subscriber::replying(&[503]).await,
            refusing: Subscriber::replying(&[400]).await,
            slow: Subscriber::answering(|_| Reply::status(200).after(Duration::from_secs(1))).await,
            secure: Subscriber::secure(&ca.issue(&["localhost"]), |_| Reply::status(200)).await,
            ca,
        }
    }

    /// Channels in memory and a Broker: what works, fails, is lost, is slow, is not trusted, is
    /// filtered out.
    fn in_memory(&self, namespace: &str) -> String {
        let asynchronous = "  annotations: {messaging.knative.dev/async-handler: 'true'}\n";
        let channel = |name: &str| {
            object(
                "messaging.knative.dev/v1",
                "InMemoryChannel",
                namespace,
                name,
                asynchronous,
            )
        };
        let sub = |channel: &str, name: &str, spec: &str| {
            subscription(namespace, ("InMemoryChannel", channel), name, spec)
        };
        let retried = format!(
            "{}  delivery: {{retry: 2, backoffPolicy: linear, backoffDelay: PT0.05S, deadLetterSink: {{uri: '{}'}}}}\n",
            to(&self.failing.url()),
            self.ok.url()
        );
        let trigger = |name: &str, prefix: &str| {
            let rest = format!(
                "spec:\n  broker: b\n  filters: [{{prefix: {{type: {prefix}}}}}]\n{}",
                to(&self.ok.url())
            );
            object("eventing.knative.dev/v1", "Trigger", namespace, name, &rest)
        };
        let stranger = Ca::new("stranger");
        [
            features("permissive"),
            channel("memory"),
            sub("memory", "fine", &to(&self.ok.url())),
            sub("memory", "secure", &trusted(&self.secure.url(), &self.ca)),
            sub(
                "memory",
                "untrusted",
                &trusted(&self.secure.url(), &stranger),
            ),
            sub("memory", "retried", &retried),
            sub("memory", "lost", &to(&self.refusing.url())),
            channel("narrow"),
            sub("narrow", "slow", &to(&self.slow.url())),
            object(
                "eventing.knative.dev/v1",
                "Broker",
                namespace,
                "b",
                "spec: {}\n",
            ),
            trigger("wanted", "test."),
            trigger("unwanted", "other."),
            sub("nowhere", "mistaken", &to("http://a path/")),
        ]
        .concat()
    }

    /// A channel on disk.
    fn on_disk(&self, namespace: &str) -> String {
        let api = "messaging.knative.dev/v1alpha1";
        let to = to(&self.ok.url());
        object(api, "DiskChannel", namespace, "disk", "")
            + &subscription(namespace, ("DiskChannel", "disk"), "written", &to)
    }

    /// All of these.
    fn of_all_backends(&self, namespace: &str) -> String {
        self.in_memory(namespace) + &self.on_disk(namespace) + &self.on_rabbitmq(namespace)
    }

    /// A channel on RabbitMQ, whose events are delivered by one subscription and parked by the
    /// other.
    fn on_rabbitmq(&self, namespace: &str) -> String {
        let sub = |name: &str, to: &Subscriber| {
            subscription(
                namespace,
                ("RabbitmqChannel", "durable"),
                name,
                &self::to(&to.url()),
            )
        };
        let channel = object(
            "messaging.knative.dev/v1alpha1",
            "RabbitmqChannel",
            namespace,
            "durable",
            "",
        );
        channel + &sub("kept", &self.ok) + &sub("parking", &self.refusing)
    }
}

/// Sends events to these URLs, again and again, also some that have passed too many Brokers; and
/// bytes that are no handshake. Ends when it is dropped.
fn load(urls: Vec<String>, https: (std::net::SocketAddr, String, String)) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for url in urls {
        tasks.spawn(async move {
            let (client, mut ticks) = (plain(), tokio::time::interval(Duration::from_millis(100)));
            for id in 0_u64.. {
                ticks.tick().await;
                let request = event(&client, &url, &id.to_string());
                let request = if id % 4 == 3 {
                    request.header("ce-knativebrokerttl", "0")
                } else {
                    request
                };
                request.send().await.expect("an answer");
            }
        });
    }
    tasks.spawn(async move {
        let (address, url, ca) = https;
        let (client, mut ticks) = (
            trusting(&ca),
            tokio::time::interval(Duration::from_millis(500)),
        );
        loop {
            ticks.tick().await;
            event(&client, &url, "secure")
                .send()
                .await
                .expect("an answer");
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream
                .write_all(b"GET / HTTP/1.1\r\n\r\n")
                .await
                .expect("written");
        }
    });
    tasks
}

/// A query with a value in the place of each variable.
fn filled(query: &str, labels: &BTreeMap<String, String>) -> String {
    let known = [
        ("$__rate_interval", "10s"),
        ("$__range", "1m"),
        ("$__from", "0"),
        ("$cluster", ".*"),
        ("$namespace", ".*"),
        ("$job", ".*"),
        ("$pod", ".*"),
        ("$instance", ".*"),
    ];
    let filled = known.iter().fold(query.to_owned(), |query, (name, value)| {
        query.replace(name, value)
    });
    labels.iter().fold(filled, |query, (name, value)| {
        query.replace(&format!("${name}"), value)
    })
}

/// The objects that a dashboard can be about, as its variables name them.
async fn choices(prometheus: &Prometheus, file: &str) -> Vec<BTreeMap<String, String>> {
    let (object, metric) = match file {
        "channel.json" => ("channel", "sealpost_channel_events_total"),
        "subscription.json" => ("subscription", "sealpost_subscription_enqueued_total"),
        _ => {
            return vec![BTreeMap::from([(
                "object_namespace".to_owned(),
                ".*".to_owned(),
            )])];
        }
    };
    let label = |part: &str| format!("{object}_{part}");
    let query = format!(
        "count by ({}, {}, {}) ({metric})",
        label("kind"),
        label("namespace"),
        label("name")
    );
    let choice = |(labels, _): (Value, f64)| {
        let of = |part: &str| string(&labels[label(part)]).to_owned();
        let pairs = [
            ("kind", of("kind")),
            ("object_namespace", of("namespace")),
            (object, of("name")),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    };
    prometheus
        .query(&query)
        .await
        .into_iter()
        .map(choice)
        .collect()
}

/// Whether a query has data, for one of the choices.
async fn answered(
    prometheus: &Prometheus,
    query: &str,
    choices: &[BTreeMap<String, String>],
) -> bool {
    for choice in choices {
        if !prometheus.query(&filled(query, choice)).await.is_empty() {
            return true;
        }
    }
    false
}

/// Asks until every query has data: where it stands, and the query.
async fn all_have_data(prometheus: &Prometheus, file: &str, mut queries: Vec<(String, String)>) {
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    loop {
        let choices = choices(prometheus, file).await;
        let mut silent = Vec::new();
        for (title, query) in queries {
            if !answered(prometheus, &query, &choices).await {
                silent.push((title, query));
            }
        }
        if silent.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{file}: no data for {silent:#?}, of {choices:?}"
        );
        queries = silent;
        ticks.tick().await;
    }
}

/// The whole of it: dashboards, recorded series, what alerts compare, and alerts that come of what
/// is done here.
#[tokio::test(flavor = "multi_thread")]
async fn every_query_has_data() {
    let (namespace, destinations) = (namespace(), Destinations::start().await);
    let yaml = destinations.of_all_backends(&namespace);
    let dispatcher = Dispatcher::of(&yaml).env("SEALPOST_RABBITMQ_URI", &shared());
    let dispatcher = dispatcher
        .arg("--log-level")
        .arg("info,sealpost::channel=error,sealpost::channel::rabbitmq=info")
        .arg("--concurrency")
        .arg("2")
        .arg("--queue-capacity")
        .arg("20");
    // Of the 52 events that come in a second, some are over the limit of their namespace.
    let limits = dispatcher.path("limits.yaml").display().to_string();
    let dispatcher = dispatcher
        .file("limits.yaml", &format!("{namespace}: {{rate: 45/s}}"))
        .arg("--namespace-limits")
        .arg(limits)
        .start()
        .await;
    // Another process loses RabbitMQ, and does not get it back.
    let proxy = Proxy::start(&shared()).await;
    let away = Dispatcher::of(&destinations.on_rabbitmq(&namespace))
        .env("SEALPOST_RABBITMQ_URI", &proxy.uri);
    let away = away.start().await;
    eventually("RabbitMQ is connected", || {
        away.log().contains("Connected to RabbitMQ")
    })
    .await;
    drop(proxy);

    // A third one is in a cluster, whose Lease it holds.
    let cluster = Cluster::start().await;
    let pod = Pod::of(&cluster).await.start().await;
    let prometheus = Prometheus::scraping(&[dispatcher.admin, away.admin, pod.admin]).await;
    let path = |name: &str| format!("/{namespace}/{name}");
    let mut urls: Vec<String> = ["memory", "narrow", "b", "disk", "durable"]
        .iter()
        .map(|name| dispatcher.http_url(&path(name)))
        .collect();
    urls.push(away.http_url(&path("durable")));
    let secure = (
        dispatcher.https,
        dispatcher.https_url(&path("memory")),
        dispatcher.ca(),
    );
    let mut load = load(urls, secure);

    for (file, dashboard) in dashboards::all() {
        all_have_data(&prometheus, &file, dashboards::queries(&dashboard)).await;
    }
    let recorded = rules::records()
        .into_iter()
        .map(|(name, _)| (name.clone(), name))
        .collect();
    all_have_data(&prometheus, "records", recorded).await;
    let compared = rules::alerts().into_iter().flat_map(|(name, rule)| {
        rules::compared(&rule)
            .into_iter()
            .map(move |query| (name.clone(), query))
            .collect::<Vec<_>>()
    });
    all_have_data(&prometheus, "alerts", compared.collect()).await;
    rules_are_healthy(&prometheus).await;
    alerts_fire(&prometheus, &namespace).await;
    assert!(load.try_join_next().is_none(), "everything was sent");
}

async fn rules_are_healthy(prometheus: &Prometheus) {
    let data = prometheus.get("rules", &[]).await;
    let rules: Vec<&Value> = list(&data["groups"])
        .iter()
        .flat_map(|group| list(&group["rules"]))
        .collect();
    assert_eq!(rules.len(), rules::records().len() + rules::alerts().len());
    rules
        .iter()
        .for_each(|rule| assert_eq!(rule["health"], "ok", "{rule}"));
}

/// Alerts that come of what is done here, each with a subscription or channel that it names.
const AT_ONCE: [(&str, &str); 4] = [
    ("SealpostEventsLost", "lost"),
    ("SealpostEventsParked", "parking"),
    ("SealpostDeliveryBudgetBurnsFast", "retried"),
    ("SealpostAcceptanceBudgetBurnsFast", "narrow"),
];
/// Alerts that come of it, too, and wait for their time.
const LATER: [&str; 4] = [
    "SealpostSubscriberFailing",
    "SealpostHandshakesFailing",
    "SealpostRabbitmqDown",
    "SealpostConfigurationProblems",
];
/// Alerts for which there is no reason.
const NEVER: [&str; 10] = [
    "SealpostDown",
    "SealpostAbsent",
    "SealpostServerCertificateExpires",
    "SealpostSpansDropped",
    "SealpostDescriptorsShort",
    "SealpostConnectionsShort",
    "SealpostRestarting",
    "SealpostNoLeader",
    "SealpostTwoLeaders",
    "SealpostApiServerAway",
];

async fn alerts_fire(prometheus: &Prometheus, namespace: &str) {
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    loop {
        let data = prometheus.get("alerts", &[]).await;
        let alerts = list(&data["alerts"]);
        let of = |name: &'static str| {
            alerts
                .iter()
                .filter(move |alert| alert["labels"]["alertname"] == name)
        };
        let named = |alert: &Value, name: &str| {
            let annotations = &alert["annotations"];
            let said = [&annotations["summary"], &annotations["description"]].map(string);
            let named = format!(" {namespace}/{name}");
            alert["state"] == "firing" && said.iter().any(|text| text.contains(&named))
        };
        let silent = AT_ONCE
            .iter()
            .filter(|(alert, name)| !of(alert).any(|alert| named(alert, name)));
        let silent = silent
            .map(|(alert, _)| alert)
            .chain(LATER.iter().filter(|alert| of(alert).next().is_none()));
        let silent: Vec<&&str> = silent.collect();
        let wrong: Vec<&&str> = NEVER
            .iter()
            .filter(|alert| of(alert).next().is_some())
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}: {alerts:#?}");
        if silent.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{silent:?}: {alerts:#?}");
        ticks.tick().await;
    }
}

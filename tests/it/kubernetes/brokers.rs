//! A Broker of three pods, each with nothing but upstream's environment, image and rights (contract
//! 5.7 to 5.9, C26).

use std::collections::BTreeSet;

use reqwest::Client;
use serde_json::{Value, json};

use super::{cluster, until_answer};
use crate::support::cluster::broker::{AUDIENCE, Flags, Wanted, account};
use crate::support::cluster::objects::{object, tls_secret};
use crate::support::cluster::services::{Service, finding};
use crate::support::cluster::{Cluster, Entry, SYSTEM};
use crate::support::dispatcher::Dispatcher;
use crate::support::eventually;
use crate::support::pki::Ca;
use crate::support::pod::Pod;
use crate::support::sender::{client, event, plain, tls};
use crate::support::subscriber::{Reply, Subscriber};

/// Three pods behind their Services.
struct Pods {
    services: [Service; 3],
    ca: Ca,
    all: [Dispatcher; 3],
}

impl Pods {
    async fn start(cluster: &Cluster) -> Self {
        let ca = Ca::new("eventing");
        let services = [
            Service::new("imc-dispatcher").await,
            Service::new("broker-ingress").await,
            Service::new("broker-filter").await,
        ];
        let secrets = [
            "imc-dispatcher-server-tls",
            "mt-broker-ingress-server-tls",
            "mt-broker-filter-server-tls",
        ];
        for (secret, service) in secrets.iter().zip(&services) {
            cluster
                .create(&tls_secret(secret, &ca.issue(&[service.host()]), &ca.pem))
                .await;
        }
        let found = |pod: Pod| {
            finding(
                pod,
                [&services[0], &services[1], &services[2]],
                &["b-kne-trigger"],
            )
        };
        let all = [
            found(Pod::of(cluster).await).start().await,
            found(Pod::ingress(cluster).await).start().await,
            found(Pod::filter(cluster).await).start().await,
        ];
        for (service, pod) in services.iter().zip(&all) {
            service.lead_to(pod);
        }
        Self { services, ca, all }
    }

    /// A client and the URL of the Broker, by which it takes events in this mode.
    fn sender(&self, mode: &str) -> (Client, String) {
        let [_, ingress, _] = &self.services;
        if mode != "strict" {
            return (plain(), self.all[1].http_url("/t/b"));
        }
        let secure = client(tls(&self.ca.pem, rustls::ALL_VERSIONS, &[b"h2"]))
            .resolve(ingress.host(), ingress.https());
        let url = format!("https://{}:{}/t/b", ingress.host(), ingress.https().port());
        (secure.build().expect("a client"), url)
    }
}

/// Who a token names, and for whom it is.
fn claims(authorization: Option<&str>) -> (String, Value) {
    let token = authorization
        .and_then(|header| header.strip_prefix("Bearer "))
        .expect("a bearer token");
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token)
        .expect("a token")
        .claims;
    (
        claims["sub"].as_str().expect("a subject").to_owned(),
        claims["aud"].clone(),
    )
}

/// Who is sent to: the subscriber of the Trigger `one`, which answers with an event, and that of
/// `two`, which gets those.
struct Sinks {
    first: Subscriber,
    second: Subscriber,
}

impl Sinks {
    async fn start() -> Self {
        let first =
            Subscriber::answering(|request| Reply::event("second", &format!("r-{}", request.id())))
                .await;
        Self {
            first,
            second: Subscriber::ok().await,
        }
    }

    fn triggers(&self) -> [Wanted; 2] {
        [
            Wanted {
                name: "one",
                ty: "test.event",
                subscriber: self.first.url(),
                audience: Some("of-first"),
            },
            Wanted {
                name: "two",
                ty: "second",
                subscriber: self.second.url(),
                audience: None,
            },
        ]
    }
}

/// Contract C23, C25, C26, 5.7 to 5.9, 7.2, 7.9, AU-1, AU-13: events reach the Trigger that they
/// are for, its reply comes back to the Broker and reaches the other one; in each mode, without
/// tokens and with them, each switched live. What the API server is asked by the two roles is what
/// contract 5.11, 5.12 have, and no right is missing.
#[tokio::test(flavor = "multi_thread")]
async fn three_pods_make_a_broker_in_every_mode() {
    let cluster = cluster().await;
    cluster.create(&object("ServiceAccount", "t/writer")).await;
    let sinks = Sinks::start().await;
    let pods = Pods::start(&cluster).await;
    let token = cluster.token("t/writer", Some(AUDIENCE)).await;
    for oidc in [false, true] {
        for mode in ["disabled", "permissive", "strict"] {
            let flags = Flags {
                mode,
                oidc,
                ca: &pods.ca.pem,
            };
            cluster.reconcile_broker(flags, &sinks.triggers()).await;
            round(&pods, &sinks, flags, &token).await;
        }
    }
    for (name, kinds) in [
        ("mt-broker-ingress", &["brokers", "eventpolicies"][..]),
        (
            "mt-broker-filter",
            &["brokers", "triggers", "subscriptions"],
        ),
    ] {
        asked_no_more(&cluster, name, kinds);
    }
}

/// One event, and the reply to it.
async fn round(pods: &Pods, sinks: &Sinks, flags: Flags<'_>, token: &str) {
    let (client, url) = pods.sender(flags.mode);
    let send = async |id: &str| {
        let request = event(&client, &url, id);
        let request = if flags.oidc {
            request.bearer_auth(token)
        } else {
            request
        };
        request.send().await.expect("an answer").status().as_u16()
    };
    // Until all three have seen the last of the changes.
    until_answer(202, async || send("settling").await).await;
    let id = format!("{}-{}", flags.mode, flags.oidc);
    assert_eq!(send(&id).await, 202, "{id}: after the whole chain");
    let of = |sink: &Subscriber, id: &str| {
        sink.received()
            .into_iter()
            .filter(|got| got.id() == id)
            .collect::<Vec<_>>()
    };
    eventually("the reply has come round", || {
        of(&sinks.second, &format!("r-{id}")).len() == 1
    })
    .await;
    let (got, reply) = (of(&sinks.first, &id), of(&sinks.second, &format!("r-{id}")));
    assert_eq!((got.len(), reply.len()), (1, 1), "{id}");
    assert_eq!(
        reply[0].header("ce-knativebrokerttl"),
        None,
        "contract BF-9"
    );
    assert_eq!(
        reply[0].header("authorization"),
        None,
        "contract AU-1: nobody asked for a token"
    );
    if !flags.oidc {
        assert_eq!(got[0].header("authorization"), None);
        return;
    }
    let subject = format!("system:serviceaccount:t:{}", account("one", "Trigger"));
    assert_eq!(
        claims(got[0].header("authorization")),
        (subject, json!(["of-first"])),
        "contract C25"
    );
    let nobody = event(&client, &url, "x").send().await.expect("an answer");
    assert_eq!(nobody.status(), 401, "contract C23");
}

/// What a pod has asked for: these objects, the configuration, tokens, keys; with success.
fn asked_no_more(cluster: &Cluster, name: &str, kinds: &[&str]) {
    let user = format!("system:serviceaccount:{SYSTEM}:{name}");
    let log: Vec<Entry> = cluster
        .log()
        .into_iter()
        .filter(|entry| entry.user == user)
        .collect();
    assert!(!log.is_empty());
    let refused = log.iter().find(|entry| entry.code >= 300);
    assert!(refused.is_none(), "{refused:?}");
    let asked = log.iter().map(|entry| {
        (
            entry.verb.as_str(),
            entry.resource.as_str(),
            entry.subresource.as_str(),
        )
    });
    let asked: BTreeSet<_> = asked.collect();
    let mut allowed = BTreeSet::new();
    for resource in kinds.iter().chain(&["configmaps", "secrets"]) {
        allowed.extend([("list", *resource, ""), ("watch", *resource, "")]);
    }
    let watched: BTreeSet<_> = asked
        .iter()
        .filter(|(verb, ..)| ["list", "watch"].contains(verb))
        .copied()
        .collect();
    assert_eq!(watched, allowed, "{name}");
    let rest: BTreeSet<_> = asked
        .difference(&allowed)
        .map(|(verb, resource, sub)| format!("{verb} {resource} {sub}"))
        .collect();
    let known = [
        "create serviceaccounts token",
        "get /.well-known/openid-configuration ",
        "get /openid/v1/jwks ",
    ];
    assert!(
        rest.iter().all(|line| known.contains(&line.as_str())),
        "{name}: {rest:?}"
    );
    let namespaces = log
        .iter()
        .filter(|entry| ["configmaps", "secrets"].contains(&entry.resource.as_str()));
    assert!(
        namespaces
            .into_iter()
            .all(|entry| entry.namespace == SYSTEM),
        "{name}"
    );
    let of_ingress = log
        .iter()
        .filter(|entry| entry.subresource == "token" && name == "mt-broker-ingress");
    assert!(
        of_ingress
            .into_iter()
            .all(|entry| entry.name == "mt-broker-ingress-oidc"),
        "5.11"
    );
}

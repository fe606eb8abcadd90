//! A Broker of three pods, each with nothing but upstream's environment, image and rights (control-plane.md 5, C26).

use std::collections::BTreeSet;
use std::time::Instant;

use reqwest::Client;
use serde_json::Value;

use super::cluster;
use crate::support::cluster::broker::{AUDIENCE, Flags, Wanted, account};
use crate::support::cluster::objects::{object, tls_secret};
use crate::support::cluster::services::{Service, finding};
use crate::support::cluster::{Cluster, Entry, SYSTEM};
use crate::support::dispatcher::Dispatcher;
use crate::support::pki::Ca;
use crate::support::pod::Pod;
use crate::support::sender::{client, event, plain, tls};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{SOON, eventually};

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
        let secrets = ["imc-dispatcher-server-tls", "mt-broker-ingress-server-tls", "mt-broker-filter-server-tls"];
        for (secret, service) in secrets.iter().zip(&services) {
            cluster.create(&tls_secret(secret, &ca.issue(&[service.host()]), &ca.pem)).await;
        }
        let found = |pod: Pod| finding(pod, [&services[0], &services[1], &services[2]], &["b-kne-trigger"]);
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
        let secure = client(tls(&self.ca.pem, rustls::ALL_VERSIONS, &[b"h2"])).resolve(ingress.host(), ingress.https());
        let url = format!("https://{}:{}/t/b", ingress.host(), ingress.https().port());
        (secure.build().expect("a client"), url)
    }
}

/// Who a token names, and for whom it is.
fn claims(authorization: Option<&str>) -> (String, Value) {
    let token = authorization.and_then(|header| header.strip_prefix("Bearer ")).expect("a bearer token");
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token).expect("a token").claims;
    (claims["sub"].as_str().expect("a subject").to_owned(), claims["aud"].clone())
}

/// C23, C25, C26; 5.7 to 5.9, 7.2, 7.9, AU-1, AU-13: events reach the Trigger that they are for, its reply comes back to
/// the Broker and reaches the other one; in each mode, without tokens and with them, each switched live. What the API
/// server is asked by the two roles is what 5.11 and 5.12 have, and no right is missing.
#[tokio::test(flavor = "multi_thread")]
async fn three_pods_make_a_broker_in_every_mode() {
    let cluster = cluster().await;
    cluster.create(&object("ServiceAccount", "t/writer")).await;
    let first = Subscriber::answering(|request| Reply::event("second", &format!("r-{}", request.id()))).await;
    let second = Subscriber::ok().await;
    let wanted = [
        Wanted { name: "one", ty: "test.event", subscriber: first.url(), audience: Some("of-first") },
        Wanted { name: "two", ty: "second", subscriber: second.url(), audience: None },
    ];
    let pods = Pods::start(&cluster).await;
    let token = cluster.token("t/writer", Some(AUDIENCE)).await;
    for oidc in [false, true] {
        for mode in ["disabled", "permissive", "strict"] {
            let flags = Flags { mode, oidc, ca: &pods.ca.pem };
            cluster.reconcile_broker(flags, &wanted).await;
            let (client, url) = pods.sender(mode);
            let send = async |id: &str| {
                let request = event(&client, &url, id);
                let request = if oidc { request.bearer_auth(&token) } else { request };
                request.send().await.expect("an answer").status().as_u16()
            };
            let deadline = Instant::now() + SOON;
            // Until all three have seen the last of the changes.
            while send("settling").await != 202 {
                assert!(Instant::now() < deadline, "{mode} {oidc}: {:?}", pods.all.each_ref().map(Dispatcher::log));
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            let id = format!("{mode}-{oidc}");
            assert_eq!(send(&id).await, 202, "{id}: after the whole chain");
            let of = |sink: &Subscriber, id: &str| {
                sink.received().into_iter().filter(|got| got.id() == id).collect::<Vec<_>>()
            };
            eventually("the reply has come round", || of(&second, &format!("r-{id}")).len() == 1).await;
            let (got, reply) = (of(&first, &id), of(&second, &format!("r-{id}")));
            assert_eq!((got.len(), reply.len()), (1, 1), "{id}");
            assert_eq!(reply[0].header("ce-knativebrokerttl"), None, "BF-9");
            assert_eq!(reply[0].header("authorization"), None, "AU-1: nobody asked for a token");
            if oidc {
                let subject = format!("system:serviceaccount:t:{}", account("one", "Trigger"));
                assert_eq!(claims(got[0].header("authorization")), (subject, serde_json::json!(["of-first"])));
                let nobody = event(&client, &url, "x").send().await.expect("an answer");
                assert_eq!(nobody.status(), 401, "C23");
            } else {
                assert_eq!(got[0].header("authorization"), None);
            }
        }
    }
    for (name, broker, mine) in [
        ("mt-broker-ingress", "brokers", &["eventpolicies"][..]),
        ("mt-broker-filter", "brokers", &["triggers", "subscriptions"]),
    ] {
        asked_no_more(&cluster, name, &[mine, &[broker]].concat());
    }
}

/// What a pod has asked for: these objects, the configuration, tokens, keys; with success.
fn asked_no_more(cluster: &Cluster, name: &str, kinds: &[&str]) {
    let user = format!("system:serviceaccount:{SYSTEM}:{name}");
    let log: Vec<Entry> = cluster.log().into_iter().filter(|entry| entry.user == user).collect();
    assert!(!log.is_empty());
    let refused = log.iter().find(|entry| entry.code >= 300);
    assert!(refused.is_none(), "{refused:?}");
    let asked = log.iter().map(|entry| (entry.verb.as_str(), entry.resource.as_str(), entry.subresource.as_str()));
    let asked: BTreeSet<_> = asked.collect();
    let mut allowed = BTreeSet::new();
    for resource in kinds.iter().chain(&["configmaps", "secrets"]) {
        allowed.extend([("list", *resource, ""), ("watch", *resource, "")]);
    }
    let watched: BTreeSet<_> = asked.iter().filter(|(verb, ..)| ["list", "watch"].contains(verb)).copied().collect();
    assert_eq!(watched, allowed, "{name}");
    let rest: BTreeSet<_> =
        asked.difference(&allowed).map(|(verb, resource, sub)| format!("{verb} {resource} {sub}")).collect();
    let known = ["create serviceaccounts token", "get /.well-known/openid-configuration ", "get /openid/v1/jwks "];
    assert!(rest.iter().all(|line| known.contains(&line.as_str())), "{name}: {rest:?}");
    let namespaces = log.iter().filter(|entry| ["configmaps", "secrets"].contains(&entry.resource.as_str()));
    assert!(namespaces.into_iter().all(|entry| entry.namespace == SYSTEM), "{name}");
    let of_ingress = log.iter().filter(|entry| entry.subresource == "token" && name == "mt-broker-ingress");
    assert!(of_ingress.into_iter().all(|entry| entry.name == "mt-broker-ingress-oidc"), "5.11");
}

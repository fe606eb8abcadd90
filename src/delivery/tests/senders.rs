//! Tests of senders: tokens for each destination, and the failure where there is none (contract
//! 7.2, AU-1 to AU-4); events that stay inside are authorized in the same way.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::*;
use crate::auth::TokenTransport;
use crate::auth::token_cache::{IssuedToken, TokenError, TokenIssuer};
use crate::channel::QueueConsumer;
use crate::model::{
    AuthorizationMode, AuthorizationRule, EventPolicy, OidcAuthentication, OidcDiscovery,
    SenderAuthorization, ServiceAccount, SubjectPattern,
};

/// Gives tokens that say what they are for, as long as it has any.
#[derive(Default)]
struct Issuer {
    asked: AtomicUsize,
    fails: AtomicBool,
}

impl TokenIssuer for Issuer {
    fn issue<'a>(
        &'a self,
        account: &'a ServiceAccount,
        audience: &'a str,
    ) -> BoxFuture<'a, Result<IssuedToken, TokenError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let issued = match self.fails.load(Ordering::SeqCst) {
            true => Err(TokenError::new(
                account,
                audience,
                "the API server answered 403: forbidden",
            )),
            false => Ok(IssuedToken {
                token: format!("{}.{audience}", account.name),
                lifetime: Duration::from_secs(3600),
            }),
        };
        std::future::ready(issued).boxed()
    }
}

fn sender(name: &str) -> Option<Arc<ServiceAccount>> {
    Some(Arc::new(ServiceAccount {
        namespace: "ns".to_owned(),
        name: name.to_owned(),
    }))
}

fn for_audience(url: &str, audience: &str) -> Addressable {
    Addressable {
        audience: Some(audience.to_owned()),
        ..addressable(url)
    }
}

/// A subscription whose three destinations want proof.
fn proving(retry: u32) -> Subscription {
    Subscription {
        subscriber: Some(for_audience(SUBSCRIBER, "of-subscriber")),
        reply: Some(for_audience(REPLY, "of-reply")),
        dead_letter_sink: Some(for_audience(SINK, "of-sink")),
        sender: sender("sa"),
        ..subscription(SubscriptionKind::Subscriber, retrying(retry))
    }
}

async fn deliver_by(
    issuer: &Arc<Issuer>,
    transport: &Scripted,
    subscription: Subscription,
) -> DeliveryOutcome {
    let (delivery, lane) = over(transport, subscription);
    let tokens = TokenCache::new(Arc::clone(issuer) as Arc<dyn TokenIssuer>, Arc::default())
        .with_transport(TokenTransport::Any);
    let delivery = delivery.with_tokens(Arc::new(tokens));
    let permit = lane.acquire_permit().await.expect("a permit");
    delivery
        .deliver(&event(), &lane, permit, DeliveryProgress::default())
        .await
}

/// Contract 7.2: subscriber, reply and dead letter sink, each with a token of its own.
#[tokio::test(start_paused = true)]
async fn every_leg_has_its_own_token() {
    let issuer = Arc::new(Issuer::default());
    let answer = Step::Answer(200, REPLY_HEADERS, Bytes::new());
    let transport = Scripted::new(&[(SUBSCRIBER, &[answer]), (REPLY, &[status(410)])]);
    assert_eq!(
        deliver_by(&issuer, &transport, proving(0)).await,
        DeliveryOutcome::DeadLettered
    );
    for (url, token) in [
        (SUBSCRIBER, "Bearer sa.of-subscriber"),
        (REPLY, "Bearer sa.of-reply"),
        (SINK, "Bearer sa.of-sink"),
    ] {
        let (headers, _) = transport.last(url);
        assert_eq!(header(&headers, "authorization"), Some(token));
        assert!(
            headers["authorization"].is_sensitive(),
            "it is not to be shown"
        );
    }
}

/// Contract AU-1: no audience, no header; no ServiceAccount (which is there only with
/// `authentication-oidc`), no header.
#[tokio::test(start_paused = true)]
async fn nothing_is_proved_where_nobody_asks() {
    let issuer = Arc::new(Issuer::default());
    let nobody = Subscription {
        sender: None,
        ..proving(0)
    };
    let indifferent = Subscription {
        sender: sender("sa"),
        ..subscription(SubscriptionKind::Subscriber, DeliverySpec::default())
    };
    for subscription in [nobody, indifferent] {
        let transport = Scripted::new(&[]);
        assert_eq!(
            deliver_by(&issuer, &transport, subscription).await,
            DeliveryOutcome::Delivered
        );
        assert_eq!(header(&transport.last(SUBSCRIBER).0, "authorization"), None);
    }
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 0);
}

/// A token that is not to be had fails the attempt, which is made again; nothing is sent without it
/// (unlike contract AU-4).
#[tokio::test(start_paused = true)]
async fn without_a_token_nothing_is_sent() {
    let issuer = Arc::new(Issuer::default());
    issuer.fails.store(true, Ordering::SeqCst);
    let transport = Scripted::new(&[]);
    let sink = Subscription {
        dead_letter_sink: Some(addressable(SINK)),
        ..proving(2)
    };
    assert_eq!(
        deliver_by(&issuer, &transport, sink).await,
        DeliveryOutcome::DeadLettered
    );
    assert!(transport.seen(SUBSCRIBER).is_empty());
    assert_eq!(
        issuer.asked.load(Ordering::SeqCst),
        3,
        "contract DP-16: each attempt asks"
    );
    let (headers, _) = transport.last(SINK);
    assert_eq!(
        header(&headers, "ce-knativeerrorcode"),
        Some("-1"),
        "contract DP-30"
    );
    let data = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        header(&headers, "ce-knativeerrordata").expect("data"),
    );
    let data = String::from_utf8(data.expect("base64")).expect("text");
    assert!(
        data.contains("no token for system:serviceaccount:ns:sa and the audience of-subscriber"),
        "{data}"
    );

    let DeliveryOutcome::Lost(loss) = deliver_by(&issuer, &transport, proving(0)).await else {
        panic!("not lost")
    };
    assert_eq!(loss.code, -1);
    assert!(
        loss.reason.contains("the dead letter sink failed too"),
        "{}",
        loss.reason
    );
}

/// The next attempt has a token again as soon as there is one.
#[tokio::test(start_paused = true)]
async fn a_token_that_comes_late_is_used() {
    let issuer = Arc::new(Issuer::default());
    issuer.fails.store(true, Ordering::SeqCst);
    let transport = Scripted::new(&[]);
    let delivered = deliver_by(&issuer, &transport, proving(3));
    let heals = async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        issuer.fails.store(false, Ordering::SeqCst);
    };
    let (outcome, ()) = tokio::join!(delivered, heals);
    assert_eq!(outcome, DeliveryOutcome::Delivered);
    assert_eq!(transport.seen(SUBSCRIBER), [180_000]);
}

/// A channel of this process that asks for proof, and what gets there.
fn asking(rule: AuthorizationRule) -> (Arc<Router>, QueueConsumer, Arc<ProcessCounters>) {
    let counters = Arc::new(ProcessCounters::default());
    let oidc = Arc::new(OidcAuthentication {
        discovery: OidcDiscovery::Unavailable,
    });
    let channel = Channel {
        key: broker(),
        backend: BackendKind::Memory,
        acknowledge: AcknowledgeMode::AfterEnqueue,
        retain: None,
        authorization: Some(SenderAuthorization {
            oidc,
            audience: "of-broker".to_owned(),
            rule,
        }),
        event_types: None,
        subscriptions: vec![Arc::new(subscription(
            SubscriptionKind::Trigger,
            DeliverySpec::default(),
        ))],
    };
    let (router, mut opened) = router(&counters, channel);
    (router, opened.consumers.remove(0).1, counters)
}

/// A reply into a channel of this process is authorized as the subscription's ServiceAccount, as
/// its token would have been (contract 7.8); no key and no token is needed for it.
#[tokio::test(start_paused = true)]
async fn replies_inside_are_authorized() {
    let same =
        || AuthorizationRule::Default(AuthorizationMode::AllowSameNamespace, "ns".to_owned());
    let policy = |filter| {
        let subjects = vec![SubjectPattern::parse("system:serviceaccount:ns:sa")];
        AuthorizationRule::Policies(vec![Arc::new(EventPolicy { subjects, filter })])
    };
    let of_type = |ty: &str| Filter::Exact(vec![("type".to_owned(), ty.to_owned())]);
    let other = || {
        Some(Arc::new(ServiceAccount {
            namespace: "elsewhere".to_owned(),
            name: "sa".to_owned(),
        }))
    };
    for (rule, sender, audience, code) in [
        (same(), sender("sa"), Some("of-broker"), None),
        (policy(of_type("rt")), sender("sa"), Some("of-broker"), None),
        (
            policy(of_type("other")),
            sender("sa"),
            Some("of-broker"),
            Some("403"),
        ),
        (
            policy(Filter::MatchAll),
            sender("sb"),
            Some("of-broker"),
            Some("403"),
        ),
        (same(), other(), Some("of-broker"), Some("403")),
        (same(), sender("sa"), Some("of-other"), Some("401")),
        (same(), sender("sa"), None, Some("401")),
        (same(), None, Some("of-broker"), Some("401")),
        (
            AuthorizationRule::Unknown("missing".to_owned()),
            sender("sa"),
            Some("of-broker"),
            Some("500"),
        ),
    ] {
        let (router, mut consumer, counters) = asking(rule.clone());
        let transport = Scripted::new(&[(
            SUBSCRIBER,
            &[Step::Answer(200, REPLY_HEADERS, Bytes::new())],
        )]);
        let (_, lane) = over(
            &transport,
            subscription(SubscriptionKind::Trigger, DeliverySpec::default()),
        );
        let route = DestinationRoute::Local(broker());
        let reply = Addressable {
            route,
            audience: audience.map(str::to_owned),
            ..addressable("http://broker/")
        };
        lane.set_subscription(Arc::new(Subscription {
            reply: Some(reply),
            sender,
            ..subscription(SubscriptionKind::Trigger, DeliverySpec::default())
        }));
        let options = DeliveryOptions {
            default_timeout: Duration::from_secs(900),
            jitter: 0.0,
            attributes: crate::event::AttributeLimit::default(),
            broker_filter_host: "broker-filter.test".into(),
        };
        let delivery = EventDeliverer::new(
            Arc::new(transport.clone()),
            router,
            EventDisplay::default(),
            options,
            counters,
        );
        let permit = lane.acquire_permit().await.expect("a permit");
        let outcome = delivery
            .deliver(&event(), &lane, permit, DeliveryProgress::default())
            .await;
        let entered = consumer.try_recv().is_ok();
        match code {
            None => assert_eq!(
                (outcome, entered),
                (DeliveryOutcome::Delivered, true),
                "{rule:?}"
            ),
            Some(code) => {
                assert_eq!(
                    (outcome, entered),
                    (DeliveryOutcome::DeadLettered, false),
                    "{rule:?}"
                );
                assert_eq!(
                    header(&transport.last(SINK).0, "ce-knativeerrorcode"),
                    Some(code),
                    "{rule:?}"
                );
            }
        }
    }
}

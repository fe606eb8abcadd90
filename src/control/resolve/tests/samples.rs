//! Objects as users of Knative write them, and as its controllers reconcile them.

use super::*;

const USER: &str = include_str!("user-channel-subscription.yaml");
const RECONCILED: &str = include_str!("in-memory-channel.yaml");
const TRIGGERS: &str = include_str!("broker-triggers.yaml");
const BUNDLES: &str = include_str!("trust-bundles.yaml");

/// 2026-12-01, when the certificates in the samples are valid.
const LATER: i64 = 1_796_083_200;

fn sample(files: &[(&str, &str)]) -> Resolution {
    resolve(
        &manifests(files),
        None,
        &ControlSettings {
            now: LATER,
            ..settings()
        },
    )
}

/// The Services that the samples refer to.
fn services() -> String {
    let service = |namespace: &str, name: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: {namespace}}}}}\n"
        )
    };
    let orders = ["parking", "ledger", "mailer"]
        .map(|name| service("orders", name))
        .concat();
    orders + &service("analytics", "warehouse")
}

/// Contract 5.3.
#[test]
fn channels_and_subscriptions_as_users_write_them() {
    let broker = "{apiVersion: eventing.knative.dev/v1, kind: Broker, metadata: {name: default, namespace: orders}}";
    // Its last Subscription is of another namespace than its channel.
    let links = "{apiVersion: v1, kind: ConfigMap, metadata: {name: config-features, namespace: knative-eventing}, data: \
                 {cross-namespace-event-links: enabled}}";
    let files = [
        ("30.yaml", USER),
        ("services.yaml", &services()),
        ("broker.yaml", broker),
        ("features.yaml", links),
    ];
    let resolution = sample(&files);
    assert_eq!(lines(&resolution), [""; 0]);
    let key = ChannelKey {
        namespace: "orders".to_owned(),
        ..channel("invoice-feed")
    };
    let subscriptions = of(&resolution, &key);
    let shown: Vec<_> = subscriptions
        .iter()
        .map(|s| {
            let subscriber = s.subscriber.as_ref().expect("subscriber");
            (
                s.key.to_string(),
                subscriber.url.to_string(),
                s.delivery.retry,
                subscriber.trust.certificates().len(),
            )
        })
        .collect();
    let row =
        |key: &str, url: &str, retry, trusted| (key.to_owned(), url.to_owned(), retry, trusted);
    assert_eq!(
        shown,
        [
            row(
                "subscription analytics/outsider",
                "http://warehouse.analytics.svc.cluster.local/",
                2,
                0
            ),
            row(
                "subscription orders/ledger",
                "http://ledger.orders.svc.cluster.local/",
                2,
                0
            ),
            row(
                "subscription orders/ledger-tls",
                "https://ledger.orders.svc.cluster.local/secure",
                2,
                1
            ),
            row(
                "subscription orders/partner",
                "https://hooks.partner.example:8443/in/v2",
                5,
                1
            ),
        ]
    );
    let audience = subscriptions[2]
        .subscriber
        .as_ref()
        .expect("subscriber")
        .audience
        .as_deref();
    assert_eq!(audience, Some("ledger-service"));
    let partner = &subscriptions[3];
    let default = ChannelKey {
        namespace: "orders".to_owned(),
        ..super::broker("default")
    };
    assert_eq!(
        partner.reply.as_ref().expect("reply").route,
        DestinationRoute::Local(default)
    );
    the_status_has_the_physical_subscriptions(&resolution);
}

fn the_status_has_the_physical_subscriptions(resolution: &Resolution) {
    let physical = &status(resolution, ObjectKind::Subscription, "partner")["physicalSubscription"];
    assert_eq!(
        physical["subscriberUri"],
        "https://hooks.partner.example:8443/in/v2"
    );
    assert_eq!(
        physical["replyUri"],
        "http://broker-ingress.knative-eventing.svc.cluster.local/orders/default"
    );
    assert_eq!(
        physical["deadLetterSinkUri"],
        "https://parking.internal.example/dlq"
    );
    assert!(
        physical["deadLetterSinkCACerts"]
            .as_str()
            .expect("CACerts")
            .starts_with("-----BEGIN")
    );
    let ledger = &status(resolution, ObjectKind::Subscription, "ledger")["physicalSubscription"];
    assert_eq!(
        ledger["deadLetterSinkUri"],
        "http://parking.orders.svc.cluster.local"
    );
}

#[test]
fn a_channel_as_controllers_leave_it() {
    let resolution = sample(&[("20.yaml", RECONCILED), ("services.yaml", &services())]);
    // The replies of two go to a channel and a broker of this cluster that are not configured here.
    assert_eq!(lines(&resolution).len(), 2, "{:#?}", lines(&resolution));
    assert!(
        lines(&resolution)
            .iter()
            .all(|line| line.contains("replyUri: warning: is the address of"))
    );
    let key = ChannelKey {
        namespace: "orders".to_owned(),
        ..channel("invoice-feed")
    };
    assert_eq!(of(&resolution, &key).len(), 4);
}

#[test]
fn triggers_with_filters_of_every_kind() {
    let resolution = sample(&[("31.yaml", TRIGGERS), ("services.yaml", &services())]);
    assert_eq!(lines(&resolution), [""; 0]);
    let broker = ChannelKey {
        kind: ChannelKind::Broker,
        namespace: "orders".to_owned(),
        name: "default".to_owned(),
    };
    let triggers = of(&resolution, &broker);
    assert_eq!(triggers.len(), 2);
    let mailer = triggers
        .iter()
        .find(|trigger| trigger.key.name == "to-mailer")
        .expect("to-mailer");
    assert_eq!(mailer.delivery.retry, 1, "contract BF-3");
    for (ty, source, tenant, passes) in [
        ("com.example.invoice.created", "/live", Some("a"), true),
        ("com.example.refund.started", "/live", Some("a"), true),
        ("com.example.refund.started", "/live/test", Some("a"), false),
        ("com.example.refund.started", "/live", Some("demo"), false),
        ("com.example.refund.started", "/live", None, false),
        ("com.example.other", "/live", Some("a"), false),
    ] {
        let mut event = crate::event::Event::new("1", source, ty);
        tenant
            .into_iter()
            .for_each(|tenant| event.set("tenant", tenant));
        assert_eq!(
            mailer.filter.matches(&event),
            passes,
            "{ty} {source} {tenant:?}"
        );
    }
    assert_eq!(
        ready(&resolution, ObjectKind::Trigger, "to-mailer").0,
        "True"
    );
}

#[test]
fn trust_bundles_of_the_system_namespace() {
    let text = format!("{CHANNEL}{}", subscription("{uri: 'https://x'}"));
    let resolution = sample(&[("13.yaml", BUNDLES), ("a.yaml", &text)]);
    assert_eq!(lines(&resolution).len(), 1, "{:#?}", lines(&resolution));
    assert!(
        lines(&resolution)[0].contains("ConfigMap orders/corp-roots-kne-bundle: metadata.labels.")
    );
    assert_eq!(
        only(&resolution)
            .subscriber
            .as_ref()
            .expect("subscriber")
            .trust
            .certificates()
            .len(),
        3
    );
}

//! The demands of channels on senders, and the ServiceAccounts of subscriptions (contract 3.2, 3.3,
//! 4.1, 5.11, 5.12, 7.1 to 7.10).

use super::*;
use crate::control::ApiServerAvailability;
use crate::control::ObjectSource;
use crate::model::{
    AuthorizationMode, AuthorizationRule, EventTypeOwner, OidcDiscovery, SenderAuthorization,
    ServiceAccount, SubjectPattern,
};

const POLICIES: &str = include_str!("oidc-eventpolicy.yaml");
const CHANNEL_IN_CLUSTER: &str = include_str!("imc-strict-oidc.yaml");

fn features(flags: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-features, namespace: knative-eventing}}\ndata: {{{flags}}}\n"
    )
}

fn with(text: &str, settings: &ControlSettings, last: Option<&Resolution>) -> Resolution {
    resolve(&manifests(&[("a.yaml", text)]), last, settings)
}

/// 2026-12-01, when the certificates in the samples are valid.
const LATER: i64 = 1_796_083_200;

fn in_cluster(text: &str) -> Resolution {
    with(
        text,
        &ControlSettings {
            now: LATER,
            ..settings()
        },
        None,
    )
}

fn alone(text: &str) -> Resolution {
    with(
        text,
        &ControlSettings {
            api_server: ApiServerAvailability::Missing,
            ..settings()
        },
        None,
    )
}

fn feed() -> ChannelKey {
    ChannelKey {
        kind: ChannelKind::Channel,
        namespace: "orders".to_owned(),
        name: "invoice-feed".to_owned(),
    }
}

fn access(resolution: &Resolution, key: &ChannelKey) -> Option<SenderAuthorization> {
    resolution
        .table
        .channel(key)
        .expect("a channel")
        .1
        .authorization
        .clone()
}

/// Everything that is written for senders, by the controllers of a cluster.
#[test]
fn everything_that_controllers_write_for_senders() {
    let text = format!(
        "{CHANNEL_IN_CLUSTER}\n---\n{POLICIES}{}",
        features("authentication-oidc: Enabled")
    );
    let resolution = in_cluster(&text);
    let asked = access(&resolution, &feed()).expect("it asks");
    assert_eq!(
        asked.audience,
        "messaging.knative.dev/inmemorychannel/orders/invoice-feed"
    );
    assert!(matches!(asked.oidc.discovery, OidcDiscovery::Cluster(_)));
    assert!(
        resolution
            .table
            .oidc()
            .is_some_and(|oidc| Arc::ptr_eq(oidc, &asked.oidc)),
        "one issuer for all"
    );
    let AuthorizationRule::Policies(policies) = &asked.rule else {
        panic!("{:?}", asked.rule)
    };
    assert_eq!(policies.len(), 1);
    let subjects = [
        "system:serviceaccount:orders:nightly-oidc-sources.knative.dev-pingsource",
        "system:serviceaccount:orders:invoice-writer",
        "system:serviceaccount:billing:*",
    ];
    assert_eq!(policies[0].subjects, subjects.map(SubjectPattern::parse));
    let prefix = Filter::Prefix(vec![("type".to_owned(), "com.example.invoice.".to_owned())]);
    assert_eq!(policies[0].filter, Filter::All(vec![prefix]));

    let subscriptions = of(&resolution, &feed());
    let of_uid = |uid: &str| {
        subscriptions
            .iter()
            .find(|subscription| subscription.key.name.ends_with(uid))
            .expect("a subscription")
    };
    let ledger = of_uid("000000000001");
    let account = ServiceAccount {
        namespace: "orders".to_owned(),
        name: "ledger-oidc-messaging.knative.dev-subscription".to_owned(),
    };
    assert_eq!(ledger.sender.as_deref(), Some(&account), "7.2: copied");
    let audience = |to: &Option<Addressable>| to.as_ref().and_then(|to| to.audience.clone());
    assert_eq!(
        audience(&ledger.subscriber).as_deref(),
        Some("ledger-service")
    );
    let sink = "messaging.knative.dev/inmemorychannel/orders/parking";
    assert_eq!(audience(&ledger.dead_letter_sink).as_deref(), Some(sink));
    let mailer = of_uid("000000000007");
    let hashed = "default-to-mailer-2c7c1f6e-6f2dbc8de914239a92f7c1e91aed15a2ca63";
    assert_eq!(
        mailer.sender.as_ref().map(|sender| sender.name.as_str()),
        Some(hashed),
        "7.1: never computed"
    );
    assert_eq!(audience(&mailer.reply).as_deref(), Some("mt-broker-filter"));
}

/// Contract 3.4, 7.2: without the flag, nothing is asked and nothing proved.
#[test]
fn nothing_is_asked_without_the_flag() {
    for flags in [
        "",
        "authentication-oidc: disabled",
        "_authentication-oidc: enabled",
    ] {
        let resolution = in_cluster(&format!(
            "{CHANNEL_IN_CLUSTER}\n---\n{POLICIES}{}",
            features(flags)
        ));
        assert_eq!(
            (access(&resolution, &feed()), resolution.table.oidc()),
            (None, None),
            "{flags}"
        );
        assert!(
            of(&resolution, &feed())
                .iter()
                .all(|subscription| subscription.sender.is_none()),
            "{flags}"
        );
    }
}

/// Contract 3.2, 3.3: flags in any case; what is no mode or no switch closes, and either is
/// reported.
#[test]
fn flags() {
    use AuthorizationMode::{AllowAll, AllowSameNamespace, DenyAll};
    let on = "authentication-oidc: enabled";
    for (flags, mode, words) in [
        (on.to_owned(), Some(AllowSameNamespace), ""),
        (
            format!("{on}, default-authorization-mode: Allow-All"),
            Some(AllowAll),
            "",
        ),
        (
            format!("{on}, default-authorization-mode: deny-all"),
            Some(DenyAll),
            "",
        ),
        (
            format!("{on}, ' default-authorization-mode ': deny-all"),
            Some(DenyAll),
            "",
        ),
        (
            format!("{on}, default-authorization-mode: nobody"),
            Some(DenyAll),
            "\"nobody\" is no mode",
        ),
        (
            format!("{on}, default-authorization-mode: ''"),
            Some(DenyAll),
            "\"\" is no mode",
        ),
        (
            "authentication-oidc: enbaled".to_owned(),
            Some(AllowSameNamespace),
            "\"enbaled\" is neither enabled nor",
        ),
    ] {
        let resolution = in_cluster(&format!("{CHANNEL}{}", features(&flags)));
        let rule = access(&resolution, &channel("c")).map(|access| access.rule);
        assert_eq!(
            rule,
            mode.map(|mode| AuthorizationRule::Default(mode, "default".to_owned())),
            "{flags}"
        );
        let found = lines(&resolution).join("\n");
        assert!(
            found.contains(words) && found.is_empty() == words.is_empty(),
            "{flags}: {found}"
        );
    }
}

/// Contract 3.2: an issuer elsewhere is asked there, trusting the trust bundles; one that cannot be
/// is none.
#[test]
fn discovery() {
    for (url, place, words) in [
        ("https://kubernetes.default.svc", Some(None), ""),
        ("https://kubernetes.default.svc/", Some(None), ""),
        (
            "https://issuer.example/x",
            Some(Some("https://issuer.example/x")),
            "",
        ),
        (
            "http://issuer.example",
            Some(Some("http://issuer.example/")),
            "is asked in the clear",
        ),
        (
            "issuer.example",
            None,
            "until then every request is refused",
        ),
        (
            "ftp://issuer.example",
            None,
            "until then every request is refused",
        ),
    ] {
        let flags = format!("authentication-oidc: enabled, oidc-discovery-base-url: '{url}'");
        let resolution = in_cluster(&format!("{CHANNEL}{}", features(&flags)));
        let found = match &resolution.table.oidc().expect("an issuer").discovery {
            OidcDiscovery::Cluster(_) => Some(None),
            OidcDiscovery::BaseUrl(base) => Some(Some(base.url.as_str())),
            OidcDiscovery::Unavailable => None,
        };
        assert_eq!(found, place, "{url}");
        let found = lines(&resolution).join("\n");
        assert!(
            found.contains(words) && found.is_empty() == words.is_empty(),
            "{url}: {found}"
        );
    }
}

/// Contract 7.8, AU-12: a policy that is listed and not there closes the channel, and so does a
/// list that cannot be read.
#[test]
fn what_is_not_known_closes() {
    let on = features("authentication-oidc: enabled");
    let listing = |status: &str| format!("{CHANNEL}status: {{{status}}}\n{on}");
    for (status, words) in [
        (
            "policies: [{name: p}]",
            "EventPolicy default/p of channel default/c is not known",
        ),
        (
            "policies: {name: p}",
            "status.policies of channel default/c cannot be read",
        ),
        (
            "policies: [{apiVersion: x}]",
            "status.policies of channel default/c cannot be read",
        ),
    ] {
        let AuthorizationRule::Unknown(reason) =
            access(&in_cluster(&listing(status)), &channel("c"))
                .expect("it asks")
                .rule
        else {
            panic!("{status} opens");
        };
        assert!(reason.contains(words), "{reason}");
    }
    let written = in_cluster(&listing("address: {audience: written}"));
    assert_eq!(
        access(&written, &channel("c")).map(|access| access.audience),
        Some("written".to_owned()),
        "4.1"
    );
    let computed = in_cluster(&listing(""));
    let audience = "messaging.knative.dev/inmemorychannel/default/c";
    assert_eq!(
        access(&computed, &channel("c"))
            .map(|access| access.audience.clone())
            .as_deref(),
        Some(audience)
    );
}

/// A policy that is not understood allows nobody, though it had allowed somebody before.
#[test]
fn a_broken_policy_allows_nobody() {
    let policy = |filters: &str| {
        format!(
            "---\napiVersion: eventing.knative.dev/v1alpha1\nkind: EventPolicy\nmetadata: {{name: p}}\nspec: {{filters: {filters}}}\nstatus: {{from: ['*']}}\n"
        )
    };
    let text = |filters: &str| {
        let on = features("authentication-oidc: enabled");
        format!(
            "{CHANNEL}status: {{policies: [{{name: p}}]}}\n{}{on}",
            policy(filters)
        )
    };
    let subjects =
        |resolution: &Resolution| match access(resolution, &channel("c")).expect("it asks").rule {
            AuthorizationRule::Policies(policies) => policies[0].subjects.len(),
            rule => panic!("{rule:?}"),
        };
    let good = in_cluster(&text("[{cesql: 'TRUE'}]"));
    assert_eq!((subjects(&good), lines(&good).len()), (1, 0));
    for filters in [
        "[{cesql: '(('}]",
        "[{exact: {}}]",
        "[{exacly: {type: t}}]",
        "5",
    ] {
        let broken = with(&text(filters), &settings(), Some(&good));
        let rule = access(&broken, &channel("c")).expect("it asks").rule;
        match rule {
            AuthorizationRule::Policies(policies) => {
                assert!(policies[0].subjects.is_empty(), "{filters}")
            }
            rule => panic!("{rule:?}"),
        }
        assert!(broken.problems.iter().any(Problem::is_error), "{filters}");
    }
}

/// A name that is no name could be a path to something else.
#[test]
fn names_of_accounts_are_names() {
    let text = |name: &str| {
        format!(
            "{CHANNEL}spec: {{subscribers: [{{uid: u, subscriberUri: 'http://sink', auth: {{serviceAccountName: '{name}'}}}}]}}\n{}",
            features("authentication-oidc: enabled")
        )
    };
    assert!(
        only(&in_cluster(&text(
            "a.b-c-oidc-messaging.knative.dev-subscription"
        )))
        .sender
        .is_some()
    );
    for name in ["../secrets/x", "a/token", "A", "a?b", "-a"] {
        let resolution = in_cluster(&text(name));
        assert!(of(&resolution, &channel("c")).is_empty(), "{name}");
        assert!(
            lines(&resolution)[0].contains("is no name of a ServiceAccount"),
            "{:?}",
            lines(&resolution)
        );
    }
    for name in ["default", "deployer", "mt-broker-ingress-oidc"] {
        let resolution = in_cluster(&text(name));
        assert!(of(&resolution, &channel("c")).is_empty(), "{name}");
        let words = "is no ServiceAccount of a Subscription, Trigger or source";
        assert!(
            lines(&resolution)[0].contains(words),
            "{:?}",
            lines(&resolution)
        );
    }
}

/// Contract 3.12a: the flags stay when `config-features` goes away; what is asked is never older
/// than the flags.
#[test]
fn flags_stay() {
    let on = features("authentication-oidc: enabled, default-authorization-mode: deny-all");
    let first = in_cluster(&format!("{CHANNEL}{on}"));
    let gone = with(CHANNEL, &settings(), Some(&first));
    assert_eq!(access(&gone, &channel("c")), access(&first, &channel("c")));
    assert!(Arc::ptr_eq(&gone.table, &first.table));
    let open = in_cluster(CHANNEL);
    assert_eq!(access(&open, &channel("c")), None);
    let broken = CHANNEL.to_owned() + "spec: {delivery: {retry: many}}\n" + &on;
    let closed = with(&broken, &settings(), Some(&open));
    let rule = access(&closed, &channel("c")).map(|access| access.rule);
    let expected = AuthorizationRule::Default(AuthorizationMode::DenyAll, "default".to_owned());
    assert_eq!(
        rule,
        Some(expected),
        "a channel in its last good form asks as the flags say"
    );
}

const C: &str = "ref: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}";
const ISSUER: &str = "authentication-oidc: enabled, oidc-discovery-base-url: 'https://issuer'";
/// A channel of the same namespace with a label, and one of another one.
const OTHERS: &str = "---\napiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {name: d, labels: {team: a}}\n---\napiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {name: e, namespace: other}\n";

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: eventing.knative.dev/v1alpha1\nkind: EventPolicy\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    )
}

/// How many subjects each policy allows that is for `c`, `d` and `e`.
fn allowed(resolution: &Resolution) -> [Vec<usize>; 3] {
    let e = ChannelKey {
        namespace: "other".to_owned(),
        ..channel("e")
    };
    [channel("c"), channel("d"), e].map(|key| {
        match access(resolution, &key).expect("it asks").rule {
            AuthorizationRule::Policies(policies) => policies
                .iter()
                .map(|policy| policy.subjects.len())
                .collect(),
            AuthorizationRule::Default(..) => vec![],
            rule => panic!("{rule:?}"),
        }
    })
}

/// Without a cluster, policies are followed by their `spec`, and local destinations know their
/// audience.
#[test]
fn without_a_cluster_the_spec_is_followed() {
    let labelled = "selector: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, matchLabels: {team: a}}";
    let flags = features(ISSUER);
    for (spec, of_c, of_d, of_e, words) in [
        (
            format!("to: [{{{C}}}], from: [{{sub: a}}, {{sub: b}}]"),
            vec![2],
            vec![],
            vec![],
            "",
        ),
        (
            format!("to: [{{{labelled}}}], from: [{{sub: a}}]"),
            vec![],
            vec![1],
            vec![],
            "",
        ),
        ("from: [{sub: a}]".to_owned(), vec![1], vec![1], vec![], ""),
        (
            format!("to: [{{{C}}}], from: [{{ref: {{kind: PingSource}}}}]"),
            vec![0],
            vec![0],
            vec![],
            "spec.from[0].ref: cannot be followed without a cluster",
        ),
    ] {
        let resolution = alone(&format!("{CHANNEL}{OTHERS}{}{flags}", policy("p", &spec)));
        let found = allowed(&resolution);
        assert_eq!(found, [of_c, of_d, of_e], "{spec}");
        let text = lines(&resolution).join("\n");
        assert!(text.contains(words), "{spec}: {text}");
    }
    let channel_d = "{ref: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: d}}";
    let resolution = alone(&format!(
        "{CHANNEL}{}{OTHERS}{flags}",
        subscription(channel_d)
    ));
    let [made] = &of(&resolution, &channel("c"))[..] else {
        panic!("one subscription")
    };
    let to = made.subscriber.as_ref().expect("a subscriber");
    assert_eq!(
        to.audience.as_deref(),
        Some("messaging.knative.dev/inmemorychannel/default/d")
    );
    let account = made.sender.as_ref().map(ToString::to_string);
    assert_eq!(
        account.as_deref(),
        Some("system:serviceaccount:default:s-oidc-messaging.knative.dev-subscription")
    );
    let address = &status(&resolution, ObjectKind::Channel, "d")["address"]["audience"];
    assert_eq!(address, "messaging.knative.dev/inmemorychannel/default/d");
}

/// Labels as an API server selects by them.
#[test]
fn without_a_cluster_expressions_select() {
    let by = |expressions: &str| {
        let kind = "apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel";
        format!(
            "to: [{{selector: {{{kind}, matchExpressions: [{expressions}]}}}}], from: [{{sub: a}}]"
        )
    };
    let flags = features(ISSUER);
    for (spec, of_c, of_d, of_e, words) in [
        (
            by(r"{key: team, operator: In, values: [a, b]}"),
            vec![],
            vec![1],
            vec![],
            "",
        ),
        (
            by(r"{key: team, operator: NotIn, values: [b]}"),
            vec![1],
            vec![1],
            vec![],
            "",
        ),
        (
            by(r"{key: team, operator: Exists}, {key: tier, operator: DoesNotExist}"),
            vec![],
            vec![1],
            vec![],
            "",
        ),
        (
            by(r"{key: team, operator: DoesNotExist}"),
            vec![1],
            vec![],
            vec![],
            "",
        ),
        (
            by(r"{key: team, operator: in, values: [a]}"),
            vec![0],
            vec![0],
            vec![],
            r#"spec.to[0].selector.matchExpressions[0].operator: "in" is no operator: write In, NotIn, Exists or DoesNotExist"#,
        ),
        (
            by(r"{key: team, operator: In}"),
            vec![0],
            vec![0],
            vec![],
            "[0].values: is missing: list values of the label",
        ),
        (
            by(r"{operator: Exists, values: [a]}"),
            vec![0],
            vec![0],
            vec![],
            "[0].key: is missing: name the label",
        ),
        (
            by(r"{key: team, operator: Exists, values: [a]}"),
            vec![0],
            vec![0],
            vec![],
            "[0].values: is not for Exists",
        ),
        (
            by(r"{key: tier, operator: Exists}"),
            vec![0],
            vec![0],
            vec![],
            "spec.to[0].selector: selects nothing",
        ),
    ] {
        let resolution = alone(&format!("{CHANNEL}{OTHERS}{}{flags}", policy("p", &spec)));
        let found = allowed(&resolution);
        assert_eq!(found, [of_c, of_d, of_e], "{spec}");
        let text = lines(&resolution).join("\n");
        assert!(text.contains(words), "{spec}: {text}");
    }
}

#[test]
fn without_a_cluster_what_is_stale_or_astray_is_told() {
    let flags = features(ISSUER);
    // What an export says of its cluster is followed, and told where it is not what is written.
    let exported = |from: &str, listed: &str| {
        let policy = policy("p", &format!("from: [{from}]"));
        alone(&format!(
            "{CHANNEL}{policy}status: {{from: [{listed}]}}\n{flags}"
        ))
    };
    let same = exported(
        "{sub: a}, {ref: {apiVersion: v1, kind: ServiceAccount, name: s}}",
        "a, 'system:serviceaccount:x:s'",
    );
    assert_eq!(
        lines(&same)
            .iter()
            .filter(|line| line.contains("status"))
            .count(),
        0
    );
    for (from, listed) in [
        ("{sub: a}", "'*'"),
        ("{sub: a}", "b, a"),
        ("{sub: a}, {sub: b}", "a, c"),
    ] {
        let text = lines(&exported(from, listed)).join("\n");
        assert!(
            text.contains("status.from: warning: names others than spec.from, and is what counts"),
            "{text}"
        );
    }
    // A namespace that holds nothing may be meant to be another one.
    for namespace in ["defualt", "default2"] {
        let elsewhere = format!("to: [{{{C}}}], from: [{{sub: a}}]");
        let elsewhere = policy(&format!("p, namespace: {namespace}"), &elsewhere);
        let resolution = alone(&format!("{CHANNEL}{OTHERS}{elsewhere}{flags}"));
        let found = allowed(&resolution);
        assert_eq!(found, [vec![0], vec![0], vec![]], "{namespace}");
        let text = lines(&resolution).join("\n");
        let told = format!(
            "metadata.namespace: nothing in {namespace} takes events; did you mean default?"
        );
        assert!(text.contains(&told), "{text}");
    }
}

/// A policy whose namespace is misread may be for any: it is not the one that it seems to be.
#[test]
fn a_policy_whose_namespace_is_misread_closes_everywhere() {
    let policy = policy("p, namesapce: other", "from: [{sub: a}]");
    let resolution = alone(&format!("{CHANNEL}{OTHERS}{policy}{}", features(ISSUER)));
    for channel in resolution.table.channels() {
        let rule = channel.authorization.as_ref().map(|access| &access.rule);
        assert!(
            matches!(rule, Some(AuthorizationRule::Unknown(_))),
            "{rule:?}"
        );
    }
}

/// Without tokens nobody is held to a policy, which nothing but a cluster tells its author.
#[test]
fn without_a_cluster_policies_without_tokens_are_told() {
    let policy = policy("p", "from: [{sub: a}]");
    let system = "knative-eventing";
    let told = format!(
        "a.yaml:5: EventPolicy default/p: warning: has no effect, and everybody may send: it counts with \
         authentication-oidc: enabled in config-features of {system}"
    );
    for flags in [
        String::new(),
        features("authentication-oidc: disabled"),
        features("default-authorization-mode: deny-all"),
    ] {
        let text = format!("{CHANNEL}{policy}{flags}");
        assert_eq!(lines(&alone(&text)), [told.as_str()], "{flags}");
        assert_eq!(lines(&in_cluster(&text)), [""; 0], "{flags}");
    }
    let text = format!("{CHANNEL}{policy}{}", features(ISSUER));
    assert!(!lines(&alone(&text)).contains(&told));
}

/// Without a cluster and without another issuer, it is said that nothing can be verified; the
/// channel stays closed.
#[test]
fn without_a_cluster_and_an_issuer_nothing_is_open() {
    let resolution = alone(&format!(
        "{CHANNEL}{}",
        features("authentication-oidc: enabled")
    ));
    assert!(access(&resolution, &channel("c")).is_some());
    let found = lines(&resolution).join("\n");
    assert!(
        found.contains("data.authentication-oidc: asks for tokens of a cluster, and there is none"),
        "{found}"
    );
    assert!(
        found.contains("write disabled, or the issuer in oidc-discovery-base-url"),
        "{found}"
    );
    let noted = alone(&format!(
        "{CHANNEL}{}",
        features("eventtype-auto-create: enabled")
    ));
    assert!(
        lines(&noted).join("\n").contains("note: has no effect"),
        "{:?}",
        lines(&noted)
    );
}

/// Contract 8.1 to 8.3: channels that no Broker owns are described, and the replies of their
/// subscribers.
#[test]
fn owners_of_event_types() {
    let on = features("eventtype-auto-create: enabled, authentication-oidc: enabled");
    let resolution = in_cluster(&format!("{CHANNEL_IN_CLUSTER}\n---\n{POLICIES}{on}"));
    let channel_of = |resolution: &Resolution| {
        resolution
            .table
            .channel(&feed())
            .expect("a channel")
            .1
            .event_types
            .clone()
    };
    let owner = channel_of(&resolution).expect("an owner");
    let expected = EventTypeOwner {
        api_version: "messaging.knative.dev/v1",
        kind: "InMemoryChannel",
        namespace: "orders".to_owned(),
        name: "invoice-feed".to_owned(),
        uid: "7b1b2f0a-33b7-4f0e-8d0a-0c6a5f5e1a01".to_owned(),
        address: Some("https".to_owned()),
    };
    assert_eq!(*owner, expected);
    let subscriptions = of(&resolution, &feed());
    let ledger = subscriptions
        .iter()
        .find(|s| s.key.name.ends_with("01"))
        .expect("a subscription");
    let of_replies = ledger.event_types.as_ref().expect("an owner");
    assert_eq!(
        (of_replies.kind, of_replies.name.as_str()),
        ("Subscription", "ledger")
    );
    assert_eq!(of_replies.uid, "5c1d2a10-0000-4000-8000-000000000001");

    let owned = CHANNEL_IN_CLUSTER.replace(
        "  generation: 20\n",
        "  ownerReferences: [{apiVersion: eventing.knative.dev/v1, kind: Broker, name: b, uid: u}]\n",
    );
    let resolution = in_cluster(&format!("{owned}{on}"));
    assert_eq!(channel_of(&resolution), None);
    assert!(
        of(&resolution, &feed())
            .iter()
            .all(|subscription| subscription.event_types.is_none())
    );
    let off = in_cluster(CHANNEL_IN_CLUSTER);
    assert_eq!(channel_of(&off), None);
}

/// Contract 5.11, 5.12, AU-1, AU-13: the roles of upstream's broker.
#[test]
fn roles() {
    let on = features("authentication-oidc: enabled, eventtype-auto-create: enabled");
    let broker = "---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b, uid: bu}\nstatus:\n  address: {name: https, url: 'https://b', audience: of-b}\n  policies: [{name: p}]\n  annotations: {knative.dev/channelAddress: 'http://c', knative.dev/channelAudience: of-c}\n";
    let trigger = "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: t, uid: tu}\nspec: {broker: b}\nstatus: {subscriberUri: 'http://s', subscriberAudience: of-s, auth: {serviceAccountName: t-oidc-eventing.knative.dev-trigger}}\n";
    let subscription = |status: &str| {
        format!(
            "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata:\n  name: b-t-tu\n  ownerReferences: [{{kind: Trigger, uid: tu}}]\nspec: {{channel: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}}, reply: {{uri: 'http://r'}}}}\nstatus: {{{status}}}\n"
        )
    };
    let (brokers, triggers) = (
        ControlTask::RelayBrokers(ObjectSource::Written),
        ControlTask::RelayTriggers(ObjectSource::Written),
    );
    let with_task = |task, text: &str| with(text, &ControlSettings { task, ..settings() }, None);

    let resolution = with_task(brokers, &format!("{broker}{on}"));
    let relay = &resolution.table.relays().brokers["/default/b"];
    let asked = relay.authorization.as_ref().expect("it asks");
    assert_eq!(asked.audience, "of-b");
    assert!(
        matches!(asked.rule, AuthorizationRule::Unknown(_)),
        "its policy is missing"
    );
    let sender = relay.sender.as_ref().map(ToString::to_string);
    assert_eq!(
        sender.as_deref(),
        Some("system:serviceaccount:knative-eventing:mt-broker-ingress-oidc")
    );
    assert_eq!(
        relay
            .channel
            .as_ref()
            .and_then(|channel| channel.audience.as_deref()),
        Some("of-c")
    );
    assert_eq!(
        relay
            .event_types
            .as_ref()
            .map(|owner| (owner.kind, owner.uid.as_str())),
        Some(("Broker", "bu"))
    );

    for (subscription, rule) in [
        (
            subscription("auth: {serviceAccountName: s-oidc-messaging.knative.dev-subscription}"),
            "OnlySubject(\"system:serviceaccount:default:s-oidc-messaging.knative.dev-subscription\")",
        ),
        (subscription(""), "Unknown("),
        (String::new(), "ObjectMissing("),
    ] {
        let resolution = with_task(triggers, &format!("{broker}{trigger}{subscription}{on}"));
        let relay = &resolution.table.relays().triggers["/default/t"];
        let asked = relay.authorization.as_ref().expect("it asks");
        assert_eq!(asked.audience, "mt-broker-filter", "contract AU-5");
        assert!(
            format!("{:?}", asked.rule).starts_with(rule),
            "{:?}",
            asked.rule
        );
        let sender = relay.sender.as_ref().map(ToString::to_string);
        assert_eq!(
            sender.as_deref(),
            Some("system:serviceaccount:default:t-oidc-eventing.knative.dev-trigger")
        );
        assert_eq!(
            relay.event_types.as_ref().map(|owner| owner.kind),
            Some("Trigger")
        );
    }

    let open = with_task(triggers, &format!("{broker}{trigger}"));
    assert!(
        open.table.relays().triggers["/default/t"]
            .authorization
            .is_none()
    );
    let broken = trigger.replace(
        "spec: {broker: b}",
        "spec: {broker: b, filters: [{exact: {}}]}",
    );
    let closed = with(
        &format!("{broker}{broken}{on}"),
        &ControlSettings {
            task: triggers,
            ..settings()
        },
        Some(&open),
    );
    let relay = &closed.table.relays().triggers["/default/t"];
    assert!(
        relay.authorization.is_some(),
        "what keeps its last good form asks as the flags say"
    );
}

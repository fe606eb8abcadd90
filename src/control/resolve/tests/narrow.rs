//! A misspelled field never lets more events pass: the name of each field is mistyped in every way
//! of one letter.

#![expect(clippy::string_slice, reason = "the texts are ASCII")]

use std::collections::BTreeSet;

use super::*;
use crate::control::read::document::ManifestFile;
use crate::event::Event;
use crate::model::AuthorizationRule;

/// Everything that narrows: filters of every kind, a policy, and flags.
const WORLD: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: config-features
  namespace: knative-eventing
data:
  transport-encryption: strict
  authentication-oidc: enabled
  default-authorization-mode: deny-all
  oidc-discovery-base-url: https://issuer.example
---
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata:
  name: b
  namespace: default
---
apiVersion: eventing.knative.dev/v1alpha1
kind: EventPolicy
metadata:
  name: p
  namespace: default
spec:
  to:
  - ref:
      apiVersion: eventing.knative.dev/v1
      kind: Broker
      name: b
  - ref:
      apiVersion: flows.knative.dev/v1
      kind: Parallel
      name: f
  from:
  - sub: alice
  filters:
  - exact:
      'type': wanted
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: one
  namespace: default
spec:
  broker: b
  filter:
    attributes:
      'type': wanted
  subscriber:
    uri: http://x
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: two
  namespace: default
spec:
  broker: b
  filters:
  - any:
    - prefix:
        'type': wan
    - cesql: type = 'wanted'
  - all:
    - exact:
        'source': /s
  - not:
      suffix:
        'type': x
  subscriber:
    uri: http://x
  delivery:
    retry: 3
---
apiVersion: flows.knative.dev/v1
kind: Parallel
metadata:
  name: f
  namespace: default
spec:
  branches:
  - filter:
      uri: http://f
    subscriber:
      uri: http://x
";

fn without_a_cluster() -> ControlSettings {
    ControlSettings {
        api_server: crate::control::ApiServerAvailability::Missing,
        ..settings()
    }
}

/// Everything that may pass, as words.
fn open(text: &str) -> BTreeSet<String> {
    passing(&resolve(
        &manifests(&[("a.yaml", text)]),
        None,
        &without_a_cluster(),
    ))
}

fn passing(resolution: &Resolution) -> BTreeSet<String> {
    let mut open = BTreeSet::new();
    if resolution.table.transport_encryption() != TransportEncryption::Strict {
        open.insert("plain HTTP".to_owned());
    }
    for channel in resolution.table.channels() {
        match channel.authorization.as_ref().map(|access| &access.rule) {
            None => drop(open.insert(format!("{}: everybody", channel.key))),
            Some(AuthorizationRule::Policies(policies)) => {
                let all = policies.iter().flat_map(|policy| {
                    policy
                        .subjects
                        .iter()
                        .map(|subject| format!("{}: {subject:?} {:?}", channel.key, policy.filter))
                });
                open.extend(all);
            }
            Some(
                AuthorizationRule::Default(AuthorizationMode::DenyAll, _)
                | AuthorizationRule::Unknown(_),
            ) => {}
            Some(other) => drop(open.insert(format!("{}: {other:?}", channel.key))),
        }
        for subscription in &channel.subscriptions {
            if let Some(DestinationRoute::Local(branch)) =
                subscription.subscriber.as_ref().map(|to| &to.route)
            {
                open.insert(format!("{branch}: whatever comes to {}", channel.key));
            }
            for (ty, source) in [
                ("wanted", "/s"),
                ("wanted", "/other"),
                ("other", "/s"),
                ("wanx", "/s"),
                ("x", "/o"),
            ] {
                if subscription.filter.matches(&Event::new("1", source, ty)) {
                    open.insert(format!("{}: {ty} {source}", subscription.key));
                }
            }
        }
    }
    open
}

/// The names of fields, as byte ranges; those in quotes are names of attributes, which their author
/// chooses.
fn names() -> Vec<(usize, usize)> {
    let mut names = Vec::new();
    let mut start = 0;
    for line in WORLD.split_inclusive('\n') {
        let name = line.trim_start_matches([' ', '-']);
        let from = start + line.len() - name.len();
        if let Some(end) = name.find(':').filter(|_| !name.starts_with('\'')) {
            names.push((from, from + end));
        }
        start += line.len();
    }
    names
}

#[test]
fn no_mistyped_name_lets_more_pass() {
    let meant = open(WORLD);
    let triggers = meant
        .iter()
        .filter(|word| word.starts_with("trigger"))
        .count();
    assert!(
        triggers >= 3 && meant.iter().any(|word| word.contains("alice")),
        "{meant:#?}"
    );
    assert!(!meant.contains("plain HTTP") && !meant.iter().any(|word| word.contains("whatever")));
    let names = names();
    assert!(names.len() > 50);
    let mut tried = 0;
    for (from, to) in names {
        for at in from..to {
            for other in [
                "",
                "x",
                "-",
                &WORLD[at..=at].to_uppercase(),
                &WORLD[at..=at].repeat(2),
            ] {
                let text = format!("{}{other}{}", &WORLD[..at], &WORLD[at + 1..]);
                let more: Vec<_> = open(&text).difference(&meant).cloned().collect();
                assert!(
                    more.is_empty(),
                    "{} became {}{other}{}: {more:?}",
                    &WORLD[from..to],
                    &WORLD[from..at],
                    &WORLD[at + 1..to]
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 1000);
}

/// Also where unknown fields are ignored, those are not that could be meant to narrow.
#[test]
fn no_mistyped_filter_is_ignored() {
    let settings = ControlSettings {
        unknown_fields: crate::control::UnknownFields::Warn,
        ..without_a_cluster()
    };
    let open = |text: &str| passing(&resolve(&manifests(&[("a.yaml", text)]), None, &settings));
    let meant = open(WORLD);
    let wrong = |names: &[&'static str], from: &'static str| {
        names.iter().map(|to| (from, *to)).collect::<Vec<_>>()
    };
    let filters = [
        "fliter:", "flter:", "filtre:", "filtres:", "fillter:", "flters:", "ilters:", "filterz:",
        "fltr:", "fltrs:",
    ];
    let mut tried = wrong(&filters, "  filters:\n  - any")
        .into_iter()
        .map(|(from, to)| (from, format!("  {to}\n  - any")))
        .collect::<Vec<_>>();
    tried.extend(filters.map(|to| {
        (
            "  filter:\n    attributes",
            format!("  {to}\n    attributes"),
        )
    }));
    tried.push((
        "  filter:\n    attributes:\n      'type': wanted\n",
        "  attributes:\n    'type': wanted\n".to_owned(),
    ));
    for flag in [
        "transport-encrption",
        "transport_encryption",
        "trasnport-encryption",
        "encryption",
        "tls",
    ] {
        tried.push(("transport-encryption:", format!("{flag}:")));
    }
    for flag in ["authentication-odc", "oidc", "authentication"] {
        tried.push(("authentication-oidc:", format!("{flag}:")));
    }
    tried.push((
        "default-authorization-mode:",
        "default-authz-mode:".to_owned(),
    ));
    tried.push(("\ndata:\n", "\ndta:\n".to_owned()));
    tried.push((
        "  name: config-features\n",
        "  nme: config-features\n".to_owned(),
    ));
    tried.push((
        "default-authorization-mode:",
        "default-authorisation-mode:".to_owned(),
    ));
    for (from, to) in tried {
        assert!(WORLD.contains(from), "{from}");
        let more: Vec<_> = open(&WORLD.replacen(from, &to, 1))
            .difference(&meant)
            .cloned()
            .collect();
        assert!(more.is_empty(), "{to}: {more:?}");
    }
}

/// What says who is believed or meant is not ignored either, however it is misspelt or misplaced;
/// of the rest everything is.
#[test]
fn no_mistyped_trust_is_ignored() {
    let warn = ControlSettings {
        unknown_fields: crate::control::UnknownFields::Warn,
        ..settings()
    };
    let channel = |metadata: &str, spec: &str| {
        let head =
            "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {name: c";
        format!("{head}{metadata}}}\nspec: {spec}\n")
    };
    let dead = |field: &str| {
        channel(
            "",
            &format!("{{delivery: {{deadLetterSink: {{uri: 'http://x', {field}: x}}}}}}"),
        )
    };
    let entry = |field: &str| {
        channel(
            "",
            &format!("{{subscribers: [{{uid: u, subscriberUri: 'http://x', {field}: x}}]}}"),
        )
    };
    let errors = |text: &str| {
        let resolution = resolve(&manifests(&[("a.yaml", text)]), None, &warn);
        let [problem] = &resolution.problems[..] else {
            panic!("{text}: {:#?}", lines(&resolution))
        };
        assert!(
            problem
                .message
                .contains("is not a field that is known here"),
            "{text}: {problem}"
        );
        problem.is_error()
    };
    for field in [
        "CACert",
        "cacerts",
        "CaCert",
        "ca_certs",
        "cert",
        "certificates",
        "audienc",
        "audiences",
        "adience",
        "audnc",
        "fltr",
        "filters",
        "atributes",
    ] {
        assert!(errors(&dead(field)), "{field}");
    }
    for field in [
        "subscriberCACert",
        "replyCACert",
        "subscriberAudienc",
        "replyaudience",
        "serviceAcountName",
        "fltr",
    ] {
        assert!(errors(&entry(field)), "{field}");
    }
    for metadata in [
        "lables: {a: b}",
        "label: {a: b}",
        "namespac: x",
        "nmspc: x",
        "name-space: x",
    ] {
        assert!(
            errors(&channel(&format!(", {metadata}"), "{}")),
            "{metadata}"
        );
    }
    for field in ["weight", "method", "priority", "names", "dance", "tls"] {
        assert!(!errors(&dead(field)) && !errors(&entry(field)), "{field}");
    }
    assert!(
        !errors(&channel("", "{delivery: {retrys: 3}}"))
            && !errors(&channel(", anotations: {}", "{}"))
    );
}

/// Where nobody knows which object one is, none counts as taken out of its file.
#[test]
fn a_mistake_in_the_head_of_an_object_removes_nothing() {
    let before = parse_file("a.yaml", WORLD, [0; 32], None);
    let file = |file: &Arc<ManifestFile>| ManifestSet {
        files: vec![Arc::clone(file)],
        problems: Vec::new(),
    };
    let first = resolve(&file(&before), None, &without_a_cluster());
    let meant = passing(&first);
    for (from, to) in [
        (
            "kind: Trigger\nmetadata:\n  name: one",
            "kind: Triger\nmetadata:\n  name: one",
        ),
        (
            "kind: Trigger\nmetadata:\n  name: one",
            "metadata:\n  name: one",
        ),
        (
            "kind: Trigger\nmetadata:\n  name: one",
            "kind: Trigger\nmetadat:\n  name: one",
        ),
        (
            "kind: Trigger\nmetadata:\n  name: one",
            "kind: Trigger\nmetadata:\n  nmae: one",
        ),
        (
            "kind: Trigger\nmetadata:\n  name: one",
            "kind: Trigger\nmetadata:\n  name: 1",
        ),
        ("kind: EventPolicy", "kind: EventPolicies"),
        ("kind: EventPolicy", "kind: Policy"),
        ("kind: EventPolicy", "kind: EventPolcy"),
        ("kind: EventPolicy", "kin: EventPolicy"),
        ("kind: EventPolicy\n", ""),
        ("kind: ConfigMap", "kind: ConfgMap"),
        ("kind: ConfigMap", "kind: CM"),
        ("kind: ConfigMap", "kind: Secret"),
        (
            "apiVersion: v1\nkind: ConfigMap",
            "apiVersion: core/v1\nkind: ConfigMap",
        ),
        ("eventing.knative.dev/v1alpha1", "eventing.knative.dev/v2"),
        ("kind: Broker\nmetadata", "kind: Brokr\nmetadata"),
    ] {
        assert!(WORLD.contains(from), "{from}");
        let new = open(&WORLD.replacen(from, to, 1));
        assert!(
            new.is_subset(&meant),
            "{to} at the start: {:?}",
            new.difference(&meant)
        );
        let text = WORLD.replacen(from, to, 1);
        let after = parse_file("a.yaml", &text, [1; 32], Some(&before));
        let after = resolve(&file(&after), Some(&first), &without_a_cluster());
        assert!(after.problems.iter().any(Problem::is_error), "{to}");
        let passing = passing(&after);
        assert!(
            passing.is_subset(&meant),
            "{to}: {:?}",
            passing.difference(&meant)
        );
        let triggers = |open: &BTreeSet<String>| {
            open.iter()
                .filter(|word| word.starts_with("trigger"))
                .count()
        };
        assert_eq!(triggers(&passing), triggers(&meant), "{to}");
    }
    // What is taken out without a mistake is gone.
    let rest: Vec<&str> = WORLD
        .split("---\n")
        .filter(|text| !text.contains("name: two"))
        .collect();
    let fewer = parse_file("a.yaml", &rest.join("---\n"), [2; 32], Some(&before));
    let fewer = resolve(&file(&fewer), Some(&first), &without_a_cluster());
    assert!(
        !passing(&fewer).iter().any(|word| word.contains("two")),
        "{:#?}",
        lines(&fewer)
    );
}

/// A file of which nothing can be read may hold what closes.
#[test]
fn what_cannot_be_read_at_the_start_opens_nothing() {
    let meant = open(WORLD);
    let documents: Vec<&str> = WORLD.split("---\n").collect();
    for (at, word) in [(0, "transport-encryption"), (2, "EventPolicy")] {
        assert!(documents[at].contains(word));
        let rest: Vec<&str> = documents
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at)
            .map(|(_, text)| *text)
            .collect();
        let rest = rest.join("---\n");
        let broken = format!("{}x: [\n", documents[at]);
        let read = resolve(
            &manifests(&[("a.yaml", &rest), ("b.yaml", &broken)]),
            None,
            &without_a_cluster(),
        );
        let passing = passing(&read);
        let more: Vec<_> = passing
            .difference(&meant)
            .filter(|word| at == 2 || *word == "plain HTTP")
            .collect();
        assert!(more.is_empty(), "{word}: {more:?}");
    }
}

/// The body of a policy is that of nothing else, whatever its kind says.
#[test]
fn what_has_the_body_of_a_policy_closes() {
    let meant = open(WORLD);
    let right = "eventing.knative.dev/v1alpha1\nkind: EventPolicy";
    for head in [
        "eventing.knative.dev/v1\nkind: Trigger",
        "eventing.knative.dev/v1alpha1\nkind: EventPolicyy",
        "eventing.knative.dev/v1\nkind: Broker",
        "eventing.knative.dev/v1alpha1\nkind: Trigger",
        "eventing.knative.dev/v1alpha1\nkind: Broker",
        "eventing.knative.dev/v1alpha1\nkind: Subscription",
        "eventing.knative.dev/v1alpha1\nkind: RequestReply",
        "eventing.knative.dev/v1alpha1\nkind: EventPol",
        "eventing.knative.dev/v1alpha1\nkind: EP",
        "eventing.knative.dev/v1alpha1\nkind: EventAccess",
        "eventing.knative.dev/v1alpha1\nkind: Authorization",
        "eventing.knative.dev/v1alpha1\nkind: EventAuthorization",
    ] {
        for unknown_fields in [
            crate::control::UnknownFields::Warn,
            crate::control::UnknownFields::Error,
        ] {
            let settings = ControlSettings {
                unknown_fields,
                ..without_a_cluster()
            };
            let text = WORLD.replacen(right, head, 1);
            assert_ne!(text, WORLD);
            let start = resolve(&manifests(&[("a.yaml", &text)]), None, &settings);
            let more: Vec<_> = passing(&start).difference(&meant).cloned().collect();
            assert!(more.is_empty(), "{head}: {more:?}");
            assert!(
                start.problems.iter().any(Problem::is_error),
                "{head}: {:#?}",
                lines(&start)
            );
            // By an edit, what was there goes on, whatever it is called by then.
            let before = manifests(&[("a.yaml", WORLD)]);
            let served = resolve(&before, None, &settings);
            let after = ManifestSet {
                files: vec![parse_file("a.yaml", &text, [0; 32], before.files.first())],
                problems: Vec::new(),
            };
            let after = resolve(&after, Some(&served), &settings);
            assert_eq!(passing(&after), meant, "{head}");
        }
    }
}

/// What is written for a filter and says nothing is no filter that lets everything pass.
#[test]
fn nothing_is_no_filter() {
    for (from, to) in [
        (
            "  filter:\n    attributes:\n      'type': wanted\n",
            "  filter:\n",
        ),
        (
            "    attributes:\n      'type': wanted\n",
            "    attributes:\n",
        ),
        (
            "    attributes:\n      'type': wanted\n",
            "    attributes:\n      'type':\n",
        ),
        (
            "  - exact:\n      'type': wanted\n",
            "  - exact:\n      'type':\n",
        ),
        (
            "    - prefix:\n        'type': wan\n",
            "    - prefix:\n        'type':\n",
        ),
        (
            "  - not:\n      suffix:\n        'type': x\n",
            "  - not:\n      suffix:\n        'type':\n",
        ),
        (
            "  to:\n  - ref:\n      apiVersion: eventing.knative.dev/v1\n      kind: Broker\n      name: b\n  - ref:\n      \
             apiVersion: flows.knative.dev/v1\n      kind: Parallel\n      name: f\n",
            "  to:\n",
        ),
        (
            "  - ref:\n      apiVersion: eventing.knative.dev/v1\n      kind: Broker\n      name: b\n",
            "  - selector:\n      apiVersion: eventing.knative.dev/v1\n      kind: Broker\n      matchLabels:\n",
        ),
    ] {
        assert!(WORLD.contains(from), "{from}");
        let (text, meant) = (WORLD.replacen(from, to, 1), open(WORLD));
        let more: Vec<_> = open(&text).difference(&meant).cloned().collect();
        assert!(more.is_empty(), "{to}: {more:?}");
        // By an edit, what was there goes on.
        let before = resolve(&manifests(&[("a.yaml", WORLD)]), None, &without_a_cluster());
        let after = resolve(
            &manifests(&[("a.yaml", &text)]),
            Some(&before),
            &without_a_cluster(),
        );
        let policies = |open: BTreeSet<String>| {
            open.into_iter()
                .filter(|word| word.contains("alice"))
                .count()
        };
        let open = passing(&after);
        assert!(
            open.is_subset(&meant),
            "{to}: {:?}",
            open.difference(&meant)
        );
        assert!(
            open.len() == meant.len() || policies(open) < policies(meant),
            "{to}"
        );
    }
}

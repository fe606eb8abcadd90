//! What is misread never lets more pass: the name of each field is mistyped in every way of one letter.

#![expect(clippy::string_slice, reason = "the texts are ASCII")]

use std::collections::BTreeSet;

use super::*;
use crate::event::Event;
use crate::model::Rule;

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

/// Everything that may pass, as words.
fn open(text: &str) -> BTreeSet<String> {
    let settings = Settings { api_server: crate::control::ApiServer::Missing, ..settings() };
    let resolution = resolve(&manifests(&[("a.yaml", text)]), None, &settings);
    let mut open = BTreeSet::new();
    if resolution.table.transport_encryption() != TransportEncryption::Strict {
        open.insert("plain HTTP".to_owned());
    }
    for channel in resolution.table.channels() {
        match channel.access.as_ref().map(|access| &access.rule) {
            None => drop(open.insert(format!("{}: everybody", channel.key))),
            Some(Rule::Policies(policies)) => {
                let all = policies.iter().flat_map(|policy| {
                    policy.subjects.iter().map(|subject| format!("{}: {subject:?} {:?}", channel.key, policy.filter))
                });
                open.extend(all);
            }
            Some(Rule::Default(AuthorizationMode::DenyAll, _) | Rule::Unknown(_)) => {}
            Some(other) => drop(open.insert(format!("{}: {other:?}", channel.key))),
        }
        for subscription in &channel.subscriptions {
            if let Some(Target::Local(branch)) = subscription.subscriber.as_ref().map(|to| &to.target) {
                open.insert(format!("{branch}: whatever comes to {}", channel.key));
            }
            for (ty, source) in [("wanted", "/s"), ("wanted", "/other"), ("other", "/s"), ("wanx", "/s"), ("x", "/o")] {
                if subscription.filter.matches(&Event::new("1", source, ty)) {
                    open.insert(format!("{}: {ty} {source}", subscription.key));
                }
            }
        }
    }
    open
}

/// The names of fields, as byte ranges; those in quotes are names of attributes, which their author chooses.
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
    let triggers = meant.iter().filter(|word| word.starts_with("trigger")).count();
    assert!(triggers >= 3 && meant.iter().any(|word| word.contains("alice")), "{meant:#?}");
    assert!(!meant.contains("plain HTTP") && !meant.iter().any(|word| word.contains("whatever")));
    let names = names();
    assert!(names.len() > 50);
    let mut tried = 0;
    for (from, to) in names {
        for at in from..to {
            for other in ["", "x", "-", &WORLD[at..=at].to_uppercase(), &WORLD[at..=at].repeat(2)] {
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

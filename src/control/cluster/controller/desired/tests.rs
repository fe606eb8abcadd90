//! The desired status, by the table of addresses and by one row for each fault.

use super::*;
use crate::control::channel_kind::ServedChannelKind;

const NOW: &str = "2026-06-20T08:00:00Z";

fn world(mode: TransportEncryption) -> ReconcileContext {
    ReconcileContext {
        kind: ServedChannelKind::Rabbitmq,
        mode,
        oidc: false,
        certificate: ObservedCertificate::Known(Some("CA".to_owned())),
        endpoints: ObservedEndpoints::Ready,
        dispatcher: "sealpost-rabbitmq-dispatcher.ke.svc.cluster.local".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
    }
}

fn found() -> ObservedChannel {
    ObservedChannel {
        service: Ok("feed-rmq-kn-channel".to_owned()),
        dead_letter_sink: Ok(None),
        policies: ChannelPolicies::default(),
    }
}

fn channel(status: &Value) -> Value {
    json!({"metadata": {"namespace": "Billing", "name": "feed", "generation": 7}, "status": status})
}

fn resolved(world: &ReconcileContext, found: &ObservedChannel) -> Value {
    Value::Object(desired_status(&channel(&json!({})), world, found, NOW))
}

fn condition<'v>(status: &'v Value, ty: &str) -> &'v Value {
    let conditions = status["conditions"].as_array().expect("conditions");
    conditions
        .iter()
        .find(|condition| condition["type"] == ty)
        .expect(ty)
}

/// Contract 4, 4.1, 4.8, 11.8.
#[test]
fn addresses_follow_the_mode() {
    let http =
        json!({"name": "http", "url": "http://feed-rmq-kn-channel.Billing.svc.cluster.local"});
    let https = json!({
        "name": "https", "CACerts": "CA",
        "url": "https://sealpost-rabbitmq-dispatcher.ke.svc.cluster.local/Billing/feed",
    });
    for (mode, address, addresses) in [
        (TransportEncryption::Disabled, &http, vec![&http]),
        (TransportEncryption::Permissive, &http, vec![&https, &http]),
        (TransportEncryption::Strict, &https, vec![&https]),
    ] {
        let status = resolved(&world(mode), &found());
        assert_eq!(
            (&status["address"], &status["addresses"]),
            (address, &json!(addresses)),
            "{mode:?}"
        );
        assert_eq!(condition(&status, "Ready")["status"], "True");
        let with_oidc = resolved(
            &ReconcileContext {
                oidc: true,
                ..world(mode)
            },
            &found(),
        );
        for address in with_oidc["addresses"].as_array().expect("addresses") {
            assert_eq!(
                address["audience"],
                "messaging.knative.dev/rabbitmqchannel/billing/feed"
            );
        }
        let missing = resolved(
            &ReconcileContext {
                certificate: ObservedCertificate::Missing,
                ..world(mode)
            },
            &found(),
        );
        let is_needed = mode != TransportEncryption::Disabled;
        assert_eq!(
            missing.get("address").is_none(),
            is_needed,
            "the last address stays"
        );
        assert_eq!(condition(&missing, "Ready")["status"] == "False", is_needed);
    }
    let without_ca = ReconcileContext {
        certificate: ObservedCertificate::Known(None),
        ..world(TransportEncryption::Strict)
    };
    assert_eq!(
        resolved(&without_ca, &found())["address"].get("CACerts"),
        None
    );
}

/// Contract 1.16: each failure has its condition and reason, and `Ready` has the first of them.
#[test]
fn what_is_wrong_stands_in_the_conditions() {
    let disabled = || world(TransportEncryption::Disabled);
    let sink = ResolvedDeadLetterSink {
        uri: "http://dls".to_owned(),
        ca_certs: None,
        audience: Some("a".to_owned()),
    };
    let rows = [
        (disabled(), found(), "Ready", None),
        (
            disabled(),
            ObservedChannel {
                dead_letter_sink: Ok(Some(sink.clone())),
                ..found()
            },
            "DeadLetterSinkResolved",
            None,
        ),
        (
            ReconcileContext {
                endpoints: ObservedEndpoints::NotReady,
                ..disabled()
            },
            found(),
            "EndpointsReady",
            Some("DispatcherEndpointsNotReady"),
        ),
        (
            ReconcileContext {
                endpoints: ObservedEndpoints::Missing,
                ..disabled()
            },
            found(),
            "EndpointsReady",
            Some("DispatcherEndpointsDoesNotExist"),
        ),
        (
            ReconcileContext {
                certificate: ObservedCertificate::Missing,
                ..world(TransportEncryption::Strict)
            },
            found(),
            "Addressable",
            Some("TLSSecretMissing"),
        ),
        (
            disabled(),
            ObservedChannel {
                service: Err("taken".to_owned()),
                ..found()
            },
            "ChannelServiceReady",
            Some("ChannelServiceFailed"),
        ),
        (
            disabled(),
            ObservedChannel {
                dead_letter_sink: Err("gone".to_owned()),
                ..found()
            },
            "DeadLetterSinkResolved",
            Some("DeadLetterSinkNotResolved"),
        ),
    ];
    for (world, found, ty, reason) in rows {
        let status = resolved(&world, &found);
        for ty in [ty, "Ready"] {
            let condition = condition(&status, ty);
            assert_eq!(
                condition["status"],
                if reason.is_some() { "False" } else { "True" },
                "{ty}: {status}"
            );
            if let Some(reason) = reason {
                assert_eq!(condition["reason"], reason);
                assert!(condition["message"].is_string());
            }
        }
        assert_eq!(status["observedGeneration"], 7);
        assert_eq!(status.get("subscribers"), None);
    }
    let status = resolved(
        &disabled(),
        &ObservedChannel {
            dead_letter_sink: Ok(Some(sink)),
            ..found()
        },
    );
    assert_eq!(
        (
            &status["deadLetterSinkUri"],
            &status["deadLetterSinkAudience"]
        ),
        (&json!("http://dls"), &json!("a"))
    );
}

/// What is right is not written; a time stays as long as its condition; what should go is named.
#[test]
fn only_what_differs_is_written() {
    let world = world(TransportEncryption::Permissive);
    let oidc = ReconcileContext {
        oidc: true,
        ..world.clone()
    };
    let on = ObservedChannel {
        policies: ChannelPolicies::for_channel(
            std::iter::empty(),
            &Value::Null,
            ServedChannelKind::Rabbitmq,
        ),
        ..found()
    };
    let mut there = resolved(&oidc, &on);
    there["subscribers"] = json!([{"uid": "u"}]);
    let later = |world: &ReconcileContext, found: &ObservedChannel, there: &Value| {
        let channel = channel(there);
        status_patch(
            &channel,
            desired_status(&channel, world, found, "2026-06-20T09:00:00Z"),
        )
    };
    assert_eq!(later(&oidc, &on, &there), None);
    let off = later(&world, &found(), &there).expect("a patch");
    assert_eq!(off["status"]["address"]["audience"], Value::Null, "{off}");
    assert!(
        off["status"]["address"]
            .as_object()
            .expect("an object")
            .contains_key("audience")
    );
    let condition =
        |patch: &Value, ty: &str| condition(&patch["status"], ty)["lastTransitionTime"].clone();
    assert_eq!(condition(&off, "Ready"), NOW);
    assert_eq!(
        condition(&off, "EventPoliciesReady"),
        "2026-06-20T09:00:00Z",
        "its reason is another one"
    );

    let broken = later(
        &oidc,
        &ObservedChannel {
            dead_letter_sink: Err("gone".to_owned()),
            ..on
        },
        &there,
    )
    .expect("a patch");
    assert_eq!(
        broken["status"]
            .as_object()
            .expect("a status")
            .keys()
            .collect::<Vec<_>>(),
        ["conditions"]
    );
    assert_eq!(
        (
            condition(&broken, "Ready"),
            condition(&broken, "Addressable")
        ),
        ("2026-06-20T09:00:00Z".into(), NOW.into())
    );
    let empty = json!({"policies": [], "deadLetterSinkUri": null});
    let first = later(&world, &found(), &empty).expect("a patch");
    assert!(
        first["status"].get("policies").is_none()
            && first["status"].get("deadLetterSinkUri").is_none()
    );
}

/// Contract 5.2.
#[test]
fn dead_letter_sinks_are_resolved_as_destinations() {
    let world = world(TransportEncryption::Disabled);
    let service = |more: Value| {
        let mut sink = json!({"ref": {"apiVersion": "v1", "kind": "Service", "name": "s"}});
        sink.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        sink
    };
    let broker = json!({"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "b", "namespace": "n"}});
    let addressed = json!({"status": {
        "address": {"url": "http://one"}, "addresses": [{"name": "https", "url": "https://b/x", "CACerts": "C", "audience": "A"}],
    }});
    let nothing = json!({});
    for (sink, referred, expected) in [
        (Value::Null, None, Ok(None)),
        (json!({}), None, Ok(None)),
        (
            json!({"uri": "http://x/y"}),
            None,
            Ok(Some(("http://x/y", None))),
        ),
        (json!({"uri": "/y"}), None, Err("absolute")),
        (service(json!({})), None, Err("Service t/s is not there")),
        (
            service(json!({})),
            Some(&nothing),
            Ok(Some(("http://s.t.svc.cluster.local", None))),
        ),
        (
            service(json!({"uri": "/p", "CACerts": "C"})),
            Some(&nothing),
            Ok(Some(("https://s.t.svc.cluster.local/p", Some("C")))),
        ),
        (broker.clone(), Some(&nothing), Err("has no address")),
        (
            broker.clone(),
            Some(&addressed),
            Ok(Some(("https://b/x", Some("C")))),
        ),
    ] {
        let channel =
            json!({"metadata": {"namespace": "t"}, "spec": {"delivery": {"deadLetterSink": sink}}});
        let found = crate::control::cluster::controller::dead_letter_sink::resolve_dead_letter_sink(
            &channel,
            referred,
            &world.cluster_domain,
        );
        match (&found, expected) {
            (Ok(found), Ok(expected)) => {
                let found = found
                    .as_ref()
                    .map(|sink| (sink.uri.as_str(), sink.ca_certs.as_deref()));
                assert_eq!(found, expected, "{channel}");
            }
            (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
            _ => panic!("{channel}: {found:?}"),
        }
    }
    let reference = crate::control::cluster::controller::dead_letter_sink::sink_reference(
        &json!({"spec": {"delivery": {"deadLetterSink": broker}}}),
    );
    assert_eq!(reference.expect("a reference").to_string(), "Broker n/b");
}

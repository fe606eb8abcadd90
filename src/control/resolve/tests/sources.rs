//! PingSources are resolved with schedule, event and sink.

use super::*;

fn ping(spec: &str) -> String {
    format!(
        "apiVersion: sources.knative.dev/v1\nkind: PingSource\nmetadata: {{name: p}}\nspec:\n{spec}"
    )
}

const SINK: &str = "  sink: {uri: 'http://x'}\n";

#[test]
fn sources_are_resolved() {
    let text = ping(
        "  schedule: '*/2 * * * *'\n  timezone: Europe/Berlin\n  contentType: application/json\n  data: '{\"a\": 1}'\n  sink: {uri: 'https://x/y'}\n  ceOverrides: {extensions: {tenant: a b, other: ''}}\n",
    );
    let resolution = good(&text);
    let [source] = resolution.table.sources() else {
        panic!("not one source")
    };
    assert_eq!(source.subscription.key.to_string(), "pingsource default/p");
    assert_eq!(
        source
            .subscription
            .subscriber
            .as_ref()
            .expect("a sink")
            .url
            .as_str(),
        "https://x/y"
    );
    assert_eq!(source.subscription.delivery.retry, 5);
    let event = &source.event;
    assert_eq!(
        event.get("type").as_deref(),
        Some("dev.knative.sources.ping")
    );
    assert_eq!(
        event.get("source").as_deref(),
        Some("/apis/v1/namespaces/default/pingsources/p")
    );
    assert_eq!(event.get("tenant").as_deref(), Some("a b"));
    assert_eq!(
        event.get("datacontenttype").as_deref(),
        Some("application/json")
    );
    assert_eq!(&event.data()[..], b"{\"a\": 1}");

    let bare = good(&ping("  dataBase64: AAE=\n  sink: {uri: 'http://x'}\n"));
    assert_eq!(&bare.table.sources()[0].event.data()[..], [0, 1]);
    let broker = "---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n";
    let to = ping("  sink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: b}}\n")
        + broker;
    let sink = good(&to).table.sources()[0]
        .subscription
        .subscriber
        .clone()
        .expect("a sink");
    assert_eq!(sink.route, DestinationRoute::Local(super::broker("b")));
}

#[test]
fn sources_with_problems_are_reported_and_keep_their_last_form() {
    let before = one(&ping(SINK));
    for (spec, line) in [
        (
            "  schedule: never\n",
            "5: PingSource default/p: spec.schedule: \"never\" is no cron schedule",
        ),
        (
            "  schedule: '@every 5s'\n",
            "5: PingSource default/p: spec.schedule: \"@every 5s\" is no cron schedule",
        ),
        (
            "  schedule: 0 0 30 2 *\n",
            "5: PingSource default/p: spec.schedule: \"0 0 30 2 *\" never comes",
        ),
        (
            "  timezone: Mars\n",
            "5: PingSource default/p: spec.timezone: \"Mars\" is no time zone",
        ),
        (
            "  data: a\n  dataBase64: YQ==\n",
            "6: PingSource default/p: spec.dataBase64: is there beside data",
        ),
        (
            "  dataBase64: '*'\n",
            "5: PingSource default/p: spec.dataBase64: is not base64",
        ),
        (
            "  contentType: application/json\n  data: '{'\n",
            "6: PingSource default/p: spec.data: is not JSON",
        ),
        (
            "  contentType: \"a\\nb\"\n",
            "5: PingSource default/p: spec.contentType: is no media type",
        ),
        (
            "  ceOverrides: {extensions: {A-B: x}}\n",
            "5: PingSource default/p: spec.ceOverrides.extensions.A-B: \"A-B\"",
        ),
        (
            "  ceOverrides: {extensions: {type: x}}\n",
            "5: PingSource default/p: spec.ceOverrides.extensions.type: \"type\"",
        ),
        (
            "  shedule: x\n",
            "5: PingSource default/p: spec.shedule: is not a field that is known here; did you mean schedule?",
        ),
    ] {
        let text = ping(&format!("{spec}{SINK}"));
        let alone = one(&text);
        let [found] = &lines(&alone)[..] else {
            panic!("not one problem: {:#?}", lines(&alone))
        };
        assert!(found.starts_with(&format!("a.yaml:{line}")), "{found}");
        let bad = alone.problems.iter().any(crate::control::Problem::is_error);
        assert_eq!(alone.table.sources().is_empty(), bad);
        let after = resolve(&manifests(&[("a.yaml", &text)]), Some(&before), &settings());
        assert!(
            Arc::ptr_eq(&after.table.sources()[0], &before.table.sources()[0]),
            "{spec}"
        );
    }
    let sinkless = one(&ping("  schedule: '* * * * *'\n"));
    assert!(lines(&sinkless)[0].contains("spec.sink: is missing"));
    assert!(
        resolve(&manifests(&[("a.yaml", "")]), Some(&before), &settings())
            .table
            .sources()
            .is_empty()
    );
}

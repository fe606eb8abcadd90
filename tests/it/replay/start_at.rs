//! The annotation `sealpost.dev/start-at`.

use super::*;
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_begins_with_what_is_there() {
    let (first, second) = (Subscriber::ok().await, Subscriber::ok().await);
    let data = TempDir::new().expect("a directory");
    let before = channel(&[("s", "", &first.url())]);
    let dispatcher = on(&data, &before).start().await;
    send_all(&dispatcher, 0..30).await;
    first.until(30).await;
    let earliest = "sealpost.dev/start-at: earliest";
    let both = before.clone() + &subscription("t", earliest, &second.url());
    dispatcher.apply(&both).await;
    send_all(&dispatcher, 30..40).await;
    second.until(40).await;
    let mut ids = seen(&second.received());
    ids.sort_unstable();
    let expected: Vec<_> = (0..40).map(|id| (id, None)).collect();
    assert_eq!(ids, expected, "each once, and not as a replay");

    // Only a queue that is made anew begins there.
    end(dispatcher).await;
    let dispatcher = on(&data, &both).start().await;
    send_all(&dispatcher, 40..45).await;
    second.until(45).await;
    assert_eq!(first.until(45).await.len(), 45);
    assert_eq!(second.count(), 45);

    // A time, and a filter.
    let third = Subscriber::ok().await;
    let late = "sealpost.dev/start-at: \"2099-01-01T00:00:00Z\"";
    dispatcher
        .apply(&(both + &subscription("u", late, &third.url())))
        .await;
    send_all(&dispatcher, 45..50).await;
    third.until(5).await;
    eventually("the others have them", || second.count() == 50).await;
    assert_eq!(
        seen(&third.received())
            .iter()
            .filter(|(id, _)| *id < 45)
            .count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_begins_with_what_its_filter_lets_pass() {
    let subscriber = Subscriber::ok().await;
    let broker = "apiVersion: eventing.knative.dev/v1\nkind: Broker\n\
         metadata: {name: c, annotations: {sealpost.dev/retain: P1D}}\n";
    let trigger = format!(
        "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\n\
         metadata: {{name: t, annotations: {{sealpost.dev/start-at: earliest}}}}\n\
         spec: {{broker: c, filters: [{{cesql: 'INT(id) % 10 = 0'}}], subscriber: {{uri: '{}'}}}}\n",
        subscriber.url()
    );
    let data = TempDir::new().expect("a directory");
    let dispatcher = on(&data, broker).arg("--default-channel").arg("disk");
    let dispatcher = dispatcher.start().await;
    send_all(&dispatcher, 0..100).await;
    dispatcher.apply(&(broker.to_owned() + &trigger)).await;
    send_all(&dispatcher, 100..111).await;
    subscriber.until(12).await;
    let mut ids: Vec<u32> = seen(&subscriber.received())
        .iter()
        .map(|(id, _)| *id)
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..=110).step_by(10).collect::<Vec<_>>());
    let replayed = by_socket(&dispatcher, "replay")
        .run(&["default/t", "--from", "PT1H"])
        .await;
    assert_eq!(replayed.stdout, "trigger default/t: 12 replayed\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_an_error_of_check() {
    let memory =
        crate::support::channel(&[("m", "subscriber: {uri: 'http://localhost:9/'}".to_owned())]);
    let memory = memory.replace(
        "{name: m}",
        "{name: m, annotations: {sealpost.dev/start-at: earliest}}",
    );
    let annotated = |annotation: &str| channel(&[("s", annotation, "http://localhost:9/")]);
    let begins = |at: &str| annotated(&format!("sealpost.dev/start-at: {at}"));
    let field = "Subscription default/s: metadata.annotations.sealpost.dev/start-at:";
    let empty = format!("{field} \"\" is no time to begin at: write for example");
    for (yaml, part) in [
        (memory, "in memory"),
        (begins("yesterday"), "no time to begin at"),
        (begins("''"), &empty),
        (
            annotated("sealpost.dev/delivery-order: ''"),
            "\"\" is no order",
        ),
        (
            annotated("sealpost.dev/http-version: ''"),
            "\"\" is no version",
        ),
    ] {
        let directory = TempDir::new().expect("a directory");
        std::fs::write(directory.path().join("m.yaml"), yaml).expect("written");
        let check = Parked::with(&["-f", text(directory.path())]).command("check");
        let checked = check.run(&[]).await;
        assert_eq!(checked.code, Some(1), "{checked:?}");
        assert!((checked.stdout + &checked.stderr).contains(part));
    }
}

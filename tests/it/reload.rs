//! Manifests that change while events flow (contract IF-1, IF-2).

use std::os::unix::fs::symlink;

use crate::support::dispatcher::{Dispatcher, ready};
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;
use crate::support::{channel, eventually, subscription};

fn to(subscriber: &Subscriber) -> String {
    format!("subscriber: {{uri: '{}'}}", subscriber.url())
}

/// A subscription that comes gets the next event, one that goes gets none; what was accepted before
/// is delivered.
#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_come_and_go() {
    let (a, b) = (Subscriber::ok().await, Subscriber::ok().await);
    let dispatcher = Dispatcher::standalone(&channel(&[("a", to(&a))])).await;
    let (client, url) = (plain(), dispatcher.http_url("/default/c"));
    assert_eq!(send(&client, &url, "1").await, 202);
    dispatcher
        .apply(&channel(&[("a", to(&a)), ("b", to(&b))]))
        .await;
    assert_eq!(send(&client, &url, "2").await, 202);
    dispatcher.apply(&channel(&[("b", to(&b))])).await;
    assert_eq!(send(&client, &url, "3").await, 202);
    let ids = |subscriber: &Subscriber| {
        subscriber
            .received()
            .iter()
            .map(|received| received.id().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (ids(&a), ids(&b)),
        (
            vec!["1".to_owned(), "2".to_owned()],
            vec!["2".to_owned(), "3".to_owned()]
        )
    );
    dispatcher
        .apply("apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: other}\n")
        .await;
    assert_eq!(send(&client, &url, "4").await, 404, "contract C14");
}

/// A file that is half written, or no YAML at all, changes nothing; other files are applied.
#[tokio::test(flavor = "multi_thread")]
async fn half_written_files() {
    let subscriber = Subscriber::ok().await;
    let whole = channel(&[("s", to(&subscriber))]);
    let dispatcher = Dispatcher::standalone(&whole).await;
    let url = dispatcher.http_url("/default/c");
    let other = "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: other}\n";
    dispatcher
        .changing(|| {
            std::fs::write(
                dispatcher.path("manifests/m.yaml"),
                &whole[..whole.len() - 3],
            )
            .expect("written");
            std::fs::write(dispatcher.path("manifests/other.yaml"), other).expect("written");
        })
        .await;
    assert_eq!(
        dispatcher.logged(&["m.yaml:", "is not valid YAML"]).len(),
        1
    );
    assert_eq!(send(&plain(), &url, "1").await, 202);
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/other"), "1").await,
        202
    );
    assert_eq!(subscriber.count(), 1);
    dispatcher.apply(&whole).await;
    assert_eq!(send(&plain(), &url, "2").await, 202);
    assert_eq!(subscriber.count(), 2);
}

/// A path that cannot be read keeps what it had; a file that is removed from a directory is gone.
#[tokio::test(flavor = "multi_thread")]
async fn paths_that_go_away() {
    let builder = Dispatcher::of(&channel(&[]));
    let other = builder.path("other.yaml");
    let channel_of_its_own =
        "apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: other}\n";
    let builder = builder
        .file("other.yaml", channel_of_its_own)
        .arg("-f")
        .arg(other.display().to_string());
    let dispatcher = builder.start().await;
    let (here, there) = (dispatcher.path("manifests"), dispatcher.path("gone"));
    dispatcher
        .changing(|| {
            std::fs::rename(&here, &there).expect("renamed");
            std::fs::remove_file(&other).expect("removed");
        })
        .await;
    for path in ["/default/c", "/default/other"] {
        assert_eq!(
            send(&plain(), dispatcher.http_url(path), "1").await,
            202,
            "{path}"
        );
    }
    dispatcher
        .changing(|| std::fs::rename(&there, &here).expect("renamed"))
        .await;
    dispatcher
        .changing(|| std::fs::remove_file(here.join("m.yaml")).expect("removed"))
        .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "2").await,
        404
    );
}

/// A mounted ConfigMap: a directory of links into a directory whose link is swapped.
#[tokio::test(flavor = "multi_thread")]
async fn symbolic_links_are_swapped() {
    let (a, b) = (Subscriber::ok().await, Subscriber::ok().await);
    let dispatcher = Dispatcher::standalone("# nothing\n").await;
    let at = |name: &str| dispatcher.path("manifests").join(name);
    let version = |name: &str, yaml: &str| {
        std::fs::create_dir(at(name)).expect("made");
        std::fs::write(at(name).join("channel.yaml"), yaml).expect("written");
    };
    version("..1", &channel(&[("s", to(&a))]));
    version("..2", &channel(&[("s", to(&b))]));
    dispatcher
        .changing(|| {
            symlink("..1", at("..data")).expect("linked");
            symlink("..data/channel.yaml", at("channel.yaml")).expect("linked");
        })
        .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    dispatcher
        .changing(|| {
            symlink("..2", at("..data_tmp")).expect("linked");
            std::fs::rename(at("..data_tmp"), at("..data")).expect("swapped");
        })
        .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "2").await,
        202
    );
    assert_eq!((a.count(), b.count()), (1, 1));
}

/// One bad object keeps its last good form and stops no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_object_keeps_its_last_good_form() {
    let subscriber = Subscriber::ok().await;
    let dispatcher = Dispatcher::standalone(&channel(&[("s", to(&subscriber))])).await;
    let bad = channel(&[("s", to(&subscriber) + "\ndelivery: {backoffDelay: soon}")])
        + &subscription("t", &to(&subscriber));
    dispatcher.apply(&bad).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    assert_eq!(subscriber.count(), 2);
    let object = dispatcher.object("subscriptions", "s").await;
    assert_eq!(ready(&object)["status"], "False");
    let message = ready(&object)["message"].as_str().expect("a message");
    assert!(
        message.contains("spec.delivery.backoffDelay") && ready(&object)["reason"].is_string(),
        "{message}"
    );
}

/// Events that wait for a retry are tried with the configuration of then.
#[tokio::test(flavor = "multi_thread")]
async fn retries_use_the_newest_configuration() {
    let (broken, mended) = (Subscriber::replying(&[503]).await, Subscriber::ok().await);
    let delivery = "\ndelivery: {retry: 5, backoffPolicy: exponential, backoffDelay: PT0.5S}";
    let dispatcher = Dispatcher::standalone(&channel(&[("s", to(&broken) + delivery)])).await;
    let url = dispatcher.http_url("/default/c");
    let sending = tokio::spawn(async move { send(&plain(), url, "1").await });
    broken.until(1).await;
    dispatcher
        .apply(&channel(&[("s", to(&mended) + delivery)]))
        .await;
    assert_eq!(sending.await.expect("sent"), 202);
    assert_eq!(mended.count(), 1);
    eventually("nothing is left", || broken.count() <= 2).await;
}

/// Many files at once, come and gone.
#[tokio::test(flavor = "multi_thread")]
async fn many_files_at_once() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let file = |number: usize| dispatcher.path(&format!("manifests/{number}.yaml"));
    dispatcher
        .changing(|| {
            for number in 0..300 {
                let yaml =
                    format!("apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {{name: c{number}}}\n");
                std::fs::write(file(number), yaml).expect("written");
            }
        })
        .await;
    dispatcher
        .until_object("channels", "c299", |object| !object.is_null())
        .await;
    for number in [0, 150, 299] {
        assert_eq!(
            send(
                &plain(),
                dispatcher.http_url(&format!("/default/c{number}")),
                "1"
            )
            .await,
            202
        );
    }
    dispatcher
        .changing(|| {
            (0..300).for_each(|number| std::fs::remove_file(file(number)).expect("removed"))
        })
        .await;
    dispatcher
        .until_object("channels", "c0", serde_json::Value::is_null)
        .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c0"), "2").await,
        404
    );
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "2").await,
        202
    );
}

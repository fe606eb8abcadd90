//! What a destination is called in its dead letters: byte for byte what was written (contract
//! DP-29, DP-32, BF-13).

use std::collections::BTreeMap;

use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{plain, send};
use crate::support::subscriber::{Received, Reply, Subscriber};

const SYSTEM: &str = "knative-eventing.svc.cluster.local";
const UID: &str = "9a5a7d0e-0c49-4d0c-8f7e-52f5f2f9f0aa";

/// URLs in forms that a parser writes otherwise, each of which fails at once: at `refusing`, or
/// since nobody listens.
fn written(refusing: &Subscriber) -> Vec<String> {
    let port = refusing.address().port();
    let at = |text: &str| text.replace("PORT", &port.to_string());
    [
        "http://127.0.0.1:PORT",
        "http://127.0.0.1:PORT/",
        "http://LocalHost:PORT",
        "HTTP://127.0.0.1:0PORT/Path",
        "http://127.0.0.1:PORT?q=a%20b&c={d}",
        "http://127.0.0.1:PORT/?",
        "http://127.0.0.1:PORT/a/../b/./c//",
        "http://127.0.0.1:PORT/a%2fb/%7Ec/%C3%BC",
        "http://127.0.0.1:PORT/a b|{c}/ü",
        "http://127.0.0.1:PORT/#f",
        "http://127.0.0.9:80",
        "https://127.0.0.9:443",
        "http://[::1]:1",
        "http://[0:0:0:0:0:0:0:1]:1/x",
    ]
    .map(at)
    .to_vec()
}

/// `knativeerrordest` of each dead letter, as the HTTP binding decodes it, and how often it came.
fn told(letters: &[Received]) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for letter in letters {
        let header = letter.header("ce-knativeerrordest").expect("a destination");
        let text = percent_encoding::percent_decode_str(header)
            .decode_utf8()
            .expect("text")
            .into_owned();
        *told.entry(text).or_default() += 1;
    }
    told
}

/// Through ingress and channel to subscribers of the channel, to subscribers of Triggers behind the
/// filter, and to an address for replies.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_name_destinations_as_they_were_written() {
    let refusing = Subscriber::answering(|_| Reply::text(422, "no")).await;
    let (replying, sink) = (
        Subscriber::answering(|_| Reply::event("r", "r")).await,
        Subscriber::ok().await,
    );
    let urls = written(&refusing);
    let (mut triggers, mut subscribers) = (String::new(), String::new());
    let letters = format!(
        "    delivery: {{deadLetterSink: {{uri: '{}'}}}}\n",
        sink.url()
    );
    for (number, url) in urls.iter().enumerate() {
        triggers += &format!(
            "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t{number}, uid: {UID}}}\nspec: {{broker: b, subscriber: {{uri: 'http://not.used/'}}}}\nstatus: {{subscriberUri: '{url}'}}\n---\n"
        );
        subscribers += &format!("  - uid: s{number}\n    subscriberUri: '{url}'\n{letters}");
        let behind = format!("http://broker-filter.{SYSTEM}/triggers/default/t{number}/{UID}");
        subscribers += &format!("  - uid: f{number}\n    subscriberUri: '{behind}'\n{letters}");
    }
    let reply = format!("http://LOCALHOST:{}?reply=%41", refusing.address().port());
    subscribers += &format!(
        "  - uid: r\n    subscriberUri: '{}'\n    replyUri: '{reply}'\n{letters}",
        replying.url()
    );
    let filter = Dispatcher::of(&triggers)
        .arg("--role")
        .arg("filter")
        .start()
        .await;
    let channel = format!(
        "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {{name: c}}\nspec:\n  subscribers:\n{subscribers}"
    );
    let to_filter = format!("broker-filter.{SYSTEM}={}", filter.http);
    let channel = Dispatcher::of(&channel)
        .arg("--resolve")
        .arg(to_filter)
        .start()
        .await;
    let address = channel.http_url("/default/c");
    let broker = format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: b}}\nstatus:\n  annotations: {{knative.dev/channelAddress: '{address}'}}\n"
    );
    let ingress = Dispatcher::of(&broker)
        .arg("--role")
        .arg("ingress")
        .start()
        .await;
    assert_eq!(
        send(&plain(), ingress.http_url("/default/b"), "i").await,
        202
    );
    let letters = sink.until(2 * urls.len() + 1).await;
    let mut wanted: BTreeMap<String, usize> = urls.into_iter().map(|url| (url, 2)).collect();
    wanted.insert(reply, 1);
    assert_eq!(told(&letters), wanted);
}

/// What is refused is named as well, but for the password that it is refused for.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_name_destinations_that_cannot_work() {
    let sink = Subscriber::ok().await;
    let rows = [
        ("bad://uri", "bad://uri"),
        ("http://a b", "http://a b"),
        ("/Path", "/Path"),
        ("http://user:secret@Sink:80", "http://Sink:80"),
        ("http://user:se/cret@Sink", "http://Sink"),
    ];
    let entry = |(number, (url, _)): (usize, &(&str, &str))| {
        format!(
            "  - uid: s{number}\n    subscriberUri: '{url}'\n    delivery: {{deadLetterSink: {{uri: '{}'}}}}\n",
            sink.url()
        )
    };
    let subscribers: String = rows.iter().enumerate().map(entry).collect();
    let channel = format!(
        "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {{name: c}}\nspec:\n  subscribers:\n{subscribers}"
    );
    let dispatcher = Dispatcher::of(&channel).start().await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "i").await,
        202
    );
    let wanted = rows.map(|(_, name)| (name.to_owned(), 1));
    assert_eq!(told(&sink.until(rows.len()).await), BTreeMap::from(wanted));
    assert!(!dispatcher.log().contains("cret"), "{}", dispatcher.log());
}

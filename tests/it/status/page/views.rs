//! The page with much, with little and with nothing to show: groups that fold, what is broken first,
//! the graph, and the start.

use super::{ASK, VISIBLE, has_rows, opened, tr};
use crate::support::chromium::Browser;
use crate::support::dispatcher::Dispatcher;
use crate::support::eventually;
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;

/// YAML of Brokers with so many Triggers each, all of one subscriber; `-0` of the first two go to
/// another.
fn brokers(names: &[&str], triggers: usize, urls: [&str; 2]) -> String {
    let [url, broken] = urls;
    let mut yaml = String::new();
    for (index, name) in names.iter().enumerate() {
        yaml += &format!(
            "---\n{{apiVersion: eventing.knative.dev/v1, kind: Broker, metadata: {{name: {name}}}}}\n"
        );
        for number in 0..triggers {
            let url = if number == 0 && index < 2 {
                broken
            } else {
                url
            };
            yaml += &format!(
                "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: {name}-{number}}}\nspec:\n  \
                 broker: {name}\n  filters: [{{exact: {{type: t{number}}}}}, {{cesql: \"source LIKE '/%'\"}}]\n  \
                 subscriber: {{uri: '{url}'}}\n"
            );
        }
    }
    yaml
}

fn fold(group: &str) -> String {
    format!(
        "[...document.querySelectorAll('tbody .fold')].find(fold => fold.innerText.trim() === '{group}')"
    )
}

/// Opens the page with so many rows. Before the first answer there are no rows either.
async fn opened_with(dispatcher: &Dispatcher, rows: usize) -> Browser {
    let updated = "document.getElementById('updated')?.textContent.includes('UTC')";
    let ready = format!("{updated} && {}", has_rows(rows));
    opened(dispatcher, 1500, &ready).await
}

/// Of many rows, groups that are fine are folded; the broken ones of all groups stand first, open.
#[tokio::test(flavor = "multi_thread")]
async fn many_rows_fold_and_what_is_broken_stays() {
    let (fine, failing) = (Subscriber::ok().await, Subscriber::replying(&[503]).await);
    let yaml = brokers(&["a", "b", "c"], 30, [&fine.url(), &failing.url()]);
    let mut dispatcher = Dispatcher::standalone(&yaml).await;
    let mut browser = opened_with(&dispatcher, 90).await;
    assert_eq!(browser.evaluate(VISIBLE).await, "", "nothing is wrong yet");

    // Keys alone unfold a group, and fold it.
    browser.evaluate(&format!("{}.focus()", fold("c"))).await;
    browser.press("Enter", "\r").await;
    let count = format!("{VISIBLE}.split(' ').length");
    assert_eq!(browser.evaluate(&count).await, 25, "the first of 30");
    let expanded = format!("{}.ariaExpanded", fold("c"));
    assert_eq!(browser.evaluate(&expanded).await, "true");
    let more = "[...document.querySelectorAll('.more button')].find(more => more.offsetParent)";
    let words = browser.evaluate(&format!("{more}.textContent")).await;
    assert_eq!(words, "Show 5 more");
    browser.evaluate(&format!("{more}.click()")).await;
    assert_eq!(browser.evaluate(&count).await, 30);
    browser.press("Enter", "\r").await;
    assert_eq!(browser.evaluate(VISIBLE).await, "");

    for broker in ["a", "b"] {
        let url = dispatcher.http_url(&format!("/default/{broker}"));
        let event = crate::support::sender::event(&plain(), url, "1").header("ce-type", "t0");
        assert_eq!(typed(event).await, 500);
    }
    browser.evaluate(ASK).await;
    browser.until(&format!("{VISIBLE} === 'a-0 b-0'")).await;
    let first = "document.querySelector('#table tbody').innerText";
    let first = browser.evaluate(first).await;
    let first = first.as_str().expect("text");
    assert!(
        first.contains("Needs attention") && first.contains("2 of 90 subscriptions"),
        "{first}"
    );
    let group = format!("{}.closest('tr').querySelector('.pill')", fold("a"));
    let group = format!("{group}.textContent + {group}.className");
    assert_eq!(browser.evaluate(&group).await, "1 of 30 wrongpill bad");

    // What is folded is found.
    let search = "(field => { field.value = 'c-17'; field.dispatchEvent(new Event('input')); })(document.getElementById('search'))";
    browser.evaluate(search).await;
    assert_eq!(browser.evaluate(VISIBLE).await, "c-17");

    assert_eq!(browser.complaints(), Vec::<String>::new());
    // Where nobody answers any more, nothing is called broken.
    dispatcher.signal(rustix::process::Signal::TERM);
    assert!(dispatcher.ended().await.success());
    browser.evaluate(ASK).await;
    let told = "document.querySelector('#attention .pill').textContent";
    browser.until(&format!("{told} === 'Not known'")).await;
    browser
        .evaluate("document.getElementById('as-graph').click()")
        .await;
    browser.evaluate(&search.replace("c-17", "")).await;
    let broken = "document.querySelectorAll('.node').length > 5 && !document.querySelector('.node.bad, .edge.bad')";
    assert_eq!(browser.evaluate(broken).await, true);
    browser.close().await;
}

/// Sends an event whose type is the one given last.
async fn typed(event: reqwest::RequestBuilder) -> u16 {
    let (client, request) = event.build_split();
    let mut request = request.expect("a request");
    let last = request
        .headers()
        .get_all("ce-type")
        .iter()
        .next_back()
        .cloned();
    let last = last.expect("a type");
    request.headers_mut().insert("ce-type", last);
    let sent = client.execute(request).await.expect("an answer");
    sent.status().as_u16()
}

/// The graph draws what is broken by itself and the rest together, with filters and rates.
#[tokio::test(flavor = "multi_thread")]
async fn the_graph_stays_readable() {
    let (fine, failing) = (Subscriber::ok().await, Subscriber::replying(&[503]).await);
    let names: Vec<String> = (0..12).map(|number| format!("b{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let yaml = brokers(&names, 25, [&fine.url(), &failing.url()]);
    let dispatcher = Dispatcher::standalone(&yaml).await;
    let mut browser = opened_with(&dispatcher, 300).await;
    let event = crate::support::sender::event(&plain(), dispatcher.http_url("/default/b01"), "1");
    assert_eq!(typed(event.header("ce-type", "t0")).await, 500);
    browser.evaluate(ASK).await;
    browser.until(&format!("{VISIBLE} === 'b01-0'")).await;
    browser
        .evaluate("document.getElementById('as-graph').click()")
        .await;

    let filter = "[...document.querySelectorAll('.filter')].map(filter => filter.textContent).filter(Boolean).join('|')";
    let wanted = "type = t0 and source LIKE '/%'";
    browser.until(&format!("{filter} === \"{wanted}\"")).await;
    let nodes = "document.querySelectorAll('.node').length";
    let nodes = browser.evaluate(nodes).await.as_u64().expect("a number");
    assert!((25..60).contains(&nodes), "{nodes} nodes of 300 paths");
    let first = "[...document.querySelectorAll('.node.bad')].filter(node => node.tagName === 'BUTTON').map(node => node.firstElementChild.textContent).join(' ')";
    assert_eq!(
        browser.evaluate(first).await,
        "b01-0 b01",
        "the broken path alone"
    );
    let place = "Math.min(...[...document.querySelectorAll('.node')].map(node => node.offsetTop)) === document.querySelector('.node.bad').offsetTop";
    assert_eq!(browser.evaluate(place).await, true, "it comes first");
    let over = "(nodes => nodes.some((a, i) => nodes.slice(i + 1).some(b => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)))([...document.querySelectorAll('.node')].map(node => node.getBoundingClientRect()))";
    assert_eq!(
        browser.evaluate(over).await,
        false,
        "no node covers another"
    );
    for (width, scheme) in [(1440, "light"), (1024, "dark")] {
        browser.resize(width, 900).await;
        browser.prefers(scheme).await;
        browser.screenshot(&format!("graph-{width}-{scheme}")).await;
    }

    widths(&mut browser, &dispatcher).await;
    // A node leads to the details of its row.
    let node = "[...document.querySelectorAll('button.node')].find(node => node.firstElementChild.textContent === 'b01-0')";
    browser.evaluate(&format!("{node}.focus()")).await;
    browser.press("Enter", "\r").await;
    let open = format!("{}.querySelector('button')", tr("b01-0"));
    assert_eq!(
        browser
            .evaluate(&format!(
                "{open}.ariaExpanded + (document.activeElement === {open})"
            ))
            .await,
        "truetrue"
    );
    assert_eq!(browser.complaints(), Vec::<String>::new());
    browser.close().await;
}

/// What delivers more is drawn wider.
async fn widths(browser: &mut Browser, dispatcher: &Dispatcher) {
    const WIDEST: &str = "Math.max(...[...document.querySelectorAll('.edge')].map(edge => Number(edge.getAttribute('stroke-width'))))";
    assert_eq!(browser.evaluate(WIDEST).await, 1.5, "nothing is delivered");
    let deadline = std::time::Instant::now() + crate::support::SOON;
    while browser.evaluate(&format!("{WIDEST} > 4")).await != true {
        assert!(std::time::Instant::now() < deadline, "no width");
        for id in 0..20 {
            let url = dispatcher.http_url("/default/b03");
            let event = crate::support::sender::event(&plain(), url, &id.to_string());
            assert_eq!(typed(event.header("ce-type", "t1")).await, 202);
        }
        browser.evaluate(ASK).await;
    }
}

/// Where nothing is configured, and where no event has come, the page says what to try.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_empty_says_what_to_try() {
    let dispatcher =
        Dispatcher::standalone("{apiVersion: v1, kind: ConfigMap, metadata: {name: other}}\n")
            .await;
    let mut browser = opened_with(&dispatcher, 0).await;
    let start = "document.getElementById('start').innerText";
    browser
        .until(&format!(
            "{start}.includes('sealpost send') && {start}.includes('kind: Broker')"
        ))
        .await;
    browser.screenshot("empty").await;

    let subscriber = Subscriber::ok().await;
    dispatcher
        .apply(&brokers(
            &["first"],
            1,
            [&subscriber.url(), &subscriber.url()],
        ))
        .await;
    browser.evaluate(ASK).await;
    let url = dispatcher.http_url("/default/first");
    browser
        .until(&format!("{start}.includes('sealpost send {url} ')"))
        .await;
    assert_eq!(send(&plain(), url, "1").await, 202);
    browser.evaluate(ASK).await;
    browser
        .until("document.getElementById('start').hidden")
        .await;
    browser.close().await;
}

/// A process that comes back is shown again, and what is counted anew makes no rates.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_gone_and_back() {
    let subscriber = Subscriber::ok().await;
    let yaml = brokers(&["a"], 1, [&subscriber.url(), &subscriber.url()]);
    let mut dispatcher = Dispatcher::standalone(&yaml).await;
    let mut browser = opened_with(&dispatcher, 1).await;
    let admin = dispatcher.admin.to_string();
    let state = super::cell("a-0", 0);
    browser.until(&format!("{state} === 'Idle'")).await;
    dispatcher.signal(rustix::process::Signal::TERM);
    assert!(dispatcher.ended().await.success());
    browser.evaluate(ASK).await;
    browser.until(&format!("{state} === 'Not known'")).await;
    assert_eq!(
        browser.evaluate("document.title").await,
        "(no answer) sealpost"
    );
    browser.screenshot("gone").await;

    let again = Dispatcher::of(&yaml).admin(&admin).start().await;
    eventually("it listens there", || again.admin.to_string() == admin).await;
    browser.evaluate(ASK).await;
    browser.until(&format!("{state} === 'Idle'")).await;
    let told = "document.getElementById('stale').textContent + document.title";
    assert_eq!(browser.evaluate(told).await, "sealpost");
    browser.close().await;
}

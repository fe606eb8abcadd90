//! The page in a browser: what it shows, how it is used, and that it speaks to nobody else.

mod access;
mod events;
mod views;

use std::time::Instant;

use super::{BROKEN, Scene, is_settled, recovering, thousand, until};
use crate::support::chromium::Browser;
use crate::support::dispatcher::Dispatcher;
use crate::support::subscriber::Subscriber;
use crate::support::{SOON, channel};

/// The text of a row's cell, counted from 0.
pub(super) fn cell(row: &str, cell: usize) -> String {
    format!("{}.cells[{cell}].innerText.trim()", tr(row))
}

pub(super) fn tr(row: &str) -> String {
    format!(
        "[...document.querySelectorAll('tr.row')].find(tr => tr.querySelector('.name-text').textContent === '{row}')"
    )
}

/// Opens the page, and waits until this is true of it.
async fn opened(dispatcher: &Dispatcher, width: u32, ready: &str) -> Browser {
    let mut browser = Browser::start(width, 1050).await;
    browser.open(&format!("http://{}/", dispatcher.admin)).await;
    browser.until(ready).await;
    browser
}

/// True of a page with so many rows.
fn has_rows(rows: usize) -> String {
    format!("document.querySelectorAll('tr.row').length === {rows}")
}

/// The names of the rows that are to be seen, in their order.
const VISIBLE: &str = "[...document.querySelectorAll('tr.row')].filter(tr => tr.offsetParent).map(tr => tr.querySelector('.name-text').textContent).join(' ')";

/// Has the page ask at once.
const ASK: &str = "document.dispatchEvent(new Event('visibilitychange'))";

/// Names, numbers, locks, problems and what is wrong first.
#[tokio::test(flavor = "multi_thread")]
async fn the_page() {
    let mut scene = Scene::new().await;
    scene.send(5).await;
    until(&scene.dispatcher, |status| is_settled(status, 5)).await;
    let origin = format!("http://{}/", scene.dispatcher.admin);
    let mut browser = Browser::start(1500, 1050).await;
    browser.open(&origin).await;
    browser
        .until("document.querySelectorAll('tr.row').length === 5")
        .await;

    for (row, column, text) in [
        ("healthy", 7, "0"),
        ("healthy", 9, "–"),
        ("locked", 0, "Certificate"),
        ("buried", 0, "Failing"),
        ("buried", 6, "5"),
        ("buried", 7, "5"),
        ("lost", 8, "5"),
        ("orphan", 0, "Not ready"),
    ] {
        assert_eq!(
            browser.evaluate(&cell(row, column)).await,
            text,
            "{row} {column}"
        );
    }
    told(&mut browser).await;

    rated(&mut browser, &mut scene).await;
    for scheme in ["light", "dark"] {
        browser.prefers(scheme).await;
        browser.screenshot(&format!("page-{scheme}")).await;
    }
    used_by_keys(&mut browser).await;
    heard(&mut browser).await;
    wide(&mut browser).await;
    narrow(&mut browser).await;
    followed(&mut browser, &mut scene).await;

    assert_eq!(browser.complaints(), Vec::<String>::new());
    let requests = browser.requests();
    assert!(
        requests
            .iter()
            .any(|url| *url == format!("{origin}api/v1/status")),
        "{requests:?}"
    );
    let own = |url: &String| url.starts_with(&origin) || url.starts_with("data:");
    assert!(requests.iter().all(own), "{requests:?}");
    locked_in(&mut browser, &scene.subscribers[0]).await;
    browser.close().await;
}

/// What is told beside the numbers, what comes first, and no secret.
async fn told(browser: &mut Browser) {
    let locked = browser.evaluate(&cell("locked", 2)).await;
    let locked = locked.as_str().expect("text");
    assert!(
        locked.contains("https, own CACerts") && locked.contains("5 days left"),
        "{locked}"
    );
    let failed = browser.evaluate(&cell("buried", 9)).await;
    assert!(
        failed
            .as_str()
            .expect("text")
            .starts_with("answered 503 Service Unavailable"),
        "{failed}"
    );
    let problems = browser
        .evaluate("document.getElementById('problems').innerText")
        .await;
    let problems = problems.as_str().expect("text");
    assert!(
        problems.contains("broken.yaml:6") && problems.contains("spec.broker"),
        "{problems}"
    );
    let certificates = browser
        .evaluate("document.getElementById('certificates').innerText")
        .await;
    assert!(
        certificates
            .as_str()
            .expect("text")
            .contains("CN=short-lived"),
        "{certificates}"
    );
    let text = browser.evaluate("document.documentElement.outerHTML").await;
    assert!(
        !text.as_str().expect("text").contains("hidden1")
            && !text.as_str().expect("text").contains("hidden2")
    );
    assert_eq!(
        browser.evaluate(VISIBLE).await,
        "buried lost orphan locked healthy",
        "what is wrong comes first, wherever it belongs"
    );
}

/// Two answers make a rate.
async fn rated(browser: &mut Browser, scene: &mut Scene) {
    let (mut sent, deadline) = (5, Instant::now() + SOON);
    while browser
        .evaluate(&format!("parseFloat({}) > 0", cell("healthy", 3)))
        .await
        != true
    {
        assert!(Instant::now() < deadline, "no rate");
        scene.send(5).await;
        sent += 5;
        browser.evaluate(ASK).await;
    }
    browser
        .until(&format!("{}.includes('{sent} in all')", cell("healthy", 3)))
        .await;
    browser
        .until("document.getElementById('f-delivered').textContent !== '–'")
        .await;
}

/// Search, sorting and details, without a mouse.
async fn used_by_keys(browser: &mut Browser) {
    browser.press("/", "/").await;
    assert_eq!(
        browser.evaluate("document.activeElement.id").await,
        "search"
    );
    for letter in ["b", "u", "r"] {
        browser.press(letter, letter).await;
    }
    browser.until(&format!("{VISIBLE} === 'buried'")).await;
    assert_eq!(
        browser
            .evaluate("document.getElementById('count').textContent")
            .await,
        "1 of 5 subscriptions"
    );
    browser.press("Escape", "").await;
    browser
        .until(&format!("{VISIBLE}.split(' ').length === 5"))
        .await;

    browser
        .evaluate("document.querySelector('button[data-sort=name]').focus()")
        .await;
    browser.press("Enter", "\r").await;
    assert_eq!(
        browser.evaluate(VISIBLE).await,
        "buried healthy locked lost orphan"
    );
    let sorted = "document.querySelector('button[data-sort=name]').parentElement.ariaSort";
    assert_eq!(browser.evaluate(sorted).await, "ascending");
    browser
        .evaluate("document.querySelector('button[data-sort=level]').click()")
        .await;

    let open = format!("{}.querySelector('button')", tr("locked"));
    browser.evaluate(&format!("{open}.focus()")).await;
    browser.press("Enter", "\r").await;
    assert_eq!(
        browser.evaluate(&format!("{open}.ariaExpanded")).await,
        "true"
    );
    let details = browser
        .evaluate(&format!("{}.nextElementSibling.innerText", tr("locked")))
        .await;
    assert!(
        details.as_str().expect("text").contains("CACerts end"),
        "{details}"
    );
    for scheme in ["light", "dark"] {
        browser.prefers(scheme).await;
        browser.screenshot(&format!("details-{scheme}")).await;
    }
}

/// Everything that is used has a name, and the table is one.
async fn heard(browser: &mut Browser) {
    let nodes = browser.accessible().await;
    let named = |role: &str| {
        nodes
            .iter()
            .filter(|(of, _)| of == role)
            .map(|(_, name)| name.as_str())
            .collect::<Vec<_>>()
    };
    for role in [
        "button",
        "checkbox",
        "searchbox",
        "columnheader",
        "rowheader",
        "region",
    ] {
        let names = named(role);
        assert!(
            !names.is_empty() && names.iter().all(|name| !name.is_empty()),
            "{role}: {names:?}"
        );
    }
    assert_eq!(named("columnheader").len(), 10);
    assert!(
        named("heading").contains(&"Channels and brokers"),
        "{:?}",
        named("heading")
    );
    assert_eq!(named("table").len(), 1);
}

/// On usual screens nothing of a destination is cut off, and the table is seen whole.
async fn wide(browser: &mut Browser) {
    for width in [1280, 1440, 1920] {
        browser.resize(width, 1050).await;
        let whole =
            "(box => box.scrollWidth <= box.clientWidth)(document.querySelector('.scroll'))";
        assert_eq!(browser.evaluate(whole).await, true, "the table at {width}");
        let cut = "[...document.querySelectorAll('.to code')].filter(code => code.scrollWidth > code.clientWidth).map(code => code.textContent).join(' ')";
        assert_eq!(browser.evaluate(cut).await, "", "destinations at {width}");
        let heads = "[...document.querySelectorAll('thead th')].filter(head => head.scrollWidth > head.clientWidth).map(head => head.textContent).join(' ')";
        assert_eq!(browser.evaluate(heads).await, "", "heads at {width}");
        for scheme in ["light", "dark"] {
            browser.prefers(scheme).await;
            browser.screenshot(&format!("wide-{width}-{scheme}")).await;
        }
    }
    browser.resize(1500, 1050).await;
}

/// On small screens rows are cards: nothing is scrolled sideways, and what is wrong is told whole.
async fn narrow(browser: &mut Browser) {
    for width in [390, 768, 1024] {
        browser.resize(width, 900).await;
        browser.screenshot(&format!("narrow-{width}")).await;
        let sideways = "document.documentElement.scrollWidth > innerWidth || (box => box.scrollWidth > box.clientWidth)(document.querySelector('.scroll'))";
        assert_eq!(browser.evaluate(sideways).await, false, "{width}");
        let card = format!("getComputedStyle({}).display", tr("buried"));
        assert_eq!(browser.evaluate(&card).await, "grid", "{width}");
        let height = format!("{}.offsetHeight", tr("healthy"));
        let height = browser.evaluate(&height).await.as_f64().expect("pixels");
        assert!(height < 220.0, "a card of {height} pixels at {width}");
        let error = browser.evaluate(&cell("buried", 9)).await;
        let error = error.as_str().expect("text");
        assert!(error.starts_with("answered 503"), "{error}");
    }
    browser.resize(1500, 1050).await;
}

/// What is mended vanishes; where nobody answers any more, the page says so.
async fn followed(browser: &mut Browser, scene: &mut Scene) {
    scene
        .dispatcher
        .apply_to("broken.yaml", &BROKEN.replace("nowhere", "calm"))
        .await;
    browser.evaluate(ASK).await;
    browser
        .until("document.getElementById('problems').hidden")
        .await;
    browser
        .until(&format!("{} === 'Idle'", cell("orphan", 0)))
        .await;
    assert_eq!(
        browser
            .evaluate("document.getElementById('stale').textContent")
            .await,
        ""
    );
}

/// The policy holds: no script that is written into the page, and no request to elsewhere.
async fn locked_in(browser: &mut Browser, elsewhere: &Subscriber) {
    let before = elsewhere.count();
    let script = "const script = document.createElement('script'); script.textContent = 'window.injected = true'; document.body.append(script); window.injected === undefined";
    assert_eq!(browser.evaluate(script).await, true);
    let fetch = format!(
        "fetch('{}', {{method: 'POST', mode: 'no-cors'}}).then(() => 'sent', () => 'refused')",
        elsewhere.url()
    );
    assert_eq!(browser.evaluate(&fetch).await, "refused");
    assert_eq!(elsewhere.count(), before);
}

/// A row that recovered is not called failing, and an event that was lost keeps its time, not a red
/// row.
#[tokio::test(flavor = "multi_thread")]
async fn what_recovered_is_not_failing() {
    let (dispatcher, _subscribers) = recovering().await;
    let mut browser = opened(&dispatcher, 1500, &has_rows(3)).await;
    for (row, state) in [
        ("flaky", "Working"),
        ("mended", "Lost events"),
        ("unused", "Idle"),
    ] {
        assert_eq!(browser.evaluate(&cell(row, 0)).await, state, "{row}");
    }
    let tone = format!("{}.querySelector('.pill').className", tr("mended"));
    assert_eq!(
        browser.evaluate(&tone).await,
        "pill warn",
        "it has recovered"
    );
    assert_eq!(
        browser
            .evaluate("document.getElementById('f-wrong').textContent")
            .await,
        "1"
    );
    assert_eq!(
        browser
            .evaluate("document.getElementById('f-wrong-sub').textContent")
            .await,
        "of 3, 0 broken"
    );
    browser
        .evaluate(&format!("{}.querySelector('button').click()", tr("mended")))
        .await;
    let details = browser
        .evaluate(&format!("{}.nextElementSibling.innerText", tr("mended")))
        .await;
    let details = details.as_str().expect("text");
    assert!(
        details.contains("Last success") && details.contains("Last lost event"),
        "{details}"
    );
    browser.close().await;
}

/// Objects of several kinds have one name, and each is shown.
#[tokio::test(flavor = "multi_thread")]
async fn objects_of_one_name() {
    const SAME: &str = "\
---\n{apiVersion: eventing.knative.dev/v1, kind: Broker, metadata: {name: same}}
---\n{apiVersion: flows.knative.dev/v1, kind: Sequence, metadata: {name: same}, spec: {steps: [{uri: 'http://localhost:9/'}]}}
---\n{apiVersion: flows.knative.dev/v1, kind: Parallel, metadata: {name: same}, spec: {branches: [{subscriber: {uri: 'http://localhost:9/'}}]}}
---\n{apiVersion: sources.knative.dev/v1, kind: PingSource, metadata: {name: same}, spec: {schedule: '0 0 1 1 *', sink: {uri: 'http://localhost:9/'}}}
---\napiVersion: eventing.knative.dev/v1alpha1\nkind: RequestReply\nmetadata: {name: same}\nspec:
  brokerRef: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: same}\n";
    const KINDS: &str = "[...document.querySelectorAll('tbody > tr:first-child')].map(tr => tr.cells[1]).filter(cell => cell.firstElementChild.textContent === 'same').map(cell => cell.lastElementChild.textContent.split(' ')[0]).sort().join(' ')";
    let yaml = channel(&[]).replace("metadata: {name: c}", "metadata: {name: same}") + SAME;
    let dispatcher = Dispatcher::of(&yaml).start().await;
    let mut browser = Browser::start(1500, 1050).await;
    browser.open(&format!("http://{}/", dispatcher.admin)).await;
    browser
        .until("document.querySelectorAll('tbody').length > 0")
        .await;
    let kinds = browser.evaluate(KINDS).await;
    assert_eq!(
        kinds,
        "Broker InMemoryChannel Parallel PingSource RequestReply Sequence"
    );
    assert_eq!(browser.complaints(), Vec::<String>::new());
    browser.close().await;
}

/// While RabbitMQ is away, head, rows and figures of the page say the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_away_needs_attention() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("its address");
    let yaml = crate::support::channel(&[(
        "kept",
        "subscriber: {uri: 'http://localhost:9/'}".to_owned(),
    )]) + "---\napiVersion: messaging.knative.dev/v1alpha1\nkind: RabbitmqChannel\nmetadata: {name: away}\n---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {name: waiting}\nspec:\n  channel: {apiVersion: messaging.knative.dev/v1alpha1, kind: RabbitmqChannel, name: away}\n  subscriber: {uri: 'http://localhost:9/'}\n";
    let uri = format!("amqp://guest:guest@{closed}/%2f");
    let dispatcher = Dispatcher::of(&yaml)
        .env("SEALPOST_RABBITMQ_URI", &uri)
        .start()
        .await;
    let mut browser = opened(&dispatcher, 1500, &has_rows(2)).await;
    for (row, state) in [("waiting", "Not ready"), ("kept", "Idle")] {
        assert_eq!(browser.evaluate(&cell(row, 0)).await, state, "{row}");
    }
    assert_eq!(
        browser
            .evaluate("document.getElementById('f-wrong').textContent")
            .await,
        "1"
    );
    let partly = "Ready in part: RabbitMQ is away: 1 of 2 channels is not served";
    browser
        .until(&format!(
            "document.getElementById('ready').innerText === '{partly}'"
        ))
        .await;
    browser.screenshot("away").await;
    browser.close().await;
}

/// A thousand subscriptions are drawn, searched and sorted, and the dispatcher's end is noticed.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_subscriptions() {
    let mut dispatcher = Dispatcher::standalone(&thousand()).await;
    let mut browser = opened(&dispatcher, 1500, &has_rows(1000)).await;
    assert_eq!(
        browser
            .evaluate("document.getElementById('count').textContent")
            .await,
        "1 channel or broker, 1,000 subscriptions"
    );
    let search = |text: &str| {
        format!(
            "(() => {{ const start = performance.now(), field = document.getElementById('search'); field.value = '{text}'; field.dispatchEvent(new Event('input')); document.body.offsetHeight; return performance.now() - start; }})()"
        )
    };
    let took = browser
        .evaluate(&search("s0042"))
        .await
        .as_f64()
        .expect("milliseconds");
    assert!(took < 1000.0, "searched in {took} ms");
    assert_eq!(browser.evaluate(VISIBLE).await, "s0042");
    browser.evaluate(&search("/to/99")).await;
    assert_eq!(
        browser
            .evaluate(&format!("{VISIBLE}.split(' ').length"))
            .await,
        11
    );
    browser.evaluate(&search("")).await;
    let sort = "(() => { const start = performance.now(), button = document.querySelector('button[data-sort=name]'); button.click(); button.click(); document.body.offsetHeight; return performance.now() - start; })()";
    let took = browser.evaluate(sort).await.as_f64().expect("milliseconds");
    assert!(took < 2000.0, "sorted in {took} ms");
    assert_eq!(
        browser.evaluate(&format!("{VISIBLE}.split(' ')[0]")).await,
        "s0999"
    );
    browser.screenshot("thousand").await;
    assert_eq!(browser.complaints(), Vec::<String>::new());

    dispatcher.signal(rustix::process::Signal::TERM);
    assert!(dispatcher.ended().await.success());
    browser.evaluate(ASK).await;
    browser
        .until(
            "document.getElementById('stale').textContent.startsWith('sealpost does not answer')",
        )
        .await;
    assert_eq!(
        browser
            .evaluate("document.querySelectorAll('tr.row').length")
            .await,
        1000,
        "the last figures stay"
    );
    let told = "[...document.querySelectorAll('tr.row .pill')].every(pill => pill.textContent === 'Not known') && document.getElementById('ready').innerText === 'No answer' && document.getElementById('f-delivered').textContent === '–'";
    assert_eq!(
        browser.evaluate(told).await,
        true,
        "nothing is told as if it were so now"
    );
    browser.close().await;
}

/// Elsewhere than on loopback the browser asks for the token, once, and shows it with each request
/// of the page; the token is in no URL.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_with_a_password() {
    const TOKEN: &str = "a-token-of-operators";
    let builder = Dispatcher::of(&channel(&[])).file("token", TOKEN);
    let token = builder.path("token");
    let builder = builder
        .arg("--admin-token-file")
        .arg(token.to_str().expect("a path"));
    let dispatcher = builder.admin("0.0.0.0:0").start().await;
    let origin = format!("http://127.0.0.1:{}/", dispatcher.admin.port());
    let mut browser = Browser::start(1200, 800).await;
    browser.types(TOKEN).await;
    browser.open(&origin).await;
    browser
        .until("document.querySelectorAll('tbody').length === 1")
        .await;
    browser
        .until("document.getElementById('ready').innerText.includes('Ready')")
        .await;
    assert_eq!(browser.was_asked(), 1, "the browser remembers it");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let requests = browser.requests();
    assert!(
        requests.contains(&format!("{origin}api/v1/status")),
        "{requests:?}"
    );
    assert!(
        requests.iter().all(|url| !url.contains(TOKEN)),
        "{requests:?}"
    );
    browser.close().await;
}

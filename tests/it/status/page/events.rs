//! Events on the page: as they pass one row, those that it did not get, parked ones, and the question
//! where one is; and what of this needs the token.

use tempfile::TempDir;

use super::{ASK, cell, opened, tr};
use crate::support::chromium::Browser;
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::Subscriber;
use crate::support::{SOON, channel};

/// True of a page that has got rows.
const ANY_ROWS: &str = "document.querySelectorAll('tr.row').length > 0";
const TOKEN: &str = "a-token-of-operators";

/// A DiskChannel `default/c` whose subscription `s` parks what comes, until its subscriber takes it.
async fn parking(subscriber: &Subscriber) -> (TempDir, Dispatcher) {
    let data = TempDir::new().expect("a directory");
    let yaml = format!(
        "apiVersion: messaging.knative.dev/v1alpha1\nkind: DiskChannel\nmetadata: {{name: c}}\n\
         ---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: s}}\nspec:\n  \
         channel: {{apiVersion: messaging.knative.dev/v1alpha1, kind: DiskChannel, name: c}}\n  \
         subscriber: {{uri: '{}'}}\n",
        subscriber.url()
    );
    let builder = Dispatcher::of(&yaml).file("token", TOKEN);
    let token = builder.path("token");
    let path = |path: &std::path::Path| path.to_str().expect("a path").to_owned();
    let builder = builder.arg("--admin-token-file").arg(path(&token));
    let builder = builder.arg("--data-dir").arg(path(data.path()));
    (data, builder.start().await)
}

/// Sends an event with a subject and data to `default/c`.
async fn send_with_data(dispatcher: &Dispatcher, id: &str) {
    let request = event(&plain(), dispatcher.http_url("/default/c"), id);
    let request = request.header("ce-subject", "of-a-subject");
    let answer = request.body("what-is-in-it").send().await;
    assert_eq!(answer.expect("an answer").status(), 202);
}

/// Opens a tab of a row's details.
async fn open_tab(browser: &mut Browser, row: &str, tab: &str) {
    let open = format!("{}.querySelector('button.open')", tr(row));
    let click = format!("{open}.ariaExpanded === 'true' || {open}.click()");
    browser.evaluate(&click).await;
    let tab = format!(
        "{}.nextElementSibling.querySelector('[role=tab][id$={tab}]').click()",
        tr(row)
    );
    browser.evaluate(&tab).await;
}

/// What stands below the tabs of a row.
fn panel(row: &str) -> String {
    format!(
        "{}.nextElementSibling.querySelector('[role=tabpanel]').innerText",
        tr(row)
    )
}

fn press(words: &str) -> String {
    format!(
        "[...document.querySelectorAll('button')].find(button => button.offsetParent && button.textContent === '{words}').click()"
    )
}

/// Types a text into a field that has the focus.
async fn type_text(browser: &mut Browser, text: &str) {
    for letter in text.chars() {
        let letter = letter.to_string();
        browser.press(&letter, &letter).await;
    }
}

/// A row's own events come as they pass, with their attributes and without their data; what is
/// closed listens no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_tapped() {
    let subscriber = Subscriber::replying(&[503, 200]).await;
    let to = |path: &str| {
        format!(
            "subscriber: {{uri: '{}{path}'}}\ndelivery: {{retry: 1, backoffDelay: PT0.01S}}",
            subscriber.url()
        )
    };
    let dispatcher =
        Dispatcher::standalone(&channel(&[("one", to("one")), ("other", to("other"))])).await;
    let mut browser = opened(&dispatcher, 1500, ANY_ROWS).await;
    let open = format!("{}.querySelector('button.open').focus()", tr("one"));
    browser.evaluate(&open).await;
    browser.press("Enter", "\r").await;
    browser.press("Tab", "").await;
    assert_eq!(
        browser.evaluate("document.activeElement.textContent").await,
        "Overview"
    );
    browser.press("ArrowRight", "").await;
    assert_eq!(
        browser.evaluate("document.activeElement.textContent").await,
        "Live"
    );
    browser
        .until(&format!("{}.includes('Listening')", panel("one")))
        .await;

    send_with_data(&dispatcher, "seen-1").await;
    let shown = panel("one");
    browser
        .until(&format!("{shown}.includes('delivered')"))
        .await;
    let told = browser.evaluate(&shown).await;
    let told = told.as_str().expect("text");
    for part in [
        "accepted",
        "seen-1",
        "subject=of-a-subject",
        "subscriber #",
        "200",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(
        !told.contains("default/other") && !told.contains("what-is-in-it"),
        "{told}"
    );
    browser.screenshot("live").await;

    // A filter that is none is told; one that is, is kept to.
    let filter = format!("{}.nextElementSibling.querySelector('input')", tr("one"));
    browser
        .evaluate(&format!("{filter}.value = \"type LIKE\"; {filter}.focus()"))
        .await;
    browser.press("Enter", "\r").await;
    browser.until(&format!("{shown}.includes('filter:')")).await;

    browser
        .evaluate(&format!("{filter}.value = ''; {}", press("Start")))
        .await;
    browser
        .until(&format!("{shown}.includes('Listening')"))
        .await;
    browser.evaluate(&press("Overview")).await;
    // Its place is free again for others: sixteen may listen at once.
    let url = format!("http://{}/api/v1/tap", dispatcher.admin);
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let taps = (0..16).map(|_| plain().get(&url).send());
        let taps = futures_util::future::join_all(taps).await;
        if taps
            .iter()
            .all(|tap| tap.as_ref().is_ok_and(|tap| tap.status() == 200))
        {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the tap stays open");
    }
    browser.close().await;
}

/// Whoever may only read sees what is parked and its attributes, and no data; nothing is replayed
/// without the token, and with it what is parked is delivered.
#[tokio::test(flavor = "multi_thread")]
async fn parked_events_are_browsed_and_replayed_by_right() {
    let subscriber = Subscriber::replying(&[400, 400, 200]).await;
    let (_data, dispatcher) = parking(&subscriber).await;
    for id in ["first-id", "second-id"] {
        send_with_data(&dispatcher, id).await;
    }
    let mut browser = opened(&dispatcher, 1500, ANY_ROWS).await;
    browser.evaluate(ASK).await;
    browser.until(&format!("{} === '2'", cell("s", 8))).await;
    open_tab(&mut browser, "s", "parked").await;
    let shown = panel("s");
    browser
        .until(&format!("{shown}.includes('second-id')"))
        .await;
    let told = browser.evaluate(&shown).await;
    let told = told.as_str().expect("text");
    for part in [
        "2 events are parked",
        "first-id",
        "subject=of-a-subject",
        "answered 400 Bad Request",
        "1 attempt",
        "13 B",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("what-is-in-it"), "{told}");
    assert!(
        browser
            .requests()
            .iter()
            .all(|url| !url.contains("data=true"))
    );
    let (status, _) = dispatcher
        .admin_text("/api/v1/parked/default/s?data=true")
        .await;
    assert_eq!(status, 401, "data need the token");

    refused(&mut browser, &subscriber).await;
    seen_with_token(&mut browser).await;
    browser.evaluate(&press("Replay all…")).await;
    let asked = browser
        .evaluate("document.querySelector('dialog[open]').innerText")
        .await;
    let asked = asked.as_str().expect("text").to_owned();
    assert!(
        asked.contains("Replay 2 parked events?") && !asked.contains("The token of"),
        "{asked}"
    );
    browser
        .evaluate("document.getElementById('token-do').focus()")
        .await;
    browser.press("Enter", "\r").await;
    browser
        .until(&format!(
            "{shown}.includes('2 replayed. 0 events are parked')"
        ))
        .await;
    subscriber.until(4).await;
    browser.until(&format!("{} === '0'", cell("s", 8))).await;
    let token = "Object.keys(localStorage).length + Object.keys(sessionStorage).length + document.cookie.length";
    assert_eq!(
        browser.evaluate(token).await,
        0,
        "the token is in no storage"
    );
    let requests = browser.requests();
    assert!(
        requests.iter().all(|url| !url.contains(TOKEN)),
        "{requests:?}"
    );
    browser.close().await;
}

/// Without the token, and with another one, nothing is replayed and nothing dropped.
async fn refused(browser: &mut Browser, subscriber: &Subscriber) {
    for words in ["Replay all…", "Drop all…"] {
        browser.evaluate(&press(words)).await;
        assert_eq!(browser.evaluate("document.activeElement.id").await, "token");
        browser.press("Enter", "\r").await;
        let complaint = "document.getElementById('token-complaint').textContent";
        assert_eq!(browser.evaluate(complaint).await, "The token is missing.");
        type_text(browser, "not-the-token-of-anybody").await;
        browser
            .evaluate("document.getElementById('token-do').click()")
            .await;
        browser
            .until(&format!("{complaint}.includes('--admin-token-file')"))
            .await;
        browser.screenshot("token").await;
        browser.press("Escape", "").await;
        browser
            .until("!document.querySelector('dialog[open]')")
            .await;
    }
    assert_eq!(subscriber.count(), 2, "nothing is delivered again");
    let count = format!("{}.includes('2 events are parked')", panel("s"));
    assert_eq!(browser.evaluate(&count).await, true);
}

/// With the token, data are shown.
async fn seen_with_token(browser: &mut Browser) {
    browser.evaluate(&press("Show data…")).await;
    type_text(browser, TOKEN).await;
    browser.press("Enter", "\r").await;
    browser
        .until(&format!("{}.includes('what-is-in-it')", panel("s")))
        .await;
    browser.screenshot("parked-with-data").await;
}

/// Events that a row did not get are listed, and an id leads to what became of the event.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_delivered_is_listed_and_explained() {
    let (failing, sink) = (Subscriber::replying(&[503]).await, Subscriber::ok().await);
    let spec = format!(
        "subscriber: {{uri: '{}'}}\ndelivery: {{retry: 0, deadLetterSink: {{uri: '{}'}}}}",
        failing.url(),
        sink.url()
    );
    let fine = format!("subscriber: {{uri: '{}'}}", sink.url());
    let dispatcher = Dispatcher::standalone(&channel(&[("buried", spec), ("fine", fine)])).await;
    for id in ["one-id", "two-id"] {
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), id).await,
            202
        );
    }
    let (status, lines) = dispatcher
        .admin_text("/api/v1/explain?kind=subscription&name=buried&limit=1")
        .await;
    assert_eq!(status, 200);
    let line: serde_json::Value = serde_json::from_str(&lines).expect("one line");
    assert_eq!(
        (&line["what"], &line["id"]),
        (&"dead letter".into(), &"two-id".into())
    );
    let (status, none) = dispatcher
        .admin_text("/api/v1/explain?kind=subscription&name=fine")
        .await;
    assert_eq!((status, none.as_str()), (200, ""));

    let mut browser = opened(&dispatcher, 1500, ANY_ROWS).await;
    open_tab(&mut browser, "buried", "undelivered").await;
    let shown = panel("buried");
    browser
        .until(&format!(
            "{shown}.includes('one-id') && {shown}.includes('two-id')"
        ))
        .await;
    browser.evaluate(&press("one-id")).await;
    let told = "document.getElementById('event').innerText";
    browser
        .until(&format!("{told}.includes('dead letter sink #1')"))
        .await;
    let told = browser.evaluate(told).await;
    let told = told.as_str().expect("text");
    for part in [
        "accepted",
        "subscriber #1",
        "503",
        "subscription default/fine",
        "delivered",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    browser.screenshot("explained").await;

    // By keys alone, and one that nobody knows.
    browser.evaluate("document.getElementById('event-source').value = ''; document.getElementById('event-id').value = ''; document.getElementById('event-id').focus()").await;
    type_text(&mut browser, "nobodys-id").await;
    browser.press("Enter", "\r").await;
    browser.until("document.getElementById('event-told').textContent.includes('no event with the id nobodys-id')").await;
    browser.close().await;
}

//! The page for everybody: keys alone, names for a screen reader, contrast, motion, and one time zone.

use serde_json::json;

use super::super::{Scene, is_settled, until};
use super::{has_rows, opened, tr};
use crate::support::chromium::Browser;

/// What of the page has too little contrast (WCAG 2.2, 1.4.3): each text that is to be seen, against
/// what is painted behind it.
const FAINT: &str = r#"(() => {
  const parse = text => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return text.startsWith("color(") ? [r * 255, g * 255, b * 255, a] : [r, g, b, a]; };
  const light = rgb => { const [r, g, b] = rgb.map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a)];
  const behind = node => { const layers = []; for (let at = node; at; at = at.parentElement) { const c = parse(getComputedStyle(at).backgroundColor); layers.push(c); if (c[3] === 1) break; } return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]); };
  const faint = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, style = getComputedStyle(node);
    if (!walker.currentNode.data.trim() || !node.checkVisibility({ visibilityProperty: true }) || node.closest(".unseen, .skip, script, style, template, :disabled")) continue;
    seen += 1;
    const size = parseFloat(style.fontSize), isLarge = size >= 24 || size >= 18.66 && Number(style.fontWeight) >= 700;
    const under = behind(node), a = light(over(parse(style.color), under)), b = light(under);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < (isLarge ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)} ${node.className} ${walker.currentNode.data.trim().slice(0, 30)}`);
  }
  return seen < 60 ? [`only ${seen} texts`] : [...new Set(faint)];
})()"#;

/// What of the page is wrong for those who do not see it.
const UNHEARD: &str = r##"(() => {
  const wrong = [], all = selector => [...document.querySelectorAll(selector)].filter(node => node.checkVisibility());
  const ids = [...document.querySelectorAll("[id]")].map(node => node.id);
  for (const id of new Set(ids)) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push(`two nodes are ${id}`);
  for (const name of ["aria-labelledby", "aria-describedby", "aria-controls", "for"]) for (const node of document.querySelectorAll(`[${name}]`))
    for (const id of node.getAttribute(name).split(" ")) if (!document.getElementById(id)) wrong.push(`${name} of ${node.tagName}: no ${id}`);
  for (const node of all("input, select")) if (!node.labels?.length && !node.ariaLabel) wrong.push(`no label: ${node.outerHTML}`);
  for (const node of all("button, a, [role=tab]")) if (!(node.ariaLabel ?? node.innerText).trim()) wrong.push(`no name: ${node.outerHTML}`);
  for (const node of all("[tabindex='0']:not(button)")) if (!node.hasAttribute("aria-label") && !node.hasAttribute("aria-labelledby")) wrong.push(`the focus has no name: ${node.outerHTML.slice(0, 80)}`);
  for (const node of all("svg")) if (node.ariaHidden !== "true") wrong.push(`a picture that is read: ${node.outerHTML.slice(0, 80)}`);
  for (const list of all("[role=tablist]")) if ([...list.children].filter(tab => tab.ariaSelected === "true" && tab.tabIndex === 0).length !== 1) wrong.push("a tablist without one tab");
  const levels = all("h1, h2, h3").map(node => Number(node.tagName[1]));
  levels.forEach((level, at) => { if (level > (levels[at - 1] ?? 0) + 1) wrong.push(`a heading of level ${level} after ${levels[at - 1]}`); });
  for (const node of all("button, input:not([type=checkbox]), select")) if (node.getBoundingClientRect().height < 20) wrong.push(`too small: ${node.outerHTML.slice(0, 80)}`);
  for (const node of document.querySelectorAll("[role=row]")) if (![...node.children].every(cell => /cell|header/.test(cell.getAttribute("role")))) wrong.push("a row of something else than cells");
  return wrong;
})()"##;

async fn checked(browser: &mut Browser, what: &str) {
    for scheme in ["light", "dark"] {
        browser.prefers(scheme).await;
        assert_eq!(browser.evaluate(FAINT).await, json!([]), "{what}, {scheme}");
    }
    assert_eq!(browser.evaluate(UNHEARD).await, json!([]), "{what}");
}

/// Contrast and names hold in every view, in light and dark, on large and small screens.
#[tokio::test(flavor = "multi_thread")]
async fn everything_has_contrast_and_a_name() {
    let scene = Scene::new().await;
    scene.send(5).await;
    until(&scene.dispatcher, |status| is_settled(status, 5)).await;
    let mut browser = opened(&scene.dispatcher, 1440, &has_rows(5)).await;
    checked(&mut browser, "the list").await;
    browser.resize(390, 844).await;
    checked(&mut browser, "cards").await;
    browser.resize(1440, 1050).await;

    let open = format!("{}.querySelector('button.open').click()", tr("buried"));
    browser.evaluate(&open).await;
    checked(&mut browser, "the overview").await;
    for tab in ["live", "undelivered"] {
        browser
            .evaluate(&format!(
                "document.querySelector('[role=tab][id$={tab}]').click()"
            ))
            .await;
        let filled = "/Listening|The latest/.test(document.querySelector('[role=tabpanel] [role=status]').textContent)";
        browser.until(filled).await;
        checked(&mut browser, tab).await;
    }
    browser
        .evaluate("document.querySelector('.lines .link').click()")
        .await;
    browser
        .until("!document.getElementById('event-lines').hidden")
        .await;
    checked(&mut browser, "an event").await;
    browser
        .evaluate("document.getElementById('as-graph').click()")
        .await;
    browser
        .until("document.querySelectorAll('.node').length > 8")
        .await;
    checked(&mut browser, "the graph").await;
    browser.close().await;
}

/// The `n`-th press of Tab reaches everything in the order in which it stands, and nothing holds the
/// focus.
#[tokio::test(flavor = "multi_thread")]
async fn keys_reach_everything() {
    let scene = Scene::new().await;
    let mut browser = opened(&scene.dispatcher, 1440, &has_rows(5)).await;
    // Nothing is drawn anew meanwhile.
    browser
        .evaluate("document.getElementById('pause').click(); document.activeElement.blur()")
        .await;
    let all = "[...document.querySelectorAll('a[href], button, input, select, [tabindex=\"0\"]')].filter(node => node.checkVisibility({visibilityProperty: true}) && node.tabIndex >= 0 && !node.closest('dialog')).length";
    let all = browser.evaluate(all).await.as_u64().expect("a number");
    browser.evaluate("window.reached = []").await;
    let mut outlined = 0;
    for _ in 0..all {
        browser.press("Tab", "").await;
        let step = "(node => { window.reached.push(node); return getComputedStyle(node).outlineStyle !== 'none' || node.matches('.skip'); })(document.activeElement)";
        outlined += u64::from(browser.evaluate(step).await == true);
    }
    assert_eq!(browser.evaluate("new Set(window.reached).size").await, all);
    assert_eq!(outlined, all, "the focus is to be seen");
    let ordered = "window.reached.every((node, at) => !at || window.reached[at - 1].compareDocumentPosition(node) & Node.DOCUMENT_POSITION_FOLLOWING)";
    assert_eq!(browser.evaluate(ordered).await, true);
    assert_eq!(
        browser.evaluate("window.reached[0].textContent").await,
        "To the subscriptions"
    );
    browser.close().await;
}

/// Times are UTC wherever the browser is, and say so; curves are read by keys; nothing moves for
/// those who do not want it.
#[tokio::test(flavor = "multi_thread")]
async fn one_time_zone_and_no_motion() {
    let scene = Scene::new().await;
    scene.send(2).await;
    until(&scene.dispatcher, |status| is_settled(status, 2)).await;
    let mut browser = Browser::start(1440, 1050).await;
    let zone = json!({"timezoneId": "Asia/Tokyo"});
    browser.call("Emulation.setTimezoneOverride", zone).await;
    browser
        .open(&format!("http://{}/", scene.dispatcher.admin))
        .await;
    browser
        .until("document.querySelectorAll('tr.row').length === 5")
        .await;
    let near = "(shown => ['', 1, 2, 3, 4, 5].some(ago => new Date(Date.now() - ago * 1000).toISOString().slice(11, 19) + ' UTC' === shown))(document.getElementById('updated').textContent)";
    browser.until(near).await;
    browser
        .evaluate(&format!(
            "{}.querySelector('button.open').click()",
            tr("buried")
        ))
        .await;
    let bare =
        "[...new Set(document.body.innerText.match(/\\d\\d:\\d\\d:\\d\\d(?!\\.?\\d* UTC)/g))]";
    assert_eq!(
        browser.evaluate(bare).await,
        json!([]),
        "a time without its zone"
    );

    browser
        .evaluate("document.querySelector('.chart').focus()")
        .await;
    browser.press("ArrowLeft", "").await;
    let read = browser
        .evaluate("document.querySelector('.chart output').textContent")
        .await;
    let read = read.as_str().expect("text");
    assert!(read.contains(" UTC: delivered "), "{read}");

    let motion = "getComputedStyle(document.querySelector('.open svg')).transitionDuration";
    let reduced = json!({"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]});
    browser.call("Emulation.setEmulatedMedia", reduced).await;
    assert_eq!(browser.evaluate(motion).await, "0s");
    browser.close().await;
}

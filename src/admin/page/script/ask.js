/* Asking: the status every two seconds, histories less often, both only while the page is to be seen. */

let last = null;               // the answer before
let historyCount = 0;          // histories that have come
let timer = 0, historyTimer = 0, paused = false, asking = false, askingHistory = false, gone = null;

function show(status, wasGone) {
  status.now = Date.parse(status.time);
  status.received = Date.now();
  const same = last && !wasGone && last.process.started === status.process.started;
  status.elapsed = same ? (status.now - last.now) / 1000 : 0;
  if (!same) for (const row of rowsOfAll()) row.before = null;
  const seen = new Set(), before = last;
  last = status;
  for (const each of status.groups) {
    const key = `${each.kind.replace(/^.*Channel$/, "Channel")}/${each.namespace}/${each.name}`; // the kinds of channels share their names
    seen.add(key);
    if (!groups.has(key)) groups.set(key, new Group(each));
    groups.get(key).update(each, status);
  }
  for (const [key, group] of groups) if (!seen.has(key)) { for (const row of group.rows.values()) row.remove(); group.node.remove(); groups.delete(key); }
  showProcess(status);
  showTotals(status, same ? before.totals : null);
  showLists(status);
  showStart(status);
  layout();
}

/** Nobody answers: the page says so everywhere, and does not go on telling what was. */
function forget(error) {
  const isNew = !gone;
  gone ??= Date.now();
  const since = last ? ` The figures are those of ${clock(last.now)}, ${span((Date.now() - last.received) / 1000)} ago.` : "";
  put($("stale"), `sealpost does not answer (${error.message}).${since} It is asked again and again.`);
  if (!isNew) return;
  pill($("ready"), -1, "No answer");
  document.title = "(no answer) sealpost";
  $("table").classList.add("gone");
  for (const group of groups.values()) group.forget();
  for (const id of ["f-accepted", "f-delivered", "f-retries", "f-flight", "f-wrong"]) put($(id), "–");
  dress($("f-wrong").parentElement, "");
  layout();
}

async function ask() {
  clearTimeout(timer);
  if (paused || document.hidden || asking) return;
  asking = true;
  const started = performance.now();
  try {
    const status = await (await api("status", { signal: AbortSignal.timeout(15000) })).json();
    const wasGone = gone != null;
    gone = null;
    show(status, wasGone);
    put($("stale"), "");
    $("table").classList.remove("gone");
  } catch (error) {
    forget(error);
  } finally {
    asking = false;
  }
  // Of many thousands of subscriptions an answer takes its time: asking is never more than a tenth of the work.
  timer = setTimeout(ask, Math.max(PERIOD, 10 * (performance.now() - started)));
}

async function askHistory() {
  clearTimeout(historyTimer);
  if (paused || document.hidden || askingHistory) return;
  askingHistory = true;
  const started = performance.now();
  try {
    takeHistory(await (await api("history", { signal: AbortSignal.timeout(15000) })).json());
    historyCount += 1;
    if (historyCount === 1) ask(); // so that rows have their times and rates at once
    for (const group of groups.values()) {
      group.drawCurve();
      for (const row of group.rows.values()) {
        if (row.shown) drawSpark(row.cells.spark, row.history());
        if (row.detail?.isOpen) row.detail.update(last);
      }
    }
  } catch {
    // The status tells that nobody answers.
  } finally {
    askingHistory = false;
  }
  historyTimer = setTimeout(askHistory, Math.max(HISTORY_PERIOD, 20 * (performance.now() - started)));
}

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  put($("pause"), paused ? "Go on" : "Pause");
  ask();
  askHistory();
});
document.addEventListener("visibilitychange", () => { ask(); askHistory(); });
ask();
askHistory();

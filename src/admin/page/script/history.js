/* The last hour of each subscription: /api/v1/history, a number for each minute, the running one last. */

const histories = new Map();    // by key: columns of MINUTES numbers, null where nothing is known
let historyAt = 0;              // the running minute, in milliseconds
const COLUMNS = ["delivered", "undelivered", "attempts", "failed", "p50", "p99", "depth", "age", "concurrency"];

const keyOf = data => `${data.kind}/${data.namespace}/${data.name}`.toLowerCase();

function takeHistory(answer) {
  const now = Date.parse(answer.time);
  historyAt = Math.floor(now / 60000) * 60000;
  histories.clear();
  for (const item of answer.items) {
    // Columns end with the running minute, or with the last one that was told.
    const first = (Date.parse(item.from) - historyAt) / 60000 + MINUTES - 1;
    const column = values => Array.from({ length: MINUTES }, (_, minute) => values[minute - first] ?? null);
    histories.set(keyOf(item), Object.fromEntries(COLUMNS.map(name => [name, column(item[name])])));
  }
}
/** Several histories as one: sums. */
function together(each) {
  const known = each.filter(Boolean);
  const column = name => Array.from({ length: MINUTES }, (_, minute) => {
    const values = known.map(history => history[name][minute]).filter(value => value != null);
    return values.length ? values.reduce((a, b) => a + b) : null;
  });
  return known.length ? { delivered: column("delivered"), failed: column("failed") } : null;
}
/** The last minute of the last five in which there were attempts: its durations. */
function latency(history) {
  for (let minute = MINUTES - 1; history && minute >= MINUTES - 5; minute -= 1) {
    if (history.p99[minute] != null) return { p50: history.p50[minute], p99: history.p99[minute] };
  }
  return null;
}
/** The start of a minute of a curve. */
const minuteAt = minute => historyAt - (MINUTES - 1 - minute) * 60000;

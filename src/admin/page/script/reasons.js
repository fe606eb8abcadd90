/* What is wrong with a subscription, in words. */

const LOCKS = {
  "http": ["i-open", "lock-open", "http, in the clear"],
  "https-own": ["i-key", "lock-good", "https, own CACerts"],
  "https-bundles": ["i-lock", "lock-good", "https, trust bundles"],
  "https-system": ["i-lock", "lock-good", "https, system roots"],
  "https-nobody": ["i-cross", "lock-bad", "https, CACerts unusable"],
  "inside": ["i-inside", "lock-good", "inside this process"],
  "display": ["i-screen", "lock-good", "standard output"],
};

/** Why a subscription needs attention: the worst first, none if nothing does. */
function reasons(row, served, status) {
  const { ready, counts, lastError, lastSuccess, lastLost, lastDeadLetter } = row.data, found = [], now = status.now;
  const add = (level, word, text) => found.push({ level, word, text });
  if (ready?.status === "False") add(2, "Not ready", [ready.reason, ready.message].filter(Boolean).join(": "));
  else if (ready && ready.status !== "True") add(1, "Not ready yet", ready.message || ready.reason);
  if (!counts && served && ready?.status !== "False") add(2, "Not served", "no events are delivered");
  for (const [leg, to] of legs(row.data)) {
    if (to.lock === "https-nobody") add(2, "No trust", `${leg}: nothing of its CACerts can be read, so nothing is sent`);
    if (!to.firstNotAfter) continue;
    const first = left(to.firstNotAfter, now), last = left(to.lastNotAfter, now);
    if (last.text === "expired") add(2, "Expired", `${leg}: its CACerts have expired`);
    else if (first.level) add(first.text === "expired" ? 1 : first.level, "Certificate", `${leg}: a certificate of its CACerts: ${first.text}`);
  }
  // Past ones have their time: what went well after them is told apart from what still fails.
  const ago = time => time ? (now - Date.parse(time)) / 1000 : Infinity;
  const recovered = time => lastSuccess && Date.parse(lastSuccess) >= Date.parse(time);
  if (ago(lastError?.time) < RECENT) {
    if (!recovered(lastError.time) && !(row.rate > 0)) add(2, "Failing", "an attempt failed less than a minute ago");
    else if (!recovered(lastError.time) || row.failed > 0) add(1, "Retrying", "an attempt failed less than a minute ago, others succeed");
  }
  if (ago(lastLost) < HOUR) add(recovered(lastLost) ? 1 : 2, "Lost events", `${span(ago(lastLost))} ago the last one; ${plural(counts.lost, "event")} reached neither subscriber nor dead letter sink since the start`);
  if (counts?.filterLimitExceeded) add(1, "Filter limit", `${plural(counts.filterLimitExceeded, "event")} did not pass since the start because the filter takes too much work: docs/FILTERS.md`);
  if (counts?.parked) add(1, "Parked", `${plural(counts.parked, "event")} in the parking queue now`);
  if (ago(lastDeadLetter) < HOUR) add(1, "Dead letters", `${span(ago(lastDeadLetter))} ago the last one; ${plural(counts.deadLettered, "event")} went to the dead letter sink since the start`);
  if (row.doubts) add(1, "Doubtful", `${plural(row.doubts, "warning")} above`);
  return found.sort((a, b) => b.level - a.level);
}
function legs(data) {
  return [["Subscriber", data.subscriber], ["Reply", data.reply], ["Dead letter sink", data.deadLetterSink]].filter(([, to]) => to);
}

/** The lock of a destination. One that is reached by TLS has no good one while TLS fails. */
function lockOf(to, { lastError, lastSuccess }) {
  const [sign, tone, how] = LOCKS[to?.lock] ?? ["i-calm", "lock-open", "not known yet"];
  const failsByTls = tone === "lock-good" && lastError?.destination === to?.url && /^(TLS|trust)\b/.test(lastError?.reason ?? "");
  const isOver = lastSuccess && Date.parse(lastSuccess) >= Date.parse(lastError?.time);
  return failsByTls && !isOver ? ["i-cross", "lock-bad", `${how}, which fails`] : [sign, tone, how];
}

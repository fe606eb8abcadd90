/* The destinations of a subscription, and how bad its state is. */

const LOCKS = {
  "http": ["i-open", "lock-open", "http, in the clear"],
  "https-own": ["i-key", "lock-good", "https, own CACerts"],
  "https-bundles": ["i-lock", "lock-good", "https, trust bundles"],
  "https-system": ["i-lock", "lock-good", "https, system roots"],
  "https-nobody": ["i-cross", "lock-bad", "https, CACerts unusable"],
  "inside": ["i-inside", "lock-good", "inside this process"],
  "display": ["i-screen", "lock-good", "standard output"],
};

/** How bad a state is, by the names that the status has for it. */
const LEVELS = ["fine", "doubtful", "broken"];

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

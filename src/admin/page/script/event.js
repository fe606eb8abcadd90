/* What happened to events, line by line; and the question where one is. */

const TONES = { delivered: 0, accepted: -1, received: -1, wanted: -1, filtered: -1, deferred: 1, requeued: 1, parked: 1, "dead letter": 1, lost: 2, refused: 2 };
const toneOf = line => line.what === "attempt" ? (line.reason ? 2 : 0) : TONES[line.what] ?? -1;

/** One line of tap or explain. Its id is a button that asks what became of the event. */
function eventLine(line, hasId = true) {
  const item = make("li"), what = make("span", "what");
  // Of another day the date counts, of this one the milliseconds.
  const isOld = Date.now() - Date.parse(line.time) > 20 * HOUR * 1000;
  const time = make("span", "soft", isOld ? moment(line.time) : `${new Date(line.time).toISOString().slice(11, 23)} UTC`);
  time.title = line.time;
  const word = line.what === "attempt" ? `${line.stage} #${line.attempt}` : line.what;
  item.append(time, pill(make("span"), toneOf(line), word), what);
  if (hasId && line.id) what.append(button(line.id, () => explainEvent(line.id, line.source), "link"));
  const told = [line.type && `${line.type} from ${line.source}`, line.status, line.milliseconds != null && millis(line.milliseconds),
    line.subscription ?? line.channel, line.via && `via ${line.via}`, line.by && `by ${line.by}`, line.peer && `from ${line.peer}`];
  for (const text of told) if (text) what.append(make("span", "", String(text)));
  if (line.reason) item.append(make("span", "why", line.reason));
  appendRest(item, line.attributes, line);
  return item;
}
/** The other attributes of an event, and its data if they may be seen. */
function appendRest(item, attributes, { data, data_base64: base64, dataBytes }) {
  const others = Object.entries(attributes ?? {});
  if (others.length) {
    const rest = make("span", "rest");
    for (const [name, value] of others) rest.append(make("span", "", `${name}=${value}`));
    item.append(rest);
  }
  const text = data ?? base64;
  if (text == null) return;
  const pre = make("pre", "data", text || "(no data)");
  pre.tabIndex = 0;
  pre.setAttribute("aria-label", `Data, ${bytes(dataBytes)}${base64 ? ", in base64" : ""}${dataBytes > 4096 ? ", the first 4 KiB" : ""}`);
  item.append(pre);
}

async function explainEvent(id = $("event-id").value.trim(), source = $("event-source").value.trim()) {
  const lines = $("event-lines");
  $("event-id").value = id;
  $("event-source").value = source ?? "";
  if (!id) { put($("event-told"), "Give the id of an event: the attribute id, as its sender has made it."); $("event-id").focus(); return; }
  try {
    const found = objects(await (await api("explain?" + query({ id, source }))).text());
    lines.replaceChildren(...found.map(line => eventLine(line, false)));
    const last = found.filter(line => TONES[line.what] >= 0).map(line => line.what);
    put($("event-told"), `${id}: ${plural(found.length, "line")}${last.length ? `; ${[...new Set(last)].join(", ")}` : "; not at an end yet"}`);
    hide(lines, false);
  } catch (error) {
    put($("event-told"), error.message);
    hide(lines, true);
  }
  hide($("event-close"), false);
  $("event").scrollIntoView({ block: "nearest" });
}
$("event-ask").addEventListener("click", () => explainEvent());
for (const id of ["event-id", "event-source"]) $(id).addEventListener("keydown", event => { if (event.key === "Enter") explainEvent(); });
$("event-close").addEventListener("click", () => {
  hide($("event-lines"), true);
  hide($("event-close"), true);
  put($("event-told"), "");
  $("event-id").value = $("event-source").value = "";
  $("event-id").focus();
});

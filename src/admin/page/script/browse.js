/* Events that a subscription did not get: the latest dead letters, lost and parked ones; and what is parked now. */

/** Lines about the events of a row, with tools above them, and what is told of both. */
class EventLines {
  constructor(row, label, ...tools) {
    this.row = row;
    this.node = make("div", "browse");
    this.told = make("span", "soft");
    this.told.setAttribute("role", "status");
    this.lines = make("ol", "lines");
    this.lines.tabIndex = 0;
    this.lines.setAttribute("aria-label", label);
    const bar = make("div", "tools");
    bar.append(button("Look again", () => this.open()), ...tools, this.told);
    this.node.append(bar, this.lines);
  }
  close() {}
  update() {}
}

/** The latest that ended elsewhere, by what the process remembers of single events. */
class Undelivered extends EventLines {
  constructor(row) {
    super(row, `Events that ${row.data.name} did not get, the latest first`);
  }
  async open() {
    const { kind, namespace, name } = this.row.data;
    try {
      const found = objects(await (await api("explain?" + query({ kind: kind.toLowerCase(), namespace, name }))).text());
      this.lines.replaceChildren(...found.map(line => eventLine(line)));
      put(this.told, found.length ? `The latest ${number(found.length)} at ${clock(Date.now())}. An id asks what became of the event.` : "None that is remembered here: nothing of it is a dead letter, lost or parked.");
    } catch (error) {
      put(this.told, error.message);
    }
  }
}

/** What is parked now, which can be replayed or dropped by those who have the token. */
class Parked extends EventLines {
  constructor(row) {
    const buttons = [button("Replay all…", () => this.change("replay")), button("Drop all…", () => this.change("drop"), "quiet grave"), button("Show data…", () => this.showData())];
    super(row, `Parked events of ${row.data.name}, the oldest first`, ...buttons);
    this.count = 0;
    this.buttons = buttons;
    for (const each of this.buttons) each.disabled = true;
  }
  path(below, values = {}) {
    const { kind, namespace, name } = this.row.data;
    return `parked/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}${below}?${query({ kind: kind.toLowerCase(), ...values })}`;
  }
  async look(headers, values) {
    const { items: [item] } = await (await api(this.path("", { limit: "200", ...values }), { headers })).json();
    this.count = item.parked;
    this.lines.replaceChildren(...item.events.map(parkedLine));
    for (const each of this.buttons) each.disabled = !item.parked;
    const shown = item.looked < item.parked ? `; the oldest ${number(item.looked)} of them` : "";
    return `${plural(item.parked, "event is", "events are")} parked at ${clock(Date.now())}${shown}.`;
  }
  async open(words = "") {
    try {
      put(this.told, [words, await this.look({})].filter(Boolean).join(" "));
    } catch (error) {
      put(this.told, error.message);
      for (const each of this.buttons) each.disabled = true;
    }
  }
  async change(verb) {
    const { kind, namespace, name } = this.row.data, isDrop = verb === "drop", what = plural(this.count, "parked event");
    const words = await confirmed({
      title: isDrop ? `Drop ${what}?` : `Replay ${what}?`,
      text: `${kind} ${namespace}/${name}: ${isDrop ? "they are deleted for good, and those that are parked meanwhile with them." : "they go back into its queue and are delivered again, with those that are parked meanwhile."}`,
      verb: isDrop ? "Drop for good" : "Replay",
      act: async headers => {
        const { items: [item] } = await (await api(this.path("/" + verb), { method: "POST", headers })).json();
        return `${number(isDrop ? item.dropped : item.replayed)} ${isDrop ? "dropped" : "replayed"}${item.stopped ? ", then it was stopped" : ""}.`;
      },
    });
    if (!words) return;
    await this.open(words);
    ask();
  }
  async showData() {
    const words = await confirmed({
      title: "See the data of parked events", verb: "Show data",
      text: `What is in the parked events of ${this.row.data.name} is for those who may change something.`,
      act: headers => this.look(headers, { data: "true" }),
    });
    if (words) put(this.told, words);
  }
}
function parkedLine(event) {
  const line = { ...event, time: event.parkedAt, what: "parked" };
  const item = eventLine({ ...line, status: event.status > 0 ? event.status : null }), what = item.querySelector(".what");
  item.firstElementChild.textContent = moment(event.parkedAt);
  for (const text of [event.attempts != null && plural(event.attempts, "attempt"), bytes(event.bytes)]) if (text) what.append(make("span", "soft", text));
  return item;
}

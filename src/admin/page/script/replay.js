/* What a channel on disk has retained, sent to one row again: counted by everybody, begun and ended with the token. */

class Replay {
  constructor(row) {
    this.row = row;
    this.node = make("div", "browse");
    this.from = this.field("since, such as PT1H or 2026-11-30T10:00:00Z", "Since when: a duration, or a time of RFC 3339");
    this.from.value = "PT1H";
    this.filter = this.field("CESQL filter", "Only events for which this CESQL expression is true");
    this.told = make("p", "soft");
    this.told.setAttribute("role", "status");
    this.progress = make("p");
    this.stopButton = button("Stop…", () => this.change("stop"));
    const tools = make("div", "tools");
    tools.append(this.from, this.filter, button("Count", () => this.count()), button("Send again…", () => this.change("start")), this.stopButton);
    this.node.append(make("p", "soft", "Sends what the channel has retained to this subscription alone, beside live events, each with the extension sealpostreplay."), tools, this.told, this.progress);
  }
  field(placeholder, label) {
    const field = make("input", "field");
    Object.assign(field, { placeholder, spellcheck: false, ariaLabel: label });
    field.addEventListener("keydown", event => { if (event.key === "Enter") this.count(); });
    return field;
  }
  path(below, values = {}) {
    const { kind, namespace, name } = this.row.data;
    return `replay/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}${below}?${query({ kind: kind.toLowerCase(), ...values })}`;
  }
  asked() { return { from: this.from.value.trim(), filter: this.filter.value.trim() }; }
  async count() {
    try {
      const { events, examined } = await (await api(this.path("/count", this.asked()))).json();
      put(this.told, `${plural(events, "event")} would be sent, of ${number(examined)} that are there since ${this.asked().from}.`);
      return events;
    } catch (error) {
      put(this.told, error.message);
      return null;
    }
  }
  async change(verb) {
    const isStop = verb === "stop", events = isStop ? 0 : await this.count(), { kind, namespace, name } = this.row.data;
    if (events == null) return;
    const words = await confirmed({
      title: isStop ? "Stop this replay?" : `Send ${plural(events, "event")} again?`,
      text: `${kind} ${namespace}/${name}: ${isStop ? "what is under way is still delivered, the rest is not sent." : "its subscriber gets them a second time, a thousand a second at most."}`,
      verb: isStop ? "Stop" : "Send again",
      act: async headers => {
        await api(this.path("/" + verb, isStop ? {} : this.asked()), { method: "POST", headers });
        return isStop ? "It was stopped." : "It has begun.";
      },
    });
    if (words) put(this.told, words);
    this.look();
  }
  async look() {
    clearTimeout(this.timer);
    try {
      const { sent, examined, underWay, waiting, position, until, stopped, lost, resumed } = await (await api(this.path(""))).json();
      const isOver = stopped || lost || position >= until;
      put(this.progress, `The latest replay ${lost ? "has lost its log" : stopped ? "was stopped" : isOver ? "has ended" : "goes on"}: ${number(sent)} sent of ${number(examined)} looked at${resumed ? " since the process was started" : ""}, ${number(underWay)} under way, ${number(waiting)} of them waiting for another attempt.`);
      this.stopButton.disabled = isOver;
      if (!isOver && this.isOpen) this.timer = setTimeout(() => this.look(), PERIOD);
    } catch (error) {
      put(this.progress, error.status === 404 ? "" : error.message);
      this.stopButton.disabled = true;
    }
  }
  open() { this.isOpen = true; this.look(); }
  close() { this.isOpen = false; clearTimeout(this.timer); }
  update() {}
}

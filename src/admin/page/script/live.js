/* The live tap of one row: events as they pass, as long as it is open. There is one at a time: a browser has few
   connections to one place, and each tap holds one. */

const MOST_LINES = 200;        // lines that are kept of a tap

let tapped = null;            // the tap that is open

class LiveTap {
  constructor(row) {
    this.row = row;
    this.node = make("div", "browse");
    this.filter = make("input", "field");
    this.filter.placeholder = "CESQL filter, such as type LIKE 'order.%'";
    this.filter.setAttribute("aria-label", "Only events for which this CESQL expression is true");
    this.filter.spellcheck = false;
    this.filter.addEventListener("keydown", event => { if (event.key === "Enter") this.start(); });
    this.start = this.start.bind(this);
    this.toggle = button("Stop", () => this.stopper ? this.stop("Stopped.") : this.start());
    this.withData = button("With data…", () => this.askForData());
    this.told = make("span", "soft");
    this.told.setAttribute("role", "status");
    this.lines = make("ol", "lines");
    this.lines.tabIndex = 0;
    this.lines.setAttribute("role", "log");
    this.lines.setAttribute("aria-live", "off");
    this.lines.setAttribute("aria-label", `Events of ${row.data.name}, the latest first`);
    const tools = make("div", "tools");
    tools.append(this.filter, this.toggle, this.withData, this.told);
    this.node.append(tools, this.lines);
    this.header = null;        // what shows the token, if data are asked for
  }
  path() {
    const { kind, namespace, name } = this.row.data;
    return "tap?" + query({ kind: kind === "Trigger" ? "trigger" : "subscription", namespace, name, filter: this.filter.value.trim(), data: this.header ? "true" : "" });
  }
  async start() {
    this.stop();
    if (tapped !== this) tapped?.stop("Stopped: another row is tapped now.");
    tapped = this;
    const stopper = this.stopper = new AbortController();
    put(this.toggle, "Stop");
    put(this.told, "Opening…");
    try {
      const answer = await api(this.path(), { headers: this.header ?? {}, signal: stopper.signal });
      put(this.told, "Listening. Nothing has passed yet.");
      await this.read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
      if (this.stopper === stopper) this.stop("sealpost has ended the tap.");
    } catch (error) {
      if (this.stopper === stopper) this.stop(error.message);
    }
  }
  async read(reader) {
    let rest = "", seen = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      const told = lines.filter(Boolean).map(line => JSON.parse(line));
      if (!told.length) continue;
      seen += told.length;
      const nodes = told.slice(-MOST_LINES).reverse().map(line => line.what === "lines lost" ? make("li", "soft", `${number(line.lines)} lines were lost: this page was too slow`) : eventLine(line));
      this.lines.prepend(...nodes);
      while (this.lines.childElementCount > MOST_LINES) this.lines.lastElementChild.remove();
      put(this.told, `Listening. ${plural(seen, "line")}${seen > MOST_LINES ? `, the last ${MOST_LINES} are kept` : ""}.`);
    }
  }
  stop(words) {
    this.stopper?.abort();
    this.stopper = null;
    put(this.toggle, "Start");
    if (words) put(this.told, words);
  }
  async askForData() {
    const header = await confirmed({
      title: "See the data of events", verb: "Show data",
      text: `What is in the events of ${this.row.data.name} is for those who may change something.`,
      // It is asked for once, so that a token that is wrong is told here.
      act: async headers => {
        const stopper = new AbortController();
        try { await api(this.pathWithData(), { headers, signal: stopper.signal }); } finally { stopper.abort(); }
        return headers;
      },
    });
    if (!header) return;
    this.header = header;
    hide(this.withData, true);
    this.start();
  }
  pathWithData() { return `${this.path()}&data=true`; }
  open() { if (!this.stopper) this.start(); }
  close() { this.stop("Stopped."); }
  update() {}
}

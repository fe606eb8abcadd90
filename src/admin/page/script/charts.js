/* Curves of the last hour: small ones in rows, large ones with a scale in details. */

/** A path through the values; it is broken where nothing is known. The running minute is left out. */
function path(values, top, width, height) {
  const step = width / (MINUTES - 2);
  let text = "", isOpen = false;
  values.slice(0, -1).forEach((value, minute) => {
    if (value != null) text += `${isOpen ? "L" : "M"}${(minute * step).toFixed(1)} ${(height - height * Math.min(1, value / top)).toFixed(1)}`;
    isOpen = value != null;
  });
  return text;
}
function drawSpark(svg, history) {
  const went = history?.delivered ?? [], failed = history?.failed ?? [];
  const top = Math.max(1, ...went, ...failed), line = path(went, top, 60, 19), fails = failed.some(n => n > 0) ? path(failed, top, 60, 19) : "";
  const key = line + "|" + fails;
  if (svg.dataset.key === key) return;
  svg.dataset.key = key;
  const start = line.match(/^M([\d.]+)/)?.[1], isWhole = line && line.lastIndexOf("M") === 0;
  svg.replaceChildren();
  if (isWhole) svg.append(draw("path", { class: "area", d: `${line}V20H${start}Z` }));
  if (line) svg.append(draw("path", { class: "went", d: line }));
  if (fails) svg.append(draw("path", { class: "failed", d: fails }));
}

/** A larger curve. It is read by the mouse, or by the arrow keys when it has the focus. */
class Chart {
  constructor({ title, series, show }) {
    Object.assign(this, { title, series, show, cursor: null });
    this.node = make("div", "chart");
    this.node.tabIndex = 0;
    this.node.setAttribute("role", "group");
    const head = make("div", "head"), legend = make("span", "legend");
    if (series.length > 1) for (const { name, tone } of series) legend.append(make("span", tone, name));
    head.append(make("h3", "", title), legend);
    this.svg = draw("svg", { viewBox: "0 0 300 90", preserveAspectRatio: "none", "aria-hidden": "true" });
    this.axis = make("div", "axis");
    this.read = make("output");
    this.node.append(head, this.svg, this.axis, this.read);
    this.svg.addEventListener("pointermove", event => {
      const box = this.svg.getBoundingClientRect();
      this.point(Math.round((event.clientX - box.left) / box.width * (MINUTES - 2)));
    });
    this.svg.addEventListener("pointerleave", () => this.point(null));
    this.node.addEventListener("blur", () => this.point(null));
    this.node.addEventListener("keydown", event => {
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -MINUTES, End: MINUTES }[event.key];
      if (!step) return;
      event.preventDefault();
      this.point((this.cursor ?? MINUTES - 2) + (this.cursor == null ? 0 : step));
    });
  }
  update(history) {
    this.values = this.series.map(({ of }) => Array.from({ length: MINUTES }, (_, minute) => history ? of(history, minute) : null));
    const all = this.values.flatMap(values => values.slice(0, -1)).filter(value => value != null);
    this.top = Math.max(...all, this.show(0.01) === this.show(0) ? 1 : 0.1);
    this.isKnown = all.length > 0;
    const grid = [0, 45, 90].map(y => draw("line", { class: "grid", x1: 0, x2: 300, y1: y, y2: y }));
    const curves = this.values.map((values, index) => draw("path", { class: this.series[index].tone, d: path(values, this.top, 300, 90) }));
    this.mark = draw("line", { class: "cursor", y1: 0, y2: 90, visibility: "hidden" });
    this.svg.replaceChildren(...grid, ...curves.reverse(), this.mark);
    this.axis.replaceChildren(make("span", "", clock(minuteAt(0)).slice(0, 5)), make("span", "", clock(minuteAt(MINUTES - 2)).replace(/:\d\d /, " ")));
    const greatest = this.series.map(({ name }, index) => `${name} ${this.show(Math.max(0, ...this.values[index].slice(0, -1)))}`);
    this.summary = this.isKnown ? `Most in the hour: ${greatest.join(", ")}` : "Nothing is known of the last hour yet: a minute has to end first.";
    this.node.setAttribute("aria-label", `${this.title}. ${this.summary}. Arrow keys read minute by minute.`);
    this.point(this.cursor);
  }
  point(minute) {
    this.cursor = minute == null ? null : Math.max(0, Math.min(MINUTES - 2, minute));
    // What is said again and again would be heard again and again: only what is pointed at is.
    this.read.setAttribute("aria-live", this.cursor == null ? "off" : "polite");
    if (this.cursor == null) {
      this.mark.setAttribute("visibility", "hidden");
      put(this.read, this.summary);
      return;
    }
    const x = this.cursor * 300 / (MINUTES - 2);
    for (const [name, value] of [["x1", x], ["x2", x], ["visibility", "visible"]]) this.mark.setAttribute(name, value);
    const values = this.series.map(({ name }, index) => `${name} ${this.show(this.values[index][this.cursor])}`);
    put(this.read, `${clock(minuteAt(this.cursor)).replace(/:\d\d /, " ")}: ${values.join(", ")}`);
  }
}
function makeCharts() {
  const each = name => (history, minute) => history[name][minute];
  const perSecond = name => (history, minute) => history[name][minute] == null ? null : history[name][minute] / 60;
  return [
    { title: "Per second", show: rate, series: [{ name: "delivered", tone: "s-good", of: perSecond("delivered") }, { name: "failed attempts", tone: "s-bad", of: perSecond("failed") }] },
    { title: "Time of attempts", show: millis, series: [{ name: "p50", tone: "s-plain", of: each("p50") }, { name: "p99", tone: "s-warn", of: each("p99") }] },
    { title: "Waiting", show: number, series: [{ name: "events", tone: "s-plain", of: each("depth") }] },
    { title: "Age of the oldest that waits", show: value => value == null ? "–" : span(value), series: [{ name: "age", tone: "s-plain", of: each("age") }] },
    { title: "Not delivered, a minute", show: number, series: [{ name: "dead letters, lost, parked", tone: "s-bad", of: each("undelivered") }] },
    { title: "Requests under way", show: number, series: [{ name: "requests", tone: "s-plain", of: each("concurrency") }] },
  ].map(of => new Chart(of));
}

/* What a row opens: an overview with curves, live events, those that were not delivered, parked ones. */

class Overview {
  constructor(row) {
    this.row = row;
    this.node = make("div", "overview");
    this.charts = makeCharts();
    const curves = make("div", "charts");
    curves.append(...this.charts.map(chart => chart.node));
    this.list = make("dl");
    this.node.append(this.list, curves);
  }
  open() { this.drawn = null; this.update(last); }
  close() {}
  /** Left alone while it says the same, so that text can be marked. */
  update(status) {
    if (this.drawn !== historyAt + "|" + historyCount) {
      this.drawn = historyAt + "|" + historyCount;
      for (const chart of this.charts) chart.update(this.row.history());
    }
    const lines = this.lines(status), text = JSON.stringify(lines);
    if (this.list.dataset.text === text) return;
    this.list.dataset.text = text;
    this.list.replaceChildren();
    for (const [term, what, how] of lines) {
      const value = make("dd");
      value.append(how ? make("code", "", what) : what);
      if (how) value.append(make("span", "soft", " · " + how));
      this.list.append(make("dt", "", term), value);
    }
  }
  lines(status) {
    const { data } = this.row, { counts, lastError } = data, lines = [];
    for (const { word, text } of this.row.reasons) if (text) lines.push([word, text]);
    for (const event of data.oldestUnfinished ?? []) lines.push(["Unfinished", ...unfinished(event)]);
    for (const [leg, to] of legs(data)) {
      const due = to.firstNotAfter ? `, CACerts end ${moment(to.firstNotAfter)} (${left(to.firstNotAfter, status.now).text})` : "";
      lines.push([leg, `${to.url}`, `${lockOf(to, data)[2]}${to.token ? ", with a token" : ""}${due}`]);
    }
    const at = time => `${moment(time)}, ${span((status.now - Date.parse(time)) / 1000)} ago`;
    if (data.lastSuccess) lines.push(["Last success", at(data.lastSuccess)]);
    if (data.lastDeadLetter) lines.push(["Last dead letter", at(data.lastDeadLetter)]);
    if (data.lastLost) lines.push(["Last lost event", at(data.lastLost)]);
    if (lastError) lines.push(["Last error", `${moment(lastError.time)}, ${lastError.leg} ${lastError.destination}: ${lastError.reason}`]);
    if (counts) lines.push(["Attempts", `${number(counts.failures)} failed, ${number(counts.retries)} retried, ${number(counts.deferred)} put off, ${number(counts.returned)} returned to the queue`]);
    if (counts) lines.push(["Ended", `${number(counts.delivered)} delivered, ${number(counts.deadLettered)} dead letters, ${number(counts.lost)} lost; ${number(counts.parked)} parked now`]);
    if (counts?.filterErrors) lines.push(["Filter", `could not be decided for ${plural(counts.filterErrors, "event")}, which did not pass`]);
    return lines;
  }
}

/** An event that takes long, and when its next attempt is. */
function unfinished({ id, source, leg, attempts, nextAttempt, underWaySince }) {
  const when = nextAttempt ? `at ${moment(nextAttempt)}` : `under way since ${moment(underWaySince)}`;
  return [`${id} from ${source}`, `${leg}, attempt ${number(attempts + 1)} ${when}`];
}

let details = 0;

/** The details of a row, as tabs. */
class Detail {
  constructor(row) {
    this.row = row;
    this.isOpen = false;
    this.id = `detail-${details += 1}`;
    this.node = make("tr", "detail");
    this.node.setAttribute("role", "row");
    this.node.hidden = true;
    const cell = make("td"), tabs = this.tabs = make("div", "tabs");
    cell.colSpan = 10;
    cell.setAttribute("role", "cell");
    tabs.setAttribute("role", "tablist");
    tabs.setAttribute("aria-label", `Details of ${row.data.name}`);
    this.body = make("div");
    this.body.setAttribute("role", "tabpanel");
    this.body.id = this.id;
    this.parts = { overview: ["Overview", Overview] };
    // A PingSource has no channel that could be tapped.
    if (row.data.kind !== "PingSource") this.parts.live = ["Live", LiveTap];
    this.parts.undelivered = ["Not delivered", Undelivered];
    if (["disk", "rabbitmq"].includes(row.group.data.storage)) this.parts.parked = ["Parked", Parked];
    if (row.group.data.storage === "disk") this.parts.replay = ["Replay", Replay];
    this.made = {};
    for (const [name, [title]] of Object.entries(this.parts)) tabs.append(this.tab(name, title));
    tabs.addEventListener("keydown", event => this.step(event));
    cell.append(tabs, this.body);
    this.node.append(cell);
  }
  tab(name, title) {
    const tab = button(title, () => this.choose(name));
    tab.setAttribute("role", "tab");
    tab.id = `${this.id}-${name}`;
    tab.setAttribute("aria-controls", this.id);
    return tab;
  }
  step(event) {
    const names = Object.keys(this.parts), step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const name = names[(names.indexOf(this.chosen) + step + names.length) % names.length];
    this.choose(name);
    $(`${this.id}-${name}`).focus();
  }
  choose(name) {
    if (this.chosen !== name) this.made[this.chosen]?.close();
    this.chosen = name;
    for (const each of this.tabs.children) {
      const isChosen = each.id === `${this.id}-${name}`;
      each.setAttribute("aria-selected", String(isChosen));
      each.tabIndex = isChosen ? 0 : -1;
    }
    const part = this.made[name] ??= new this.parts[name][1](this.row);
    this.body.setAttribute("aria-labelledby", `${this.id}-${name}`);
    this.body.replaceChildren(part.node);
    part.open();
  }
  open(tab) {
    this.isOpen = true;
    this.node.hidden = false;
    this.choose(tab ?? this.chosen ?? "overview");
  }
  close() {
    this.isOpen = false;
    this.node.hidden = true;
    this.made[this.chosen]?.close();
  }
  update(status) { this.made[this.chosen]?.update(status); }
}

/* A channel or broker with its rows, and those of all of them that need attention. */

const groups = new Map();      // by key
const rowsOfAll = () => [...groups.values()].flatMap(group => [...group.rows.values()]);
const nameOf = group => `${group.data.namespace}/${group.data.name}`;

/** A part of the table that folds, and that shows the first of many rows. */
class Section {
  constructor() {
    this.node = make("tbody");
    this.node.setAttribute("role", "rowgroup");
    this.head = $("group-row").content.firstElementChild.cloneNode(true);
    this.cells = this.head.children;
    this.fold = this.cells[1].querySelector(".fold");
    this.title = this.cells[1].querySelector(".name-text");
    this.under = this.cells[1].lastElementChild;
    this.fold.addEventListener("click", () => { this.isFolded = !this.folded(); layout(); });
    this.isFolded = null;      // as somebody chose
    this.all = false;          // all rows, not the first of them
    this.more = make("tr", "more");
    this.more.setAttribute("role", "row");
    this.moreButton = button("", () => { this.all = !this.all; layout(); });
    const cell = make("td");
    cell.setAttribute("role", "cell");
    cell.colSpan = 10;
    cell.append(this.moreButton);
    this.more.append(cell);
    this.node.append(this.head);
  }
  folded() { return this.isFolded ?? this.foldsByItself(); }
  /** Places rows, of which some are to be seen, in this order. `searched`: folding does not hide what was found. */
  place(rows, matches, searched) {
    const folded = !searched && this.folded(), wanted = rows.filter(matches), most = this.all ? Infinity : FIRST_ROWS;
    const seen = new Set(folded ? [] : wanted.slice(0, most));
    for (const row of rows) row.show(seen.has(row));
    this.fold.setAttribute("aria-expanded", String(!folded));
    hide(this.more, folded || wanted.length <= FIRST_ROWS);
    put(this.moreButton, this.all ? `Show the first ${FIRST_ROWS}` : `Show ${number(wanted.length - FIRST_ROWS)} more`);
    arrange(this.node, [...rows.flatMap(row => row.nodes()), this.more], this.head);
    return wanted.length;
  }
}

/** Everything that needs attention, wherever it belongs. */
class Attention extends Section {
  constructor() {
    super();
    this.node.id = "attention";
    put(this.title, "Needs attention");
  }
  foldsByItself() { return false; }
  draw(rows, of) {
    const broken = rows.filter(row => row.level > 1).length;
    pill(this.cells[0].firstElementChild, gone ? -1 : broken ? 2 : 1, gone ? "Not known" : broken ? `${number(broken)} broken` : "Look");
    put(this.under, `${number(rows.length)} of ${plural(of, "subscription")}`);
    put(this.cells[2].lastElementChild, "of all channels and brokers, the worst first");
    drawSpark(this.cells[3].querySelector("svg"), together(rows.map(row => row.history())));
    put(this.cells[3].querySelector(".line"), rate(sum(rows, row => row.rate)));
  }
}

class Group extends Section {
  constructor(data) {
    super();
    this.rows = new Map();
    this.name = data.name;
  }
  update(data, status) {
    this.data = data;
    this.kind = data.kind;
    const seen = new Set();
    for (const each of data.subscriptions) {
      const key = `${each.kind}/${each.namespace}/${each.name}`;
      seen.add(key);
      if (!this.rows.has(key)) this.rows.set(key, new Row(this));
      this.rows.get(key).update(each, status);
    }
    for (const [key, row] of this.rows) if (!seen.has(key)) { row.remove(); this.rows.delete(key); }
    this.draw();
  }
  /** Of many rows, groups that are fine begin folded. */
  foldsByItself() { return groups.size > 1 && rowCount > MANY_ROWS && (this.level === 0 || sorting.isByLevel()); }
  draw() {
    const { data, cells } = this, rows = [...this.rows.values()], wrong = rows.filter(row => row.level > 0);
    const broken = data.ready?.status === "False";
    this.own = broken ? 2 : data.ready && data.ready.status !== "True" ? 1 : 0;
    this.level = Math.max(this.own, ...rows.map(row => row.level));
    this.word = broken ? "Not ready" : this.own ? "Not ready yet" : data.ready || data.storage ? "Ready" : "Not there";
    // A group is not green over rows that are not.
    const word = this.own || !wrong.length ? this.word : `${number(wrong.length)} of ${number(rows.length)} wrong`;
    pill(cells[0].firstElementChild, this.word === "Not there" ? 2 : this.level, word);
    putLong(this.title, data.name);
    put(this.under, `${data.kind} · ${data.namespace} · ${plural(rows.length, "subscription")}`);
    putLong(cells[2].firstElementChild, data.url ?? "");
    const keeps = { memory: "in memory", rabbitmq: "on RabbitMQ", disk: "on disk", schedule: "sends by its schedule", flow: "made of the channels of its name", reply: "answers with replies" }[data.storage];
    const answers = { delivery: "answers after delivery", enqueue: "answers when queued" }[data.acknowledge];
    putLong(cells[2].lastElementChild, this.own ? data.ready.message : [keeps, answers].filter(Boolean).join(", "));
    const known = rows.some(row => row.rate != null), counted = rows.some(row => row.data.counts);
    this.rate = known ? sum(rows, row => Math.max(0, row.rate ?? 0)) : null;
    put(cells[3].querySelector(".line"), rate(this.rate));
    put(cells[3].querySelector(".under"), counted ? `${many(sum(rows, row => row.data.counts?.delivered))} in all` : "");
    ["unfinished", "retries", "dead", "lost"].forEach((name, index) => figure(cells[index + 5], counted ? sum(rows, row => Math.max(0, row.sort[name])) : null));
    this.drawCurve();
    this.haystack = [data.kind, data.namespace, data.name, data.url, this.word].filter(Boolean).join("\n").toLowerCase();
  }
  drawCurve() { drawSpark(this.cells[3].querySelector("svg"), together([...this.rows.values()].map(row => row.history()))); }
  forget() {
    pill(this.cells[0].firstElementChild, -1, "Not known");
    put(this.cells[3].querySelector(".line"), "–");
    this.rate = null;
    for (const row of this.rows.values()) row.forget();
  }
}

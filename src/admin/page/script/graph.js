/* The topology: channels and brokers, the filters of their subscriptions, and destinations. Broken paths come first;
   where there are many, those that are fine are drawn as one for each channel or broker. */

const MANY_PATHS = 40;         // paths from which on those that are fine are drawn together
const MOST_BROKEN = 30;        // paths of one channel or broker that are drawn one by one
const MOST_GROUPS = 40;        // channels and brokers that are drawn
// Widths of nodes, and of the place of a filter.
const WIDE = { group: 190, filter: 220, row: 230, to: 260 }, NARROW = { group: 150, filter: 150, row: 190, to: 210 };
const ROW_HEIGHT = 46, NODE_HEIGHT = 40, TOP = 4;

/** A filter of a Trigger in few words: what JSON it is of, without its braces. */
function filterWords(filter) {
  if (typeof filter !== "object" || filter == null) return String(filter);
  return Object.entries(filter).map(([dialect, of]) => {
    if (dialect === "cesql") return of;
    if (["all", "any"].includes(dialect)) return `(${of.map(filterWords).join(dialect === "all" ? " and " : " or ")})`;
    if (dialect === "not") return `not ${filterWords(of)}`;
    const sign = { exact: "=", prefix: "begins with", suffix: "ends with", attributes: "=" }[dialect] ?? dialect;
    return Object.entries(of).map(([name, value]) => value === "" && dialect === "attributes" ? `has ${name}` : `${name} ${sign} ${value}`).join(" and ");
  }).join(" and ");
}
/** What a Trigger lets pass; `filters` replace `filter`, as Knative has it. */
function filterOf({ filters, filter }) {
  if (filters?.length) return filters.map(filterWords).join(" and ");
  return Object.keys(filter?.attributes ?? {}).length ? filterWords({ attributes: filter.attributes }) : "every event";
}

const graph = {
  isShown: false, filters: new Map(), opened: new Set(), drawn: "", at: 0,

  show(isShown) {
    this.isShown = isShown;
    hide($("graph"), !isShown);
    if (!isShown) return;
    this.draw();
    this.askFilters();
  },
  /** Filters stand in the objects, which are asked for while the graph is to be seen, not with each answer. */
  async askFilters() {
    if (Date.now() - this.at < 20000) return;
    this.at = Date.now();
    try {
      for (const { metadata, spec } of (await (await api("triggers")).json()).items) this.filters.set(`${metadata.namespace}/${metadata.name}`, filterOf(spec));
      this.draw();
    } catch {
      // Without them edges have no words.
    }
  },
  /** The paths to draw: of each group those that are broken, then those that are fine, alone or as one. Rates do not order
      them, so that nothing jumps about. */
  paths() {
    const { matches, matchesGroup, onlyWrong } = wanted(), all = rowsOfAll().filter(matches), isMany = all.length > MANY_PATHS;
    const sorted = [...groups.values()].sort((a, b) => b.level - a.level || inOrder(nameOf(a), nameOf(b)));
    const paths = [];
    let omitted = 0, drawn = 0;
    for (const group of sorted) {
      const rows = [...group.rows.values()].filter(matches).sort((a, b) => b.level - a.level || inOrder(a.sort.name, b.sort.name));
      if (!rows.length && (onlyWrong && !group.own || !matchesGroup(group))) continue;
      if (drawn >= MOST_GROUPS) { omitted += 1; continue; }
      drawn += 1;
      const isOpen = this.opened.has(group), wrong = rows.filter(row => row.level > 0), fine = rows.filter(row => !row.level);
      const alone = isOpen || !isMany ? rows : [...wrong.slice(0, MOST_BROKEN), ...(fine.length < 3 ? fine : [])];
      for (const row of alone) paths.push({ group, row, rows: [row], level: row.level });
      const rest = rows.filter(row => !alone.includes(row)), bad = rest.filter(row => row.level > 0), good = rest.filter(row => !row.level);
      if (bad.length) paths.push({ group, rows: bad, level: bad[0].level });
      if (good.length) paths.push({ group, rows: good, level: 0 });
      if (!rows.length) paths.push({ group, rows: [], level: group.own });
    }
    return { paths, omitted };
  },
  /** Destinations of a path: one, or how many. */
  destinationOf({ group, rows }) {
    const urls = [...new Set(rows.map(row => (row.data.subscriber ?? row.data.reply)?.url).filter(Boolean))];
    if (!urls.length) return null;
    const hosts = [...new Set(urls.map(url => url.replace(/^(\w+:\/\/[^/]+).*$/, "$1")))];
    if (urls.length === 1) return { key: urls[0], name: urls[0].replace(/^\w+:\/\//, ""), title: urls[0] };
    const name = hosts.length === 1 ? hosts[0].replace(/^\w+:\/\//, "") : plural(hosts.length, "host");
    return { key: `${nameOf(group)} ${hosts.join(" ")}`, name, title: hosts.join("\n"), isMany: true };
  },

  draw() {
    const { paths, omitted } = this.paths();
    // Nobody answers: broken or not is not known.
    if (gone) for (const path of paths) path.level = 0;
    const room = $("graph").clientWidth - 36, size = this.size = room < 1150 ? NARROW : WIDE;
    const width = Math.max(room, sum(Object.values(size), each => each) + 70);
    const text = JSON.stringify([width, gone != null, omitted, this.filters.size, paths.map(({ group, rows, level, row }) => [nameOf(group), group.level, group.word, rate(group.rate), rows.length, level, row?.data.name, row?.word, rate(sum(rows, each => each.rate)), row?.isBuried])]);
    if (this.drawn === text) return;
    this.drawn = text;
    const gap = (width - sum(Object.values(size), each => each)) / 2;
    const x = { filter: size.group + gap, row: size.group + gap + size.filter, to: width - size.to };
    const canvas = make("div", "canvas"), edges = draw("svg", { "aria-hidden": "true" });
    const active = document.activeElement?.dataset?.node, most = Math.max(1, ...paths.map(({ rows }) => sum(rows, row => row.rate)));
    const thickness = value => (1.5 + 7 * Math.log1p(value ?? 0) / Math.log1p(most)).toFixed(1);
    const edge = (points, level, value, more = "") => edges.append(draw("path", { class: `edge ${PILLS[level] ?? ""} ${more}`.replace("good", "").trim(), d: points, "stroke-width": thickness(value) }));
    const curve = (x1, y1, x2, y2) => `M${x1} ${y1}C${(x1 + x2) / 2} ${y1} ${(x1 + x2) / 2} ${y2} ${x2} ${y2}`;
    paths.forEach((path, index) => { path.y = TOP + index * ROW_HEIGHT + NODE_HEIGHT / 2; });
    const groupY = this.spread(new Map(), paths, path => path.group), tos = new Map();
    for (const path of paths) for (const to of this.endsOf(path)) {
      if (!tos.has(to.key)) tos.set(to.key, { ...to, ys: [], level: 0, rate: 0, count: 0 });
      const known = tos.get(to.key);
      known.ys.push(path.y);
      known.level = Math.max(known.level, to.isLetters ? 0 : path.level);
      known.rate += to.isLetters ? 0 : sum(path.rows, row => row.rate);
      known.count += path.rows.length;
    }
    const toY = this.settle([...tos.values()].map(to => ({ key: to.key, y: to.ys.reduce((a, b) => a + b) / to.ys.length })));
    for (const path of paths) {
      const value = sum(path.rows, row => row.rate), top = groupY.get(path.group);
      if (!path.rows.length) continue;
      edge(curve(size.group, top, x.filter, path.y) + `L${x.row} ${path.y}`, path.level, value);
      for (const to of this.endsOf(path)) edge(curve(x.row + size.row, path.y, x.to, toY.get(to.key)), to.isLetters && !gone ? 1 : path.level, to.isLetters ? 0 : value, to.isLetters ? "letters" : "");
      canvas.append(this.pathNode(path, x.row, value), this.filterLabel(path, x.filter));
    }
    for (const [group, y] of groupY) canvas.append(this.groupNode(group, y));
    for (const [key, y] of toY) canvas.append(this.endNode(tos.get(key), x.to, y));
    canvas.prepend(edges);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${Math.max(paths.length * ROW_HEIGHT, ...[...toY.values()].map(y => y + NODE_HEIGHT)) + TOP}px`;
    this.place(canvas, omitted, paths.length);
    if (active) [...canvas.querySelectorAll("[data-node]")].find(node => node.dataset.node === active)?.focus({ preventScroll: true });
  },
  place(canvas, omitted, count) {
    const box = $("graph").querySelector(".canvas-scroll") ?? make("div", "canvas-scroll"), left = box.scrollLeft;
    const legend = make("p", "legend");
    for (const text of ["Width: delivered per second", "Red: broken; yellow: to see to", "Dashed: dead letters within the hour", omitted ? `${plural(omitted, "further channel or broker is", "further channels and brokers are")} left out: search` : ""]) if (text) legend.append(make("span", "", text));
    if (!count) legend.replaceChildren(make("span", "", groups.size ? "Nothing matches." : "Nothing is configured yet: the list says what to try."));
    box.replaceChildren(canvas);
    $("graph").replaceChildren(legend, box);
    box.scrollLeft = left;
  },
  /** The middle of the paths of each group. */
  spread(found, paths, of) {
    for (const path of paths) found.set(of(path), [...(found.get(of(path)) ?? []), path.y]);
    const middles = [...found].map(([key, ys]) => ({ key, y: (ys[0] + ys.at(-1)) / 2 }));
    return this.settle(middles);
  },
  /** Nodes near to where they want to be, none over another. */
  settle(nodes) {
    let next = TOP + NODE_HEIGHT / 2;
    const at = new Map();
    for (const { key, y } of nodes.sort((a, b) => a.y - b.y)) {
      at.set(key, Math.max(next, y));
      next = at.get(key) + ROW_HEIGHT;
    }
    return at;
  },
  endsOf(path) {
    const to = this.destinationOf(path), ends = to ? [to] : [];
    const letters = path.rows.filter(row => row.isBuried && row.data.deadLetterSink);
    for (const url of new Set(letters.map(row => row.data.deadLetterSink.url))) ends.push({ key: url, name: url.replace(/^\w+:\/\//, ""), title: url, isLetters: true });
    return ends;
  },
  node(tag, { level = 0, key, left, y, width, name, under, title, more = "" }) {
    const node = make(tag, `node ${level ? PILLS[level] : ""} ${more}`.replace(/\s+/g, " ").trim());
    if (tag === "button") { node.type = "button"; node.dataset.node = key; }
    Object.assign(node.style, { left: `${left}px`, top: `${y - NODE_HEIGHT / 2}px`, width: `${width}px` });
    node.title = title;
    node.append(make("span", "line", name), make("span", "line under", under));
    return node;
  },
  groupNode(group, y) {
    const isOpen = this.opened.has(group), word = gone ? "not known" : group.level ? group.cells[0].textContent : `${rate(group.rate)}/s`;
    const node = this.node("button", { level: gone ? 0 : group.level, key: `g ${nameOf(group)} ${group.kind}`, left: 0, y, width: this.size.group, name: group.name, under: `${group.kind} · ${word}`, title: `${group.kind} ${nameOf(group)}\n${group.data.url ?? ""}` });
    node.setAttribute("aria-expanded", String(isOpen));
    node.addEventListener("click", () => { this.toggle(group); });
    return node;
  },
  toggle(group) {
    if (!this.opened.delete(group)) this.opened.add(group);
    this.drawn = "";
    this.draw();
  },
  pathNode(path, left, value) {
    const { row, rows, group, level } = path;
    if (!row) {
      const node = this.node("button", { level: gone ? 0 : level, key: `b ${nameOf(group)} ${level}`, left, y: path.y, width: this.size.row, name: `${number(rows.length)} ${level ? "more" : "that are fine"}`, under: `${gone ? "not known" : `${rate(value)}/s together`}; opens them`, title: rows.slice(0, 20).map(each => each.data.name).join(", "), more: "bundle" });
      node.addEventListener("click", () => this.toggle(group));
      return node;
    }
    const under = gone ? "not known" : row.level ? `${row.word} · ${rate(row.rate)}/s` : `${rate(row.rate)}/s`;
    const node = this.node("button", { level: gone ? 0 : level, key: `r ${keyOf(row.data)}`, left, y: path.y, width: this.size.row, name: row.data.name, under, title: `${row.data.kind} ${row.sort.name}: ${row.word}\nopens its details in the list` });
    node.addEventListener("click", () => goTo(row));
    return node;
  },
  filterLabel({ row, y }, left) {
    const text = !row ? "" : row.data.kind === "Trigger" ? this.filters.get(`${row.data.namespace}/${row.data.name}`) ?? "" : "every event";
    const label = make("span", "filter", text);
    label.title = text;
    Object.assign(label.style, { left: `${left + 8}px`, top: `${y - 21}px`, width: `${this.size.filter - 16}px` });
    return label;
  },
  endNode(to, left, y) {
    const under = to.isLetters && !to.rate ? "dead letters" : `${to.isMany ? `${plural(to.count, "destination")} · ` : ""}${gone ? "not known" : `${rate(to.rate)}/s`}`;
    return this.node("div", { level: gone ? 0 : to.level, left, y, width: this.size.to, name: to.name, under, title: to.title, more: "plain" });
  },
};
addEventListener("resize", () => { if (graph.isShown) graph.draw(); });

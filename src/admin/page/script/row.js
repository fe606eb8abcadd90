/* A subscription or Trigger: its row, and what it opens. */

class Row {
  constructor(group) {
    this.group = group;
    this.node = $("row").content.firstElementChild.cloneNode(true);
    this.detail = null;
    this.before = null;        // the numbers of the answer before
    this.rate = null;
    this.samples = [];         // what was delivered in all, at the answers of the last seconds
    this.shown = true;
    const cells = this.node.children;
    this.cells = {
      pill: cells[0].firstElementChild, button: cells[1].firstElementChild,
      name: cells[1].querySelector(".name-text"), kind: cells[1].lastElementChild,
      to: cells[2].querySelector("code"), icon: cells[2].querySelector("svg"), how: cells[2].querySelector(".how"), due: cells[2].querySelector(".due"),
      spark: cells[3].querySelector("svg"), rate: cells[3].querySelector(".line"), total: cells[3].querySelector(".under"),
      p99: cells[4].firstElementChild, p50: cells[4].lastElementChild,
      unfinished: cells[5].firstElementChild, inFlight: cells[5].lastElementChild,
      retries: cells[6], dead: cells[7], lost: cells[8],
      errorCell: cells[9], error: cells[9].firstElementChild, when: cells[9].lastElementChild,
    };
    this.cells.button.addEventListener("click", () => this.toggle());
  }
  update(data, status) {
    this.data = data;
    const { counts } = data;
    this.rate = this.measure(counts, status);
    this.before = counts;
    this.isLost = data.lastLost != null && status.now - Date.parse(data.lastLost) < HOUR * 1000;
    this.isBuried = data.lastDeadLetter != null && status.now - Date.parse(data.lastDeadLetter) < HOUR * 1000;
    // The dispatcher has judged; what was delivered between two answers it may have no time of.
    this.reasons = data.reasons;
    this.level = LEVELS.indexOf(data.reasons[0].level);
    this.word = data.state === "Idle" && this.rate > 0 ? "Working" : data.state;
    this.latency = latency(this.history());
    // Before there are two answers, the last whole minute tells the rate.
    const minute = this.history()?.delivered[MINUTES - 2];
    if (this.rate == null && minute != null) this.rate = minute / 60;
    this.sort = {
      level: this.level, name: `${data.namespace}/${data.name}`, to: (data.subscriber ?? data.reply)?.url ?? "", rate: this.rate ?? -1, p99: this.latency?.p99 ?? -1,
      unfinished: counts?.unfinished ?? -1, retries: counts?.retries ?? -1,
      dead: counts?.deadLettered ?? -1, lost: counts ? counts.lost + counts.parked : -1, error: data.lastError ? Date.parse(data.lastError.time) : 0,
    };
    const { group } = this, texts = [data.kind, data.namespace, data.name, group.kind, group.name, this.word, data.lastError?.reason, data.ready?.message];
    this.haystack = texts.concat(legs(data).flatMap(([, to]) => [to.url, LOCKS[to.lock]?.[2]])).filter(Boolean).join("\n").toLowerCase();
    this.draw(status);
  }
  /** Deliveries per second in the last seconds, at least between two answers; null before there are two. */
  measure(counts, { now }) {
    if (!this.before) this.samples = [];
    if (!counts) return null;
    const old = this.samples.findLastIndex(sample => now - sample.at >= WINDOW * 1000);
    this.samples = [...this.samples.slice(Math.max(0, old)), { at: now, delivered: counts.delivered }];
    const first = this.samples[0], elapsed = (now - first.at) / 1000;
    return elapsed > 0 ? Math.max(0, counts.delivered - first.delivered) / elapsed : null;
  }
  /** A Broker of the role ingress is a row of its channel; its series have no history. */
  history() { return histories.get(keyOf(this.data)); }
  draw(status) {
    const { data, cells } = this, { counts, lastError } = data;
    pill(cells.pill, this.level || (this.word === "Working" ? 0 : -1), this.word);
    dress(this.node, ["row", PILLS[this.level]].join(" "));
    putLong(cells.name, data.name);
    putLong(cells.kind, `${data.kind} of ${this.group.name} · ${data.namespace}`);
    this.drawDestination(status);
    put(cells.rate, rate(this.rate));
    put(cells.total, counts ? `${many(counts.delivered)} in all` : "");
    put(cells.p99, millis(this.latency?.p99));
    put(cells.p50, this.latency ? `p50 ${millis(this.latency.p50)}` : "");
    put(cells.unfinished, number(counts?.unfinished));
    dress(cells.unfinished.parentElement, "number" + (counts?.unfinished ? "" : " zero"));
    put(cells.inFlight, counts?.inFlight ? `${number(counts.inFlight)} in flight` : "");
    figure(cells.retries, counts?.retries);
    figure(cells.dead, counts?.deadLettered, this.isBuried ? 1 : 0);
    figure(cells.lost, counts && counts.lost + counts.parked, this.isLost ? 2 : counts?.parked ? 1 : 0);
    // What is configured wrong has no last error: why it is not served stands in its place.
    const trouble = data.ready?.status === "False" ? data.ready.message || data.ready.reason : null;
    putLong(cells.error, lastError ? lastError.reason : trouble ?? "–");
    dress(cells.errorCell, lastError || trouble ? "error" : "error empty zero");
    put(cells.when, lastError ? `${span((status.now - Date.parse(lastError.time)) / 1000)} ago, ${lastError.leg}` : "");
    if (this.shown) drawSpark(cells.spark, this.history());
    if (this.detail?.isOpen) this.detail.update(status);
  }
  drawDestination(status) {
    const { data, cells } = this, to = data.subscriber ?? data.reply;
    const [sign, tone, how] = lockOf(to, data);
    if (cells.icon.dataset.sign !== sign + tone) {
      cells.icon.dataset.sign = sign + tone;
      cells.icon.setAttribute("class", "icon " + tone);
      cells.icon.firstElementChild.setAttribute("href", "#" + sign);
    }
    // The lock tells the scheme.
    put(cells.to, to ? to.url.replace(/^https?:\/\//, "") : "–");
    if (cells.to.title !== (to?.url ?? "")) cells.to.title = to?.url ?? "";
    const due = to?.firstNotAfter ? left(to.firstNotAfter, status.now) : null;
    put(cells.how, due ? how + " · " : how);
    put(cells.due, due?.text ?? "");
    dress(cells.due, "due" + (due?.level ? " " + PILLS[due.level] : ""));
  }
  /** Nobody answers any more: what was true a while ago is not told as if it were now. */
  forget() {
    pill(this.cells.pill, -1, "Not known");
    dress(this.node, "row");
    put(this.cells.rate, "–");
    put(this.cells.inFlight, "");
    const { lastError } = this.data;
    if (lastError) put(this.cells.when, `${clock(lastError.time)}, ${lastError.leg}`);
    this.before = this.rate = null;
  }
  /** Shows or hides the row, with its details. */
  show(shown) {
    hide(this.node, !shown);
    if (this.detail) hide(this.detail.node, !shown || !this.detail.isOpen);
    if (shown && !this.shown) drawSpark(this.cells.spark, this.history());
    this.shown = shown;
  }
  toggle(tab) {
    if (!this.detail) this.detail = new Detail(this);
    const isOpen = tab ? true : !this.detail.isOpen;
    this.cells.button.setAttribute("aria-expanded", String(isOpen));
    this.node.after(this.detail.node);
    if (isOpen) this.detail.open(tab);
    else this.detail.close();
  }
  remove() {
    this.detail?.close();
    this.nodes().forEach(node => node.remove());
  }
  nodes() { return this.detail ? [this.node, this.detail.node] : [this.node]; }
}

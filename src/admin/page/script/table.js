/* The order of the table, what of it is to be seen, and how it is asked for. */

const sorting = { by: "level", down: true, isByLevel() { return this.by === "level" && this.down; } };
const attention = new Attention();
let rowCount = 0;

/** By what is sorted by; then by name, so that nothing jumps about. */
function compare(a, b) {
  const [x, y] = [a.sort[sorting.by], b.sort[sorting.by]];
  const by = typeof x === "string" ? inOrder(x, y) : x - y;
  return (sorting.down ? -by : by) || inOrder(a.sort.name, b.sort.name);
}
function compareGroups(a, b) {
  if (sorting.by === "level") { const by = a.level - b.level; return (sorting.down ? -by : by) || inOrder(nameOf(a), nameOf(b)); }
  if (sorting.by === "name") { const by = inOrder(nameOf(a), nameOf(b)); return sorting.down ? -by : by; }
  if (a.best && b.best) return compare(a.best, b.best) || inOrder(nameOf(a), nameOf(b));
  return (a.best ? 0 : 1) - (b.best ? 0 : 1) || inOrder(nameOf(a), nameOf(b));
}

/** What is searched for: words that are all found, and only what needs attention if that is wanted. */
function wanted() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean), onlyWrong = $("only-wrong").checked;
  const matches = row => (!onlyWrong || row.level > 0) && words.every(word => row.haystack.includes(word) || row.group.haystack.includes(word));
  const matchesGroup = group => (!onlyWrong || group.own > 0) && words.every(word => group.haystack.includes(word));
  return { words, onlyWrong, matches, matchesGroup, isSearch: words.length > 0 || onlyWrong };
}

/** Sorts, folds and hides: the broken ones of all groups come first. */
function layout() {
  const rows = rowsOfAll(), { onlyWrong, words, matches, matchesGroup, isSearch } = wanted();
  rowCount = rows.length;
  const isGathered = sorting.isByLevel() && groups.size > 1;
  const wrong = new Set(isGathered ? rows.filter(row => row.level > 0).sort(compare) : []);
  if (wrong.size) {
    attention.draw([...wrong], rows.length);
    const seen = attention.place([...wrong], matches, words.length > 0);
    hide(attention.node, !seen);
  }
  let shown = [...wrong].filter(matches).length, visible = shown;
  for (const group of groups.values()) {
    const own = [...group.rows.values()].filter(row => !wrong.has(row)).sort(compare);
    group.best = [...group.rows.values()].sort(compare)[0];
    const found = group.place(own, matches, isSearch);
    shown += found;
    hide(group.node, !found && !matchesGroup(group) || (onlyWrong && !found && !group.own));
    visible += !group.node.hidden;
  }
  put($("count"), isSearch ? `${number(shown)} of ${plural(rows.length, "subscription")}` : `${plural(groups.size, "channel or broker", "channels and brokers")}, ${plural(rows.length, "subscription")}`);
  hide($("none"), visible > 0 || !groups.size);
  hide($("table").tHead, !groups.size);
  const first = wrong.size ? [attention.node] : [], sorted = [...groups.values()].sort(compareGroups);
  if (!wrong.size) attention.node.remove();
  arrange($("table"), [...first, ...sorted.map(group => group.node)], $("table").tHead);
  put($("fold-all"), [...groups.values()].every(group => group.folded()) && groups.size ? "Unfold all" : "Fold all");
  hide($("fold-all"), groups.size < 2);
  if (graph.isShown) graph.draw();
}

function sortBy(by, down) {
  Object.assign(sorting, { by, down });
  for (const head of $("table").tHead.rows[0].cells) {
    if (head.firstElementChild.dataset.sort === by) head.setAttribute("aria-sort", down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  $("sort").value = by;
  layout();
}
const downFirst = by => by !== "name" && by !== "to";

$("table").tHead.addEventListener("click", event => {
  const by = event.target.closest("button")?.dataset.sort;
  if (by) sortBy(by, sorting.by === by ? !sorting.down : downFirst(by));
});
for (const head of $("table").tHead.querySelectorAll("button")) {
  const option = make("option", "", head.textContent);
  option.value = head.dataset.sort;
  $("sort").append(option);
}
$("sort").addEventListener("change", event => sortBy(event.target.value, downFirst(event.target.value)));
$("search").addEventListener("input", layout);
$("only-wrong").addEventListener("change", layout);
$("search").addEventListener("keydown", event => { if (event.key === "Escape") { event.target.value = ""; layout(); } });
$("fold-all").addEventListener("click", () => {
  const fold = ![...groups.values()].every(group => group.folded());
  for (const group of groups.values()) group.isFolded = fold;
  layout();
});
document.addEventListener("keydown", event => {
  const isTyping = document.activeElement?.matches("input, select, textarea") || document.querySelector("dialog[open]");
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && !isTyping) { event.preventDefault(); $("search").focus(); }
});
for (const [id, isGraph] of [["as-list", false], ["as-graph", true]]) $(id).addEventListener("click", () => {
  $("as-list").setAttribute("aria-pressed", String(!isGraph));
  $("as-graph").setAttribute("aria-pressed", String(isGraph));
  hide($("list"), isGraph);
  graph.show(isGraph);
});
/** Goes to a row, with its details open. */
function goTo(row) {
  $("as-list").click();
  $("search").value = row.data.name;
  $("only-wrong").checked = false;
  layout();
  row.toggle("overview");
  row.cells.button.focus();
}

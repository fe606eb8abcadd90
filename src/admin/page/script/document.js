/* Small changes of the document. Everything that is shown is put in as text. */

const PILLS = ["good", "warn", "bad"];
const SVG = "http://www.w3.org/2000/svg";

/** Sets a text only if it is another one, so that an unchanged page costs nothing. */
function put(node, text) { if (node.textContent !== text) node.textContent = text; }
/** The same for a text that may be cut off. */
function putLong(node, text) { if (node.textContent !== text) node.textContent = node.title = text; }
function dress(node, name) { if (node.className !== name) node.className = name; }
function hide(node, hidden) { if (node.hidden !== hidden) node.hidden = hidden; }
function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text != null) node.textContent = text;
  return node;
}
function button(text, click, className = "quiet") {
  const node = make("button", className, text);
  node.type = "button";
  node.addEventListener("click", click);
  return node;
}
function draw(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}
function icon(id) {
  const svg = draw("svg", { class: "icon", "aria-hidden": "true" });
  svg.append(draw("use", { href: "#" + id }));
  return svg;
}
function pill(node, level, word) {
  const tone = level === -1 ? "" : PILLS[level];
  const key = tone + word;
  if (node.dataset.key === key) return node;
  node.dataset.key = key;
  node.className = ("pill " + tone).trim();
  node.replaceChildren(icon(["i-calm", "i-good", "i-warn", "i-cross"][level + 1]), word);
  return node;
}
function figure(cell, value, level = 0) {
  put(cell, number(value));
  dress(cell, "number" + (value === 0 || value == null ? " zero" : level ? " " + PILLS[level] : ""));
}
/** Puts children into this order, and moves only those that stand elsewhere. Keeps the focus. */
function arrange(parent, nodes, before) {
  const active = document.activeElement;
  let next = before ? before.nextSibling : parent.firstChild;
  for (const node of nodes) {
    if (node === next) next = next.nextSibling;
    else parent.insertBefore(node, next);
  }
  if (active && active !== document.body && document.activeElement !== active) active.focus({ preventScroll: true });
}

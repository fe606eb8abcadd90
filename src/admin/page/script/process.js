/* The head, the figures of the whole process, and the lists of problems and certificates. */

const opened = { problems: false, certificates: false };
function list(name, items, draw, empty) {
  const node = $(name), more = $(name + "-more"), wanted = opened[name] ? items : items.slice(0, FIRST);
  const text = JSON.stringify(wanted);
  hide(node, !items.length);
  hide($(name + "-none"), items.length > 0);
  put($(name + "-none"), empty);
  hide(more, items.length <= FIRST);
  put(more, opened[name] ? "Show fewer" : `Show all ${number(items.length)}`);
  if (node.dataset.text === text) return;
  node.dataset.text = text;
  node.replaceChildren(...wanted.map(draw));
}
function drawProblem({ severity, file, line, object, field, message }) {
  const item = make("li"), place = make("span", "place");
  if (file) place.append(make("code", "", line ? `${file}:${line}` : file));
  if (object) place.append(make("span", "", [object.kind, [object.namespace, object.name].filter(Boolean).join("/")].join(" ")));
  if (field) place.append(make("code", "", field));
  const sign = pill(make("span"), { error: 2, warning: 1 }[severity] ?? -1, { error: "Error", warning: "Warning", note: "Note" }[severity]);
  item.append(sign, make("span", "text", message));
  place.classList.add("second");
  item.append(place);
  return item;
}
function drawCertificate({ use, subject, notAfter, destinations, level, text }) {
  const item = make("li"), what = { "server": "this server", "ca-certs": `CACerts of ${plural(destinations, "destination")}`, "bundle": "trust bundle" }[use];
  item.append(pill(make("span"), level, text.replace(" left", "")), make("span", "text", subject), make("span", "soft second", `${what}, until ${moment(notAfter)}`));
  return item;
}

function showProcess({ process, now }) {
  const full = process.disk?.full && `no room on the disk, events are refused: ${process.disk.full}`;
  const parts = [process.unserved, full].filter(Boolean), partly = parts.length ? `Ready in part: ${parts.join("; ")}` : "Ready";
  pill($("ready"), process.ready ? parts.length ? 1 : 0 : 2, process.ready ? partly : `Not ready: ${process.missing}`);
  const facts = { version: process.version, role: process.role, configuration: process.configuration, "transport encryption": process.transportEncryption };
  if (process.rabbitmqConnected != null) facts.RabbitMQ = process.rabbitmqConnected ? "connected" : "away";
  if (process.disk) facts.disk = process.disk.failure ?? `${bytes(process.disk.bytes)} of ${bytes(process.disk.limit)}`;
  if (process.leads != null) facts["tells the cluster"] = process.leads ? "yes, it leads" : "no, another one leads";
  facts.up = span((now - Date.parse(process.started)) / 1000);
  const text = JSON.stringify(facts);
  if ($("facts").dataset.text !== text) {
    $("facts").dataset.text = text;
    $("facts").replaceChildren(...Object.entries(facts).map(([term, value]) => {
      const fact = make("div");
      fact.append(make("dt", "", term), make("dd", "", value));
      return fact;
    }));
  }
  put($("updated"), clock(now));
}
function showTotals({ totals, elapsed }, before) {
  const perSecond = name => before && elapsed ? Math.max(0, totals[name] - before[name]) / elapsed : null;
  const rows = rowsOfAll();
  // A channel without subscriptions stands for itself.
  const bare = [...groups.values()].filter(group => !group.rows.size), each = [...rows, ...bare];
  const wrong = each.filter(row => row.level > 0).length, failing = each.filter(row => row.level > 1).length;
  const parked = sum(rows, row => row.data.counts?.parked), recently = name => rows.some(row => row[name]);
  put($("f-accepted"), rate(perSecond("accepted")));
  put($("f-accepted-sub"), `${number(totals.accepted)} in all, ${number(totals.refused)} refused`);
  put($("f-delivered"), rate(perSecond("delivered")));
  put($("f-delivered-sub"), `${number(totals.delivered)} in all`);
  put($("f-flight"), number(sum(rows, row => row.data.counts?.inFlight)));
  put($("f-flight-sub"), `${number(totals.unfinished)} unfinished`);
  put($("f-retries"), rate(perSecond("retries")));
  put($("f-retries-sub"), `${number(totals.retries)} in all`);
  put($("f-dead"), number(totals.deadLettered));
  put($("f-dead-sub"), `${rate(perSecond("deadLettered"))} per second`);
  put($("f-lost"), number(totals.lost + parked));
  put($("f-lost-sub"), `${number(totals.lost)} lost, ${number(parked)} parked now`);
  put($("f-wrong"), number(wrong));
  put($("f-wrong-sub"), `of ${number(each.length)}, ${number(failing)} broken`);
  dress($("f-dead").parentElement, recently("isBuried") ? "warn" : "");
  dress($("f-lost").parentElement, recently("isLost") ? "bad" : parked ? "warn" : "");
  dress($("f-wrong").parentElement, failing ? "bad" : wrong ? "warn" : "");
  document.title = wrong ? `(${wrong}) sealpost` : "sealpost";
}
function showLists(status) {
  const { problems, now } = status, rank = { error: 0, warning: 1, note: 2 };
  const sorted = [...problems].sort((a, b) => rank[a.severity] - rank[b.severity]);
  const errors = sorted.filter(problem => problem.severity === "error").length, warnings = sorted.filter(problem => problem.severity === "warning").length;
  pill($("problems-count"), errors ? 2 : warnings ? 1 : 0, errors || warnings ? [errors && plural(errors, "error"), warnings && plural(warnings, "warning")].filter(Boolean).join(", ") : "None");
  const isServed = status.process.ready && !status.process.unserved;
  list("problems", sorted, drawProblem, status.groups.length ? `Everything that is configured is understood${isServed ? " and served" : "; not all of it is served now"}.` : "Nothing is configured.");
  const certificates = status.certificates.map(each => ({ ...each, ...left(each.notAfter, now), notBefore: undefined }));
  const worst = Math.max(0, ...certificates.map(each => each.level)), due = certificates.filter(each => each.level).length;
  pill($("certificates-count"), certificates.length ? worst : -1, due ? `${number(due)} to renew` : plural(certificates.length, "certificate"));
  list("certificates", certificates, drawCertificate, "None: nothing is sent or received over TLS yet.");
}
for (const name of Object.keys(opened)) $(name + "-more").addEventListener("click", () => { opened[name] = !opened[name]; showLists(last); });

/** What to try where nothing is configured, or where no event has come yet. */
function showStart({ process, groups: all, totals }) {
  const node = $("start"), url = all.find(group => group.url)?.url;
  const kind = !all.length ? process.configuration : url && !totals.accepted && !totals.refused ? url : "";
  hide(node, !kind);
  if (node.dataset.kind === kind) return;
  node.dataset.kind = kind;
  const tell = (text, command) => [make("p", "", text), make("pre", "", command)];
  const manifest = "cat > first.yaml <<'END'\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default}\n---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: first}\nspec: {broker: default, subscriber: {uri: 'http://127.0.0.1:8000/'}}\nEND";
  const send = url => `sealpost send ${url} --type greeting --data hello`;
  if (all.length) node.replaceChildren(...tell("No event has come yet. Send one:", send(url)));
  else if (kind === "cluster") node.replaceChildren(make("h3", "", "Nothing is configured yet"), ...tell("Make a Broker, and it stands here as soon as the controller has made its channel:", "kubectl create -f - <<'END'\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default, namespace: default}\nEND"));
  else node.replaceChildren(make("h3", "", "Nothing is configured yet"), ...tell("Put a manifest where -f says; it is read as soon as it is written. Such as a Broker with a Trigger:", manifest),
    ...tell("Something that takes events, in another terminal:", "sealpost display --addr 127.0.0.1:8000"), ...tell("And an event:", send("http://127.0.0.1:8080/default/default")));
}

"use strict";
// Shows each snapshot that the server sends. Names come from the cluster, so they are only ever set as text.

const at = (id) => document.getElementById(id);

function made(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function fill(id, children) {
  at(id).replaceChildren(...children);
}

function bytes(value) {
  for (const [size, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (value >= size) return (value / size).toFixed(1) + "\u00a0" + unit;
  }
  return value + "\u00a0B";
}

function span(seconds) {
  if (seconds >= 86400) return Math.floor(seconds / 86400) + "\u00a0d";
  if (seconds >= 3600) return Math.floor(seconds / 3600) + "\u00a0h";
  if (seconds >= 60) return Math.floor(seconds / 60) + "\u00a0min";
  return seconds + "\u00a0s";
}

function node(found) {
  const card = made("div", undefined, "node " + found.state + (found.trouble ? " trouble" : ""));
  const head = made("div");
  head.append(made("b", found.name));
  if (found.part) head.append(made("span", found.part, "part"));
  card.append(head);
  const facts = [found.state];
  if (found.uptime_seconds !== null) facts.push("for " + span(found.uptime_seconds));
  if (found.rss_bytes !== null) facts.push(bytes(found.rss_bytes));
  if (found.certificate_days_left !== null) facts.push("certificate " + found.certificate_days_left + "\u00a0d");
  card.append(made("small", facts.join(", ")));
  card.append(made("small", found.listeners.map(([listener, where]) => listener + "\u00a0:" + where.split(":").pop()).join("  ")));
  if (found.trouble) card.append(made("small", found.trouble, "bad"));
  return card;
}

// A long name breaks behind its dots and hyphens, not inside of a word.
function name(text) {
  const cell = made("td");
  for (const part of text.split(/(?<=[.-])/)) cell.append(part, made("wbr"));
  return cell;
}

function row([first, ...cells]) {
  const line = made("tr");
  line.append(name(first[0]));
  for (const [text, number, tone] of cells) {
    line.append(made("td", text, [number ? "number" : "", tone || ""].join(" ").trim()));
  }
  return line;
}

function partitions(found) {
  if (!found) return [made("dt", "not known"), made("dd", "no broker could be asked", "bad")];
  const named = (list) => [String(list.length), list.slice(0, 5).join(", "), list.length > 5 ? "..." : ""].join(" ").trim();
  const pairs = [["all", String(found.total), ""]];
  for (const [label, list] of [["offline", found.offline], ["under min ISR", found.under_min_isr], ["under-replicated", found.under_replicated]]) {
    pairs.push([label, named(list), list.length ? "bad" : "good"]);
  }
  return pairs.flatMap(([label, text, tone]) => [made("dt", label), made("dd", text, tone)]);
}

function verify(found) {
  const place = at("verify");
  if (!found) {
    place.className = "dim";
    place.textContent = "never run";
    return;
  }
  place.className = found.ok ? "good" : "bad";
  place.textContent = (found.ok ? "passed" : "FAILED") + " at " + found.time + ": " + found.passed + " passed, "
    + found.failed + " failed, " + found.not_run + " not run";
}

function show(snapshot) {
  document.title = (snapshot.healthy ? "" : "! ") + snapshot.cluster + " - Caracal Kafka";
  at("title").textContent = snapshot.cluster;
  at("verdict").textContent = snapshot.healthy ? "healthy" : "NOT healthy";
  at("verdict").className = "verdict " + (snapshot.healthy ? "good" : "bad");
  at("time").textContent = snapshot.time.replace("T", " ").replace("Z", " UTC");
  const of = (role) => snapshot.nodes.filter((found) => found.role === role);
  for (const role of ["zookeeper", "controller", "broker", "schema-registry"]) {
    fill(role, of(role).map(node));
    at(role).parentElement.hidden = of(role).length === 0;
  }
  at("link-metadata").hidden = of("zookeeper").length + of("controller").length === 0;
  at("link-registry").hidden = of("schema-registry").length === 0;
  const troubles = snapshot.troubles.map((check) =>
    made("li", check.check + " " + check.target + ": " + check.seen, check.state === "warning" ? "warn" : "bad"));
  troubles.push(...snapshot.errors.map((text) => made("li", text, "bad")));
  fill("troubles", troubles.length ? troubles : [made("li", "none", "good")]);
  fill("partitions", partitions(snapshot.partitions));
  verify(snapshot.verify);
  fill("topics", snapshot.topics.map((topic) => row([
    [topic.topic], [String(topic.partitions), true, "spare"], [topic.records.toLocaleString("en"), true],
    [topic.per_second === null ? "-" : topic.per_second.toFixed(1), true], [bytes(topic.bytes), true],
  ])));
  fill("groups", snapshot.groups.length
    ? snapshot.groups.map((group) => row([[group.group], [group.state], [String(group.lag), true, group.lag > 0 ? "warn" : ""]]))
    : [row([["none"], [""], ["", true]])]);
  fill("certificates", snapshot.certificates.map((found) => row([
    [found.id], [String(found.days_left), true, found.days_left < 0 ? "bad" : found.days_left < 30 ? "warn" : ""],
  ])));
}

const events = new EventSource("events");
events.onmessage = (event) => show(JSON.parse(event.data));
events.onerror = () => {
  at("verdict").textContent = "no connection to the dashboard's command; it is tried again";
  at("verdict").className = "verdict bad";
};

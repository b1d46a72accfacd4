// Polls /llm/stats once a second for changes, keeps the run's buckets and shows them. ?run=N shows an earlier run;
// &compare=M overlays another one.

import { Charts } from "./charts.js";
import { fill, make, number, readable, themed } from "./dom.js";

const byId = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search);
const numbered = (name) => (/^\d+$/.test(asked.get(name) ?? "") ? Number(asked.get(name)) : null);
const wanted = { run: numbered("run"), compare: numbered("compare") };
const GOING = ["preparing", "waiting", "running"];
const WORDS = { idle: "No run yet.", preparing: "Preparing the run …" };
let store = newStore();
let charts = null;
let paused = false;
let latest = null;
let shown = ""; // the answer that was rendered: as long as it stays the same, so do selections and tooltips
let other = null; // the run to compare with: {shot, store}

// --- the run's buckets

function newStore(run = null, width = null) {
  return { run, width, version: 0, rows: new Map() };
}

// Returns whether the data is complete; if not, poll again at once.
function keep(into, shot) {
  if (shot.run !== into.run || shot.width_s !== into.width) {
    // Another run, or wider buckets: the kept buckets are no longer valid.
    const whole = into.version === 0;
    Object.assign(into, newStore(shot.run, shot.width_s));
    if (!whole) return false;
  }
  const { index, latency, ...columns } = shot.series;
  index.forEach((bucket, i) => {
    const row = { latency: {} };
    for (const [name, values] of Object.entries(columns)) row[name] = values[i];
    for (const [name, values] of Object.entries(latency)) {
      row.latency[name] = { p50: values.p50[i], p90: values.p90[i], p99: values.p99[i], heat: values.heat[i] };
    }
    into.rows.set(bucket, row);
  });
  into.version = shot.version;
  return !shot.more;
}

function drawable(shot, from) {
  const rows = [...from.rows.entries()].sort((a, b) => a[0] - b[0]).map((entry) => entry[1]);
  return { rows, width: from.width, objectives: shot.objectives_ms, pooling: pooling(shot.info), heatRows: shot.heat_rows_ms, name: `run ${shot.run}` };
}

// --- what is shown

function show(shot) {
  badge(shot.state, { running: "good", failed: "bad" }[shot.state]);
  byId("what").textContent = [shot.info.model, shot.info.backend, shot.info.dataset].filter(Boolean).join(" · ");
  document.title = `${shot.state}: LLM load test`;
  verdict(shot.audit, shot.state, shot.validity);
  validity(shot.validity);
  const message = byId("message");
  put(message, readable(shot.message || WORDS[shot.state] || ""));
  message.dataset.kind = shot.state === "failed" ? "bad" : "open";
  message.hidden = message.textContent === "";
  // Before the first request there is nothing to show.
  for (const id of ["verdict", "tiles", "tables"]) byId(id).hidden = shot.series.index.length === 0 && store.rows.size === 0;
  byId("pause").hidden = shot.state !== "running";
  byId("stop").hidden = !GOING.includes(shot.state);
  byId("new").hidden = GOING.includes(shot.state);
  byId("locust").hidden = shot.now === 0;
  byId("search").hidden = !shot.search;
  byId("search").textContent = shot.search;
  tiles(shot);
  summary(shot);
  fill(byId("slo"), ["Objective", "Met", "Share"], shot.slo.map((s) => [
    s.limit_ms === null ? "every objective" : `${s.metric.toUpperCase()} ≤ ${s.limit_ms} ms`, `${number(s.met)} of ${number(s.of)}`,
    s.share === null ? "–" : `${(100 * s.share).toFixed(1)}%`]), "No --goodput objectives were given.");
  fill(byId("audit"), [], plainRows(shot.audit), "");
  fill(byId("errors"), ["Kind", "Count", "Example"], shot.errors.map((e) => [{ text: e.kind }, number(e.count), { text: e.example }]), "None.");
  fill(byId("info"), [], plainRows(shot.info), "No run yet.");
  pickers(shot);
  downloads(shot);
}

// A screen reader speaks a changed status, also if it changed to the same text.
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function badge(text, kind) {
  put(byId("state"), text);
  byId("state").dataset.kind = kind ?? "open";
}

function verdict(audit, state, found) {
  const line = byId("verdict");
  if (audit.client_limited === null) {
    line.dataset.kind = "open";
    line.textContent = `Client audit: ${state === "running" ? "measuring; the verdict comes at the end" : "no verdict yet"}`;
  } else if (audit.client_limited) {
    line.dataset.kind = "bad";
    const told = found?.reasons.some((r) => r.reason === "client_limited");  // above this line
    line.textContent = `CLIENT LIMITED: ${(!told && audit.reasons.join("; ")) || "these figures measure the client, not the server"}`;
  } else {
    line.dataset.kind = "good";
    line.textContent = "Client audit: OK, the client kept up";
  }
}

// Whether the result can be trusted, once the run is over.
function validity(found) {
  const line = byId("validity");
  line.hidden = found === null;
  if (found === null) return;
  line.dataset.kind = found.valid ? "good" : "bad";
  const warnings = found.warnings.length > 0 ? ` (warnings: ${found.warnings.join(", ")})` : "";
  line.textContent = found.valid ? `Result: valid${warnings}` : `Result: NOT VALID (${found.reasons.map((r) => r.reason).join(", ")})`;
  const why = make("ul");
  why.append(...found.reasons.map((r) => make("li", `${r.text} ${r.what_to_do}`)));
  if (!found.valid) line.append(why);
}

const pooling = (info) => info.kind === "pooling"; // no output tokens

// name → value, in the order of the tiles.
function figures({ info, latency, summary, totals }) {
  const value = Object.fromEntries(summary.map((row) => [row.key, row.value]));
  const found = new Map();
  for (const key of ["ttft", "ttfo", "tpot", "e2el"]) {
    const row = latency.find((l) => l.key === key);
    const p99 = row?.percentiles.p99;
    if (row) found.set(`${key.toUpperCase()} P50 (ms)`, row.median);
    if (p99 !== undefined) found.set(`${key.toUpperCase()} P99 (ms)`, p99);
  }
  if (!pooling(info)) found.set("Output tok/s", value.output_throughput ?? null);
  found.set("Requests/s", value.request_throughput ?? null);
  if (value.request_goodput !== undefined) found.set("Goodput (req/s)", value.request_goodput);
  found.set("Completed", value.completed).set("Failed", value.failed);
  if (totals.cancelled) found.set("Cancelled", totals.cancelled);
  found.set("In flight", totals.in_flight).set("Elapsed (s)", value.duration ?? null);
  return found;
}

function tiles(shot) {
  const before = other === null ? new Map() : figures(other.shot);
  byId("tiles").replaceChildren(...[...figures(shot)].map(([name, value]) => {
    const tile = make("div", null, { class: "tile" });
    tile.append(make("b", number(value)), make("span", name));
    if (name === "Failed" && value > 0) tile.dataset.kind = "bad";
    if (before.has(name)) tile.append(make("small", `run ${other.shot.run}: ${number(before.get(name))}${change(before.get(name), value)}`));
    return tile;
  }));
}

function change(base, value) {
  if (!base || value === null || value === undefined) return "";
  const percent = 100 * (value / base - 1);
  return ` (${percent > 0 ? "+" : ""}${percent.toFixed(Math.abs(percent) < 10 ? 1 : 0)}%)`;
}

function summary(shot) {
  // The 50th percentile is the median, which has its own column.
  const names = shot.latency.length > 0 ? Object.keys(shot.latency[0].percentiles).filter((name) => name !== "p50") : [];
  fill(byId("summary"), [], shot.summary.map((row) => [title(row), number(row.value)]), "No run yet.");
  fill(byId("latency"), ["", "Mean", "Median", "Std", "Max", ...names.map((name) => name.toUpperCase())], shot.latency.map((row) => [
    row.name, number(row.mean), number(row.median), number(row.std), number(row.max), ...names.map((name) => number(row.percentiles[name]))]),
  "No samples yet.");
}

const title = (row) => (row.unit ? `${row.name} (${row.unit})` : row.name);

// One line per value; a group of numbers ("send_lag_ms": mean, p50, p99, max) shares a line.
function plainRows(values) {
  return Object.entries(values).flatMap(([name, value]) => {
    const text = plainText(value);
    return text === "" ? [] : [[{ text: label(name) }, { text }]];
  });
}

// send_lag_ms → Send lag (ms)
function label(name) {
  const [, words, unit] = name.match(/^(.*?)(?:_(ms|s))?$/);
  const text = words.replaceAll("_", " ").replace(/\b(ttft|cpu|url)\b/g, (word) => word.toUpperCase());
  return `${text[0].toUpperCase()}${text.slice(1)}${unit ? ` (${unit})` : ""}`;
}

function plainText(value) {
  if (value === null) return "";
  if (Array.isArray(value)) return value.map(plainText).join("; ");
  if (typeof value !== "object") return number(value);
  return Object.entries(value).filter(([, v]) => v !== null).map(([name, v]) => `${name} ${plainText(v)}`).join(" · ");
}

// --- earlier runs

function pickers(shot) {
  const runs = shot.runs.some((r) => r.run === shot.now) || shot.now === 0 ? shot.runs : [{ run: shot.now, title: `Run ${shot.now}: now` }, ...shot.runs];
  byId("runs").hidden = runs.length < 2;
  const text = JSON.stringify(runs);
  if (byId("runs").dataset.text === text) return;
  byId("runs").dataset.text = text;
  const options = (list) => list.map((r) => make("option", r.title, { value: String(r.run) }));
  byId("run").replaceChildren(...options(runs));
  byId("run").value = String(shot.run);
  byId("compare").replaceChildren(make("option", "none", { value: "" }), ...options(shot.runs.filter((r) => r.run !== shot.run)));
  byId("compare").value = wanted.compare ?? "";
}

function choose() {
  const query = new URLSearchParams({ run: byId("run").value });
  const compare = byId("compare").value;
  if (compare && compare !== byId("run").value) query.set("compare", compare);
  location.search = query.toString();
}

function downloads(shot) {
  const list = byId("downloads");
  const text = JSON.stringify([shot.run, shot.downloads]);
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  const items = shot.downloads.map((name) => {
    const item = make("li");
    item.append(make("a", name, { href: `./llm/${name}?run=${shot.run}`, download: "" }));
    return item;
  });
  list.replaceChildren(...(items.length > 0 ? items : [make("li", "After the run.")]));
}

async function differences(shot) {
  const both = `${shot.run} ${wanted.compare}`;
  const section = byId("differences");
  if (other === null || section.dataset.both === both || !shot.runs.some((r) => r.run === shot.run)) return;
  section.dataset.both = both;
  const answer = await fetch(`./llm/differences?run=${shot.run}&compare=${wanted.compare}`, { redirect: "manual" });
  if (!answer.ok) return;
  const { head, rows, notes } = await answer.json();
  const [first, , , ...rest] = head;
  fill(byId("difference"), [first, `run ${wanted.compare} (base)`, `run ${shot.run}`, ...rest], rows.map((r) => [...r.slice(0, -1), { text: r.at(-1) }]), "Nothing to compare.");
  byId("notes").replaceChildren(...notes.map((note) => make("li", note)));
  section.hidden = false;
}

// --- the loop

function render() {
  if (latest === null) return;
  show(latest);
  charts.draw(drawable(latest, store), other === null ? null : drawable(other.shot, other.store));
  differences(latest);
}

async function answerOf(query) {
  const answer = await fetch(`./llm/stats?${query}`, { cache: "no-store", redirect: "manual" });
  // Logged out meanwhile: the reload leads to the login page.
  if (answer.type === "opaqueredirect") location.reload();
  if (!answer.ok) throw new Error(answer.status === 404 ? await answer.text() : `No response from the load generator (HTTP ${answer.status}).`);
  return answer.text();
}

async function loadOther() {
  if (wanted.compare === null || other !== null) return;
  const found = { shot: JSON.parse(await answerOf(`run=${wanted.compare}`)), store: newStore() };
  keep(found.store, found.shot);
  other = found;
}

// Without ?run the latest run, which may be another one in the next response.
async function ask() {
  let wait = 1000;
  try {
    await loadOther();
    const since = wanted.run === null || GOING.includes(latest?.state) ? `since=${store.version}` : "";
    const text = await answerOf(wanted.run === null ? since : `run=${wanted.run}&${since}`);
    latest = JSON.parse(text);
    charts ??= new Charts(byId("charts"), latest.latency_names);
    if (!keep(store, latest)) wait = 0;
    else if (text !== shown && !paused && !document.hidden) {
      shown = text;
      render();
    }
    if (wanted.run !== null && !GOING.includes(latest.state)) wait = wait === 0 ? 0 : 5000;
  } catch (error) {
    shown = "";
    if (latest === null) byId("new").hidden = false; // as for a run that is gone
    badge(error instanceof TypeError ? "no response from the load generator" : error.message, "bad");
  }
  setTimeout(ask, wait);
}

byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  byId("pause").textContent = paused ? "Resume" : "Pause";
  if (!paused) render();
});
byId("stop").addEventListener("click", async () => {
  byId("stop").disabled = true;
  await fetch("./stop", { method: "POST", redirect: "manual" }).catch(() => null);
  byId("stop").disabled = false;
});
byId("run").addEventListener("change", choose);
byId("compare").addEventListener("change", choose);
document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused) render(); });

themed(render);
ask();

// Asks /llm/stats once a second for what changed, keeps the run's buckets, shows them.

import { Charts } from "./charts.js";
import { fill, make, number } from "./dom.js";

const byId = (id) => document.getElementById(id);
const store = { run: null, width: null, version: 0, rows: new Map() };
let charts = null;
let paused = false;
let latest = null;

function keep(shot) {
  if (shot.run !== store.run || shot.width_s !== store.width) {
    // Another run, or the buckets have become wider: what is kept here no longer fits.
    const whole = store.version === 0;
    Object.assign(store, { run: shot.run, width: shot.width_s, version: 0, rows: new Map() });
    if (!whole) return false;
  }
  const { index, latency, ...columns } = shot.series;
  index.forEach((bucket, i) => {
    const row = { latency: {} };
    for (const [name, values] of Object.entries(columns)) row[name] = values[i];
    for (const [name, values] of Object.entries(latency)) {
      row.latency[name] = { p50: values.p50[i], p90: values.p90[i], p99: values.p99[i], heat: values.heat[i] };
    }
    store.rows.set(bucket, row);
  });
  store.version = shot.version;
  return !shot.more;
}

function show(shot) {
  const { audit, totals } = shot;
  badge(shot.state, { running: "good", failed: "bad" }[shot.state]);
  byId("what").textContent = [shot.info.model, shot.info.backend, shot.info.dataset].filter(Boolean).join(" · ");
  document.title = `${shot.state}: LLM load test`;
  verdict(audit, shot.state);
  byId("message").textContent = shot.message;
  byId("message").hidden = !shot.message;
  tiles(shot, totals);
  summary(shot);
  fill(byId("slo"), ["Objective", "Met", "Share"], shot.slo.map((s) => [
    s.limit_ms === null ? "every objective" : `${s.metric.toUpperCase()} ≤ ${s.limit_ms} ms`, `${number(s.met)} of ${number(s.of)}`,
    s.share === null ? "–" : `${(100 * s.share).toFixed(1)}%`]), "No --goodput objectives were given.");
  fill(byId("audit"), [], plainRows(audit), "");
  fill(byId("errors"), ["Kind", "Count", "Example"], shot.errors.map((e) => [{ text: e.kind }, number(e.count), { text: e.example }]), "None.");
  fill(byId("info"), [], plainRows(shot.info), "No run yet.");
  downloads(shot.downloads);
}

function badge(text, kind) {
  byId("state").textContent = text;
  byId("state").dataset.kind = kind ?? "open";
}

function verdict(audit, state) {
  const line = byId("verdict");
  if (audit.client_limited === null) {
    line.dataset.kind = "open";
    line.textContent = `Client audit: ${state === "running" ? "measuring; the verdict comes at the end" : "no verdict yet"}`;
  } else if (audit.client_limited) {
    line.dataset.kind = "bad";
    line.textContent = `CLIENT LIMITED: ${audit.reasons.join("; ") || "these figures tell of the client, not of the server"}`;
  } else {
    line.dataset.kind = "good";
    line.textContent = "Client audit: OK, the client kept up";
  }
}

function tiles(shot, totals) {
  const latency = Object.fromEntries(shot.latency.map((row) => [row.key, row]));
  const summary = Object.fromEntries(shot.summary.map((row) => [row.key, row.value]));
  const all = [
    ["Completed", number(summary.completed)], ["Failed", number(summary.failed)], ["In flight", number(totals.in_flight)],
    ["Elapsed (s)", number(summary.duration ?? null)], ["Requests/s", number(summary.request_throughput ?? null)],
    ["Output tok/s", number(summary.output_throughput ?? null)],
    ["TTFT mean (ms)", number(latency.ttft?.mean)], ["TPOT mean (ms)", number(latency.tpot?.mean)], ["E2EL mean (ms)", number(latency.e2el?.mean)],
  ];
  if (summary.request_goodput !== undefined) all.push(["Goodput (req/s)", number(summary.request_goodput)]);
  byId("tiles").replaceChildren(...all.map(([name, value]) => {
    const tile = make("div", null, { class: "tile" });
    tile.append(make("b", value), make("span", name));
    return tile;
  }));
}

function summary(shot) {
  // The 50th percentile is the median, which has its column.
  const names = shot.latency.length > 0 ? Object.keys(shot.latency[0].percentiles).filter((name) => name !== "p50") : [];
  fill(byId("summary"), [], shot.summary.map((row) => [title(row), number(row.value)]), "No run yet.");
  fill(byId("latency"), ["", "Mean", "Median", "Std", "Max", ...names.map((name) => name.toUpperCase())], shot.latency.map((row) => [
    row.name, number(row.mean), number(row.median), number(row.std), number(row.max), ...names.map((name) => number(row.percentiles[name]))]),
  "No samples yet.");
}

const title = (row) => (row.unit ? `${row.name} (${row.unit})` : row.name);

// One line for each value; a group of numbers ("send_lag_ms": mean, p50, p99, max) shares one.
function plainRows(values) {
  return Object.entries(values).flatMap(([name, value]) => {
    const text = plainText(value);
    return text === "" ? [] : [[{ text: name.replaceAll("_", " ") }, { text }]];
  });
}

function plainText(value) {
  if (value === null) return "";
  if (Array.isArray(value)) return value.map(plainText).join("; ");
  if (typeof value !== "object") return number(value);
  return Object.entries(value).filter(([, v]) => v !== null).map(([name, v]) => `${name} ${plainText(v)}`).join(" · ");
}

function downloads(names) {
  const list = byId("downloads");
  if (list.dataset.names === names.join()) return;
  list.dataset.names = names.join();
  const items = names.map((name) => {
    const item = make("li");
    item.append(make("a", name, { href: `./llm/${name}`, download: "" }));
    return item;
  });
  list.replaceChildren(...(items.length > 0 ? items : [make("li", "After the run.")]));
}

function render() {
  if (latest === null) return;
  show(latest);
  const rows = [...store.rows.entries()].sort((a, b) => a[0] - b[0]).map((entry) => entry[1]);
  charts.draw(rows, latest.objectives_ms, latest.heat_rows_ms, store.width);
}

async function ask() {
  let wait = 1000;
  try {
    const answer = await fetch(`./llm/stats?since=${store.version}`, { cache: "no-store", redirect: "manual" });
    // Logged out meanwhile: the reload leads to the login page.
    if (answer.type === "opaqueredirect") location.reload();
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    latest = await answer.json();
    charts ??= new Charts(byId("charts"), latest.latency_names);
    if (!keep(latest)) wait = 0;
    else if (!paused && !document.hidden) render();
  } catch (error) {
    badge(`no answer from the load generator (${error.message})`, "bad");
  }
  setTimeout(ask, wait);
}

function themed() {
  const dark = document.documentElement.dataset.theme === "dark";
  byId("theme").textContent = dark ? "Light" : "Dark";
}

byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  byId("pause").textContent = paused ? "Resume" : "Pause";
  if (!paused) render();
});
byId("theme").addEventListener("click", () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try { localStorage.setItem("llm-theme", next); } catch { /* storage is blocked: it holds for this page */ }
  themed();
  render();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused) render(); });

themed();
ask();

// The charts: what each shows, and how Plotly draws it in the page's colours. Only numbers and our own texts get here.

import { make } from "./dom.js";

const COLOURS = {
  light: ["#0b63ce", "#c2570c", "#1b7f5a", "#8a3ffc"],
  dark: ["#6db1ff", "#ffab6b", "#63d6a5", "#c9a6ff"],
};

// The only buttons of the toolbar: Plotly's default set has one that uploads the data.
const CONFIG = { displaylogo: false, responsive: true, modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]] };

// One row per chart; its lines are [column of the series, name in the legend]. A chart without values is hidden.
const LOAD = [
  { id: "rates", title: "Request rate", unit: "req/s", lines: [["offered", "offered"], ["sent", "sent"], ["completed", "ended"], ["failed", "failed"]] },
  { id: "concurrency", title: "Requests in flight and waiting", unit: "requests", lines: [["in_flight", "in flight"], ["waiting", "waiting"]] },
  { id: "tokens", title: "Output tokens", unit: "tok/s", lines: [["tokens", "output tokens"]], generation: true },
];
const CLIENT = [
  { id: "lag", title: "Client: send lag and loop lag", unit: "ms",
    lines: [["send_lag_p99", "send lag P99"], ["send_lag_max", "send lag max"], ["loop_lag_p99", "loop lag P99"], ["loop_lag_max", "loop lag max"]] },
];
const SERVER = [
  { id: "server", title: "Server: requests running and waiting", unit: "requests", lines: [["server_running", "running"], ["server_waiting", "waiting"]] },
  { id: "kv", title: "Server: KV cache in use", unit: "%", lines: [["server_kv_cache", "KV cache"]] },
  { id: "power", title: "GPU power", unit: "W", lines: [["gpu_power", "power"]] },
  { id: "gpu", title: "GPU utilization", unit: "%", lines: [["gpu_utilization", "utilization"]] },
];
// names: latency key → its short name, in the order of the rows.
const charts = (names) => [
  ...LOAD,
  ...Object.entries(names).map(([key, name]) => ({ id: key, title: `${name} over time`, unit: "ms", latency: key })),
  { id: "heat", title: "Latency distribution", unit: "ms", heat: true },
  ...CLIENT,
  ...SERVER,
];

export class Charts {
  constructor(parent, names) {
    this.names = names;
    this.plots = new Map();
    this.heatOf = Object.keys(names).at(-1);
    for (const chart of charts(names)) {
      const card = make("div", null, { class: "card", id: `card-${chart.id}` });
      const head = make("div", null, { class: "head" });
      head.append(make("h2", `${chart.title} (${chart.unit})`));
      if (chart.heat) head.append(this.picker());
      const plot = make("div", null, { class: "plot", id: `plot-${chart.id}` });
      card.append(head, plot);
      parent.append(card);
      this.plots.set(chart, plot);
      // A card grows when its neighbour is hidden; Plotly itself watches only the window.
      new ResizeObserver(() => { if (plot.data && plot.clientWidth > 0) Plotly.Plots.resize(plot); }).observe(plot);
    }
  }

  picker() {
    const select = make("select", null, { "aria-label": "Latency shown as distribution" });
    for (const [key, name] of Object.entries(this.names)) select.append(make("option", name, { value: key }));
    select.value = this.heatOf;
    select.addEventListener("change", () => {
      this.heatOf = select.value;
      if (this.last) this.draw(...this.last);
    });
    return select;
  }

  // run: {rows, width, objectives, heatRows}, where rows are buckets in time order. other: a run to overlay, with its name.
  draw(run, other = null) {
    this.last = [run, other];
    for (const [chart, plot] of this.plots) {
      const key = chart.latency ?? (chart.heat ? this.heatOf : null);
      const data = chart.heat ? heat(run, this.heatOf) : traces(chart, run);
      if (other !== null) data.push(...over(chart.heat ? { latency: this.heatOf } : chart, other));
      const known = !(chart.generation && run.pooling) && data.some((line) => line.z || line.y.some((value) => value !== null));
      plot.parentElement.hidden = !known;
      if (known) Plotly.react(plot, data, frame(chart, key !== null ? run.objectives[key] : undefined), CONFIG);
    }
  }
}

function palette() {
  return COLOURS[document.documentElement.dataset.theme] ?? COLOURS.light;
}

function traces(chart, { rows, width }) {
  const wanted = chart.latency
    ? ["p50", "p90", "p99"].map((p) => [(row) => row.latency[chart.latency]?.[p] ?? null, p.toUpperCase()])
    : chart.lines.map(([key, name]) => [(row) => row[key] ?? null, name]);
  const mode = rows.length < 3 ? "lines+markers" : "lines";
  const x = rows.map((row) => row.t + width / 2);
  return wanted.map(([value, name], i) => ({
    type: "scatter", mode, name, x, y: rows.map(value), connectgaps: Boolean(chart.latency),
    line: { color: palette()[i], width: 1.8 }, hovertemplate: "%{y:.4~g}",
  }));
}

// The other run: the same colours, dotted and fainter.
function over(chart, other) {
  return traces(chart, other).map((line) => ({
    ...line, name: `${line.name} (${other.name})`, opacity: 0.65, line: { ...line.line, dash: "dot" },
  }));
}

function heat({ rows, width, heatRows }, key) {
  let low = Infinity;
  let high = -Infinity;
  for (const row of rows) {
    const pairs = row.latency[key]?.heat ?? [];
    for (let i = 0; i < pairs.length; i += 2) {
      low = Math.min(low, pairs[i]);
      high = Math.max(high, pairs[i]);
    }
  }
  if (high < low) return [];
  const edges = heatRows.slice(low, high + 1);
  edges.push(heatRows[high + 1] ?? heatRows[high] * 1.2115);
  const z = Array.from({ length: high - low + 1 }, () => new Array(rows.length).fill(null));
  rows.forEach((row, column) => {
    const pairs = row.latency[key]?.heat ?? [];
    for (let i = 0; i < pairs.length; i += 2) z[pairs[i] - low][column] = pairs[i + 1];
  });
  const x = rows.map((row) => row.t);
  x.push(x[x.length - 1] + width);
  const dark = document.documentElement.dataset.theme === "dark";
  const scale = dark ? [[0, "#16324f"], [0.5, "#2f86d6"], [1, "#f7f3c0"]] : [[0, "#dbeafc"], [0.5, "#3d87d8"], [1, "#0a2f63"]];
  return [{ type: "heatmap", x, y: edges, z, colorscale: scale, colorbar: { thickness: 10, outlinewidth: 0 },
    hovertemplate: "%{y:.4~g} ms at %{x:.0f} s: %{z} samples<extra></extra>" }];
}

function frame(chart, objective) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { gridcolor: colour("--grid"), linecolor: colour("--line"), zeroline: false };
  const layout = {
    margin: { l: 52, r: 12, t: 8, b: 38 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", uirevision: "keep",
    font: { color: colour("--text"), size: 12, family: "system-ui, sans-serif" }, hovermode: chart.heat ? "closest" : "x unified",
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--text") } },
    xaxis: { ...axis, title: { text: "s since the start", standoff: 4 }, hoverformat: ".0f", rangemode: "tozero", automargin: true },
    yaxis: chart.heat ? { ...axis, type: "log", tickformat: "~g", nticks: 4 } : { ...axis, rangemode: "tozero", automargin: true },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, showlegend: !chart.heat, shapes: [], annotations: [],
  };
  if (objective !== undefined) {
    layout.shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: objective, y1: objective, line: { color: colour("--bad"), width: 1.5, dash: "dash" } });
    layout.annotations.push({ xref: "paper", x: 1, xanchor: "right", y: chart.heat ? Math.log10(objective) : objective, yanchor: "bottom", showarrow: false,
      text: `objective ${objective} ms`, font: { color: colour("--bad"), size: 11 } });
    // An invisible scatter point keeps the objective inside the axis range.
    if (!chart.heat) layout.yaxis.autorangeoptions = { include: [objective] };
  }
  return layout;
}

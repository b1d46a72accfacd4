// The start form: remembers values, requests the plan while the user types, searches settings, starts the run.

import { readable, themed } from "./dom.js";

const form = document.getElementById("form");
const plan = document.getElementById("plan");
const start = document.getElementById("start");
const named = (name) => form.querySelector(`[name="${CSS.escape(name)}"]`);
const rows = [...form.querySelectorAll(".field")];
const rowOf = (name) => rows.find((row) => row.dataset.name === name);
const datasets = JSON.parse(form.dataset.datasets);
const MEMORY = "llmbench-form";

// --- objectives: three fields, one flag

const objectives = [...form.querySelectorAll("[data-objective]")];

function spread() {
  const found = Object.fromEntries((named("goodput")?.value ?? "").split(/\s+/).filter(Boolean).map((word) => word.split(":")));
  for (const input of objectives) input.value = found[input.dataset.objective] ?? "";
}

function gather() {
  if (objectives.length === 0) return;
  named("goodput").value = objectives.filter((o) => o.value.trim()).map((o) => `${o.dataset.objective}:${o.value.trim()}`).join(" ");
}

// --- what depends on other fields

function settle() {
  gather();
  const sim = named("sim")?.checked;
  for (const name of ["base_url"]) if (named(name)) named(name).disabled = sim;
  const timed = Boolean(named("duration")?.value.trim());
  const searched = Boolean(named("capacity")?.checked);
  if (named("num_prompts")) named("num_prompts").disabled = timed || searched;
  for (const name of ["request_rate", "duration"]) if (named(name)) named(name).disabled = searched;
  const dataset = datasets[named("dataset_name")?.value];
  if (dataset) {
    for (const kind of ["input", "output"]) {
      named(`${kind}_len`).placeholder = named(dataset[`${kind}_flag`])?.value.trim() || dataset[kind];
    }
  }
  rowOf("dataset_path")?.classList.toggle("away", dataset?.path === "none");
}

// The data to send, including empty fields: for a missing field the server keeps the last run's value.
function values() {
  settle();
  const found = new URLSearchParams();
  for (const control of form.elements) {
    if (!control.name || control.matches("fieldset")) continue;
    if (control.type === "checkbox") {
      if (!control.disabled) found.set(control.name, String(control.checked));
    } else if (!control.disabled) {
      found.set(control.name, control.value);
    } else if (control.name !== "num_prompts") {
      found.set(control.name, "");
    }
  }
  return found;
}

// --- values remembered in this browser, without secrets

function remember() {
  const kept = {};
  for (const row of rows.filter((r) => "kept" in r.dataset)) {
    const control = named(row.dataset.name);
    const text = control.type === "checkbox" ? String(control.checked) : control.value;
    if (!/:\/\/[^/]*@/.test(text)) kept[row.dataset.name] = text;
  }
  try { localStorage.setItem(MEMORY, JSON.stringify(kept)); } catch { /* storage is blocked: nothing is remembered */ }
}

function recall() {
  if (!form.dataset.first) return; // the values of the last run are here already
  let kept = {};
  try { kept = JSON.parse(localStorage.getItem(MEMORY)) ?? {}; } catch { /* nothing to recall */ }
  for (const row of rows.filter((r) => "kept" in r.dataset && !("given" in r.dataset))) {
    const control = named(row.dataset.name);
    const text = kept[row.dataset.name];
    if (text === undefined || control.disabled) continue;
    if (control.type === "checkbox") control.checked = text === "true";
    else if (control.type !== "select-one" || [...control.options].some((o) => o.value === text)) control.value = text;
  }
  // The simulator and a server URL exclude each other; the values given at startup win.
  if ("given" in (rowOf("base_url")?.dataset ?? {}) && named("sim")) named("sim").checked = false;
}

// --- plan

let asked = 0;

function tell(good, line) {
  plan.textContent = readable(line);
  plan.dataset.kind = good ? "good" : "bad";
  const flag = good ? null : line.match(/^--([\w-]+)/)?.[1];
  for (const row of rows) {
    const wrong = row.dataset.name.replaceAll("_", "-") === flag;
    row.classList.toggle("wrong", wrong);
    for (const control of row.querySelectorAll("input, select")) control.setAttribute("aria-invalid", String(wrong));
  }
}

async function preview() {
  const turn = ++asked;
  try {
    const answer = await fetch("./llm/plan", { method: "POST", body: values(), redirect: "manual" });
    if (answer.type === "opaqueredirect") location.reload();
    const { good, line } = await answer.json();
    if (turn === asked) tell(good, line);
  } catch {
    if (turn === asked) tell(false, "No response from the load generator.");
  }
}

let timer = 0;
form.addEventListener("input", (event) => {
  if (event.target.id === "find") return;
  settle();
  clearTimeout(timer);
  timer = setTimeout(preview, 250);
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  clearTimeout(timer);
  asked += 1; // ignore a response that is still on its way
  start.disabled = true;
  try {
    const answer = await fetch("./swarm", { method: "POST", body: values(), redirect: "manual" });
    if (answer.type === "opaqueredirect") location.reload();
    const { success, message } = await answer.json();
    if (success) {
      remember();
      location.assign("./llm");
      return;
    }
    tell(false, message);
    const wrong = form.querySelector(".wrong");
    wrong?.closest("details")?.setAttribute("open", "");
    wrong?.querySelector("input:not([type=hidden]), select")?.focus();
  } catch (error) {
    tell(false, `The run could not be started (${error.message}).`);
  }
  start.disabled = false;
});

// --- search

document.getElementById("find")?.addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const group of form.querySelectorAll("details")) {
    let some = 0;
    for (const row of group.querySelectorAll(".field")) {
      const hit = words.every((word) => row.dataset.search.includes(word));
      row.classList.toggle("away", !hit);
      some += hit;
    }
    group.classList.toggle("away", some === 0);
    group.open = words.length > 0 && some > 0;
    count += some;
  }
  document.getElementById("found").textContent = words.length === 0 ? "" : count === 0 ? "No setting matches." : `${count} found`;
});

// A page that Back brings out of the browser's cache is as it was when START was pressed.
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

themed();
spread();
recall();
spread();
settle();
preview();

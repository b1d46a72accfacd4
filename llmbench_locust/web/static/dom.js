// Helpers of both pages. All untrusted data is inserted into a page here, as text and never as markup.

export function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = String(text);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

export function number(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
}

// A message with its first letter capitalized.
export const readable = (line) =>
  /^https?:/.test(line) ? line : line.charAt(0).toUpperCase() + line.slice(1);

// rows: arrays of cells; a cell is a value, or {text} for left-aligned text that wraps. Empty columns are left out.
// On a phone each row becomes a card in which each cell shows its column's title.
export function fill(table, head, rows, empty) {
  const columns = head.length > 0 ? head.map((_, i) => i) : (rows[0] ?? []).map((_, i) => i);
  const used = columns.filter((i) => i === 0 || rows.some((row) => !["", "–", null, undefined].includes(row[i]?.text ?? row[i])));
  const body = make("tbody");
  for (const row of rows) {
    const line = make("tr");
    for (const i of used) {
      const cell = row[i];
      const wraps = cell !== null && typeof cell === "object";
      const made = make(i === 0 ? "th" : "td", wraps ? cell.text : cell, wraps ? { class: "text" } : {});
      if (i === 0) made.scope = "row";
      if (head[i]) made.dataset.title = head[i];
      line.append(made);
    }
    body.append(line);
  }
  if (rows.length === 0) {
    const line = make("tr");
    line.append(make("td", empty, { class: "text" }));
    table.replaceChildren(line);
    return;
  }
  const parts = [];
  if (head.length > 0) {
    const line = make("tr");
    for (const i of used) {
      const kind = rows.some((row) => row[i]?.text !== undefined) ? { class: "text" } : {};
      line.append(head[i] ? make("th", head[i], { scope: "col", ...kind }) : make("td"));
    }
    const top = make("thead");
    top.append(line);
    parts.push(top);
  }
  table.classList.toggle("cards", used.length > 2);
  table.replaceChildren(...parts, body);
}

// The theme button; `changed` is called after a change. Locust's page uses the same storage key.
export function themed(changed = () => {}) {
  const button = document.getElementById("theme");
  const say = () => { button.textContent = document.documentElement.dataset.theme === "dark" ? "Light" : "Dark"; };
  button.addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try { localStorage.setItem("theme", next); } catch { /* storage is blocked: only this page changes */ }
    say();
    changed();
  });
  say();
}

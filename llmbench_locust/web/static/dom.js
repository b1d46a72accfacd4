// Everything foreign goes on the page through here, as text and never as markup.

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

// rows: arrays of cells; a cell is a value, or {text} for what is to stand left and wrap.
export function fill(table, head, rows, empty) {
  const body = make("tbody");
  for (const row of rows) {
    const line = make("tr");
    for (const cell of row) {
      line.append(cell !== null && typeof cell === "object" ? make("td", cell.text, { class: "text" }) : make("td", cell));
    }
    body.append(line);
  }
  if (rows.length === 0) {
    const line = make("tr");
    line.append(make("td", empty, { colspan: String(Math.max(head.length, 1)) }));
    body.append(line);
  }
  const parts = [];
  if (head.length > 0) {
    const line = make("tr");
    for (const title of head) line.append(make("th", title, { scope: "col" }));
    const top = make("thead");
    top.append(line);
    parts.push(top);
  }
  table.replaceChildren(...parts, body);
}

// Locust's start form lists all flags in one column, by the alphabet. Here they get groups that open and close, in the order of
// the documentation. Nothing is moved in the page's tree, which is React's: fields get a CSS order, headings are added at its end.
"use strict";
(() => {
  const MARK = "llmGrouped";
  let groups = null;
  const open = new Set(["benchmark"]);
  const camel = (name) => name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
  const fieldOf = (form, name) => form.querySelector(`[name="${CSS.escape(camel(name))}"]`);

  function arrange(form) {
    const names = Object.values(groups).flat();
    const fields = names.map((name) => fieldOf(form, name)).filter(Boolean);
    if (fields.length < 2) return;
    // The list is the nearest ancestor that all fields share; a field's row is its part of it.
    let list = fields[0].parentElement;
    while (list && !fields.every((field) => list.contains(field))) list = list.parentElement;
    if (!list || list.dataset[MARK]) return;
    list.dataset[MARK] = "yes";
    list.style.rowGap = "18px";
    for (const child of list.children) child.style.order = "-1";
    Object.entries(groups).forEach(([group, members], number) => {
      const rows = members.map((name) => fieldOf(form, name)).filter(Boolean).map((field) => {
        let row = field;
        while (row.parentElement !== list) row = row.parentElement;
        return row;
      });
      if (rows.length > 0) list.append(heading(group, rows, 1000 * (number + 1)));
    });
  }

  function heading(group, rows, order) {
    const button = document.createElement("button");
    button.type = "button";
    Object.assign(button.style, {
      order: String(order), font: "600 15px system-ui, sans-serif", textAlign: "left", color: "inherit", background: "rgba(128,128,128,.14)",
      border: "0", borderRadius: "4px", padding: "10px 12px", cursor: "pointer", textTransform: "capitalize",
    });
    const show = () => {
      const shown = open.has(group);
      button.textContent = `${shown ? "▾" : "▸"} ${group} (${rows.length})`;
      button.setAttribute("aria-expanded", String(shown));
      rows.forEach((row, i) => {
        row.style.order = String(order + 1 + i);
        row.style.display = shown ? "" : "none";
      });
    };
    button.addEventListener("click", () => {
      if (!open.delete(group)) open.add(group);
      show();
    });
    show();
    return button;
  }

  // With arrivals from a plan, Locust's two fields for users mean nothing: the pool of users has the size that it needs.
  function hideUsers(form) {
    for (const name of ["userCount", "spawnRate"]) {
      const row = form.querySelector(`[name="${name}"]`)?.closest(".MuiFormControl-root");
      if (row) row.style.display = "none";
    }
  }

  function look() {
    const planned = window.templateArgs && window.templateArgs.shape_use_common_options;
    for (const form of document.querySelectorAll("form")) {
      if (planned) hideUsers(form);
      arrange(form);
    }
  }

  fetch("./llm/flags", { redirect: "manual" })
    .then((answer) => (answer.ok ? answer.json() : null))
    .then((answer) => {
      if (answer === null) return;
      groups = answer;
      look();
      new MutationObserver(look).observe(document.getElementById("root"), { childList: true, subtree: true });
    })
    .catch(() => { /* the form stays as Locust made it */ });
})();

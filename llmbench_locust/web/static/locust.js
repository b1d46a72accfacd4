// On Locust's own page: the LLM tab opens our page, and New opens our form.
"use strict";
document.addEventListener("click", (event) => {
  const found = event.target.closest("[role=tab], button");
  const text = found?.textContent.trim();
  const target = found?.matches("[role=tab]") ? { LLM: "./llm" }[text] : { NEW: "./" }[text?.toUpperCase()];
  if (target === undefined) return;
  event.preventDefault();
  event.stopPropagation();
  location.assign(target);
}, true);

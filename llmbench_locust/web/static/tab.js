// On Locust's own page: a bar with the audit's verdict, the way to the live charts, and the downloads once there are some.
"use strict";
(() => {
  const KINDS = { good: ["#dff3e6", "#146c43"], bad: ["#a3162a", "#ffffff"], open: ["#e6eaef", "#2b333b"] };
  const bar = document.createElement("div");
  bar.id = "llm-bar";
  bar.setAttribute("role", "status");
  Object.assign(bar.style, {
    position: "fixed", left: "0", right: "0", bottom: "0", zIndex: "1200", display: "flex", flexWrap: "wrap", gap: "4px 18px",
    padding: "8px 16px", font: "14px/1.4 system-ui, sans-serif", boxShadow: "0 -1px 4px rgba(0,0,0,.25)",
  });
  const verdict = document.createElement("strong");
  const links = document.createElement("span");
  Object.assign(links.style, { display: "flex", flexWrap: "wrap", gap: "4px 14px" });
  bar.append(verdict, links);

  function link(text, href, download) {
    const element = document.createElement("a");
    element.textContent = text;
    element.href = href;
    if (download) element.download = "";
    else element.target = "_blank";
    element.rel = "noopener";
    element.style.color = "inherit";
    return element;
  }

  function show(shot) {
    const { client_limited: limited, reasons } = shot.audit;
    const kind = shot.state === "failed" || limited ? "bad" : limited === false ? "good" : "open";
    [bar.style.background, bar.style.color] = KINDS[kind];
    if (shot.state === "failed") verdict.textContent = shot.message || "The run failed";
    else if (limited) verdict.textContent = `CLIENT LIMITED: ${reasons.join("; ") || "these figures tell of the client, not of the server"}`;
    else if (limited === false) verdict.textContent = "Client audit: OK, the client kept up";
    else if (shot.state === "waiting") verdict.textContent = shot.message;
    else verdict.textContent = { running: "Client audit: measuring", preparing: "Preparing the run" }[shot.state] ?? "LLM";
    const names = shot.downloads.join();
    if (links.dataset.names === names) return;
    links.dataset.names = names;
    links.replaceChildren(link("Live charts", "./llm", false), ...shot.downloads.map((name) => link(name, `./llm/${name}`, true)));
  }

  async function ask() {
    try {
      const answer = await fetch("./llm/stats?since=-1", { cache: "no-store", redirect: "manual" });
      if (answer.ok) show(await answer.json());
    } catch { /* Locust's page itself shows that the connection is lost */ }
    setTimeout(ask, document.hidden ? 5000 : 2000);
  }

  document.body.append(bar);
  document.body.style.paddingBottom = "56px";
  ask();
})();

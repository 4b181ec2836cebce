"use strict";
(() => {
  const chosen = { verdict: new Set(), stack: new Set(), network: new Set() };
  const passes = (kind, value) => chosen[kind].size === 0 || chosen[kind].has(value);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const shown = document.getElementById("shown");
  const everything = document.getElementById("all");

  // A cell that a filter leaves out stays where it is, faded, as long as its row has another that passes.
  const filter = () => {
    let cells = 0;
    for (const th of all("thead th[data-stack]")) th.hidden = !passes("stack", th.dataset.stack);
    for (const body of all(".matrix tbody")) {
      let lines = 0;
      for (const tr of all("tr[data-network]", body)) {
        let hits = 0;
        for (const td of all("td", tr)) {
          td.hidden = !passes("stack", td.dataset.stack);
          const cell = td.querySelector(".cell");
          if (!cell) continue;
          const hit = !td.hidden && passes("verdict", cell.dataset.verdict);
          cell.classList.toggle("out", !hit);
          hits += hit;
        }
        tr.hidden = hits === 0 || !passes("network", tr.dataset.network);
        if (!tr.hidden) { lines++; cells += hits; }
      }
      body.hidden = lines === 0;
    }
    const total = all(".cell").length;
    shown.textContent = cells + " of " + total + " cells";
    everything.disabled = Object.values(chosen).every((set) => set.size === 0);
  };
  const filters = document.getElementById("filters");
  filters.hidden = false;
  filters.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button === everything) {
      for (const set of Object.values(chosen)) set.clear();
      for (const b of all("[aria-pressed]", filters)) b.setAttribute("aria-pressed", "false");
    } else {
      const set = chosen[button.dataset.filter], value = button.dataset.value;
      if (!set.delete(value)) set.add(value);
      button.setAttribute("aria-pressed", String(set.has(value)));
    }
    filter();
  });
  filter();

  // The fragment says which exhibit is open; style.css does the rest, also without this script.
  let last = null;
  const open = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    for (const cell of all(".cell[aria-current]")) cell.removeAttribute("aria-current");
    const exhibit = id && document.getElementById(id);
    if (!exhibit || !exhibit.classList.contains("exhibit")) {
      if (id === "matrix" && last) last.focus();
      return;
    }
    last = all(".cell").find((cell) => cell.getAttribute("href") === "#" + id);
    if (last) last.setAttribute("aria-current", "true");
    exhibit.querySelector("h3").focus({ preventScroll: true });
  };
  addEventListener("hashchange", open);
  addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const exhibit = document.querySelector(".exhibit:target");
    if (!exhibit) return;
    const to = { Escape: "#matrix", ArrowLeft: "[rel=prev]", ArrowRight: "[rel=next]" }[event.key];
    if (!to || event.target.closest("pre, .scroll")) return;
    if (to === "#matrix") location.hash = "matrix";
    else exhibit.querySelector(to)?.click();
  });
  open();
})();

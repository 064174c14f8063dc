"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // the switch between light and dark; a file:// page may have no storage
  const stored = (value) => {
    try {
      if (value) localStorage.setItem("gru-bench-theme", value);
      return localStorage.getItem("gru-bench-theme");
    } catch { return null; }
  };
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  if (["light", "dark"].includes(stored())) root.dataset.theme = stored();
  document.getElementById("theme").addEventListener("click", () => { stored(root.dataset.theme = dark() ? "light" : "dark"); });

  // folded details: all at once, and the one that a link leads to
  const unfold = document.getElementById("unfold");
  unfold.addEventListener("click", () => {
    const folded = all("details").some((part) => !part.open);
    all("details").forEach((part) => { part.open = folded; });
  });
  const show = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const part = target && target.closest("details");
    if (part) { part.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", show);
  show();

  // tables: a header sorts its column up, then down, then puts the rows back
  const number = (text) => {
    const found = text.replaceAll(",", "").match(/^[^\d\w]*?([-+−]?\d+(\.\d+)?(e[-+]?\d+)?)/i);
    return found ? Number(found[1].replace("−", "-")) : NaN;
  };
  const compare = (a, b) => {
    const [x, y] = [number(a), number(b)];
    if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
    return Number.isNaN(x) ? a.localeCompare(b) : x - y;
  };
  all("table").forEach((table) => {
    const body = table.tBodies[0];
    if (!body) return;
    const original = [...body.rows];
    all("th", table).forEach((header, column) => {
      const button = document.createElement("button");
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => {
        const next = { ascending: "descending", descending: "" }[header.getAttribute("aria-sort")] ?? "ascending";
        all("th", table).forEach((other) => other.removeAttribute("aria-sort"));
        const rows = [...original];
        if (next) {
          header.setAttribute("aria-sort", next);
          const sign = next === "ascending" ? 1 : -1;
          rows.sort((a, b) => sign * compare(a.cells[column].textContent, b.cells[column].textContent));
        }
        body.append(...rows);
      });
    });
  });
})();

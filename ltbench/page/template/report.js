"use strict";
(() => {
  document.documentElement.classList.add("scripted");
  const state = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  const keep = (name, value) => {
    if (value) state.set(name, value); else state.delete(name);
    history.replaceState(null, "", String(state) ? "#" + state : location.pathname + location.search);
  };

  const worth = (row, column) => {
    const cell = row.cells[column];
    const number = parseFloat(cell.dataset.value ?? cell.textContent);
    return Number.isNaN(number) ? cell.textContent.trim() : number;
  };
  const order = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === "number") return -1;
    if (typeof b === "number") return 1;
    return a.localeCompare(b);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => (rising ? 1 : -1) * order(worth(a, column), worth(b, column)));
      table.tBodies[0].append(...rows);
    }));
  }

  const narrow = (field, count, rows, text) => {
    const wanted = field.value.trim().toLowerCase();
    let left = 0;
    for (const row of rows) {
      row.hidden = !text(row).toLowerCase().includes(wanted);
      left += row.hidden ? 0 : 1;
    }
    count.textContent = wanted ? `${left} of ${rows.length}` : "";
  };
  const get = (id) => document.getElementById(id);
  const view = get("view"), filter = get("filter"), views = [...document.querySelectorAll(".view")];
  const byMethod = () => {
    const open = get("view-" + view.value);
    if (open) narrow(filter, get("count"), [...open.querySelectorAll("tbody tr")], (row) => row.dataset.name);
  };
  const choose = () => {
    views.forEach((other) => { other.hidden = other.id !== "view-" + view.value; });
    byMethod();
  };
  const every = (number) => document.querySelectorAll(`[data-method="${number}"]`);
  const boxes = [...document.querySelectorAll(".chooser input")];
  const chosen = () => {
    for (const box of boxes) every(box.value).forEach((part) => part.classList.toggle("off", !box.checked));
  };
  boxes.forEach((box) => box.addEventListener("change", chosen));
  document.querySelectorAll("[data-all]").forEach((button) => button.addEventListener("click", () => {
    boxes.forEach((box) => { box.checked = Boolean(button.dataset.all); });
    chosen();
  }));
  let traced = null;
  const trace = (number) => {
    if (number === traced) return;
    if (traced !== null) every(traced).forEach((part) => part.classList.remove("traced"));
    if (number !== null) every(number).forEach((part) => part.classList.add("traced"));
    document.documentElement.classList.toggle("tracing", number !== null);
    traced = number;
  };
  const under = (event) => trace(event.target.closest?.("[data-method]")?.dataset.method ?? null);
  document.addEventListener("mouseover", under);
  document.addEventListener("focusin", under);

  const statistics = get("statistics");
  const widen = () => document.documentElement.classList.toggle("statistics", statistics.checked);
  statistics.checked = state.get("statistics") === "1";
  statistics.addEventListener("change", () => { keep("statistics", statistics.checked ? "1" : ""); widen(); });
  widen();

  const runs = get("filter-runs"), lines = runs ? [...get("runs-table").tBodies[0].rows] : [];
  const words = (row) => [...row.cells].map((cell) => cell.textContent).join(" ");
  const byRun = () => narrow(runs, get("count-runs"), lines, words);
  if ([...view.options].some((option) => option.value === state.get("view"))) view.value = state.get("view");
  filter.value = state.get("methods") ?? "";
  view.addEventListener("change", () => { keep("view", view.selectedIndex ? view.value : ""); choose(); });
  filter.addEventListener("input", () => { keep("methods", filter.value.trim()); byMethod(); });
  runs?.addEventListener("input", byRun);
  for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
  choose();
})();

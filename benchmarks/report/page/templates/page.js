"use strict";
(() => {
  const cellValue = (row, column, kind) => {
    const value = row.cells[column].dataset.value;
    return value === "" ? null : kind === "number" ? Number(value) : value;
  };

  // Whichever way a column is sorted, what is not known stands last.
  const compare = (one, two, down) => {
    if (one === null || two === null) return (one === null) - (two === null);
    const order = typeof one === "number" ? (one > two) - (one < two) : one.localeCompare(two, "en", { numeric: true });
    return down ? -order : order;
  };

  const sort = (table, head) => {
    const column = head.cellIndex;
    const kind = head.dataset.kind;
    const before = head.getAttribute("aria-sort");
    const first = kind === "text" || head.dataset.better === "lower" ? "ascending" : "descending";
    const way = before === null ? first : before === "ascending" ? "descending" : "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", way);
    const rows = [...table.tBodies[0].rows].map((row) => [cellValue(row, column, kind), row]);
    rows.sort((one, two) => compare(one[0], two[0], way === "descending"));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const head of table.tHead.rows[0].cells) {
      head.querySelector("button").addEventListener("click", () => sort(table, head));
    }
  }

  const form = document.querySelector("form.filter");
  const rows = [...document.querySelectorAll("#boards tbody tr")];
  const filter = () => {
    const words = form.querySelector("#find").value.trim().toLowerCase();
    const families = new Set([...form.querySelectorAll("[name=family]:checked")].map((box) => box.value));
    for (const row of rows) {
      const found = row.cells[0].dataset.value.toLowerCase().includes(words);
      row.hidden = !(found && families.has(row.dataset.family));
    }
    const left = rows.filter((row) => !row.hidden).length;
    form.querySelector("output").textContent = left === rows.length ? "" : `${left} of ${rows.length} rows`;
  };
  if (form) {
    form.hidden = false;
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    filter(); // browsers keep what was typed before a reload
  }

  const links = new Map([...document.querySelectorAll(".contents a")].map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        for (const link of links.values()) link.removeAttribute("aria-current");
        links.get(target.id).setAttribute("aria-current", "true");
      }
    },
    { rootMargin: "-20% 0px -75% 0px" },
  );
  for (const id of links.keys()) seen.observe(document.getElementById(id));
})();

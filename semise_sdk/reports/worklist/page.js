"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const data = JSON.parse(find("data").textContent);
  const table = document.querySelector("table");
  const panel = find("panel");
  const menu = document.querySelector(".menu");
  const URGENCY = { abstain: 0, error: 1, review: 2, ok: 3 };
  const VERDICTS = ["agree", "disagree", "ungradable"];
  const rows = all("tr[data-i]").map((tr) => {
    const facts = data.rows[Number(tr.dataset.i)];
    const text = [facts.file, facts.reason, facts.grade, ...facts.grade_set].join("\n").toLowerCase();
    return { tr, facts, text, index: Number(tr.dataset.i), button: tr.querySelector(".open"), verdict: "", at: "" };
  });
  const rowOf = new Map(rows.map((row) => [row.tr, row]));
  let current = null;
  let isUnsaved = false;

  const inOrder = () => all("tr[data-i]", table).map((tr) => rowOf.get(tr)).filter((row) => !row.tr.hidden);
  const isOpen = () => !panel.hidden;

  // Filtering

  const FILTERS = ["text", "status", "grade", "low", "high", "reviewed"].map(find).filter(Boolean);
  const valueOf = (id) => (find(id) ? find(id).value : "");
  const isNumber = (text) => text !== "" && Number.isFinite(Number(text));

  function matches(row) {
    const { facts } = row;
    const { severity } = facts;
    const status = valueOf("status");
    const limited = isNumber(valueOf("low")) || isNumber(valueOf("high"));
    return (
      valueOf("text").toLowerCase().trim().split(/\s+/).every((word) => row.text.includes(word)) &&
      (!status || (status === "human" ? facts.needs_human : facts.status === status)) &&
      (!valueOf("grade") || facts.grade === valueOf("grade")) &&
      (!limited || severity !== null) &&
      (!isNumber(valueOf("low")) || severity >= Number(valueOf("low"))) &&
      (!isNumber(valueOf("high")) || severity <= Number(valueOf("high"))) &&
      (!valueOf("reviewed") || (row.verdict || "none") === valueOf("reviewed"))
    );
  }

  function filter() {
    for (const row of rows) row.tr.hidden = !matches(row);
    for (const body of table.tBodies) body.hidden = !body.querySelector("tr[data-i]:not([hidden])");
    if (rows.length) find("nothing").hidden = rows.some((row) => !row.tr.hidden);
    count();
    if (isOpen()) place();
  }

  function count() {
    const [shown, done] = [rows.filter((row) => !row.tr.hidden).length, rows.filter((row) => row.verdict).length];
    find("shown").textContent = `${shown} of ${rows.length} shown` + (done ? `, ${done} reviewed` : "");
  }

  // Sorting: what needs a human stays above the ranked rows, whatever the order; a missing value comes last.

  const KEYS = {
    rank: (row) => row.facts.rank,
    file: (row) => row.facts.file,
    severity: (row) => row.facts.severity,
    grade: (row) => (row.facts.grade === null ? null : data.labels.indexOf(row.facts.grade)),
    percentile: (row) => row.facts.percentile,
    status: (row) => URGENCY[row.facts.status],
    review: (row) => row.verdict || null,
  };
  const { compare: byText } = new Intl.Collator(undefined, { numeric: true });

  function sort(key, direction) {
    const compare = (a, b) => {
      const [x, y] = [KEYS[key](a), KEYS[key](b)];
      if (x === null || y === null) return (x === null) - (y === null) || a.index - b.index;
      const order = typeof x === "string" ? byText(x, y) : x - y;
      return order * direction || a.index - b.index;
    };
    for (const body of table.tBodies) {
      const own = all("tr[data-i]", body).map((tr) => rowOf.get(tr));
      body.append(...own.sort(compare).map((row) => row.tr));
    }
    if (isOpen()) place();
  }

  function sortBy(button) {
    const head = button.closest("th");
    const isDescending = head.getAttribute("aria-sort") === "ascending";
    for (const other of all("th[aria-sort]")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
    sort(button.dataset.sort, isDescending ? -1 : 1);
  }

  // The panel

  function make(name, content, className) {
    const element = document.createElement(name);
    element.textContent = content;
    if (className) element.className = className;
    return element;
  }

  const number = (value, digits = 3) => (value === null ? "" : value.toFixed(digits));

  function place() {
    const shown = inOrder();
    find("p-place").textContent = `row ${shown.indexOf(current) + 1 || "–"} of ${shown.length}`;
  }

  function showPictures(row) {
    const block = row.tr.querySelector("script");
    const details = block ? JSON.parse(block.textContent) : {};
    const sources = { "p-image": details.image, "p-map": details.map, "p-mask": details.mask };
    for (const [id, source] of Object.entries(sources)) {
      const image = find(id);
      if (source) image.src = source;
      else image.removeAttribute("src");
      image.hidden = !source;
    }
    find("p-image").alt = details.image ? `Image ${row.facts.file}` : "";
    document.querySelector(".views").hidden = find("p-layers").hidden = !details.image;
    find("l-map").hidden = find("l-opacity").hidden = find("p-aid").hidden = !details.map;
    find("l-mask").hidden = !details.mask;
    find("p-area").textContent = details.area == null ? "" : ` (${number(100 * details.area, 1)} % of the image)`;
    const near = data.references[details.reference];
    find("p-reference").hidden = !near;
    if (near) find("p-reference").firstElementChild.src = near;
    const thumbnail = row.tr.querySelector("img");
    find("p-none").hidden = Boolean(details.image);
    find("p-none").textContent = thumbnail
      ? "This page had no room for a larger picture of this row. Rank this image by itself to see it with its map."
      : "There is no picture of this row.";
    layers();
  }

  function layers() {
    const source = (id) => find(id).hasAttribute("src");
    find("p-map").hidden = !find("map-on").checked || !source("p-map");
    find("p-mask").hidden = !find("mask-on").checked || !source("p-mask");
    find("p-map").style.opacity = find("opacity").value / 100;
    document.querySelector(".stack").style.setProperty("--zoom", find("zoom").value);
  }

  function showFacts(row) {
    const { facts } = row;
    find("p-severity").textContent = facts.severity === null ? "not scored" : `severity ${number(facts.severity)}`;
    find("p-grade").textContent = facts.grade || "";
    const spread = facts.severity_low === null ? "" : `${number(facts.severity_low)} to ${number(facts.severity_high)}`;
    const lines = [
      ["Rank", facts.rank === null ? "" : `${facts.rank}` + shared(row)],
      ["Severity interval", spread],
      ["Healthy images with less", facts.percentile === null ? "" : `${number(facts.percentile, 1)} %`],
      ["Grades that fit", facts.grade_set.join(", ")],
    ];
    const filled = lines.filter(([, value]) => value);
    find("p-facts").replaceChildren(
      ...filled.map(([name, value]) => {
        const line = document.createElement("div");
        line.append(make("dt", name), make("dd", value));
        return line;
      }),
    );
    const grades = Object.entries(facts.probabilities).flatMap(([label, share]) => {
      const kind = facts.grade_set.length && !facts.grade_set.includes(label) ? "out" : "in";
      return [make("span", label, kind), bar(share), make("span", `${number(100 * share, 1)} %`)];
    });
    find("p-grades").replaceChildren(...grades);
  }

  function bar(share) {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", "0 0 100 12");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    for (const [name, width] of [["track", 100], ["fill", 100 * share]]) {
      const part = document.createElementNS(space, "path");
      part.setAttribute("class", name);
      part.setAttribute("d", `M0 1h${width}v10H0z`);
      svg.append(part);
    }
    return svg;
  }

  const shared = (row) => row.tr.querySelector(".tie .unseen")?.textContent.replace(" shares", ", shares") || "";

  function mark(row) {
    if (current) current.tr.classList.remove("current");
    current = row;
    row.tr.classList.add("current");
    row.tr.scrollIntoView({ block: "nearest" });
  }

  function open(row) {
    if (current) current.button.setAttribute("aria-expanded", "false");
    mark(row);
    row.button.setAttribute("aria-expanded", "true");
    panel.hidden = false;
    document.body.classList.add("opened");
    find("p-file").textContent = row.button.textContent;
    find("p-badge").replaceChildren(row.tr.querySelector(".badge").cloneNode(true));
    const reason = row.tr.querySelector(".reason");
    find("p-reason").hidden = !reason;
    find("p-reason").replaceChildren(...(reason ? [...reason.childNodes].map((node) => node.cloneNode(true)) : []));
    showPictures(row);
    showFacts(row);
    showVerdict();
    place();
    row.tr.scrollIntoView({ block: "nearest" });
  }

  function close() {
    panel.hidden = true;
    document.body.classList.remove("opened");
    if (!current) return;
    current.button.setAttribute("aria-expanded", "false");
    current.button.focus();
  }

  function step(distance) {
    const shown = inOrder();
    if (!shown.length) return;
    const at = shown.indexOf(current);
    const next = at < 0 ? 0 : Math.min(shown.length - 1, Math.max(0, at + distance));
    if (isOpen()) open(shown[next]);
    else {
      mark(shown[next]);
      shown[next].button.focus();
    }
  }

  // Reviews

  function setVerdict(row, verdict, at) {
    row.verdict = verdict;
    row.at = verdict ? at || new Date().toISOString() : "";
    row.tr.querySelector("td.review").textContent = verdict;
    isUnsaved = true;
  }

  function review(verdict) {
    if (!current || current.tr.hidden) return;
    setVerdict(current, current.verdict === verdict ? "" : verdict);
    showVerdict();
    count();
  }

  function showVerdict() {
    for (const button of all("[data-verdict]")) {
      button.setAttribute("aria-pressed", String(current !== null && current.verdict === button.dataset.verdict));
    }
  }

  function takeReview(text) {
    let found;
    try {
      found = JSON.parse(text).reviews;
    } catch {
      found = null;
    }
    if (!Array.isArray(found)) {
      find("shown").textContent = "That file holds no review: choose one that this page saved as JSON.";
      return;
    }
    const waiting = new Map();
    for (const row of rows) waiting.set(row.facts.file, [...(waiting.get(row.facts.file) || []), row]);
    const wasUnsaved = isUnsaved;
    let taken = 0;
    for (const entry of found) {
      const alike = waiting.get(entry?.file) || [];
      if (!alike.length || !VERDICTS.includes(entry.review)) continue;
      // two images may share a name, when they come from two folders
      const [row] = alike.splice(Math.max(0, alike.findIndex(({ facts }) => facts.rank === entry.rank)), 1);
      setVerdict(row, entry.review, typeof entry.reviewed_at === "string" ? entry.reviewed_at : "");
      taken += 1;
    }
    isUnsaved = wasUnsaved;
    showVerdict();
    filter();
    find("shown").textContent = `${taken} of ${found.length} reviews are of images on this page and were taken over.`;
  }

  // Files

  const COLUMNS = ["rank", "tie", "file", "status", "reason", "severity", "severity_low", "severity_high"];
  COLUMNS.push("percentile", "grade", "grade_set", "review", "reviewed_at");

  const plain = (row) => ({ ...row.facts, review: row.verdict || null, reviewed_at: row.at || null });

  // As semise_sdk/tables/spreadsheet.py writes text that a spreadsheet would run as a formula.
  const RISKY = "'*[=+\\-@\uff1d\uff0b\uff0d\uff20";
  const BEGINNING = new RegExp(`^(?=${RISKY}\t\r\n])`);
  const SEPARATED = new RegExp(`([;\t\r\n])(?=${RISKY}])`, "g");
  const neutralised = (text) => text.replace(SEPARATED, "$1'").replace(BEGINNING, "'");

  function cell(value) {
    if (typeof value === "number") return String(value);
    const text = neutralised(Array.isArray(value) ? value.join("; ") : String(value ?? ""));
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  const csv = (columns, lines) =>
    [columns, ...lines.map((line) => columns.map((name) => line[name]))].map((line) => line.map(cell).join(",") + "\n").join("");

  function json(extra) {
    const { rows: _rows, references: _references, ...context } = data;
    return JSON.stringify({ ...context, ...extra }, null, 2) + "\n";
  }

  function download(name, type, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = `${data.name}-${name}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  const REVIEWED = ["file", "rank", "status", "severity", "grade"];
  const reviewed = () => {
    const reviewer = find("reviewer").value.trim() || null;
    return rows.filter((row) => row.verdict).sort((a, b) => a.index - b.index).map((row) => {
      const facts = Object.fromEntries(REVIEWED.map((name) => [name, row.facts[name]]));
      return { ...facts, review: row.verdict, reviewed_at: row.at, reviewer };
    });
  };
  const REVIEW_COLUMNS = [...REVIEWED, "review", "reviewed_at", "reviewer"];

  const SAVES = {
    "review-json": () => download("review.json", "application/json", json({ saved: new Date().toISOString(), reviews: reviewed() })),
    "review-csv": () => download("review.csv", "text/csv", csv(REVIEW_COLUMNS, reviewed())),
    "rows-csv": () => download("rows.csv", "text/csv", csv(columnsOf(), inOrder().map(spelled))),
    "rows-json": () => download("rows.json", "application/json", json({ rows: inOrder().map(plain) })),
  };
  const columnsOf = () => [...COLUMNS, ...data.labels.map((label) => `p_${label}`)];
  const spelled = (row) => {
    const shares = Object.entries(row.facts.probabilities).map(([label, share]) => [`p_${label}`, share]);
    return { ...plain(row), ...Object.fromEntries(shares) };
  };

  function save(kind) {
    SAVES[kind]();
    if (kind.startsWith("review")) isUnsaved = false;
    menu.open = false;
  }

  // Colours: as the system has them until somebody chooses

  const system = matchMedia("(prefers-color-scheme: dark)");
  let theme = "auto";
  function paint() {
    document.documentElement.dataset.theme = theme === "auto" ? (system.matches ? "dark" : "light") : theme;
    find("theme").textContent = `Theme: ${theme}`;
  }

  // Events

  const LETTERS = {
    j: () => step(1),
    k: () => step(-1),
    a: () => review("agree"),
    d: () => review("disagree"),
    u: () => review("ungradable"),
    "/": () => find("text").focus(),
  };

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || find("keys").open) return;
    if (event.key === "Escape") {
      if (menu.open) menu.open = false;
      else if (isOpen()) close();
      return;
    }
    const isTyping = event.target.closest("select, input:not([type=range], [type=checkbox])");
    const act = LETTERS[event.key];
    if (!act || isTyping || !find("shortcuts").checked) return;
    event.preventDefault();
    act();
  }

  function onList(event) {
    const button = event.target.closest("[data-sort]");
    if (button) sortBy(button);
    const tr = event.target.closest("tr[data-i]");
    if (!tr || (event.detail && String(getSelection()))) return;
    open(rowOf.get(tr));
    panel.querySelector("h2").focus({ preventScroll: true });
  }

  const on = (id, act, event = "click") => find(id).addEventListener(event, act);
  table.addEventListener("click", onList);
  document.addEventListener("keydown", onKey);
  for (const input of FILTERS) input.addEventListener("input", filter);
  for (const id of ["map-on", "mask-on", "opacity", "zoom"]) on(id, layers, "input");
  for (const button of all("[data-verdict]")) button.addEventListener("click", () => review(button.dataset.verdict));
  for (const button of all("[data-save]")) button.addEventListener("click", () => save(button.dataset.save));
  on("reset", () => {
    for (const input of FILTERS) input.value = "";
    filter();
  });
  on("previous", () => step(-1));
  on("next", () => step(1));
  on("close", close);
  on("print", () => {
    menu.open = false;
    print();
  });
  on("open-review", () => find("review-file").click());
  on("review-file", async ({ target }) => {
    if (target.files.length) takeReview(await target.files[0].text());
    target.value = "";
  }, "change");
  on("help", () => find("keys").showModal());
  on("keys-close", () => find("keys").close());
  on("theme", () => {
    theme = { auto: "light", light: "dark", dark: "auto" }[theme];
    paint();
  });
  system.addEventListener("change", paint);
  addEventListener("beforeunload", (event) => {
    if (isUnsaved) event.preventDefault();
  });
  paint();
  filter();
})();

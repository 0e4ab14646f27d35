"use strict";
const byId = (id) => document.getElementById(id);
const options = {
  mode: "vega-lite",
  renderer: "svg",
  ast: true, // expressions are interpreted: the page's policy forbids eval
  actions: false,
  tooltip: { disableDefaultStyle: true },
};

/** The drawing library, unpacked and run: the page's policy allows it by its hash. */
const library = (async () => {
  const script = element("script", await unpacked("library"));
  document.head.append(script);
})();

const drawn = new Map(); // what each chart shows now, for its export
const darkness = matchMedia("(prefers-color-scheme: dark)");

/** The spec with its parameters set. */
const withParameters = (spec, values) => ({
  ...spec,
  params: spec.params.map((param) => (param.name in values ? { ...param, value: values[param.name] } : param)),
});

function draw(place, spec) {
  drawn.set(place, spec);
  const shown = withParameters(spec, { dark: darkness.matches });
  return library.then(() => vegaEmbed(place, shown, options)).catch((error) => {
    place.textContent = `This chart could not be drawn (${error.message}); its data are in the table below.`;
  });
}

// Charts ----------------------------------------------------------------------------------------------------------------

/** The pixels that a figure has. */
const room = () => document.querySelector("#evidence").clientWidth;
const MARGIN = 12; // beside a narrow plot, for the ends of its axis

/** A chart of panels as it fits: fewer in a row where the window is narrow, and narrower ones where one does not fit. */
function fitted(spec) {
  const { whole, together, fixed, flexible, smallest } = spec.usermeta ?? {};
  if (whole === undefined || room() >= whole) return spec;
  const groups = Math.max(1, Math.floor((room() + spec.spacing) / (fixed + smallest * flexible + spec.spacing)));
  const left = room() - groups * fixed - (groups - 1) * spec.spacing;
  const share = Math.min(1, left / (groups * flexible));
  const narrower = (width) => (typeof width === "number" ? Math.floor(width * share) : { step: Math.floor(width.step * share) });
  const concat = spec.concat.map((panel) => ({ ...panel, width: narrower(panel.width) }));
  return withParameters({ ...spec, concat, columns: Math.min(spec.columns, groups * together) }, { stacked: true });
}

const unfiltered = []; // charts that no filter changes
const forests = [];
for (const block of document.querySelectorAll("script[data-chart]")) {
  const place = byId(block.dataset.chart);
  const spec = JSON.parse(block.textContent);
  const chart = { place, spec, figure: place.closest("figure") };
  (place.id.startsWith("chart-forest-") ? forests : unfiltered).push(chart);
  offerExports(chart.figure, place);
}
const drawUnfiltered = () => Promise.all(unfiltered.map(({ place, spec }) => draw(place, fitted(spec))));

/** A chart of an opened claim. */
function show(figure, place, spec) {
  offerExports(figure, place);
  const edges = spec.usermeta?.edges ?? 150; // for the names of its rows
  return draw(place, { ...spec, width: Math.min(spec.width, figure.closest("body") ? figure.clientWidth - edges : room() - edges) });
}

async function reveal(claim) {
  const details = byId(`claim-${claim}`);
  if (details === null) return;
  if (details.hidden) await clear();
  details.open = true;
  await fill(details);
  details.scrollIntoView({ block: "start" });
  details.querySelector("summary").focus({ preventScroll: true });
}

const pencil = document.createElement("canvas").getContext("2d");
pencil.font = "12px system-ui, sans-serif";

/** A title in so many pixels; a long one is cut before its case, which tells it from its neighbours. */
function cut(title, pixels) {
  if (pencil.measureText(title).width <= pixels) return title;
  const bracket = title.lastIndexOf(" [");
  const end = bracket > 0 && title.endsWith("]") && pencil.measureText(title.slice(bracket)).width < pixels / 2 ? title.slice(bracket) : "";
  let start = title.slice(0, title.length - end.length);
  while (start && pencil.measureText(`${start}…${end}`).width > pixels) start = start.slice(0, -1).trimEnd();
  return `${start}…${end}`;
}

/** Draw the rows of a forest whose claims are shown, on consecutive lines, under headings where groups stay together. */
function drawForest({ place, spec, figure }, shown, order) {
  const { below, narrow, label } = spec.usermeta;
  const isNarrow = room() < below;
  const rows = spec.datasets.rows
    .filter((row) => shown.has(row.claim))
    .map((row) => ({ ...row, title: row.label, label: cut(row.label, isNarrow ? room() - 2 * MARGIN : label) }));
  figure.hidden = figure.previousElementSibling.hidden = rows.length === 0;
  if (rows.length === 0) return undefined;
  if (order) rows.sort((one, other) => order(one, other));
  const headings = [];
  rows.forEach((row, index) => {
    if (!order && (headings.length === 0 || headings.at(-1).heading !== row.group))
      headings.push({ heading: row.group, line: headings.length + index });
    row.line = headings.length + index;
  });
  const fitting = isNarrow ? { ...narrow, width: room() - 2 * MARGIN } : {};
  return draw(place, { ...spec, ...fitting, datasets: { rows, headings } }).then((made) => {
    made?.view.addEventListener("click", (event, item) => {
      if (item?.datum?.claim !== undefined) reveal(item.datum.claim);
    });
  });
}

// Filters ---------------------------------------------------------------------------------------------------------------

const filters = document.querySelector(".filters");
const groups = [...document.querySelectorAll(".group")];
const written = new Map(groups.map((group) => [group, [...group.querySelectorAll("details.claim")]]));
const searched = ({ title, group, node_id, statement, reason, cites }) =>
  [title, group, node_id, statement, reason, cites].filter(Boolean).join("\n").toLowerCase();
const claims = [...written.values()].flat();
const verdicts = Object.keys(shared.verdicts);
const orders = {
  estimate: (one, other) => (other.estimate ?? -Infinity) - (one.estimate ?? -Infinity),
  verdict: (one, other) => verdicts.indexOf(one.verdict) - verdicts.indexOf(other.verdict),
};

const drawnRows = new Set(forests.flatMap(({ spec }) => spec.datasets.rows.map(({ claim }) => claim)));
const sourceOf = (claim) => shared.sources[claim] ?? "";
const several = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
let matching = [];

async function filter() {
  await recordText;
  const chosen = (name) => filters.querySelector(`[name=${name}]`).value;
  const text = chosen("text").trim().toLowerCase();
  const wanted = [...filters.querySelectorAll("[name=verdict]:checked")].map((box) => box.value);
  const order = orders[chosen("order")];
  const shown = new Set();
  for (const [group, claims] of written) {
    let here = 0;
    for (const claim of claims) {
      const matches =
        wanted.includes(claim.dataset.verdict) &&
        searched(record.claims[claim.dataset.claim]).includes(text) &&
        ["", group.dataset.group].includes(chosen("group")) &&
        ["", sourceOf(claim.dataset.claim)].includes(chosen("source"));
      claim.hidden = !matches;
      here += matches;
      if (matches) shown.add(Number(claim.dataset.claim));
    }
    group.hidden = here === 0;
    const sorted = order ? [...claims].sort((one, other) => order(one.dataset, other.dataset)) : claims;
    group.querySelector(".claims").append(...sorted);
  }
  matching = [...shown];
  const undrawn = matching.filter((claim) => !drawnRows.has(claim)).length;
  const without = undrawn ? ` ${several(undrawn, "claim")} of these ${undrawn === 1 ? "has" : "have"} no estimate and ${undrawn === 1 ? "is" : "are"} in no chart.` : "";
  const count = `${shown.size} of ${claims.length} claims shown.`;
  filters.querySelector("output").textContent = count + without;
  document.querySelector(".matching").textContent = count;
  for (const told of document.querySelectorAll(".nothing")) told.hidden = shown.size > 0 || claims.length === 0;
  return Promise.all(forests.map((forest) => drawForest(forest, shown, order)));
}
let waiting;
filters.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(filter, 120);
});

/** Show all claims. */
function clear() {
  for (const field of filters.querySelectorAll("[type=search], select")) field.value = "";
  for (const box of filters.querySelectorAll("[name=verdict]")) box.checked = true;
  return filter();
}
for (const button of document.querySelectorAll("[data-clear]")) button.addEventListener("click", clear);
for (const link of document.querySelectorAll("[data-source]")) {
  link.addEventListener("click", () => {
    clear();
    filters.querySelector("[name=source]").value = link.dataset.source;
    filter();
  });
}
filters.hidden = false;
const redraw = () => Promise.all([filter(), drawUnfiltered()]);
let drawnIn = room();
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    if (room() === drawnIn) return;
    drawnIn = room();
    redraw();
  }, 150);
});
darkness.addEventListener("change", redraw);

// Claims ----------------------------------------------------------------------------------------------------------------

async function fill(details) {
  await recordText;
  const body = details.querySelector(".body");
  if (!body.hasChildNodes()) body.append(...bodyOf(record.claims[details.dataset.claim]));
}
for (const details of claims) {
  details.addEventListener("toggle", () => details.open && fill(details));
}

/** A claim can be linked to by its node id, which stays the same from run to run. */
async function follow() {
  await recordText;
  const name = decodeURIComponent(location.hash.slice(1));
  const place = record.claims.findIndex(({ node_id }) => node_id === name);
  if (place >= 0) reveal(place);
  else if (name.startsWith("figure-")) byId(name)?.scrollIntoView();
}
addEventListener("hashchange", follow);
redraw().then(follow); // (what is above has its height then)

// Copying ---------------------------------------------------------------------------------------------------------------

/** Make a button copy a text, or one that is on its way. */
function copies(button, text) {
  button.addEventListener("click", async (event) => {
    event.preventDefault();
    try {
      await navigator.clipboard.writeText(await text);
    } catch {
      const area = element("textarea", await text);
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const was = button.textContent;
    button.textContent = "copied";
    setTimeout(() => (button.textContent = was), 1500);
  });
}
for (const marked of document.querySelectorAll("[data-copy]")) {
  const button = element("button", "copy", { type: "button", class: "copy", "aria-label": `copy ${marked.textContent}` });
  marked.after(" ", button);
  copies(button, marked.dataset.copy);
}
for (const button of document.querySelectorAll("[data-record]")) {
  button.hidden = false;
  copies(button, recordText);
}

// Exports ---------------------------------------------------------------------------------------------------------------

const claimCells = {
  claim: ({ claim }) => claim.node_id,
  ...Object.fromEntries(["title", "group", "cites", "control", "verdict", "registration"].map((name) => [name, ({ claim }) => claim[name]])),
  ...Object.fromEntries(["estimate", "low", "high", "op", "threshold", "unit", "n", "p_value"].map((name) => [name, ({ only }) => only?.[name]])),
  ...Object.fromEntries(["p_holm", "p_by", "p_max_t"].map((name) => [name, ({ claim }) => claim[name]])),
};
const asCsv = element("button", "CSV", { type: "button", title: "the claims shown, unrounded" });
asCsv.addEventListener("click", () => {
  const rows = matching.map((place) => record.claims[place]).map((claim) => ({ claim, only: claim.statements[claim.deciding] }));
  const cells = rows.map((row) => Object.values(claimCells).map((read) => read(row)));
  save("claims", "csv", csv([Object.keys(claimCells), ...cells]), "text/csv");
});
document.querySelector(".matching").after(" ", element("span", asCsv, { class: "tools" }));
for (const made of document.querySelectorAll("main table")) exportable(made, made.parentElement.getAttribute("aria-label").replace(/, table$/, ""));

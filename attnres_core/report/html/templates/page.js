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
  const packed = Uint8Array.from(atob(byId("library").textContent), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = element("script", await new Response(unpacked).text());
  document.head.append(script);
})();

function draw(place, spec) {
  return library.then(() => vegaEmbed(place, spec, options)).catch((error) => {
    place.textContent = `This chart could not be drawn (${error.message}); its data are in the table below.`;
  });
}

// Charts ----------------------------------------------------------------------------------------------------------------

const forests = [];
for (const block of document.querySelectorAll("script[data-chart]")) {
  const place = byId(block.dataset.chart);
  const spec = JSON.parse(block.textContent);
  if (place.id.startsWith("chart-forest-")) forests.push({ place, spec, figure: place.closest("figure") });
  else draw(place, spec);
}

function show(claim) {
  const details = byId(`claim-${claim}`);
  if (details === null) return;
  details.open = true;
  details.scrollIntoView({ block: "start" });
  details.querySelector("summary").focus({ preventScroll: true });
}

const MARGIN = 12; // beside a narrow plot, for the ends of its axis
/** The pixels that a figure has. */
const room = () => document.querySelector("#evidence").clientWidth;

/** Draw the rows of a forest whose claims are shown, on consecutive lines, under headings where groups stay together. */
function drawForest({ place, spec, figure }, shown, order) {
  const long = room() > 560; // whole labels above their rows, too
  const own = spec.datasets.rows.filter((row) => shown.has(row.claim));
  const rows = own.map((row) => ({ ...row, short: long ? row.label : row.short }));
  figure.hidden = figure.previousElementSibling.hidden = rows.length === 0;
  if (rows.length === 0) return undefined;
  if (order) rows.sort((one, other) => order(one, other));
  const headings = [];
  rows.forEach((row, index) => {
    if (!order && (headings.length === 0 || headings.at(-1).heading !== row.group))
      headings.push({ heading: row.group, line: headings.length + index });
    row.line = headings.length + index;
  });
  const { below, narrow } = spec.usermeta;
  const fitting = room() < below ? { ...narrow, width: room() - 2 * MARGIN } : {};
  const filtered = { ...spec, ...fitting, datasets: { rows, headings } };
  return draw(place, filtered).then((drawn) => {
    drawn?.view.addEventListener("click", (event, item) => {
      if (item?.datum?.claim !== undefined) show(item.datum.claim);
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
const words = new Map(claims.map((details) => [details, searched(record.claims[details.dataset.claim])]));
const verdicts = Object.keys(shared.verdicts);
const orders = {
  estimate: (one, other) => (other.estimate ?? -Infinity) - (one.estimate ?? -Infinity),
  verdict: (one, other) => verdicts.indexOf(one.verdict) - verdicts.indexOf(other.verdict),
};

function filter() {
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
        words.get(claim).includes(text) &&
        ["", group.dataset.group].includes(chosen("group"));
      claim.hidden = !matches;
      here += matches;
      if (matches) shown.add(Number(claim.dataset.claim));
    }
    group.hidden = here === 0;
    const sorted = order ? [...claims].sort((one, other) => order(one.dataset, other.dataset)) : claims;
    group.querySelector(".claims").append(...sorted);
  }
  filters.querySelector("output").textContent = `${shown.size} of ${words.size} shown`;
  return Promise.all(forests.map((forest) => drawForest(forest, shown, order)));
}
let waiting;
filters.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(filter, 120);
});
filters.hidden = false;
filter();
let drawnIn = room();
addEventListener("resize", () => {
  const limits = forests.map(({ spec }) => spec.usermeta.below);
  if (limits.some((limit) => drawnIn < limit !== room() < limit)) filter();
  drawnIn = room();
});

// Claims ----------------------------------------------------------------------------------------------------------------

function fill(details) {
  const body = details.querySelector(".body");
  if (!body.hasChildNodes()) body.append(...bodyOf(record.claims[details.dataset.claim]));
}
for (const details of words.keys()) {
  details.addEventListener("toggle", () => details.open && fill(details));
}

/** A claim can be linked to by its node id, which stays the same from run to run. */
function follow() {
  const name = decodeURIComponent(location.hash.slice(1));
  const place = record.claims.findIndex(({ node_id }) => node_id === name);
  if (place >= 0) show(place);
}
addEventListener("hashchange", follow);
follow();

// Copying ---------------------------------------------------------------------------------------------------------------

function copies(button, text) {
  button.addEventListener("click", async (event) => {
    event.preventDefault();
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = element("textarea", text);
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
for (const button of document.querySelectorAll("[data-block]")) {
  button.hidden = false;
  copies(button, byId(button.dataset.block).textContent);
}

"use strict";
// A figure as SVG or PNG, a table as CSV: made here, from what the page shows; nothing leaves it.

/** Hand somebody a file. */
function save(name, ending, content, type) {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const trained = record.models.trained?.name ?? "run";
  const file = `${trained} ${name}`.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 80);
  const link = element("a", "", { href: URL.createObjectURL(blob), download: `${file}.${ending}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Tables ----------------------------------------------------------------------------------------------------------------

const SUPERSCRIPTS = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b";

/** A number as a program reads it, where the text is one; else the text, which no spreadsheet takes for a formula. */
function inert(text) {
  const powers = text.replace(/\u00d710([\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+)$/, (_, power) => `e${[...power].map((digit) => "0123456789-"[SUPERSCRIPTS.indexOf(digit)]).join("")}`);
  const number = powers.replace("\u2212", "-").replace(/(?<=\d),(?=\d{3})/g, "");
  if (/^[+-]?\d+(\.\d+)?(e-?\d+)?$/.test(number)) return number;
  return /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
}

const cellOf = (value) => {
  const text = typeof value === "string" ? inert(value) : value === null || value === undefined ? "" : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** Rows of values as CSV. */
const csv = (rows) => rows.map((row) => `${row.map(cellOf).join(",")}\n`).join("");

/** What a table shows, row by row. */
function cellsOf(made) {
  const words = (cell) => {
    const own = cell.cloneNode(true);
    for (const button of own.querySelectorAll("button")) button.remove();
    return own.textContent.replace(/\s+/g, " ").trim();
  };
  return [...made.rows].map((row) => [...row.cells].map(words));
}

/** Put a button into a table's head that saves it. */
function exportable(made, name) {
  const button = element("button", "CSV", { type: "button", class: "copy", "aria-label": `${name} as CSV` });
  button.addEventListener("click", () => save(name, "csv", csv(cellsOf(made)), "text/csv"));
  made.tHead.rows[0].lastElementChild.append(" ", button);
}

// Figures ---------------------------------------------------------------------------------------------------------------

const PAPER = "#ffffff";
const PRINTED_INK = "#24292e";

/** The chart as it is shown, as for white paper. */
async function onPaper(place) {
  const { datasets, ...spec } = drawn.get(place);
  const inked = JSON.parse(JSON.stringify(spec).replaceAll(shared.ink, PRINTED_INK));
  const shown = withParameters({ ...inked, datasets, background: PAPER, padding: 8 }, { dark: false });
  return (await vegaEmbed(document.createElement("div"), shown, options)).view;
}

/** Under a figure: a link to it, and the buttons that save it. */
function offerExports(figure, place) {
  const name = figure.dataset.title;
  const button = (ending, make) => {
    const made = element("button", ending.toUpperCase(), { type: "button", "aria-label": `${name} as ${ending.toUpperCase()}` });
    made.addEventListener("click", async () => save(name, ending, await make(await onPaper(place)), "image/svg+xml"));
    return made;
  };
  const svg = button("svg", (view) => view.toSVG());
  const png = button("png", async (view) => {
    const canvas = await view.toCanvas(2);
    return new Promise((done) => canvas.toBlob(done));
  });
  const link = figure.id ? [element("a", "link", { href: `#${figure.id}`, "aria-label": `link to ${name}` })] : [];
  place.parentElement.after(element("div", [...link, svg, png], { class: "tools" }));
}

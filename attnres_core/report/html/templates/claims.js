"use strict";
// What a claim shows once it is opened, made from the record: text is never read as HTML.

/** The text of a block that is written as base64 of its gzip. */
function unpacked(id) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

let record; // the run's, once `recordText` is there: what reads it waits for that
const recordText = unpacked("record").then((text) => {
  record = JSON.parse(text);
  return text;
});
/** What the page's own writer knows of verdicts and numbers. */
const shared = JSON.parse(document.getElementById("shared").textContent);

/** An element with text and attributes. */
function element(name, content = "", attributes = {}) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...[content].flat());
  return made;
}

const soft = (text) => element("p", text, { class: "soft" });

// Numbers: as report/numbers.py writes them, by its rules ---------------------------------------------------------------

const { dash, minus, times, infinity, within, digits, plain, unsigned_units: unsignedUnits, exact } = shared.numbers;

const powerOfTen = (exponent) =>
  `10${[...String(exponent)].map((character) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(character)]).join("")}`;

/** With so many decimals and its thousands apart; where two are as near, the even one, as Python has it. */
function decimals(value, count) {
  const digitsOf = value.toFixed(100); // all of them: no number that is written out has more
  const end = digitsOf.indexOf(".") + 1 + count;
  const below = digitsOf.slice(0, count ? end : end - 1);
  const isTie = /^50*$/.test(digitsOf.slice(end));
  const [whole, fraction] = (isTie && /[02468]$/.test(below) ? below : value.toFixed(count)).split(".");
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (fraction ? `.${fraction}` : "");
}

/** What was measured: significant digits with a true minus sign; effects carry their sign. */
function number(value, unit = "") {
  if (value === null || value === undefined) return dash;
  const sign = value < 0 ? minus : unit && !unsignedUnits.includes(unit) && value > 0 ? "+" : "";
  const size = Math.abs(value);
  if (size === 0) return "0";
  const [mantissa, exponent] = size.toExponential(digits - 1).split("e").map(Number);
  if (exponent < plain[0] || exponent > plain[1])
    return `${sign}${mantissa.toFixed(digits - 1)}${times}${powerOfTen(exponent)}`;
  return sign + decimals(size, Math.max(0, digits - 1 - exponent));
}

/** What someone chose, as they would write it. */
function given(value) {
  const size = Math.abs(value);
  const sign = value < 0 ? minus : "";
  if (size === 0 || (size >= 1e-4 && size < 1e6))
    return sign + (size < 1000 ? String(Number(size.toPrecision(6))) : decimals(size, 0));
  const [mantissa, exponent] = size.toExponential(2).split("e").map(Number);
  return `${sign}${mantissa === 1 ? "" : `${mantissa}${times}`}${powerOfTen(exponent)}`;
}

function interval(low, high, unit) {
  return `[${low === null ? `${minus}${infinity}` : number(low, unit)}, ${high === null ? `+${infinity}` : number(high, unit)}]`;
}

function threshold({ op, threshold: edge }) {
  return op === "abs<" ? `${within}${given(edge)}` : `${op} ${given(edge)}`;
}

function confidence(level) {
  const digits = level >= 1 ? 0 : Math.max(0, Math.ceil(-Math.log10(1 - level)) - 1);
  return `${(100 * level).toFixed(Math.min(digits, 6))} %`;
}

function verdictOf(word) {
  const name = shared.verdicts[word];
  const mark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#mark-${name}`);
  mark.setAttribute("class", "mark");
  mark.setAttribute("aria-hidden", "true");
  mark.append(use);
  return element("span", [mark, ` ${word}`], { class: `verdict ${name}` });
}

const isNumber = /^(?:[[+\u2212\u221e<>\d]|within)/; // (or an interval, or a threshold: none breaks across lines)
const numeric = (cell) => (typeof cell === "string" && isNumber.test(cell) ? { class: "num" } : {});

/** A table; cells are strings or nodes. */
function table(name, header, rows) {
  const aligned = header.map((_, index) => (rows.length ? numeric(rows[0][index]) : {}));
  const head = element("thead", element("tr", header.map((name, index) => element("th", name, { scope: "col", ...aligned[index] }))));
  const body = element("tbody", rows.map((row) => element("tr", row.map((cell) => element("td", cell, numeric(cell))))));
  const made = element("table", [head, body]);
  exportable(made, name);
  return element("div", made, { class: "scroll", tabindex: "0", role: "group", "aria-label": `${name}, table` });
}

/** What opens on a click, and is made then. */
function folded(title, make) {
  const details = element("details", element("summary", title));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(...[make()].flat());
  });
  return details;
}

/** A definition list of what is there: pairs without a value are left out. */
function facts(pairs) {
  const told = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element("dl", told.flatMap(([name, value]) => [element("dt", name), element("dd", value)]), { class: "numbers" });
}

/** Whether it is decided by value alone: nothing is inferred. */
const isExact = (claim) => claim.statements.length > 0 && claim.statements.every(({ exact: byValue }) => byValue);

const decisive = (claim) => claim.statements[claim.deciding];

function estimand({ estimand: given }) {
  if (!given) return [];
  const list = facts([
    [given.relations.length > 1 ? "all of" : "whether", element("code", given.relations.join("; "))],
    ...Object.entries(given.terms).map(([name, quantity]) => [name, record.estimands[quantity]?.words ?? quantity]),
  ]);
  list.classList.add("estimand");
  return [list];
}

function formulas({ estimand: given }) {
  if (!given) return [];
  const pairs = Object.entries(given.terms).map(([name, quantity]) => [name, element("code", record.estimands[quantity]?.symbols ?? quantity)]);
  return [folded("As formulas", () => facts(pairs))];
}

function under({ under: kinds }) {
  if (!kinds.length) return [];
  const rows = kinds.map(({ kind, verdict, estimate, low, high, unit }) => [element("code", kind), verdictOf(verdict), number(estimate, unit), interval(low, high, unit), unit]);
  return [table("Under each kind", ["under", "verdict", "estimate", "interval", "unit"], rows)];
}

function statements({ statements: given }) {
  if (!given.length) return [];
  const rows = given.map((s) => {
    const limits = s.exact ? exact : interval(s.low, s.high, s.unit);
    return [element("code", s.text), verdictOf(s.verdict), number(s.estimate, s.unit), limits, threshold(s), s.unit, String(s.n), number(s.p_value)];
  });
  return [table("Statements", ["statement", "verdict", "estimate", "interval", "threshold", "unit", "n", "p"], rows)];
}

/** How each statement came to its interval. */
function methods({ statements: given }) {
  if (!given.length) return [];
  const rows = given.map((s) => {
    const ways = Object.entries(s.methods ?? {}).flatMap(([name, [low, high]], index) => [...(index ? [element("br")] : []), element("span", `${name} ${interval(low, high, s.unit)}`, { class: "whole" })]);
    const level = s.exact ? `${exact}, no sampling inference` : confidence(s.confidence);
    return [element("code", s.text), level, ways, number(s.detectable), s.reason];
  });
  const header = ["statement", "confidence", "interval by each method", "detectable at 80 % power", "reason"];
  return [folded("Confidence, methods and power", () => table("Methods", header, rows))];
}

function byLayer({ by_layer: rows }) {
  if (!rows.length) return [];
  const cells = rows.map((row) => [element("code", row.quantity), row.site, number(row.mean, row.unit), interval(row.low, row.high, row.unit), row.unit]);
  const shown = () => table("Layer by layer", ["quantity", "site", "effect", "95 % t interval", "unit"], cells);
  return [folded(`Layer by layer (${rows.length} single-site drops)`, shown)];
}

/** A chart with its name, drawn when it is shown. */
function chartOf(claim, name, spec) {
  const chart = element("div", "", { class: "chart", role: "img", "aria-label": spec.description });
  const frame = element("div", chart, { class: "scroll", tabindex: "0", role: "group", "aria-label": `${name}, chart` });
  const figure = element("figure", frame, { "data-title": `${claim.title} ${name.toLowerCase()}` });
  show(figure, chart, spec);
  return figure;
}

/** The parts of an effect in logits: through which reads it acts. */
function byPath(claim) {
  const wholes = new Set((claim.by_path ?? []).map(({ whole }) => whole));
  return [...wholes].map((whole) => {
    const parts = claim.by_path.filter((part) => part.whole === whole);
    const { unit } = parts[0];
    const spec = JSON.parse(document.getElementById("path-parts").textContent);
    spec.datasets.parts = parts;
    const told = parts.map(({ label, mean }) => `${label} ${number(mean, unit)}`).join(", ");
    spec.description = `Effect in ${unit} by the reads that see it: ${told}.`;
    const rows = parts.map(({ label, mean, low, high }) => [label, number(mean, unit), interval(low, high, unit)]);
    const paths = parts.filter(({ part }) => part === "path").length;
    const rest = parts.some(({ part }) => part === "rest") ? ". The rest is its whole effect less these parts." : "";
    return folded(`By path (${paths} ${paths > 1 ? "parts" : "part"})`, () => [
      element("p", [`What acts through each of these reads alone, ${unit}, with a 95 % t interval. The ablation: `, element("code", whole), rest], { class: "soft" }),
      chartOf(claim, "By path", spec),
      table("By path", ["seen by", "effect", "95 % t interval"], rows),
    ]);
  });
}

function distribution(claim) {
  const strata = claim.by_stratum;
  if (!strata.length || !claim.statements.length) return [];
  const { op, threshold: edge, unit, verdict } = decisive(claim);
  const spec = JSON.parse(document.getElementById("distribution").textContent);
  spec.datasets.values = strata.flatMap(({ stratum, values }) => values.map((value) => ({ stratum, value })));
  spec.datasets.means = strata.map(({ stratum, n, mean }) => ({ stratum, n, mean, value: mean }));
  spec.datasets.edges = (op === "abs<" ? [-edge, edge] : [edge]).map((value) => ({ value }));
  spec.description = `Distribution of the effect over documents, in ${strata.length} strata, in ${unit}; ${verdict}.`;
  const most = strata.some(({ n, values }) => n > values.length) ? "Evenly spaced quantiles of the documents, the smallest and the largest among them," : "The documents";
  const rows = strata.map(({ stratum, n, mean, values }) => [stratum, String(n), number(mean, unit), number(values[0], unit), number(values.at(-1), unit)]);
  return [
    folded(`Over documents (${strata.length} strata)`, () => {
      const told = soft(`${most} as dots, their mean as a tick, the threshold as dashes; ${unit}.`);
      return [told, chartOf(claim, "Over documents", spec), table("Over documents", ["stratum", "documents", "mean", "smallest", "largest"], rows)];
    }),
  ];
}

/** Text of a prompt among other words: whatever direction it is written in stays its own affair. */
const own = (text) => element("bdi", text === "" ? "\u00b7" : text);

/** One prompt, each token marked by how its loss changes: `trace[i]` is that of the prediction of token i + 1. */
function example({ prompt, effect, trace }, scale, unit) {
  const { document: source, stratum, tokens } = record.examples[prompt];
  const rises = tokens.slice(1).map((token, index) => ({ token, rise: trace?.[index] ?? 0 }));
  const line = element("p", "", { class: "tokens", dir: "ltr" });
  tokens.forEach((token, index) => {
    const span = element("span", token);
    if (trace && index > 0) {
      const { rise } = rises[index - 1];
      const share = Math.min(1, Math.abs(rise) / scale);
      span.title = `${number(rise / 1000, "nats/token")} nats`;
      span.style.setProperty("--share", `${Math.round(60 * share)}%`);
      span.className = rise > 0 ? "worse" : "better";
      if (share > 0.25) span.classList.add("clearly");
    }
    line.append(element("bdi", span));
  });
  const heading = soft([`${number(effect, unit)} ${unit} \u00b7 `, own(stratum), " \u00b7 ", own(source)]);
  const block = element("div", [heading, line], { class: "example" });
  if (trace) {
    const nats = (rise) => number(rise / 1000, "nats/token");
    const changed = [...rises].sort((one, other) => Math.abs(other.rise) - Math.abs(one.rise)).slice(0, 3);
    const told = changed.flatMap(({ token, rise }, index) => [index ? ", " : "", own(JSON.stringify(token)), ` ${nats(rise)}`]);
    const rows = rises.map(({ token, rise }, index) => [String(index + 2), own(token), nats(rise)]);
    block.append(soft(["Most changed: ", ...told, " nats."]));
    block.append(folded("Token by token", () => table("Token by token", ["token", "text", "nats"], rows)));
  }
  return block;
}

function examples(claim) {
  if (!claim.examples.length) return [];
  const sizes = claim.examples.flatMap(({ trace }) => trace ?? []).map(Math.abs).sort((one, other) => one - other);
  const scale = sizes[Math.floor(0.98 * sizes.length)] || 1;
  const { unit } = decisive(claim);
  const half = Math.ceil(claim.examples.length / 2);
  const relation = claim.estimand.relations[claim.statements.indexOf(decisive(claim))];
  const alone = relation.replace(/[<>|].*$/, "").trim().length === 1 || relation.startsWith("|A|");
  const what = alone
    ? "how much worse (orange, underlined) or better (blue, dotted) it is predicted under the intervention"
    : `how far the left side of ${relation}, taken of each token's rises in loss, is above (orange, underlined) or below (blue, dotted) zero`;
  const how = sizes.length ? `Each token is marked by ${what}; hover, or open the table, for nats. ` : "";
  return [
    folded(`Prompts with the largest and the smallest values (${claim.examples.length})`, () => {
      const shown = claim.examples.map((given) => example(given, scale, unit));
      const parts = [
        element("h4", "The prompts with the largest values"),
        soft(`${how}Chosen after the fact: to look at, evidence of nothing.`),
        ...shown.slice(0, half),
        element("h4", "The prompts with the smallest values"),
        ...shown.slice(half),
      ];
      return element("div", parts, { class: "examples" });
    }),
  ];
}

/** What searches for a prompt on which the claim does not hold came to. */
function counterexamples({ counterexamples: searches }) {
  if (!searches.length) return [];
  const told = () => searches.map(({ statements, prompts, forwards, closest, unit, found, command }) => {
    const among = ` found in ${forwards.toLocaleString("en")} forwards of `;
    const claimed = [own(prompts), ", to ", element("code", statements.join(" and "))];
    const block = element("div", "", { class: "example" });
    if (found) {
      const line = found.tokens.map((token) => element("bdi", token));
      const which = statements.length > 1 ? ["; for ", element("code", found.statement)] : [];
      const sign = found.wrong_sign ? ", the wrong sign" : "";
      block.append(
        element("p", [`Smallest counterexample${among}`, ...claimed, ":"]),
        element("p", line, { class: "tokens found", dir: "ltr" }),
        element("p", [`There it is ${number(found.value, unit)} ${unit}${sign}`, ...which, `. Token ids: ${found.token_ids.join(", ")}.`]),
      );
    } else {
      block.append(element("p", [`No counterexample${among}`, ...claimed, `; the closest was ${number(-closest)} ${unit} away from one.`]));
    }
    block.append(soft(["To search again: ", element("code", command)]));
    return block;
  });
  const what = "Exploratory: one prompt refutes a claim about every prompt, not one about their mean. The verdict does not rest on it.";
  const found = searches.filter((search) => search.found).length;
  return [folded(`Searched for a counterexample (${found} found)`, () => [soft(what), ...told()])];
}

/** What makes the claim: its code, what it cites, what its verdict may rest on, and where it is found again. */
function origin(claim) {
  const note = claim.registration_note ? `: ${claim.registration_note}` : "";
  const level = isExact(claim) ? "by value: exact, it holds no \u03b1" : `at \u03b1 = ${given(claim.alpha)}`;
  const code = claim.source ? [element("pre", claim.source, { "aria-label": "its code" })] : [];
  const told = facts([
    ["statement", claim.statements.length ? null : claim.statement],
    ["registration", claim.registration && `${claim.registration}${note}; decided on the ${claim.split} split ${level}`],
    ["cites", claim.cites],
    ["link", element("a", element("code", claim.node_id), { href: `#${encodeURIComponent(claim.node_id)}` })],
  ]);
  return element("div", [...code, told]);
}

function details(claim) {
  const controls = record.claims.filter(({ control }) => control);
  const held = controls.filter(({ verdict }) => verdict === "SUPPORTED").length;
  const same = "the same tensor there";
  return [folded("Details", () => facts([
    ["contradicts", claim.contradicts.join(", ")],
    ["p-values", claim.p_value === null || isExact(claim) ? null : `${number(claim.p_value)}; over the registered set: Holm ${number(claim.p_holm)}, Benjamini-Yekutieli ${number(claim.p_by)}, max-T ${number(claim.p_max_t)}`],
    ["expected", claim.expected && `${claim.expected.verdict}${claim.expected.reason ? `: ${claim.expected.reason}` : ""}`],
    ["prompts needed to decide", claim.needed_prompts?.toLocaleString("en")],
    ["documents", claim.documents && `${claim.documents}, with ${claim.prompts} prompts${claim.prompt_set ? ` of ${claim.prompt_set}` : ""}; the document is the unit of resampling`],
    ["mass kept", claim.kept_mass === null || claim.kept_mass === undefined ? null : `${number(claim.kept_mass)} on average before renormalising, at a token ${number(claim.kept_mass_min)} at least (of the ablation that takes most)`],
    ["reads beyond clean ones", claim.beyond === null || claim.beyond === undefined ? null : `${Math.round(100 * claim.beyond)} % (of the ablation that goes farthest): so many lie farther from the clean reads of other prompts than 99 % of clean reads do. The verdict does not depend on it.`],
    ["controls of this run", controls.length ? `${held} of ${controls.length} held` : "none"],
    ["sites touched", claim.sites_touched.length ? element("code", claim.sites_touched.join(", ")) : "none"],
    ["duplicate sources", claim.duplicates.length ? `${claim.duplicates.join(", ")}: a dropped source and a kept one are ${same}, read less but not lost` : null],
    ["structural no-ops", claim.no_ops.length ? `${claim.no_ops.join(", ")}: all sources are ${same}, so no weights change what is read` : null],
  ]))];
}

/** Everything below a claim's finding: what it says in sight, what explains it folded. */
function bodyOf(claim) {
  const folds = [formulas, methods, byPath, distribution, byLayer, examples, counterexamples, details].flatMap((part) => part(claim));
  const meaning = element("div", [...estimand(claim), origin(claim)], { class: "meaning" });
  return [meaning, ...statements(claim), ...under(claim), element("div", folds, { class: "folds" })];
}

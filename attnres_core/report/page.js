"use strict";
for (const block of document.querySelectorAll("script[data-chart]")) {
  const place = document.getElementById(block.dataset.chart);
  const options = {
    mode: "vega-lite",
    renderer: "svg",
    ast: true, // expressions are interpreted: the page's policy forbids eval
    actions: false,
    tooltip: { disableDefaultStyle: true },
  };
  vegaEmbed(place, JSON.parse(block.textContent), options).catch((error) => {
    place.textContent = `This chart could not be drawn (${error.message}); its data are in the table below.`;
  });
}
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details.claim:not([open])")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});

const filters = document.querySelector(".filters");
const families = [...document.querySelectorAll(".family")];
const written = new Map(families.map((family) => [family, [...family.querySelectorAll("details.claim")]]));
const verdicts = [...filters.querySelectorAll("[name=verdict]")].map((box) => box.value);
const orders = {
  "": () => 0,
  estimate: (one, other) => (other.dataset.estimate ?? -Infinity) - (one.dataset.estimate ?? -Infinity),
  verdict: (one, other) => verdicts.indexOf(one.dataset.verdict) - verdicts.indexOf(other.dataset.verdict),
};
function filter() {
  const chosen = (name) => filters.querySelector(`[name=${name}]`).value;
  const text = chosen("text").trim().toLowerCase();
  const wanted = [...filters.querySelectorAll("[name=verdict]:checked")].map((box) => box.value);
  let shown = 0;
  let all = 0;
  for (const [family, claims] of written) {
    let here = 0;
    for (const claim of claims) {
      const matches =
        wanted.includes(claim.dataset.verdict) &&
        claim.textContent.toLowerCase().includes(text) &&
        ["", family.dataset.family].includes(chosen("family"));
      claim.hidden = !matches;
      here += matches;
    }
    family.hidden = here === 0;
    family.querySelector(".claims").append(...[...claims].sort(orders[chosen("order")]));
    shown += here;
    all += claims.length;
  }
  filters.querySelector("output").textContent = `${shown} of ${all} shown`;
}
filters.addEventListener("input", filter);
filters.hidden = false;
filter();

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

// Quantizers side by side: recall by code length as curves, and the table.

import { count, formatNumber, make, makeSvg } from "./elements.js";

const WIDTH = 420;
const HEIGHT = 260;
const MARGIN = { left: 48, right: 16, top: 16, bottom: 40 };
const NAMES = { hamming: "Hamming", asymmetric: "asymmetric", rerank: "re-ranked" };

const percent = (value) => (value === null || value === undefined ? "not measured" : `${(100 * value).toFixed(1)} %`);

function drawChart(title, bits, curves, k) {
  const values = curves.flatMap(({ recall }) => recall).filter((value) => value !== null);
  const low = Math.max(0, Math.floor(10 * Math.min(...values) - 0.2) / 10);
  const high = Math.min(1, Math.ceil(10 * Math.max(...values)) / 10);
  const xOf = (i) => MARGIN.left + (bits.length === 1 ? 0.5 : i / (bits.length - 1)) * (WIDTH - MARGIN.left - MARGIN.right);
  const yOf = (value) => MARGIN.top + ((high - value) / (high - low || 1)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const label = `${title}: recall at ${k} by code length. ` + curves
    .map(({ quantizer, recall }) => `${quantizer}: ${bits.map((n, i) => `${n} bits ${percent(recall[i])}`).join(", ")}`)
    .join(". ");
  const chart = makeSvg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  const text = (content, x, y, anchor) => {
    const element = makeSvg("text", { x, y, "text-anchor": anchor });
    element.textContent = content;
    chart.append(element);
  };
  const steps = Math.max(1, Math.round(10 * (high - low)));
  for (let step = 0; step <= steps; step++) {
    const value = low + (step / steps) * (high - low);
    chart.append(makeSvg("line", { class: "axis", x1: MARGIN.left, x2: WIDTH - MARGIN.right, y1: yOf(value), y2: yOf(value) }));
    text(`${Math.round(100 * value)} %`, MARGIN.left - 8, yOf(value) + 4, "end");
  }
  bits.forEach((n, i) => text(String(n), xOf(i), HEIGHT - MARGIN.bottom + 18, "middle"));
  text("bits of a code", (MARGIN.left + WIDTH - MARGIN.right) / 2, HEIGHT - 4, "middle");
  curves.forEach(({ recall }, position) => {
    const number = seriesOf(curves, position);
    const points = recall.map((value, i) => [xOf(i), value]).filter(([, value]) => value !== null);
    const path = points.map(([x, value], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${yOf(value).toFixed(1)}`).join("");
    chart.append(makeSvg("path", { class: `curve series-${number}`, d: path, "stroke-dasharray": DASHES[number % 4] }));
    for (const [x, value] of points) {
      chart.append(makeSvg("circle", { class: `series-${number}`, cx: x, cy: yOf(value), r: 3.5, fill: "currentColor" }));
    }
  });
  return chart;
}

/** Return the number of a curve's color: the last quantizer is that of h2q, and has the first color. */
const seriesOf = (curves, position) => curves.length - 1 - position;

const DASHES = ["none", "7 4", "2 4", "9 3 2 3"];

function drawKeys(curves) {
  return make("ul", { className: "keys small" }, ...curves.map(({ quantizer }, position) => {
    const number = seriesOf(curves, position);
    const line = makeSvg("line", { x1: 0, x2: 32, y1: 7, y2: 7, class: `series-${number}`, "stroke-dasharray": DASHES[number % 4] });
    return make("li", {}, makeSvg("svg", { viewBox: "0 0 32 14", "aria-hidden": "true" }, line), quantizer);
  }));
}

function drawTable({ columns, rows, caption, note }) {
  const head = make("tr", {}, ...columns.map((name) => make("th", { scope: "col" }, name)));
  const body = rows.map((row) => make("tr", {}, ...row.map((cell, i) => (i ? make("td", {}, cell) : make("th", { scope: "row" }, cell)))));
  return make("div", { className: "panel" },
    make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": caption },
      make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body))),
    make("p", { className: "quiet small" }, note));
}

/** Draw the comparison. */
export function drawComparison({ bits, curves, table, k, items, queries }) {
  const scorings = [...new Set(curves.map(({ scoring }) => scoring))];
  const panels = scorings.map((scoring) => {
    const drawn = curves.filter((curve) => curve.scoring === scoring);
    const title = `${NAMES[scoring] ?? scoring} scoring`;
    return make("section", { className: "panel" }, make("h2", {}, title), drawChart(title, bits, drawn, k), drawKeys(drawn));
  });
  return make("div", {},
    make("p", { className: "lead" },
      `How many of the ${k} true nearest neighbors each kind of code finds, on a sample of this index: `
      + `${count(queries, "query").replace("querys", "queries")}, ${formatNumber(items)} items.`),
    make("div", { className: "columns" }, ...panels), drawTable(table));
}

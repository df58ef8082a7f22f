// Plain signs beside the learned rotation: the neighbors that each finds for one query.

import { drawCode, fromHex } from "./codes.js";
import { count, make } from "./elements.js";
import { face, shortName } from "./items.js";

function column(source, info, title, text, answer, other, exact, onPress) {
  const shared = new Set(other.results.map(({ id }) => id));
  const query = answer.query_code === null ? null : fromHex(answer.query_code);
  const rows = answer.results.map(({ id, bits, code }) => {
    const isExact = exact?.has(String(id));
    const marks = [isExact ? "true neighbor" : null, shared.has(id) ? "in both" : "only here"];
    const button = make(
      "button",
      { type: "button", className: "line", title: String(id) },
      face(source, info, id),
      make("span", { className: "grow" },
        make("span", { className: "name" }, shortName(id)),
        make("span", { className: "marks small" },
          ...marks.filter(Boolean).map((mark) => make("span", { className: `mark ${mark.replaceAll(" ", "-")}` }, mark)))),
      make("span", { className: "pattern" },
        drawCode(fromHex(code), answer.n_bits, query),
        make("span", { className: "distance small" }, `${bits} bits`)),
    );
    button.addEventListener("click", () => onPress(id));
    return make("li", {}, button);
  });
  return make("section", { className: "column" },
    make("h2", {}, title), make("p", { className: "quiet" }, text),
    query === null ? null : drawCode(query, answer.n_bits),
    make("ol", { className: "lines" }, ...rows));
}

/** Draw the two rankings. */
export function drawWhy(source, info, { sign, learned, exact }, onPress) {
  const inBoth = learned.results.filter(({ id }) => sign.results.some((result) => result.id === id)).length;
  const truth = exact ? new Set(exact.map(String)) : null;
  const hits = (answer) => answer.results.filter(({ id }) => truth.has(String(id))).length;
  let summary = `${inBoth} of ${count(learned.results.length, "result")} are the same.`;
  if (truth) {
    summary += ` Of the ${truth.size} nearest by the full embeddings, plain signs find ${hits(sign)}, the learned `
      + `rotation ${hits(learned)}.`;
  }
  return make("div", {},
    make("p", { className: "lead" }, summary),
    make("div", { className: "columns" },
      column(source, info, "Plain signs",
        "The sign of each principal component is a bit. Components near zero flip at the least change.",
        sign, learned, truth, onPress),
      column(source, info, "Learned rotation",
        "The components are rotated first, so that few lie near zero: bits hold, and neighbors stay near.",
        learned, sign, truth, onPress)));
}

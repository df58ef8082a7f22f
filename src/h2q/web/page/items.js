// Items as people see them: cards with a thumbnail or a text, the code, and the distance.

import { drawCode, fromHex } from "./codes.js";
import { formatDistance, make } from "./elements.js";

/** Return what shows an item: its thumbnail, or its text, or its id. */
export function face(source, info, id) {
  if (info.kind === "pictures") {
    const image = make("img", { src: source.thumbnail(id), alt: "", loading: "lazy", decoding: "async" });
    const frame = make("span", { className: "face" }, image);
    image.addEventListener("error", () => frame.replaceChildren(make("span", { className: "quiet" }, "no preview")));
    return frame;
  }
  const text = make("span", { className: "text" }, String(id));
  if (info.kind === "texts") {
    source.text(id).then(
      (found) => { text.textContent = found; },
      () => {},
    );
  }
  return text;
}

/** Return an id without its folders. */
export const shortName = (id) => String(id).split("/").pop();

function describeMetadata(metadata, columns) {
  return columns
    .filter(({ name }) => metadata[name] !== null && metadata[name] !== undefined)
    .map(({ name, type }) => `${name} ${/^timestamp/.test(type) ? String(metadata[name]).slice(0, 10) : metadata[name]}`)
    .join(" · ");
}

/** Return a card of a result; pressing it searches from the item. */
export function card(source, info, result, answer, columns, onPress) {
  const { id, distance, code, metadata } = result;
  const far = formatDistance(distance, answer.scoring);
  const query = answer.query_code === null ? null : fromHex(answer.query_code);
  const details = describeMetadata(metadata ?? {}, columns);
  const button = make(
    "button",
    { type: "button", className: "card", title: String(id) },
    face(source, info, id),
    make("span", { className: "caption" },
      make("span", { className: "name" }, shortName(id)),
      answer.isBrowsing ? null : make("span", { className: "distance" }, far)),
    drawCode(fromHex(code), answer.n_bits, answer.isBrowsing ? null : query),
    details ? make("span", { className: "details quiet small" }, details) : null,
  );
  button.addEventListener("click", () => onPress(id));
  return make("li", {}, button);
}

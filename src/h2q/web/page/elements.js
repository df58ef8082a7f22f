// Elements of the page. Texts are only ever set as text: what ids and metadata hold never runs.

/** Return the element with an id. */
export const byId = (id) => document.getElementById(id);

/** Make an element with properties, attributes (`aria-...`, `role`, `data-...`) and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.includes("-") || name === "role" || name === "scope") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** Make an SVG element with attributes and children. */
export function makeSvg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Return a number as people read it. */
export const formatNumber = (value) => value.toLocaleString("en-US");

/** Return seconds as people read them. */
export function formatSeconds(seconds) {
  if (seconds >= 1) return `${seconds.toFixed(1)} s`;
  const milliseconds = 1000 * seconds;
  return `${milliseconds >= 10 ? milliseconds.toFixed(0) : milliseconds.toFixed(1)} ms`;
}

/** Return a distance as people read it: bits of codes, or an estimate. */
export const formatDistance = (distance, scoring) =>
  scoring === "hamming" ? `${distance} ${distance === 1 ? "bit" : "bits"}` : distance.toFixed(3);

/** Return "1 picture", "2 pictures". */
export const count = (n, noun) => `${formatNumber(n)} ${noun}${n === 1 ? "" : "s"}`;

// Packed binary codes: reading, counting bits, the exact nearest neighbors, and their drawing.

import { makeSvg } from "./elements.js";

/** Return the bytes of a code in hexadecimal. */
export function fromHex(hex) {
  const bytes = new Uint8Array(hex.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

/** Return a code in hexadecimal. */
export const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Return a code of random bits; the padding bits behind the last are 0. */
export function randomCode(nBits) {
  const bytes = crypto.getRandomValues(new Uint8Array(Math.ceil(nBits / 8)));
  if (nBits % 8) bytes[bytes.length - 1] &= 0xff << (8 - (nBits % 8));
  return bytes;
}

/** Return codes, packed most significant bit first, of the signs of projected embeddings. */
export function packSigns(projected) {
  const bytes = new Uint8Array(Math.ceil(projected.length / 8));
  projected.forEach((value, i) => {
    if (value > 0) bytes[i >> 3] |= 0x80 >> (i & 7);
  });
  return bytes;
}

function popcount32(word) {
  word -= (word >>> 1) & 0x55555555;
  word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
  return Math.imul((word + (word >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/** Codes of many items as 32-bit words, which are compared a word at a time. */
export class Codes {
  /** @param {Uint8Array} bytes codes one after another  @param {number} nBits bits of each */
  constructor(bytes, nBits) {
    this.nBits = nBits;
    this.width = Math.ceil(nBits / 8);
    this.length = bytes.length / this.width;
    this.bytes = bytes;
    this.nWords = Math.ceil(this.width / 4);
    const padded = this.width === 4 * this.nWords ? bytes.slice() : this.#pad(bytes);
    this.words = new Uint32Array(padded.buffer);
  }

  #pad(bytes) {
    const padded = new Uint8Array(4 * this.nWords * this.length);
    for (let row = 0; row < this.length; row++) {
      padded.set(bytes.subarray(row * this.width, (row + 1) * this.width), 4 * this.nWords * row);
    }
    return padded;
  }

  /** Return the code of a row. */
  code(row) {
    return this.bytes.subarray(row * this.width, (row + 1) * this.width);
  }

  /** Return the distance of a code to every row by the first bits, as a Uint16Array. */
  distances(code, nBits = this.nBits) {
    const padded = new Uint8Array(4 * this.nWords);
    padded.set(code);
    const query = new Uint32Array(padded.buffer);
    const mask = new Uint8Array(4 * this.nWords);
    for (let bit = 0; bit < nBits; bit++) mask[bit >> 3] |= 0x80 >> (bit & 7);
    const masks = new Uint32Array(mask.buffer);
    const nWords = Math.ceil(nBits / 32);
    const { words } = this;
    const result = new Uint16Array(this.length);
    for (let row = 0, start = 0; row < this.length; row++, start += this.nWords) {
      let distance = 0;
      for (let i = 0; i < nWords; i++) distance += popcount32((words[start + i] ^ query[i]) & masks[i]);
      result[row] = distance;
    }
    return result;
  }

  /**
   * Return the k nearest rows, nearest first; ties go to the lower row, as in h2q.
   * @param {Uint8Array | null} kept 1 for each row that counts; null: all do
   */
  nearest(code, k, { nBits = this.nBits, kept = null } = {}) {
    const distances = this.distances(code, nBits);
    const counts = new Uint32Array(nBits + 2);
    for (let row = 0; row < this.length; row++) {
      if (kept === null || kept[row]) counts[distances[row] + 1]++;
    }
    for (let distance = 1; distance < counts.length; distance++) counts[distance] += counts[distance - 1];
    const n = Math.min(k, counts[nBits + 1]);
    const rows = new Array(n);
    for (let row = 0; row < this.length; row++) {
      if (kept !== null && !kept[row]) continue;
      const place = counts[distances[row]]++; // a counting sort, stable in the row
      if (place < n) rows[place] = row;
    }
    return rows.map((row) => ({ row, distance: distances[row] }));
  }
}

const CELL = 5;

/**
 * Draw the first bits of a code as squares, row by row: filled for 1, pale for 0. Where it differs from another code the
 * square is larger and of the second color.
 * @param {Uint8Array | null} other
 */
export function drawCode(code, nBits, other = null) {
  const columns = nBits <= 64 ? 16 : 32;
  const paths = { zero: "", one: "", "differs zero": "", "differs one": "" };
  let differing = 0;
  for (let bit = 0; bit < nBits; bit++) {
    const one = (code[bit >> 3] >> (7 - (bit & 7))) & 1;
    const differs = other !== null && ((other[bit >> 3] >> (7 - (bit & 7))) & 1) !== one;
    const [inset, side] = differs ? [0.25, 4.5] : [1, 3];
    const x = (bit % columns) * CELL + inset;
    const y = Math.floor(bit / columns) * CELL + inset;
    paths[(differs ? "differs " : "") + (one ? "one" : "zero")] += `M${x} ${y}h${side}v${side}h-${side}z`;
    differing += differs;
  }
  const label = other === null ? `Code of ${nBits} bits` : `${differing} of ${nBits} bits differ`;
  const drawing = makeSvg("svg", {
    class: "code",
    viewBox: `0 0 ${columns * CELL} ${Math.ceil(nBits / columns) * CELL}`,
    role: "img",
    "aria-label": label,
  });
  for (const [name, path] of Object.entries(paths)) {
    if (path) drawing.append(makeSvg("path", { class: name, d: path }));
  }
  return drawing;
}

// The index as static files: searched in the browser, with no server. Its methods are those of Server in server.js.

import { Codes, fromHex, toHex } from "./codes.js";
import { keptRows } from "./filter.js";
import { Model } from "./model.js";

async function load(path, kind) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path} is missing: export the site again with h2q export-site`);
  return response[kind]();
}

/** A site that h2q export-site wrote. */
export class Site {
  #info;
  #codes;
  #signs;
  #items;
  #rows;
  #model;

  async info() {
    const [info, bytes, items] = await Promise.all([
      load("data/info.json", "json"),
      load("data/codes.bin", "arrayBuffer"),
      load("data/items.json", "json"),
    ]);
    this.#info = info;
    this.#codes = new Codes(new Uint8Array(bytes), info.n_bits);
    this.#items = items;
    this.#rows = new Map(items.ids.map((id, row) => [String(id), row]));
    if (info.model) {
      this.#model = new Model(info.model, info.n_bits);
      globalThis.requestIdleCallback?.(() => this.#model.load().catch(() => {})); // Safari has no such function
    }
    return info;
  }

  async search(query, options) {
    const { codes, embed } = await this.#encode(query);
    return this.#answer(this.#codes, codes.code, embed, options);
  }

  /** Search by the code that the rotation learned, and by plain signs. */
  async why(query, options) {
    this.#signs ??= new Codes(new Uint8Array(await load("data/signs.bin", "arrayBuffer")), this.#info.n_bits);
    const { codes, embed } = await this.#encode(query);
    return {
      sign: this.#answer(this.#signs, codes.sign, embed, options),
      learned: this.#answer(this.#codes, codes.code, embed, options),
    };
  }

  async #encode({ image, id, code }) {
    const began = performance.now();
    if (code !== undefined) return { codes: { code: fromHex(code), sign: fromHex(code) }, embed: 0 };
    if (image !== undefined) {
      const codes = await this.#model.encode(image);
      return { codes, embed: (performance.now() - began) / 1000 };
    }
    const row = this.#rows.get(String(id));
    if (row === undefined) throw new Error(`There is no item ${id}`);
    return { codes: { code: this.#codes.code(row), sign: this.#signs?.code(row) }, embed: 0 };
  }

  #answer(codes, code, embed, { k, nBits, where }) {
    const began = performance.now();
    const bits = nBits ?? codes.nBits;
    const kept = where === null ? null : keptRows(where, this.#info.columns, this.#items.metadata, codes.length);
    const nearest = codes.nearest(code, k, { nBits: bits, kept });
    const results = nearest.map(({ row, distance }) => ({
      id: this.#items.ids[row],
      distance,
      bits: distance,
      code: toHex(codes.code(row)),
      metadata: Object.fromEntries(this.#info.columns.map(({ name }) => [name, this.#items.metadata[name][row]])),
    }));
    const seconds = { embed, search: (performance.now() - began) / 1000 };
    return { query_code: toHex(code), n_bits: bits, scoring: "hamming", seconds, results };
  }

  comparison() {
    return load("data/comparison.json", "json");
  }

  thumbnail(id) {
    const row = this.#rows.get(String(id));
    const folder = String(Math.floor(row / 1000)).padStart(3, "0");
    return `thumbnails/${folder}/${String(row).padStart(6, "0")}.jpg`;
  }

  picture(id) {
    return this.thumbnail(id);
  }

  async text(id) {
    return this.#items.texts[this.#rows.get(String(id))];
  }
}

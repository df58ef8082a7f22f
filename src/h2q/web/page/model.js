// The network in the browser: a picture to its code, on this machine, by onnxruntime-web.

import { packSigns } from "./codes.js";
import { overWhite, resize } from "./resize.js";

/** Return the RGB pixels of an image file as they are shown on a white page: upright and opaque. */
async function decode(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Error("This file cannot be read as a picture. Try a JPEG, PNG or WebP file.");
  }
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { pixels: overWhite(context.getImageData(0, 0, width, height).data), width, height };
}

/** A folded network: signs of its first outputs are the code, of the others the code by plain signs. */
export class Model {
  #settings;
  #session;
  #runtime;

  /** @param settings file, image_size, mean and std of the model, from info.json */
  constructor(settings, nBits) {
    this.#settings = settings;
    this.nBits = nBits;
  }

  /** Load the runtime and the network, once. */
  load() {
    this.#session ??= this.#open().catch((error) => {
      this.#session = undefined; // the next picture tries again
      throw error;
    });
    return this.#session;
  }

  async #open() {
    this.#runtime = await import(new URL("onnxruntime/ort.wasm.min.mjs", document.baseURI).href);
    this.#runtime.env.wasm.wasmPaths = new URL("onnxruntime/", document.baseURI).href;
    this.#runtime.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
    const address = new URL(this.#settings.file, document.baseURI).href;
    const session = await this.#runtime.InferenceSession.create(address, { executionProviders: ["wasm"] });
    await this.#run(session, new Float32Array(3 * this.#settings.image_size ** 2)); // the first run is slow
    return session;
  }

  async #run(session, pixels) {
    const side = this.#settings.image_size;
    const images = new this.#runtime.Tensor("float32", pixels, [1, 3, side, side]);
    return (await session.run({ images })).rotated.data;
  }

  /** Return the code of a picture, and its code by plain signs. */
  async encode(file) {
    const session = await this.load();
    const { pixels, width, height } = await decode(file);
    const { image_size: side, mean, std } = this.#settings;
    const small = resize(pixels, width, height, side);
    const planes = new Float32Array(3 * side * side);
    for (let channel = 0; channel < 3; channel++) {
      const [scale, shift] = [1 / (255 * std[channel]), -mean[channel] / std[channel]];
      for (let i = 0; i < side * side; i++) planes[channel * side * side + i] = small[3 * i + channel] * scale + shift;
    }
    const outputs = await this.#run(session, planes);
    return { code: packSigns(outputs.slice(0, this.nBits)), sign: packSigns(outputs.slice(this.nBits)) };
  }
}

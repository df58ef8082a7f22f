// Pillow's bicubic resizing of 8-bit images (libImaging/Resample.c): a canvas resizes in another way, and the network would
// see other pixels than those that the index was made from. Columns come first, as in all releases before 13, which takes
// the rows of some upright pictures first: that rounds other pixels.

const PRECISION_BITS = 22; // 32 bits less 8 of a pixel and 2 of the overshoot
const SUPPORT = 2;

function bicubic(x) {
  const a = -0.5;
  x = Math.abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/** Return first pixel, number of pixels and integer weights of each output pixel along one axis. */
function weightsOf(inSize, outSize) {
  const scale = inSize / outSize;
  const filterScale = Math.max(scale, 1);
  const support = SUPPORT * filterScale;
  return Array.from({ length: outSize }, (_, out) => {
    const center = (out + 0.5) * scale;
    const first = Math.max(Math.trunc(center - support + 0.5), 0);
    const n = Math.min(Math.trunc(center + support + 0.5), inSize) - first;
    const weights = Array.from({ length: n }, (_, i) => bicubic((i + first - center + 0.5) * (1 / filterScale)));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const one = 1 << PRECISION_BITS;
    return { first, weights: weights.map((w) => Math.trunc((w / total) * one + (w / total < 0 ? -0.5 : 0.5))) };
  });
}

function clip8(value) {
  const shifted = value >> PRECISION_BITS;
  return shifted < 0 ? 0 : shifted > 255 ? 255 : shifted;
}

/** Resize the columns of RGB pixels: (height, width, 3) to (height, outWidth, 3). */
function resizeColumns(pixels, width, height, outWidth) {
  if (width === outWidth) return pixels;
  const result = new Uint8Array(3 * outWidth * height);
  const half = 1 << (PRECISION_BITS - 1);
  weightsOf(width, outWidth).forEach(({ first, weights }, x) => {
    for (let y = 0; y < height; y++) {
      let [red, green, blue] = [half, half, half];
      let from = 3 * (y * width + first);
      for (const weight of weights) {
        red += pixels[from++] * weight;
        green += pixels[from++] * weight;
        blue += pixels[from++] * weight;
      }
      const to = 3 * (y * outWidth + x);
      result[to] = clip8(red);
      result[to + 1] = clip8(green);
      result[to + 2] = clip8(blue);
    }
  });
  return result;
}

/** Resize the rows of RGB pixels: (height, width, 3) to (outHeight, width, 3). */
function resizeRows(pixels, width, height, outHeight) {
  if (height === outHeight) return pixels;
  const result = new Uint8Array(3 * width * outHeight);
  const half = 1 << (PRECISION_BITS - 1);
  weightsOf(height, outHeight).forEach(({ first, weights }, y) => {
    for (let x = 0; x < 3 * width; x++) {
      let sum = half;
      weights.forEach((weight, i) => {
        sum += pixels[3 * width * (first + i) + x] * weight;
      });
      result[3 * width * y + x] = clip8(sum);
    }
  });
  return result;
}

/** Resize RGB pixels to (side, side, 3). */
export function resize(pixels, width, height, side) {
  return resizeRows(resizeColumns(pixels, width, height, side), side, height, side);
}

/** Return RGB pixels of RGBA ones over white, as `PIL.Image.alpha_composite` rounds them. */
export function overWhite(rgba) {
  const result = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    const alpha = rgba[from + 3];
    for (let channel = 0; channel < 3; channel++) {
      if (alpha === 255) result[to++] = rgba[from + channel];
      else {
        const sum = rgba[from + channel] * alpha * 128 + 255 * (255 * 128 - alpha * 128) + (0x80 << 7);
        result[to++] = ((sum >> 8) + sum) >> 8 >> 7;
      }
    }
  }
  return result;
}

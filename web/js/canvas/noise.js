/** About what a model sees of a picture at a t0: noise in pixels, at the resolution of a latent. */

import { bringsPaint } from "./document.js";
import { isSketch, PICTURE_T0 } from "./layers.js";

export const CELL = 8; // pixels of a picture that most VAEs make one of a latent
const SPREAD = 0.5; // standard deviation of the values of a picture, which go from -1 to 1, where a latent's is 1

/**
 * Share of noise in the variance at a t0: one minus the product of 1 - beta up to there, for the betas that Stable
 * Diffusion 1 and 2 and SDXL were trained with, (a + (b - a) s)^2 from 0.00085 to 0.012, as an integral over s.
 */
export function noiseShare(t0) {
  const [a, b] = [Math.sqrt(0.00085), Math.sqrt(0.012)];
  return 1 - Math.exp((-1000 * ((a + (b - a) * t0) ** 3 - a ** 3)) / (3 * (b - a)));
}

/** The largest t0 of what is painted, as the output `t0` has it; `fallback` where there is nothing. */
export function largestT0({ layers, strokes }, fallback) {
  const shown = layers.filter((layer) => !("foreign" in layer) && !layer.hidden && !isSketch(layer));
  const ids = new Set(shown.map(({ id }) => id));
  const painted = strokes.filter((stroke) => bringsPaint(stroke) && ids.has(stroke.layer)).map(({ t0 }) => t0);
  const laid = shown.filter(({ picture }) => picture).map(({ t0 }) => t0 ?? PICTURE_T0);
  const found = [...painted, ...laid];
  return found.length ? found.reduce((most, t0) => Math.max(most, t0), 0) : fallback;
}

/** Numbers of the standard normal distribution, always the same: noise that stands still while somebody paints. */
export function normals(count) {
  let state = 1;
  const uniform = () => {
    for (const by of [13, -17, 5]) state ^= by > 0 ? state << by : state >>> -by; // xorshift (Marsaglia, 2003)
    return ((state >>> 0) + 0.5) / 2 ** 32;
  };
  const radius = () => Math.sqrt(-2 * Math.log(uniform())); // Box and Muller
  return Float32Array.from({ length: count }, () => radius() * Math.cos(2 * Math.PI * uniform()));
}

/** Adds the noise of a t0 to pixels in place: RGBA, one number of `noise` for each of red, green and blue. */
export function addNoise(pixels, noise, t0) {
  const share = noiseShare(t0);
  const [kept, added] = [Math.sqrt(1 - share), 127.5 * SPREAD * Math.sqrt(share)];
  for (let i = 0, k = 0; i < pixels.length; i += 4)
    for (let c = i; c < i + 3; c++) pixels[c] = 127.5 + kept * (pixels[c] - 127.5) + added * noise[k++];
}

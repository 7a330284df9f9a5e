/** The picture below the strokes: where it comes from, what it looks like, and which colours it has. */

import { addressOf, isLinked, outputOf } from "../common/outputs.js";

const FAR_APART = 120; // of two colours: more counts no more
const GRID = 8;
const CHANGED = 1; // mean difference of two prints, in steps of 1/16 of the grey range
const ALPHA_SIZE = 512; // longer side of the copy in which alpha is looked for
const SMALL = 2048; // longer side of the copy that is drawn unless more of it is to be seen
const LOADERS = new Set(["LoadImage", "LoadImageOutput"]);

/**
 * Address of the background: at once for a picture that a loader shows, else what Python saw in the last run.
 * @returns {string} "" if nothing is known or connected
 */
export function backgroundAddress(owner, seen) {
  if (!isLinked(owner, "background")) return "";
  const slot = owner.inputs.findIndex((input) => input.name === "background");
  const source = sourceOf(owner, slot);
  const loaded = source && LOADERS.has(source.type) ? outputOf(source)?.images?.[0] : null;
  const file = loaded ?? seen;
  return file ? addressOf(file) : "";
}

/** The node that a slot's picture comes from. */
export function sourceOf(node, slot) {
  let source = node.getInputNode?.(slot);
  for (let i = 0; i < 8 && source?.type === "Reroute"; i++) source = source.getInputNode?.(0);
  return source;
}

/**
 * A picture as nodes see it: Load Image gives its colours and drops its alpha, and what it hides with it. Decoding and
 * reducing are the browser's, beside the page: a large picture drawn as it came would stop it for a second.
 */
export class Background {
  /** @returns {Promise<Background>} */
  static async load(address, keepsAlpha = false) {
    const background = await new Background().#open(address);
    return !keepsAlpha && hasAlpha(background.small) ? background.#open(`${address}&channel=rgb`) : background;
  }

  async #open(address) {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(`${answer.status} ${address}`);
    this.file = await answer.blob();
    Object.assign(this, await sizeOf(this.file));
    const factor = Math.min(1, SMALL / Math.max(this.width, this.height));
    const size = { resizeWidth: Math.ceil(this.width * factor), resizeHeight: Math.ceil(this.height * factor) };
    this.small = asCanvas(await createImageBitmap(this.file, factor < 1 ? { ...size, resizeQuality: "high" } : {}));
    this.sharp = factor < 1 ? null : this.small;
    return this;
  }

  /** All of its pixels. */
  async whole() {
    this.sharp ??= asCanvas(await createImageBitmap(this.file));
    return this.sharp;
  }

  /** The picture to be drawn at `scale` pixels for each of its own; arrived() once there is a sharper one. */
  at(scale, arrived) {
    if (scale * this.width <= this.small.width * 1.05) return this.small;
    if (!this.sharp) this.opening ??= this.whole().then(arrived, () => {}); // else the small one has to do
    return this.sharp ?? this.small;
  }
}

/** A canvas is drawn without a copy, an ImageBitmap with one in every frame. */
function asCanvas(bitmap) {
  const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas;
}

async function sizeOf(file) {
  const picture = new Image();
  picture.src = URL.createObjectURL(file);
  await new Promise((resolve, reject) => Object.assign(picture, { onload: resolve, onerror: reject }));
  URL.revokeObjectURL(picture.src);
  return { width: picture.naturalWidth, height: picture.naturalHeight };
}

/** A few hex digits that say roughly what a picture looks like: 8 x 8 greys. */
export function printOf(picture) {
  const pixels = reduced(picture, GRID, GRID);
  let print = "";
  for (let i = 0; i < pixels.length; i += 4)
    print += Math.min(15, (0.299 * pixels[i] + 0.587 * pixels[i + 1] + 0.114 * pixels[i + 2]) >> 4).toString(16);
  return print;
}

/** Whether two prints show different pictures. */
export function looksChanged(before, now) {
  if (!before || !now || before.length !== now.length) return false;
  let sum = 0;
  for (let i = 0; i < now.length; i++) sum += Math.abs(parseInt(before[i], 16) - parseInt(now[i], 16));
  return sum / now.length > CHANGED / 2;
}

/** The most telling colours of a picture: common ones that differ from each other. */
export function paletteOf(picture, count) {
  const pixels = reduced(picture, 64, 64);
  const bins = new Map();
  for (let i = 0; i < pixels.length; i += 4) {
    const key = (pixels[i] >> 5) * 64 + (pixels[i + 1] >> 5) * 8 + (pixels[i + 2] >> 5);
    const bin = bins.get(key) ?? [0, 0, 0, 0];
    for (let c = 0; c < 3; c++) bin[c] += pixels[i + c];
    bin[3] += 1;
    bins.set(key, bin);
  }
  const open = [...bins.values()].map(([r, g, b, n]) => ({ rgb: [r / n, g / n, b / n], weight: Math.sqrt(n) }));
  const chosen = [];
  while (open.length && chosen.length < count) {
    const apart = (a, b) => Math.hypot(...a.map((value, c) => value - b[c]));
    const score = ({ rgb, weight }) =>
      weight * chosen.reduce((least, other) => Math.min(least, apart(rgb, other)), FAR_APART);
    open.sort((a, b) => score(a) - score(b));
    chosen.push(open.pop().rgb);
  }
  const luma = ([r, g, b]) => 0.299 * r + 0.587 * g + 0.114 * b;
  return chosen.sort((a, b) => luma(a) - luma(b)).map(hex);
}

function hasAlpha(picture) {
  const factor = Math.min(1, ALPHA_SIZE / Math.max(picture.width, picture.height));
  const side = (length) => Math.max(1, Math.round(length * factor));
  const pixels = reduced(picture, side(picture.width), side(picture.height));
  for (let i = 3; i < pixels.length; i += 4) if (pixels[i] < 255) return true;
  return false;
}

export function hex(rgb) {
  return `#${rgb.map((value) => Math.round(value).toString(16).padStart(2, "0")).join("")}`;
}

function reduced(picture, width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

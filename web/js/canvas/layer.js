/**
 * The pixels of a layer of strokes, kept between changes: a new stroke costs only itself.
 * What a run gets is rendered by images/strokes_render.py.
 */

import { blank, brushCover, coverSegment, fillCover } from "./coverage.js";

const STRIDE = 50; // strokes between two copies of the layer that undo can start from
const MOST_COPIES = 6;
export const SKETCH_COLOR = [255, 45, 149];

export class StrokeLayer {
  /** @param {"paint"|"sketch"} name @param {number} width @param {number} height pixels of the layer */
  constructor(name, width, height) {
    Object.assign(this, { name, width, height });
    this.canvas = Object.assign(document.createElement("canvas"), { width, height });
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.image = this.context.createImageData(width, height);
    this.done = [];
    this.copies = []; // {count, pixels}
  }

  /**
   * Brings the layer to these strokes, lengths multiplied by scaleX and scaleY.
   * @param {import("./document.js").Stroke[]} strokes
   */
  sync(strokes, scaleX, scaleY) {
    const wanted = strokes.filter((stroke) => stroke.layer === this.name);
    if (this.scale !== `${scaleX} ${scaleY}`) {
      this.scale = `${scaleX} ${scaleY}`;
      this.#restore(0);
      this.copies = [];
    }
    let same = 0;
    while (same < wanted.length && wanted[same] === this.done[same]) same++;
    if (same < this.done.length) this.#restore(same);
    let changed = null;
    for (const stroke of wanted.slice(this.done.length)) {
      const cover = coverOf(stroke, scaleX, scaleY, this.width, this.height);
      if (cover) this.#blend(cover, stroke, this.image.data);
      if (cover) changed = joined(changed, cover);
      this.done.push(stroke);
      if (this.done.length % STRIDE === 0) this.#copy();
    }
    if (changed) this.context.putImageData(this.image, 0, 0, changed.x, changed.y, changed.width, changed.height);
  }

  /** A stroke in the making. */
  begin(stroke, scaleX, scaleY) {
    const before = new Uint8ClampedArray(this.image.data);
    const cover = blank({ left: 0, top: 0, right: this.width, bottom: this.height });
    const [path, radii] = [[], []];
    const radius = (stroke.size / 2) * Math.sqrt(scaleX * scaleY);
    return {
      /** Leads the brush on to a point of the drawing. */
      add: (x, y, pressure) => {
        path.push(x * scaleX, y * scaleY);
        radii.push(radius * pressure);
        const last = radii.length - 1;
        const part = coverSegment(cover, path, radii, Math.max(0, last - 1), last, stroke.hardness);
        if (part) this.#overlay(cover, part, stroke, before);
      },
      /** Takes all of it back, before the finished stroke is drawn for good. */
      end: () => {
        this.image.data.set(before);
        this.context.putImageData(this.image, 0, 0);
      },
    };
  }

  #overlay(cover, part, stroke, before) {
    const { x: left, y: top, width, height, values } = blank(part);
    for (let row = 0; row < height; row++) {
      const start = (row + top) * this.width + left;
      values.set(cover.values.subarray(start, start + width), row * width);
      this.image.data.set(before.subarray(start * 4, (start + width) * 4), start * 4);
    }
    this.#blend({ x: left, y: top, width, height, values }, stroke, this.image.data);
    this.context.putImageData(this.image, 0, 0, left, top, width, height);
  }

  #blend(cover, stroke, pixels) {
    if (this.name === "sketch") drawLine(cover, stroke, pixels, this.width);
    else paint(cover, stroke, pixels, this.width);
  }

  #copy() {
    if (this.copies.length === MOST_COPIES) this.copies.splice(1, 1);
    this.copies.push({ count: this.done.length, pixels: new Uint8ClampedArray(this.image.data) });
  }

  #restore(count) {
    this.copies = this.copies.filter((copy) => copy.count <= count);
    const copy = this.copies.at(-1);
    if (copy) this.image.data.set(copy.pixels);
    else this.image.data.fill(0);
    this.done.length = copy?.count ?? 0;
    this.context.putImageData(this.image, 0, 0);
  }
}

/** Coverage of a stroke whose lengths are multiplied by two scales. */
function coverOf(stroke, scaleX, scaleY, width, height) {
  const paths = stroke.paths.map((path) => path.map((value, i) => value * (i % 2 ? scaleY : scaleX)));
  if (stroke.tool === "fill") return fillCover(paths, width, height);
  const radius = (stroke.size / 2) * Math.sqrt(scaleX * scaleY);
  const radii = Array.from({ length: paths[0].length / 2 }, (_, i) => radius * pressureAt(stroke, i));
  return brushCover(paths[0], radii, stroke.hardness, width, height);
}

function pressureAt(stroke, i) {
  return stroke.pressure ? Math.min(Math.max(stroke.pressure[i] / 100, 0), 1) : 1;
}

/** Lays a stroke over straight RGBA. */
function paint({ x, y, width, height, values }, { tool, color, opacity }, pixels, stride) {
  const [red, green, blue] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
  for (let row = 0; row < height; row++)
    for (let column = 0; column < width; column++) {
      const alpha = values[row * width + column] * opacity;
      if (alpha <= 0) continue;
      const at = ((row + y) * stride + column + x) * 4;
      if (alpha === 1 && tool !== "eraser") {
        pixels[at] = red;
        pixels[at + 1] = green;
        pixels[at + 2] = blue;
        pixels[at + 3] = 255;
        continue;
      }
      const below = (pixels[at + 3] / 255) * (1 - alpha);
      if (tool === "eraser") {
        pixels[at + 3] = below * 255;
        continue;
      }
      const all = alpha + below;
      pixels[at] = (red * alpha + pixels[at] * below) / all;
      pixels[at + 1] = (green * alpha + pixels[at + 1] * below) / all;
      pixels[at + 2] = (blue * alpha + pixels[at + 2] * below) / all;
      pixels[at + 3] = all * 255;
    }
}

/** A sketch line: its importance as alpha, of overlapping lines the larger one. */
function drawLine({ x, y, width, height, values }, { tool, opacity, importance }, pixels, stride) {
  for (let row = 0; row < height; row++)
    for (let column = 0; column < width; column++) {
      const covered = values[row * width + column];
      if (covered <= 0) continue;
      const at = ((row + y) * stride + column + x) * 4;
      const before = pixels[at + 3];
      [pixels[at], pixels[at + 1], pixels[at + 2]] = SKETCH_COLOR;
      pixels[at + 3] =
        tool === "eraser" ? before * (1 - covered * opacity) : Math.max(before, covered * importance * 255);
    }
}

function joined(a, b) {
  if (!a) return { x: b.x, y: b.y, width: b.width, height: b.height };
  const [x, y] = [Math.min(a.x, b.x), Math.min(a.y, b.y)];
  const width = Math.max(a.x + a.width, b.x + b.width) - x;
  return { x, y, width, height: Math.max(a.y + a.height, b.y + b.height) - y };
}

/** What strokes cover of a layer's pixels, computed once for each path and kept in little memory. */

import { brushCover, corners, fillCover } from "./coverage.js";
import { isEffect } from "./document.js";
import { grained } from "./grain.js";

const MOST_BYTES = 128 << 20;

/**
 * Coverage 0..255 row by row, without the empty ends: `rows` has three numbers for each row, the first column, the one
 * after the last, and where in `values` the first one is.
 * @typedef {{x: number, y: number, width: number, height: number, rows: Int32Array, values: Uint8Array}} Spans
 */

export class Covers {
  /** For a layer of width x height pixels that strokes are drawn on with lengths multiplied by scaleX and scaleY. */
  constructor(width, height, scaleX, scaleY, most = MOST_BYTES) {
    Object.assign(this, { width, height, scaleX, scaleY, most });
    this.bytes = 0;
    this.kept = new Map(); // by the paths, which a stroke of another colour shares
  }

  /** The pixels that a stroke may touch, or null. @returns {{left: number, top: number, right: number, bottom: number}} */
  boxOf(stroke) {
    return this.#entryOf(stroke).box;
  }

  /** Coverage of a stroke, or null if it covers nothing; where it cannot be kept, of the pixels of `part` alone. */
  of(stroke, part = null) {
    const entry = this.#entryOf(stroke);
    if (entry.spans || !entry.box) return entry.spans;
    const area = (entry.box.right - entry.box.left) * (entry.box.bottom - entry.box.top);
    // An area is at least twice what it takes in the end; what is far too large is not computed as a whole.
    if (part && this.bytes + area / 2 > this.most) return packed(this.#cover(stroke, part));
    const spans = packed(this.#cover(stroke, { left: 0, top: 0, right: this.width, bottom: this.height }));
    const bytes = spans ? spans.values.length + spans.rows.byteLength : 0;
    if (!spans) entry.box = null;
    else if (this.bytes + bytes <= this.most) {
      entry.spans = spans;
      this.bytes += bytes;
    }
    return spans;
  }

  /** The stroke is gone, or its path is. */
  forget({ paths }) {
    const entry = this.kept.get(paths);
    if (entry?.spans) this.bytes -= entry.spans.values.length + entry.spans.rows.byteLength;
    this.kept.delete(paths);
  }

  #entryOf(stroke) {
    const { paths, size, hardness, grain, pressure } = stroke;
    const known = this.kept.get(paths);
    const look = { size, hardness, grain, pressure };
    if (known && Object.entries(look).every(([name, value]) => known[name] === value)) return known;
    if (known) this.forget(stroke);
    const entry = { ...look, box: this.#box(stroke), spans: null };
    this.kept.set(paths, entry);
    return entry;
  }

  #box(stroke) {
    const [lowX, lowY, highX, highY] = corners(stroke.paths);
    const reach = (stroke.tool === "fill" ? 0 : this.diameterOf(stroke) / 2) + 1;
    const [left, top] = [Math.floor(lowX * this.scaleX - reach), Math.floor(lowY * this.scaleY - reach)];
    const [right, bottom] = [Math.ceil(highX * this.scaleX + reach), Math.ceil(highY * this.scaleY + reach)];
    const { width, height } = this;
    const box = { left: Math.max(0, left), top: Math.max(0, top) };
    Object.assign(box, { right: Math.min(width, right), bottom: Math.min(height, bottom) });
    return box.left < box.right && box.top < box.bottom ? box : null;
  }

  /** Pixels for each unit of a stroke's width. */
  get sizeScale() {
    return Math.sqrt(this.scaleX * this.scaleY);
  }

  /**
   * Diameter of a stroke's brush in pixels. Blur and smudge, which take memory for all that they could reach, are at
   * most as wide as the longer side of the picture, as in images/strokes_render.py.
   */
  diameterOf(stroke) {
    const diameter = stroke.size * this.sizeScale;
    return isEffect(stroke) ? Math.min(diameter, Math.max(this.width, this.height)) : diameter;
  }

  #cover(stroke, part) {
    const { scaleX, scaleY } = this;
    const paths = stroke.paths.map((path) => path.map((value, i) => value * (i % 2 ? scaleY : scaleX)));
    if (stroke.tool === "fill") return fillCover(paths, part);
    const cover = brushCover(paths[0], radiiOf(stroke, this.diameterOf(stroke)), stroke.hardness, part);
    return grained(cover, stroke, this);
  }
}

/** The radius of a brush at each point of a stroke's path, given its diameter at full pressure. */
export function radiiOf({ pressure, paths }, diameter) {
  const radius = diameter / 2;
  const share = (i) => (pressure ? Math.min(Math.max(pressure[i] / 100, 0), 1) : 1);
  return Array.from({ length: paths[0].length / 2 }, (_, i) => radius * share(i));
}

/** A cover, or a part of it, as spans; null if nothing is covered. @returns {Spans|null} */
export function packed(cover, part = cover) {
  if (!cover) return null;
  const { x, y, width, height } = part;
  const rows = new Int32Array(3 * height);
  let total = 0;
  for (let row = 0; row < height; row++) {
    const start = (row + y - cover.y) * cover.width - cover.x;
    let [first, last] = [x, x + width];
    while (first < last && cover.values[start + first] === 0) first++;
    while (last > first && cover.values[start + last - 1] === 0) last--;
    rows.set([first, last, total], 3 * row);
    total += last - first;
  }
  if (!total) return null;
  const values = new Uint8Array(total);
  for (let row = 0, to = 0; row < height; row++) {
    const start = (row + y - cover.y) * cover.width - cover.x;
    const last = start + rows[3 * row + 1];
    for (let at = start + rows[3 * row]; at < last; at++) values[to++] = cover.values[at] * 255 + 0.5;
  }
  return { x, y, width, height, rows, values };
}

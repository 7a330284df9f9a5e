/**
 * Smudge: a brush that drags the paint of its layer along. The same sums as images/strokes_smudge.py, which says what they
 * are, so that both agree.
 */

import { profile } from "./coverage.js";
import { radiiOf } from "./covers.js";

const SPACING = 1 / 8; // of two places of the tip, for a brush of the size 1; at least one pixel
const KEPT = 0.9; // of what the tip carries, after this distance

/** How far around it a stroke of a tip looks, given its diameter; in pixels. */
export function marginOf(diameter) {
  return 2 * Math.ceil(diameter / 2) + 1;
}

/** A tip that is led over a part of a layer. */
export class Smear {
  /**
   * @param {import("./blend.js").Piece} source with what lies within the margin, cut only at the edges of the layer
   * @param {{x, y, width, height}} box what the stroke covers
   * @param {import("./covers.js").Covers} covers
   */
  constructor(source, box, covers, stroke) {
    const diameter = covers.diameterOf(stroke);
    const margin = marginOf(diameter);
    const reach = (margin - 1) / 2;
    const spacing = Math.max(1, diameter * SPACING);
    const kept = KEPT ** (spacing / (diameter * SPACING));
    Object.assign(this, { layer: covers, hardness: stroke.hardness, reach, spacing, kept });
    Object.assign(this, { x: box.x - margin, y: box.y - margin });
    Object.assign(this, { width: box.width + 2 * margin, height: box.height + 2 * margin });
    this.values = this.#multiplied(source);
    this.carried = null;
    [this.following, this.begin] = [0, 0]; // number of the next place, and how far the path has come
    this.weights = new Float32Array(margin * margin);
    this.radius = null; // that the weights are for
  }

  /** Leads the tip on from a to b, with a radius at each, in pixels of the layer. */
  lead([ax, ay, narrow], [bx, by, wide]) {
    const { begin, spacing } = this;
    const [dx, dy] = [bx - ax, by - ay];
    const length = Math.sqrt(dx * dx + dy * dy);
    const [low, high] = this.#within([ax, ay], [dx, dy]);
    if (length && low <= high) {
      const first = Math.max(this.following, Math.ceil((begin + low * length) / spacing));
      this.following = Math.max(this.following, Math.floor((begin + high * length) / spacing) + 1);
      for (let number = first; number < this.following; number++) {
        const along = (number * spacing - begin) / length;
        this.#set(Math.floor(ax + along * dx), Math.floor(ay + along * dy), narrow + along * (wide - narrow));
      }
    }
    this.begin = begin + length;
  }

  /** Which part of a way, 0..1, the tip reaches the picture on. */
  #within(from, way) {
    const edge = this.reach;
    let [low, high] = [0, 1];
    for (const [i, side] of [this.layer.width, this.layer.height].entries()) {
      if (way[i]) {
        const [one, other] = [(-edge - from[i]) / way[i], (side + edge - from[i]) / way[i]];
        [low, high] = [Math.max(low, Math.min(one, other)), Math.min(high, Math.max(one, other))];
      } else if (from[i] < -edge || from[i] > side + edge) high = -1;
    }
    return [low, high];
  }

  /** The tip on one pixel: it takes in what lies below, and is laid over it. */
  #set(column, row, radius) {
    const { reach, values, width, kept } = this;
    const side = 2 * reach + 1;
    const begin = 4 * ((row - reach - this.y) * width + column - reach - this.x);
    const isFirst = !this.carried;
    this.carried ??= new Float32Array(4 * side * side);
    if (!isFirst && radius !== this.radius) this.#weigh(radius);
    const { carried, weights } = this;
    for (let y = 0, k = 0, i = 0; y < side; y++)
      for (let x = 0, at = begin + 4 * y * width; x < side; x++, k++)
        for (let c = 0; c < 4; c++, i++, at++) {
          const below = values[at];
          carried[i] = isFirst ? below : carried[i] + (1 - kept) * (below - carried[i]);
          if (!isFirst) values[at] = below + weights[k] * (carried[i] - below);
        }
  }

  #weigh(radius) {
    const { reach, weights, hardness } = this;
    this.radius = radius;
    for (let y = -reach, k = 0; y <= reach; y++)
      for (let x = -reach; x <= reach; x++, k++) weights[k] = profile(Math.sqrt(x * x + y * y), radius, hardness);
  }

  /** Colours multiplied by alpha, 0..255; beyond the edges of the layer, they go on as they end. */
  #multiplied(source) {
    const { x, y, width, height, layer } = this;
    const values = new Float32Array(4 * width * height);
    const inside = (at, side) => Math.min(Math.max(at, 0), side - 1);
    for (let row = 0, to = 0; row < height; row++) {
      const start = (inside(row + y, layer.height) - source.y) * source.width - source.x;
      for (let column = 0; column < width; column++, to += 4) {
        const at = 4 * (start + inside(column + x, layer.width));
        const alpha = source.data[at + 3];
        if (alpha === 0) continue;
        for (let c = 0; c < 3; c++) values[to + c] = (source.data[at + c] * alpha) / 255;
        values[to + 3] = alpha;
      }
    }
    return values;
  }
}

/** A layer after a whole stroke. @param {import("./covers.js").Covers} covers */
export function smeared(source, spans, stroke, covers) {
  const smear = new Smear(source, spans, covers, stroke);
  const radii = radiiOf(stroke, covers.diameterOf(stroke));
  const [path] = stroke.paths;
  const point = (i) => [path[2 * i] * covers.scaleX, path[2 * i + 1] * covers.scaleY, radii[i]];
  for (let i = 1; i < radii.length; i++) smear.lead(point(i - 1), point(i));
  return smear;
}

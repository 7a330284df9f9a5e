/**
 * Strokes that change what lies below them with what lies there, as blur does. What they leave is kept until a stroke
 * changes that they look at, so that tiles of a layer can be drawn again one by one.
 */

import { blurred, reachOf } from "./blur.js";
import { isEffect } from "./document.js";

const MOST_BYTES = 128 << 20;

/**
 * What a stroke leaves: straight RGBA of the pixels that it covers, one after the other as in `spans`.
 * @typedef {{spans: import("./covers.js").Spans|null, data: Uint8Array}} Left
 */

export class Effects {
  /** before(i, part): a part of the layer as it is before its stroke number i. */
  constructor(before, most = MOST_BYTES) {
    Object.assign(this, { before, most });
    this.begin([], null);
  }

  /** Nothing is kept of what was drawn before. @param {import("./covers.js").Covers} covers */
  begin(strokes, covers) {
    Object.assign(this, { strokes, covers, bytes: 0, indices: [] });
    this.isFull = false; // not all of them can be kept: a change means that the whole layer is drawn again
    this.kept = new Map(); // by the stroke
  }

  /**
   * Other strokes are wanted from number `first` on; `touched`: boxes of those that are gone.
   * @returns {Set<import("./document.js").Stroke>} what is still wanted, but is not what it was
   */
  take(strokes, boxes, { first, gone, come, touched }) {
    this.strokes = strokes;
    this.indices = strokes.flatMap((stroke, i) => (isEffect(stroke) ? [i] : []));
    const spoiled = new Set();
    for (const stroke of gone) this.#forget(stroke);
    if (!this.indices.length) return spoiled;
    for (let i = first; i < strokes.length; i++) {
      const [stroke, box] = [strokes[i], boxes[i]];
      const isNew = come.has(stroke);
      if (isNew) this.#forget(stroke); // it may have had another place
      if (!box) continue;
      if (isEffect(stroke) && !isNew) {
        const seen = this.#around(stroke, box);
        if (!touched.some((each) => overlap(each, seen))) continue;
        this.#forget(stroke);
        spoiled.add(stroke);
      } else if (!isNew) continue;
      touched.push(box);
    }
    return spoiled;
  }

  /** Makes what the first `count` strokes need, as far as it gets until then; returns whether all is there. */
  makeUpTo(count, until) {
    if (this.isFull) return true;
    for (const i of this.indices) {
      if (i >= count) break;
      if (this.kept.has(this.strokes[i])) continue;
      if (performance.now() >= until) return false;
      this.#of(i);
    }
    return true;
  }

  /** Lays stroke number i over a piece. */
  lay(piece, i) {
    press(piece, this.#of(i));
  }

  /** The same as the next stroke of a whole layer, which is right up to there. */
  layNext(whole, i) {
    const known = this.kept.get(this.strokes[i]);
    const left = known ?? this.#make(i, whole);
    if (!known && this.bytes + sizeOf(left) > this.most) this.isFull = true;
    else if (!known) this.#keep(this.strokes[i], left);
    press(whole, left);
  }

  #of(i) {
    const stroke = this.strokes[i];
    if (!this.kept.has(stroke)) this.#keep(stroke, this.#make(i));
    return this.kept.get(stroke);
  }

  /** @returns {Left} */
  #make(i, source = null) {
    const stroke = this.strokes[i];
    const spans = this.covers.of(stroke);
    if (!spans) return { spans, data: new Uint8Array() };
    const { x, y, width, height } = spans;
    const box = { left: x, top: y, right: x + width, bottom: y + height };
    return leave(source ?? this.before(i, this.#around(stroke, box)), spans, stroke, this.covers.sizeScale);
  }

  #keep(stroke, left) {
    this.kept.set(stroke, left);
    this.bytes += sizeOf(left);
    this.isFull ||= this.bytes > this.most;
  }

  #forget(stroke) {
    if (this.kept.has(stroke)) this.bytes -= sizeOf(this.kept.get(stroke));
    this.kept.delete(stroke);
  }

  /** The pixels that a stroke looks at. */
  #around(stroke, { left, top, right, bottom }) {
    const { width, height, sizeScale } = this.covers;
    const reach = reachOf(stroke, sizeScale);
    return {
      left: Math.max(0, left - reach),
      top: Math.max(0, top - reach),
      right: Math.min(width, right + reach),
      bottom: Math.min(height, bottom + reach),
    };
  }
}

/** What a stroke leaves of a piece. @returns {Left} */
export function leave(source, spans, stroke, sizeScale) {
  return { spans, data: blurred(source, spans, stroke, sizeScale) };
}

/** Puts it in place of what is there. @param {import("./blend.js").Piece} piece @param {Left} left */
export function press(piece, { spans, data }) {
  if (!spans) return;
  const bottom = Math.min(spans.y + spans.height, piece.y + piece.height);
  for (let row = Math.max(spans.y, piece.y); row < bottom; row++) {
    const at = 3 * (row - spans.y);
    const first = spans.rows[at];
    const [from, to] = [Math.max(first, piece.x), Math.min(spans.rows[at + 1], piece.x + piece.width)];
    if (from >= to) continue;
    const begin = 4 * (spans.rows[at + 2] + from - first);
    const pixels = data.subarray(begin, begin + 4 * (to - from));
    piece.data.set(pixels, 4 * ((row - piece.y) * piece.width + from - piece.x));
  }
}

function sizeOf({ data }) {
  return data.length;
}

function overlap(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

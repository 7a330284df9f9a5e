/**
 * Strokes that change what lies below them with what lies there, as blur does. What they leave is kept, so that tiles of
 * a layer can be drawn again one by one, and of a change below only the tiles count that it reaches.
 */

import { blurred, mix, reachOf } from "./blur.js";
import { isEffect } from "./document.js";
import { marginOf, smeared } from "./smudge.js";
import { areaOf, boxOfTile, joined, shared, tilesOf, widened } from "./tiles.js";

const MOST_BYTES = 128 << 20;

/**
 * What a stroke leaves: straight RGBA of the pixels that it covers, one after the other as in `spans`.
 * @typedef {{spans: import("./covers.js").Spans|null, data: Uint8Array}} Left
 */

export class Effects {
  /** before(i, part): a part of the layer as it is before its stroke number i. */
  constructor(before, most = MOST_BYTES) {
    Object.assign(this, { before, most });
    this.begin(null);
  }

  /** Nothing is kept of what was drawn before. @param {import("./covers.js").Covers} covers */
  begin(covers) {
    Object.assign(this, { covers, strokes: [], indices: [], bytes: 0 });
    this.isFull = false; // not all of them are kept: a change means that the whole layer is drawn again
    this.kept = new Map(); // what strokes leave
    this.changes = new Map(); // tiles, and the number of the stroke from which on they are not what they were
    this.at = 0; // how many of `indices` have heard of them
  }

  /** Other strokes are wanted, of which `count` are drawn, from number `first` on; the others are gone. */
  take(strokes, count, first, gone) {
    this.strokes = strokes;
    this.indices = strokes.flatMap((stroke, i) => (isEffect(stroke) ? [i] : []));
    this.at = 0;
    for (const stroke of gone) this.#forget(stroke);
    for (const i of this.indices) if (i >= count) this.#forget(strokes[i]);
    for (const [tile, from] of this.changes) if (from > first) this.changes.set(tile, first);
  }

  /** A tile is another one once stroke number `from` is drawn. */
  touch(tile, from) {
    if (this.indices.length) this.changes.set(tile, Math.min(from, this.changes.get(tile) ?? from));
  }

  /**
   * Makes again what has changed of the first `count` strokes, as far as it gets until then; touched(tile): another tile
   * has to be drawn. Returns whether nothing is left.
   */
  makeUpTo(count, until, touched) {
    if (this.isFull) return true;
    for (; this.at < this.indices.length; this.at++) {
      const i = this.indices[this.at];
      if (i >= count) break;
      if (performance.now() >= until) return false;
      if (!this.kept.has(this.strokes[i])) this.#keep(this.strokes[i], this.#make(i));
      else if (this.changes.size) this.#mend(i, touched);
    }
    this.changes.clear();
    return true;
  }

  /** Lays what stroke number i leaves over a piece, if it has been made. */
  lay(piece, i) {
    const left = this.kept.get(this.strokes[i]);
    if (left) press(piece, left);
  }

  /** Makes stroke number i as the next one of a layer; whole: the layer, if it is exactly what it is before. */
  layNext(piece, i, whole) {
    const left = this.#make(i, whole);
    if (this.bytes + left.data.length <= this.most) this.#keep(this.strokes[i], left);
    else this.isFull = true;
    press(piece, left);
  }

  /** @returns {Left} */
  #make(i, source = null) {
    const stroke = this.strokes[i];
    const spans = this.covers.of(stroke);
    if (!spans) return { spans, data: new Uint8Array() };
    const seen = widened(boxOf(spans), this.#reachOf(stroke), this.covers);
    return leave(source ?? this.before(i, seen), spans, stroke, this.covers);
  }

  /** Makes those tiles of it again that a change reaches. */
  #mend(i, touched) {
    const stroke = this.strokes[i];
    const left = this.kept.get(stroke);
    if (!left.spans) return;
    const { covers, changes } = this;
    const reach = this.#reachOf(stroke);
    const box = boxOf(left.spans);
    const stale = new Set();
    for (const tile of tilesOf(widened(box, reach, covers), covers.width)) {
      const near = changes.get(tile) <= i && shared(widened(boxOfTile(tile, covers), reach, covers), box);
      if (near) for (const each of tilesOf(isSmudge(stroke) ? box : near, covers.width)) stale.add(each);
    }
    if (!stale.size) return;
    const before = left.data.slice();
    for (const part of isSmudge(stroke) ? [box] : this.#partsOf(stale, reach)) {
      const source = this.before(i, widened(part, reach, covers));
      change(left.data, { spans: left.spans, part }, source, stroke, covers);
    }
    for (const tile of stale)
      if (differ(left, before, boxOfTile(tile, covers))) {
        this.touch(tile, i + 1);
        touched(tile);
      }
  }

  /** Tiles one by one, or the box around them if that is less to look at. */
  #partsOf(tiles, reach) {
    const parts = [...tiles].map((tile) => boxOfTile(tile, this.covers));
    const around = parts.reduce(joined, null);
    const cost = (part) => areaOf(widened(part, reach, this.covers));
    return around && parts.reduce((sum, part) => sum + cost(part), 0) > cost(around) ? [around] : parts;
  }

  #keep(stroke, left) {
    this.kept.set(stroke, left);
    this.bytes += left.data.length;
  }

  #forget(stroke) {
    if (this.kept.has(stroke)) this.bytes -= this.kept.get(stroke).data.length;
    this.kept.delete(stroke);
  }

  #reachOf(stroke) {
    return (isSmudge(stroke) ? marginOf : reachOf)(this.covers.diameterOf(stroke));
  }
}

/** What a stroke leaves of a piece; smear: the tip of a smudge, if it has been led already. @returns {Left} */
export function leave(source, spans, stroke, covers, smear = null) {
  const data = new Uint8Array(4 * spans.values.length);
  change(data, { spans, part: boxOf(spans) }, source, stroke, covers, smear);
  return { spans, data };
}

/** Writes what a stroke leaves of a part of the layer; a smudge drags through all of it. */
function change(data, { spans, part }, source, stroke, covers, smear = null) {
  if (!isSmudge(stroke)) return blurred(data, { spans, part }, source, stroke, covers.diameterOf(stroke));
  mix(data, source, spans, { ...part, ...(smear ?? smeared(source, spans, stroke, covers)) }, stroke);
}

function isSmudge({ tool }) {
  return tool === "smudge";
}

/** Puts it in place of what is there. @param {import("./blend.js").Piece} piece @param {Left} left */
export function press(piece, { spans, data }) {
  if (!spans) return;
  const { x, y, width, height } = piece;
  eachRun(spans, { left: x, top: y, right: x + width, bottom: y + height }, (row, from, to, at) =>
    piece.data.set(data.subarray(4 * at, 4 * (at + to - from)), 4 * ((row - y) * width + from - x)),
  );
}

/** Whether a stroke leaves something else than before in a box. */
function differ({ spans, data }, before, box) {
  let found = false;
  eachRun(spans, box, (_, from, to, at) => {
    for (let k = 4 * at; k < 4 * (at + to - from) && !found; k++) found = data[k] !== before[k];
  });
  return found;
}

/** The runs of pixels of spans in a box: what(row, first column, the one after the last, place of the first). */
function eachRun({ y, height, rows }, box, what) {
  const bottom = Math.min(y + height, box.bottom);
  for (let row = Math.max(y, box.top); row < bottom; row++) {
    const at = 3 * (row - y);
    const [from, to] = [Math.max(rows[at], box.left), Math.min(rows[at + 1], box.right)];
    if (from < to) what(row, from, to, rows[at + 2] + from - rows[at]);
  }
}

function boxOf({ x, y, width, height }) {
  return { left: x, top: y, right: x + width, bottom: y + height };
}

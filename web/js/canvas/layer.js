/**
 * The pixels of a layer of strokes, kept between changes: a new stroke costs only itself, a changed one only the tiles
 * that it touches. What a run gets is rendered by images/strokes_render.py.
 */

import { lay, layOver } from "./blend.js";
import { blank, coverSegment } from "./coverage.js";
import { Covers, packed } from "./covers.js";
import { isEffect } from "./document.js";
import { Effects, leave, press } from "./effects.js";
import { grained } from "./grain.js";
import { Smear } from "./smudge.js";
import { boxOfTile, joined, tilesOf } from "./tiles.js";

const FEW = 64; // new strokes up to which a change before the last one is mended in place

export class StrokeLayer {
  /** @param {string} name id of the layer @param {number} width @param {number} height pixels of the layer */
  constructor(name, width, height) {
    Object.assign(this, { name, width, height });
    this.canvas = Object.assign(document.createElement("canvas"), { width, height });
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.image = this.context.createImageData(width, height);
    this.whole = { x: 0, y: 0, width, height, data: new Uint8Array(this.image.data.buffer) };
    this.strokes = []; // what is to be seen
    this.boxes = []; // of each the pixels it may touch
    this.drawn = 0; // how many of them are, but for these tiles:
    this.dirty = new Set(); // not as they should be
    this.rough = new Set(); // right to a level or two of 255
    this.held = null; // what lies below and above the strokes that are being changed
    this.effects = new Effects((i, part) => this.#before(i, part));
    this.live = null;
    this.version = 0; // another one after every change of its pixels
  }

  /**
   * Brings the layer to these strokes, lengths multiplied by scaleX and scaleY. It stops at the time `until`, to be
   * called again. A draft is quicker where it changes the same strokes as the one before, and rounds colours differently.
   * @param {import("./document.js").Stroke[]} strokes
   * @returns {boolean} whether nothing is left to do
   */
  sync(strokes, scaleX, scaleY, { until = Infinity, draft = false } = {}) {
    if (this.live) return false;
    const wanted = strokes.filter((stroke) => stroke.layer === this.name);
    if (this.covers?.scaleX !== scaleX || this.covers.scaleY !== scaleY) this.#begin(scaleX, scaleY);
    this.#take(wanted, draft);
    this.changed = null;
    const isMade = this.#makeEffects(until, draft);
    for (const tile of isMade ? this.dirty : draft ? [...this.dirty] : [])
      if (performance.now() < until) this.#render(tile, draft, isMade);
    if (!this.dirty.size) this.#append(until);
    if (!draft && !this.dirty.size)
      for (const tile of this.rough) if (performance.now() < until) this.#render(tile, false);
    this.#put(this.changed);
    return !this.dirty.size && this.drawn === wanted.length && (draft || !this.rough.size);
  }

  /** A stroke in the making: nothing else is drawn until it ends. */
  begin(stroke, scaleX, scaleY) {
    const covers = new Covers(this.width, this.height, scaleX, scaleY); // a layer without strokes has none yet
    const before = this.whole.data.slice();
    const cover = blank({ left: 0, top: 0, right: this.width, bottom: this.height });
    const [path, radii] = [[], []];
    const radius = covers.diameterOf(stroke) / 2;
    const smear = stroke.tool === "smudge" ? new Smear(this.whole, this.whole, covers, stroke) : null;
    let [fresh, touched] = [null, null];
    this.live = {
      /** Leads the brush on to a point of the drawing. */
      add: (x, y, pressure) => {
        path.push(x * scaleX, y * scaleY);
        radii.push(radius * pressure);
        const last = radii.length - 1;
        const point = (i) => [path[2 * i], path[2 * i + 1], radii[i]];
        if (last > 0) smear?.lead(point(last - 1), point(last));
        const part = coverSegment(cover, path, radii, Math.max(0, last - 1), last, stroke.hardness);
        if (part) fresh = joined(fresh, part);
      },
      /** Brings what was added to the canvas. */
      show: () => {
        if (!fresh) return;
        this.#bringBack(before, fresh);
        const part = sized(fresh);
        const spans = packed(grained(cover, stroke, covers, part), part);
        if (spans && isEffect(stroke))
          press(this.whole, leave({ ...this.whole, data: before }, spans, stroke, covers, smear));
        else if (spans) lay(this.whole, spans, stroke, covers);
        this.#put(fresh);
        [touched, fresh] = [joined(touched, fresh), null];
      },
      /** Takes all of it back, before the finished stroke is drawn for good. */
      end: () => {
        this.live = null;
        if (touched) this.#bringBack(before, touched);
        this.#put(touched);
      },
    };
    return this.live;
  }

  #begin(scaleX, scaleY) {
    this.covers = new Covers(this.width, this.height, scaleX, scaleY);
    this.effects.begin(this.covers);
    this.whole.data.fill(0);
    this.context.putImageData(this.image, 0, 0);
    this.version += 1;
    [this.strokes, this.boxes, this.drawn, this.held] = [[], [], 0, null];
    this.dirty.clear();
    this.rough.clear();
  }

  /** Notes which tiles are not as they should be once these strokes are wanted. */
  #take(wanted, draft) {
    const isKept = (stroke, i) => i >= this.drawn || stroke === wanted[i];
    if (this.effects.isFull && !this.strokes.every(isKept)) this.#begin(this.covers.scaleX, this.covers.scaleY);
    const { strokes } = this;
    const [first, after] = common(strokes, wanted);
    const [last, end] = [strokes.length - after, wanted.length - after]; // what differs: first..last is now first..end
    if (draft) this.#hold(wanted, first, after);
    if (first === last && first === end) return;
    const boxes = wanted.map((stroke) => this.covers.boxOf(stroke));
    const [gone, come] = different(strokes.slice(first, last), wanted.slice(first, end));
    const drawn = this.drawn;
    const inPlace = drawn >= last && (draft || come.size <= FEW);
    if (first < drawn) this.drawn = inPlace ? drawn + end - last : first;
    this.effects.take(wanted, this.drawn, first, gone);
    if (first < drawn)
      this.#mark(this.boxes, (stroke, i) => (!inPlace || gone.has(stroke)) && i < drawn, strokes, first);
    if (first < drawn && inPlace) this.#mark(boxes, (stroke, i) => come.has(stroke) && i < end, wanted, first);
    const stay = new Set([...come].map(({ paths }) => paths));
    for (const stroke of gone) if (!stay.has(stroke.paths)) this.covers.forget(stroke);
    [this.strokes, this.boxes] = [wanted, boxes];
  }

  #hold(wanted, first, after) {
    const { held } = this;
    if (this.drawn < this.strokes.length) this.held = null;
    else if (!held || !isAround(held, wanted))
      this.held = heldAround(wanted.slice(0, first), wanted.slice(wanted.length - after));
  }

  #mark(boxes, counts, strokes, from) {
    for (let i = from; i < strokes.length; i++) {
      const box = boxes[i];
      if (!box || !counts(strokes[i], i)) continue;
      for (const tile of tilesOf(box, this.width)) {
        this.dirty.add(tile);
        this.effects.touch(tile, from);
      }
    }
  }

  /** What is drawn mixes what lies below it; a draft goes on without, but not for good. Returns whether all is there. */
  #makeEffects(until, draft) {
    const now = performance.now();
    return this.effects.makeUpTo(this.drawn, draft ? now + (until - now) / 2 : until, (tile) => this.dirty.add(tile));
  }

  #append(until) {
    while (this.drawn < this.strokes.length && performance.now() < until) {
      const box = this.boxes[this.drawn];
      const stroke = this.strokes[this.drawn++];
      const spans = box && this.covers.of(stroke);
      if (!spans) continue;
      if (!isEffect(stroke)) lay(this.whole, spans, stroke, this.covers);
      else this.effects.layNext(this.whole, this.drawn - 1, this.rough.size ? null : this.whole);
      this.changed = joined(this.changed, box);
    }
  }

  /** isDone: whether nothing of it changes any more. */
  #render(tile, draft, isDone = true) {
    const box = boxOfTile(tile, this);
    const piece = blankPiece(box);
    const { x, y, width, height } = piece;
    const { held } = this;
    if (draft && held && isDone) {
      if (!held.tiles.has(tile)) held.tiles.set(tile, this.#around(piece));
      const { below, above } = held.tiles.get(tile);
      piece.data.set(below.data);
      this.#layAll(piece, held.before.length, this.strokes.length - (above ? held.after.length : 0));
      if (above) layOver(piece, above, this.strokes[0]?.kind === "sketch");
      if (above) this.rough.add(tile);
      else this.rough.delete(tile);
    } else {
      this.#layAll(piece, 0, this.drawn);
      this.rough.delete(tile);
    }
    if (isDone) this.dirty.delete(tile);
    for (let row = 0; row < height; row++) {
      const pixels = piece.data.subarray(row * width * 4, (row + 1) * width * 4);
      this.whole.data.set(pixels, ((row + y) * this.width + x) * 4);
    }
    this.changed = joined(this.changed, box);
  }

  /** What lies below the strokes that are being changed, and above them, in one tile. */
  #around(piece) {
    const made = () => ({ ...piece, data: new Uint8Array(piece.data.length) });
    const below = made();
    this.#layAll(below, 0, this.held.before.length);
    if (this.held.mixes) return { below, above: null };
    const above = { ...made(), through: new Float32Array(piece.width * piece.height).fill(1) };
    this.#layAll(above, this.strokes.length - this.held.after.length, this.strokes.length);
    return { below, above };
  }

  /** A part of the layer as it is before one of its strokes. */
  #before(i, part) {
    const piece = blankPiece(part);
    this.#layAll(piece, 0, i);
    return piece;
  }

  #layAll(piece, from, to) {
    const part = { left: piece.x, top: piece.y, right: piece.x + piece.width, bottom: piece.y + piece.height };
    for (let i = from; i < to; i++) {
      const box = this.boxes[i];
      if (!box || box.left >= part.right || box.right <= part.left || box.top >= part.bottom || box.bottom <= part.top)
        continue;
      const stroke = this.strokes[i];
      if (isEffect(stroke)) this.effects.lay(piece, i);
      else this.#layPart(piece, stroke, part);
    }
  }

  #layPart(piece, stroke, part) {
    const spans = this.covers.of(stroke, part);
    if (spans) lay(piece, spans, stroke, this.covers);
  }

  #bringBack(pixels, { left, top, right, bottom }) {
    for (let row = top; row < bottom; row++) {
      const start = (row * this.width + left) * 4;
      this.whole.data.set(pixels.subarray(start, start + (right - left) * 4), start);
    }
  }

  #put(part) {
    if (!part) return;
    this.version += 1;
    const { x, y, width, height } = sized(part);
    this.context.putImageData(this.image, 0, 0, x, y, width, height);
  }
}

/** How many strokes two lists have in common at their beginnings and, beside these, at their ends. */
function common(before, now) {
  const most = Math.min(before.length, now.length);
  let first = 0;
  while (first < most && before[first] === now[first]) first++;
  let after = 0;
  while (after < most - first && before.at(-1 - after) === now.at(-1 - after)) after++;
  return [first, after];
}

/** What of two lists is not in the other one; all of both if the rest has another order. */
function different(before, now) {
  const [old, fresh] = [new Set(before), new Set(now)];
  const kept = now.filter((stroke) => old.has(stroke));
  if (!before.filter((stroke) => fresh.has(stroke)).every((stroke, i) => stroke === kept[i])) return [old, fresh];
  for (const stroke of kept) {
    old.delete(stroke);
    fresh.delete(stroke);
  }
  return [old, fresh];
}

/** What stays below and above strokes that are changed. It mixes if what is above depends on what is below. */
function heldAround(before, after) {
  return { before, after, tiles: new Map(), mixes: after.some(isEffect) };
}

function isAround({ before, after }, strokes) {
  const rest = strokes.length - after.length;
  if (rest < before.length) return false;
  return before.every((stroke, i) => stroke === strokes[i]) && after.every((stroke, i) => stroke === strokes[rest + i]);
}

function blankPiece(box) {
  const part = sized(box);
  return { ...part, data: new Uint8Array(part.width * part.height * 4) };
}

function sized({ left, top, right, bottom }) {
  return { x: left, y: top, width: right - left, height: bottom - top };
}

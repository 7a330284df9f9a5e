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

const TILE = 64;
const FEW = 64; // new strokes up to which a change before the last one is mended in place

export class StrokeLayer {
  /** @param {string} name id of the layer @param {number} width @param {number} height pixels of the layer */
  constructor(name, width, height) {
    Object.assign(this, { name, width, height });
    this.canvas = Object.assign(document.createElement("canvas"), { width, height });
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.image = this.context.createImageData(width, height);
    this.whole = { x: 0, y: 0, width, height, data: new Uint8Array(this.image.data.buffer) };
    this.columns = Math.ceil(width / TILE);
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
    const wanted = strokes.filter((stroke) => stroke.layer === this.name && isDrawn(stroke));
    if (this.covers?.scaleX !== scaleX || this.covers.scaleY !== scaleY) this.#begin(scaleX, scaleY);
    this.#take(wanted, draft);
    this.changed = null;
    if (!this.effects.makeUpTo(this.drawn, until)) return false;
    for (const tile of this.dirty) if (performance.now() < until) this.#render(tile, draft);
    if (!this.dirty.size) this.#append(until);
    if (!draft && !this.dirty.size)
      for (const tile of this.rough) if (performance.now() < until) this.#render(tile, false);
    this.#put(this.changed);
    return !this.dirty.size && this.drawn === wanted.length && (draft || !this.rough.size);
  }

  /** A stroke in the making: nothing else is drawn until it ends. */
  begin(stroke, scaleX, scaleY) {
    const scale = { scaleX, scaleY }; // a layer that nothing was drawn on yet has no covers
    const before = this.whole.data.slice();
    const cover = blank({ left: 0, top: 0, right: this.width, bottom: this.height });
    const [path, radii] = [[], []];
    const sizeScale = Math.sqrt(scaleX * scaleY);
    const radius = (stroke.size / 2) * sizeScale;
    let [fresh, touched] = [null, null];
    this.live = {
      /** Leads the brush on to a point of the drawing. */
      add: (x, y, pressure) => {
        path.push(x * scaleX, y * scaleY);
        radii.push(radius * pressure);
        const last = radii.length - 1;
        const part = coverSegment(cover, path, radii, Math.max(0, last - 1), last, stroke.hardness);
        if (part) fresh = joined(fresh, part);
      },
      /** Brings what was added to the canvas. */
      show: () => {
        if (!fresh) return;
        this.#bringBack(before, fresh);
        const part = sized(fresh);
        const spans = packed(grained(cover, stroke, scale, part), part);
        if (spans && isEffect(stroke)) press(this.whole, leave({ ...this.whole, data: before }, spans, stroke, sizeScale));
        else if (spans) lay(this.whole, spans, stroke, scale);
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
    this.effects.begin([], this.covers);
    this.whole.data.fill(0);
    this.context.putImageData(this.image, 0, 0);
    this.version += 1;
    [this.strokes, this.boxes, this.drawn, this.held] = [[], [], 0, null];
    this.dirty.clear();
    this.rough.clear();
  }

  /** Notes which tiles are not as they should be once these strokes are wanted. */
  #take(wanted, draft) {
    const isBroken = this.effects.isFull && !wanted.slice(0, this.drawn).every((stroke, i) => stroke === this.strokes[i]);
    if (isBroken) this.#begin(this.covers.scaleX, this.covers.scaleY);
    const { strokes } = this;
    const [first, after] = common(strokes, wanted);
    const [last, end] = [strokes.length - after, wanted.length - after]; // what differs: first..last is now first..end
    if (draft) this.#hold(wanted, first, after);
    if (first === last && first === end) return;
    const boxes = wanted.map((stroke) => this.covers.boxOf(stroke));
    const [gone, come] = different(strokes.slice(first, last), wanted.slice(first, end));
    const touched = this.boxes.slice(first, last).filter((box, i) => box && gone.has(strokes[first + i]));
    const spoiled = this.effects.take(wanted, boxes, { first, gone, come, touched });
    if (first < this.drawn) {
      const inPlace = this.drawn >= last && (draft || come.size <= FEW);
      this.#mark(this.boxes, (stroke, i) => (!inPlace || gone.has(stroke)) && i < this.drawn, strokes, first);
      if (inPlace) {
        this.drawn += end - last;
        const isOther = (stroke, i) => (come.has(stroke) && i < end) || (spoiled.has(stroke) && i < this.drawn);
        this.#mark(boxes, isOther, wanted, first);
      } else this.drawn = first;
    }
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
      const [right, bottom] = [Math.ceil(box.right / TILE), Math.ceil(box.bottom / TILE)];
      for (let row = Math.floor(box.top / TILE); row < bottom; row++)
        for (let column = Math.floor(box.left / TILE); column < right; column++)
          this.dirty.add(row * this.columns + column);
    }
  }

  #append(until) {
    while (this.drawn < this.strokes.length && performance.now() < until) {
      const box = this.boxes[this.drawn];
      const stroke = this.strokes[this.drawn++];
      const spans = box && this.covers.of(stroke);
      if (!spans) continue;
      if (!isEffect(stroke)) lay(this.whole, spans, stroke, this.covers);
      else if (this.rough.size) this.effects.lay(this.whole, this.drawn - 1);
      else this.effects.layNext(this.whole, this.drawn - 1);
      this.changed = joined(this.changed, box);
    }
  }

  #render(tile, draft) {
    const [x, y] = [(tile % this.columns) * TILE, Math.floor(tile / this.columns) * TILE];
    const [width, height] = [Math.min(TILE, this.width - x), Math.min(TILE, this.height - y)];
    const piece = { x, y, width, height, data: new Uint8Array(width * height * 4) };
    const { held } = this;
    if (draft && held) {
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
    this.dirty.delete(tile);
    for (let row = 0; row < height; row++) {
      const pixels = piece.data.subarray(row * width * 4, (row + 1) * width * 4);
      this.whole.data.set(pixels, ((row + y) * this.width + x) * 4);
    }
    this.changed = joined(this.changed, { left: x, top: y, right: x + width, bottom: y + height });
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
  #before(i, { left, top, right, bottom }) {
    const [width, height] = [right - left, bottom - top];
    const piece = { x: left, y: top, width, height, data: new Uint8Array(width * height * 4) };
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

/** A sketch has lines alone. */
function isDrawn(stroke) {
  return stroke.kind !== "sketch" || !isEffect(stroke);
}

function isAround({ before, after }, strokes) {
  const rest = strokes.length - after.length;
  if (rest < before.length) return false;
  return before.every((stroke, i) => stroke === strokes[i]) && after.every((stroke, i) => stroke === strokes[rest + i]);
}

/** The box around two; either may be null. */
function joined(a, b) {
  if (!a || !b) return a ?? b;
  const [left, top] = [Math.min(a.left, b.left), Math.min(a.top, b.top)];
  return { left, top, right: Math.max(a.right, b.right), bottom: Math.max(a.bottom, b.bottom) };
}

function sized({ left, top, right, bottom }) {
  return { x: left, y: top, width: right - left, height: bottom - top };
}

/**
 * How a picture is looked at: zoomed, moved, turned, mirrored. Places on the stage are pixels from its upper left, as
 * they are seen; places on the sheet are the same before the sheet was turned about the middle of the stage and mirrored.
 *
 * @typedef {{x: number, y: number}} Point
 */

import { clamp } from "../common/numbers.js";

export const LEAST_ZOOM = 0.2; // of the picture that fits the stage
export const MOST_ZOOM = 16;
const STEP = 15; // degrees of a key
const CATCH = 6; // degrees within which fingers keep to right angles

export class Sight {
  /** sizeOf(): width and height of the stage; changed(): it has to be drawn again. */
  constructor(sizeOf, changed) {
    Object.assign(this, { sizeOf, changed, zoom: 1, pan: { x: 0, y: 0 }, degrees: 0, mirrored: false });
  }

  get radians() {
    return (this.degrees * Math.PI) / 180;
  }

  /** The middle of the stage. */
  get #middle() {
    const [width, height] = this.sizeOf();
    return { x: width / 2, y: height / 2 };
  }

  /** A way on the stage as one on the sheet. @param {Point} way */
  wayOnSheet({ x, y }) {
    return turned({ x: this.mirrored ? -x : x, y }, -this.radians);
  }

  /** A place on the stage as one on the sheet. @param {Point} place */
  onSheet({ x, y }) {
    const middle = this.#middle;
    const way = this.wayOnSheet({ x: x - middle.x, y: y - middle.y });
    return { x: middle.x + way.x, y: middle.y + way.y };
  }

  /** A place on the sheet as one on the stage. @param {Point} place */
  onStage({ x, y }) {
    const middle = this.#middle;
    const way = turned({ x: x - middle.x, y: y - middle.y }, this.radians);
    return { x: middle.x + (this.mirrored ? -way.x : way.x), y: middle.y + way.y };
  }

  /** Zooms about a place on the sheet. @param {Point|null} at null for the middle */
  zoomBy(factor, at = null) {
    const [before, middle] = [this.zoom, this.#middle];
    this.zoom = clamp(before * factor, LEAST_ZOOM, MOST_ZOOM);
    const [x, y] = at ? [at.x - middle.x, at.y - middle.y] : [0, 0];
    this.pan = { x: x - ((x - this.pan.x) * this.zoom) / before, y: y - ((y - this.pan.y) * this.zoom) / before };
    this.changed();
  }

  /** Moves by a way on the sheet from where it was. */
  moveFrom(before, { x, y }) {
    this.pan = { x: before.x + x, y: before.y + y };
    this.changed();
  }

  /** Moves so far that a place on the sheet is seen, `margin` pixels or more from the rim of the stage. */
  bring(place, margin) {
    const seen = this.onStage(place);
    const [width, height] = this.sizeOf();
    const kept = (value, side) => clamp(value, Math.min(margin, side / 2), Math.max(side - margin, side / 2));
    const way = { x: kept(seen.x, width) - seen.x, y: kept(seen.y, height) - seen.y };
    if (way.x || way.y) this.moveFrom(this.pan, this.wayOnSheet(way));
  }

  /** All of the picture, upright. */
  fit() {
    Object.assign(this, { zoom: 1, pan: { x: 0, y: 0 }, degrees: 0 });
    this.changed();
  }

  /** Turns by one step, clockwise as it is seen (1) or the other way (-1). */
  turn(by) {
    this.degrees = around(Math.round(this.degrees / STEP + (this.mirrored ? -by : by)) * STEP);
    this.changed();
  }

  /** Turns left to right, which shows a painter what is crooked; the drawing stays. */
  mirror() {
    this.mirrored = !this.mirrored;
    this.changed();
  }

  /** What two fingers begin with that come down at these places on the stage. */
  held(first, second) {
    const { zoom, pan, degrees } = this;
    return { zoom, pan, degrees, start: spanOf(first, second), at: this.onSheet(middleOf(first, second)) };
  }

  /** The fingers have moved: the point of the picture that was between them stays between them. */
  follow({ zoom, pan, degrees, start, at }, first, second) {
    const now = spanOf(first, second);
    this.zoom = clamp((zoom * now.length) / Math.max(start.length, 1), LEAST_ZOOM, MOST_ZOOM);
    const turn = ((now.angle - start.angle) * 180) / Math.PI;
    this.degrees = caught(degrees + (this.mirrored ? -turn : turn));
    const middle = this.#middle;
    const to = this.onSheet(middleOf(first, second));
    const kept = (name) => to[name] - middle[name] - ((at[name] - middle[name] - pan[name]) * this.zoom) / zoom;
    this.pan = { x: kept("x"), y: kept("y") };
    this.changed();
  }
}

export function middleOf(a, b) {
  return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
}

/** How far two places are from each other, and in which direction. */
export function spanOf(a, b) {
  return { length: Math.hypot(a.x - b.x, a.y - b.y), angle: Math.atan2(b.y - a.y, b.x - a.x) };
}

function turned({ x, y }, radians) {
  const [cos, sin] = [Math.cos(radians), Math.sin(radians)];
  return { x: x * cos - y * sin, y: x * sin + y * cos };
}

/** Degrees from -180 to 180. */
function around(degrees) {
  return ((((degrees + 180) % 360) + 360) % 360) - 180;
}

function caught(degrees) {
  const right = Math.round(degrees / 90) * 90;
  return around(Math.abs(degrees - right) < CATCH ? right : degrees);
}

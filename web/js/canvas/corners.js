/** What is set point by point on a stroke canvas: an area, the path of a stroke, or a part that is cut out. */

import { corners } from "./coverage.js";
import { rounded } from "./document.js";
import { drawCorners, drawPathPreview } from "./stage.js";

const LEAST_AREA = 1; // pixels of the picture that an area is wide and high

/** What is made of the points in the end, and how they are shown until then. */
export const AREA = { add: addArea, draw: drawCorners };
export const PATH = { add: addPath, draw: drawPathPreview };
export const CUT = { add: (view, ring) => ring.length >= 6 && view.arrival.cut(ring), draw: drawCorners };

export const REACH = 9; // pixels of the stage around the first corner of an outline

export class Corners {
  /** @param {import("./view.js").StrokesView} view */
  constructor(view, kind) {
    Object.assign(this, { view, kind, points: [], steps: [] }); // x, y, ... in pixels of the picture; how many at a time
  }

  get count() {
    return this.steps.length;
  }

  /** Adds one point or a way of many. */
  add(points) {
    for (const value of points) this.points.push(value);
    this.steps.push(points.length);
  }

  /** Takes the last of these back; returns whether anything is left. */
  takeBack() {
    this.points.length -= this.steps.pop() ?? 0;
    return this.points.length > 0;
  }

  /** Whether a point there closes the outline. */
  isFirst({ x, y }, reach) {
    const [firstX, firstY] = this.points;
    return this.kind !== PATH && this.points.length >= 6 && Math.hypot(x - firstX, y - firstY) <= reach;
  }

  isLast({ x, y }, reach) {
    const [lastX, lastY] = this.points.slice(-2);
    return Math.hypot(x - lastX, y - lastY) <= reach;
  }

  draw(context, hover) {
    this.kind.draw(context, this.view, this.points, hover);
  }

  finish() {
    this.kind.add(this.view, this.points);
  }
}

/** An area inside of a ring in pixels of the picture: filled on the paint, its outline on the sketch. */
export function addArea(view, ring) {
  const [left, top, right, bottom] = corners([ring]);
  if (ring.length < 6 || Math.min(right - left, bottom - top) < LEAST_AREA) return;
  const path = inDrawing(view, ring);
  const isPaint = view.desk.kind !== "sketch";
  const paths = [isPaint ? path : [...path, path[0], path[1]]];
  view.addStroke({ ...view.brush(isPaint ? "fill" : "brush"), paths });
}

/** A stroke of the brush, the eraser, the blur or the smudge along points. */
function addPath(view, points) {
  view.addStroke({ ...view.brush(), paths: [inDrawing(view, points)] });
}

/** Pixels of the picture in units of the drawing. */
function inDrawing({ scale }, points) {
  return points.map((value, i) => rounded(value / (i % 2 ? scale.y : scale.x)));
}

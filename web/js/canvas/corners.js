/** What is set point by point on a stroke canvas: the outline of an area, or the path of a stroke. */

import { rounded } from "./document.js";
import { drawCorners } from "./stage.js";

const LEAST_AREA = 1; // pixels of the picture that an area is wide and high

export class Corners {
  /** @param {import("./view.js").StrokesView} view */
  constructor(view) {
    Object.assign(this, { view, points: [], steps: [] }); // x, y, x, y, ... in pixels of the picture; how many at a time
  }

  /** Adds one point or a way of many. */
  add(points) {
    this.points.push(...points);
    this.steps.push(points.length);
  }

  /** Takes the last of these back; returns whether anything is left. */
  takeBack() {
    this.points.length -= this.steps.pop() ?? 0;
    return this.points.length > 0;
  }

  /** Whether a click there closes the outline. */
  isFirst({ x, y }, reach) {
    const [firstX, firstY] = this.points;
    return this.points.length >= 6 && Math.hypot(x - firstX, y - firstY) <= reach;
  }

  isLast({ x, y }, reach) {
    const [lastX, lastY] = this.points.slice(-2);
    return Math.hypot(x - lastX, y - lastY) <= reach;
  }

  draw(context, hover) {
    drawCorners(context, this.view, this.points, hover);
  }

  finish() {
    addArea(this.view, this.points);
  }
}

/** An area inside of a ring in pixels of the picture: filled on the paint, its outline on the sketch. */
export function addArea(view, ring) {
  const [xs, ys] = [0, 1].map((side) => ring.filter((_, i) => i % 2 === side));
  if (ring.length < 6 || [xs, ys].some((each) => Math.max(...each) - Math.min(...each) < LEAST_AREA)) return;
  const path = ring.map((value, i) => rounded(value / (i % 2 ? view.scale.y : view.scale.x)));
  const isPaint = view.desk.kind !== "sketch";
  const paths = [isPaint ? path : [...path, path[0], path[1]]];
  view.addStroke({ ...view.brush(isPaint ? "fill" : "brush"), paths });
}

/** The tools that draw, colour and look on a stroke canvas: each makes an action of a press. */

import { hex } from "./background.js";
import { addArea } from "./corners.js";
import { rounded } from "./document.js";
import { floodArea, keptPoints, outlines, shapeRing } from "./geometry.js";
import { compositeOf } from "./stack.js";
import { drawLinePreview, drawRing, drawShapePreview, placeOf } from "./stage.js";

export const TOLERANCE = 0.35; // pixels of the picture that a simplified path may be off
const FILL_SIZE = 768; // longer side of the picture in which areas are found
const FILL_TOLERANCE = 28;
const FILL_RIM = 3; // pixels of that picture
const PATIENCE_MS = 40;
const TRACE_STEP = 2; // pixels of the stage

/** A free stroke of the brush, the eraser, the blur or the smudge. */
export function draw(pointer, event) {
  const { view } = pointer;
  const stroke = view.brush();
  view.bringLayers(performance.now() + PATIENCE_MS); // the stroke before may still be missing
  const live = view.stack.of(stroke.layer).begin(stroke, view.layerScale.x, view.layerScale.y);
  const points = []; // x, y, pressure in units of the drawing
  const usesPen = event.pointerType === "pen" && view.settings.pressure;
  const hold = 1 - view.settings.smoothing;
  let brush = null;
  let hand = null;
  const lead = (x, y, pressure) => {
    const last = points.at(-1);
    if (last && Math.hypot(x - last[0], y - last[1]) * view.sizeScale < 0.2) return;
    points.push([x, y, pressure]);
    live.add(x, y, pressure);
  };
  const follow = (each) => {
    const { x, y } = pointer.onPicture(each);
    hand = [x / view.scale.x, y / view.scale.y, usesPen ? Math.max(each.pressure, 0.02) : 1];
    brush = brush ? brush.map((value, i) => value + (hand[i] - value) * hold) : hand;
    lead(...brush);
  };
  follow(event);
  return {
    move: (next) => {
      const between = next.getCoalescedEvents?.() ?? [];
      for (const each of between.length ? between : [next]) follow(each);
    },
    end: (cancelled) => {
      lead(...hand);
      live.end();
      if (!cancelled) view.addStroke(finished(stroke, points, view.sizeScale, usesPen));
    },
  };
}

export function line(pointer, event) {
  const { view } = pointer;
  const from = pointer.onPicture(event);
  let to = from;
  return {
    move: (next) => (to = next.shiftKey ? snapped(from, pointer.onPicture(next)) : pointer.onPicture(next)),
    end: (cancelled) => {
      const path = [from, to].flatMap(({ x, y }) => [rounded(x / view.scale.x), rounded(y / view.scale.y)]);
      if (!cancelled && Math.hypot(to.x - from.x, to.y - from.y) > 1)
        view.addStroke({ ...view.brush(), paths: [path] });
    },
    guide: (context) => drawLinePreview(context, view, [from.x, from.y], [to.x, to.y]),
  };
}

/** A rectangle or an ellipse. */
export function shape(pointer, event) {
  const { view } = pointer;
  const from = pointer.onPicture(event);
  let to = from;
  const ring = () => shapeRing(view.settings.tool, [from.x, from.y], [to.x, to.y]);
  return {
    move: (next) => (to = next.shiftKey ? squared(from, pointer.onPicture(next)) : pointer.onPicture(next)),
    end: (cancelled) => !cancelled && addArea(view, ring()),
    guide: (context) => drawShapePreview(context, view, ring()),
  };
}

/** Fills what has one colour. */
export function fill(pointer, event) {
  const { view } = pointer;
  const { frame, scale } = view;
  view.bringLayers();
  const copy = compositeOf(view, FILL_SIZE);
  const { context, width, height } = copy;
  const place = pointer.pixelIn(copy, event);
  if (!place) return;
  const pixels = context.getImageData(0, 0, width, height).data;
  const rings = outlines(floodArea(pixels, width, height, ...place, FILL_TOLERANCE, FILL_RIM), width, height);
  const units = [frame.width / width / scale.x, frame.height / height / scale.y];
  const paths = rings.map((ring) => ring.map((value, i) => rounded(value * units[i % 2])));
  if (paths.length) view.addStroke({ ...view.brush("fill"), paths });
}

export function pick(pointer, event) {
  const { view } = pointer;
  view.bringLayers();
  const copy = compositeOf(view, Infinity);
  const before = view.settings.color;
  let color = null;
  const take = (each) => {
    const place = pointer.pixelIn(copy, each);
    if (!place) return;
    color = hex([...copy.context.getImageData(...place, 1, 1).data.slice(0, 3)]);
    view.change("color", color, false);
  };
  take(event);
  return {
    move: take,
    end: (cancelled) => {
      view.preview = null; // of a selected stroke, which takes the colour instead of the brush
      if (color && !cancelled) return view.change("color", color, true);
      view.settings.color = before;
      view.refresh();
    },
  };
}

/** A ring drawn freely: done(ring) with x, y, x, y, ... in pixels of the picture, or click() for a press without a way. */
export function trace(pointer, event, done, click = () => {}) {
  const { view } = pointer;
  const ring = [];
  const add = (each) => {
    const { x, y } = pointer.onPicture(each);
    const [lastX, lastY] = ring.slice(-2);
    if (!ring.length || Math.hypot(x - lastX, y - lastY) * placeOf(view).factor >= TRACE_STEP) ring.push(x, y);
  };
  add(event);
  return {
    move: add,
    end: (cancelled) => {
      if (!cancelled) (ring.length >= 6 ? done : click)(ring);
    },
    guide: (context) => drawRing(context, placeOf(view).factor, ring),
    ring,
  };
}

/** Around what is to be cut out of the background; a press ends what keys have begun. */
export function cut(pointer, event) {
  if (pointer.corners) return (pointer.close(), null);
  return trace(pointer, event, (ring) => pointer.view.arrival.cut(ring));
}

export function pan(pointer, event) {
  const { sight } = pointer.view;
  const from = pointer.onSheet(event);
  const before = sight.pan;
  return {
    move: (next) => {
      const to = pointer.onSheet(next);
      sight.moveFrom(before, { x: to.x - from.x, y: to.y - from.y });
    },
    end: () => {},
  };
}

/** A stroke with the path of a drag, with as few points as look the same. */
function finished(stroke, points, sizeScale, usesPen) {
  const wide = points.map(([x, y, pressure]) => [x, y, (pressure * stroke.size) / 2]);
  const kept = keptPoints(wide, TOLERANCE / sizeScale);
  const path = kept.flatMap((i) => [rounded(points[i][0]), rounded(points[i][1])]);
  const pressure = usesPen ? kept.map((i) => Math.round(points[i][2] * 100)) : null;
  return { ...stroke, paths: [path], pressure };
}

/** The end of a line turned to the next of 24 directions. */
function snapped(from, to) {
  const step = Math.PI / 12;
  const angle = Math.round(Math.atan2(to.y - from.y, to.x - from.x) / step) * step;
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  return { x: from.x + length * Math.cos(angle), y: from.y + length * Math.sin(angle) };
}

/** The other corner of a shape as high as it is wide. */
function squared(from, to) {
  const side = Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y));
  return { x: from.x + Math.sign(to.x - from.x) * side, y: from.y + Math.sign(to.y - from.y) * side };
}

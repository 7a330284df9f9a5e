/** Puts paper, background, strokes and cursor of a stroke canvas on its stage. */

import { SKETCH_COLOR } from "./blend.js";
import { ONE } from "./carrying.js";
import { pictureToCut } from "./cutting.js";
import { bringsPaint } from "./document.js";
import { boundsOf } from "./geometry.js";
import { handlesOf } from "./handles.js";
import { drawPlaced, frameOf } from "./placing.js";

const MARGIN = 10;
const LENS_MS = 12; // of a frame, in which the map of t0s is drawn
const MOST_OUTLINES = 200;
const MOST_POINTS = 20000; // of outlines, in a frame
const SHOWN_THROUGH = 0.7; // of what is cut, through what lies on it
const WITH_A_BRUSH = new Set(["brush", "line", "eraser", "blur", "smudge"]);
const ACCENT = "#3d8bfd";

/** Where the picture lies on the sheet: left, top and pixels of the stage per pixel of the picture. */
export function placeOf({ stage, frame, sight: { zoom, pan } }) {
  const [width, height] = [stage.clientWidth || 1, stage.clientHeight || 1];
  const fit = Math.min((width - 2 * MARGIN) / frame.width, (height - 2 * MARGIN) / frame.height);
  const factor = Math.max(fit, 1e-3) * zoom;
  return {
    left: (width - frame.width * factor) / 2 + pan.x,
    top: (height - frame.height * factor) / 2 + pan.y,
    factor,
  };
}

export function drawStage(view) {
  const { stage, frame, stack, desk, background, drawing, lens } = view;
  if (!stage.clientWidth || !stack) return;
  const sharpness = sharpnessOf(stage);
  const [width, height] = [Math.round(stage.clientWidth * sharpness), Math.round(stage.clientHeight * sharpness)];
  if (stage.width !== width || stage.height !== height) Object.assign(stage, { width, height });
  const context = (view.context ??= stage.getContext("2d"));
  const { left, top, factor } = placeOf(view);
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, width, height);
  context.translate(width / 2, height / 2);
  context.rotate(view.sight.radians);
  context.translate(-width / 2, -height / 2);
  context.transform(sharpness * factor, 0, 0, sharpness * factor, sharpness * left, sharpness * top);
  context.save();
  context.shadowColor = "rgb(0 0 0 / 45%)";
  context.shadowBlur = 10 * sharpness;
  context.fillStyle = drawing.paper;
  context.fillRect(0, 0, frame.width, frame.height);
  context.restore();
  context.save();
  context.beginPath();
  context.rect(0, 0, frame.width, frame.height);
  context.clip();
  if (background?.picture) {
    const picture = background.picture.at(factor * sharpness, () => view.draw());
    context.drawImage(picture, 0, 0, frame.width, frame.height);
  }
  context.imageSmoothingEnabled = factor * sharpness < 3;
  lens?.lay?.(context, frame, true, factor * sharpness);
  stack.drawPaint(context, drawing, frame.width, frame.height, desk.active.id);
  if (view.settings.tool === "lasso") showThrough(context, view, factor * sharpness);
  lens?.lay?.(context, frame, false, factor * sharpness);
  if (lens?.draw && !lens.draw(context, view, performance.now() + LENS_MS)) view.draw();
  if (desk.kind === "sketch" && !lens?.isAlone) {
    context.fillStyle = "rgb(255 255 255 / 60%)";
    context.fillRect(0, 0, frame.width, frame.height);
  }
  if (!lens?.isAlone) stack.drawSketch(context, drawing, frame.width, frame.height, desk.kind === "sketch");
  view.pointer.drawGuide(context);
  context.restore();
  if (!lens?.isAlone) outlineSelection(context, view, factor);
  if (desk.active.picture && !view.locked && !lens?.isAlone)
    outlineFrame(context, view, desk.active.picture, view.scale);
  drawCursor(context, view, factor);
  view.room.size.textContent = `${frame.width} \u00d7 ${frame.height}`;
  const turned = view.sight.degrees && `, ${Math.round(view.sight.degrees)}\u00b0`;
  view.room.zoom.textContent = `${Math.round(factor * 100)} %${turned || ""}`;
}

/** What is cut shows through what lies on it. */
function showThrough(context, view, scale) {
  const { frame, background, pictures } = view;
  const picture = pictureToCut(view);
  context.globalAlpha = SHOWN_THROUGH;
  if (picture) {
    const source = pictures.at(picture.file, scale * picture.scale * view.sizeScale);
    if (source) drawPlaced(context, source, picture, view.scale);
  } else if (picture === null) {
    const ground = background.picture.at(scale, () => view.draw());
    context.drawImage(ground, 0, 0, frame.width, frame.height);
  }
  context.globalAlpha = 1;
}

/** Pixels of the bitmap per pixel of the stage: what the screen shows, seen through the zoom of the graph. */
function sharpnessOf(stage) {
  const shown = (stage.getBoundingClientRect().width / stage.clientWidth) * (globalThis.devicePixelRatio || 1);
  return [0.5, 1, 1.5, 2].find((step) => step >= shown * 0.9) ?? 2;
}

function outlineSelection(context, view, factor) {
  const { strokes, frame } = view.selection;
  const { x, y } = view.scale;
  const gap = 4 / factor;
  if (frame) outlineFrame(context, view, frame, ONE);
  drawWays(context, strokes, view.scale, factor);
  drawEnds(context, view.selection.ends, factor);
  if (frame && strokes.length === 1) return;
  context.lineWidth = 1 / factor;
  for (const stroke of strokes.slice(0, MOST_OUTLINES)) {
    const [left, top, right, bottom] = boundsOf(stroke);
    dashed(context, factor, left * x - gap, top * y - gap, (right - left) * x + 2 * gap, (bottom - top) * y + 2 * gap);
  }
}

/** The middle of lines and the rim of areas: of a large stroke, the frame may be out of sight. */
function drawWays(context, strokes, scale, factor) {
  let left = MOST_POINTS;
  const way = new Path2D();
  for (const { tool, paths } of strokes)
    for (const path of paths) {
      left -= path.length / 2;
      if (left < 0) break;
      way.moveTo(path[0] * scale.x, path[1] * scale.y);
      for (let i = 2; i < path.length; i += 2) way.lineTo(path[i] * scale.x, path[i + 1] * scale.y);
      if (tool === "fill") way.closePath();
    }
  for (const [color, width] of [
    ["rgb(255 255 255 / 70%)", 3],
    [ACCENT, 1.5],
  ]) {
    context.strokeStyle = color;
    context.lineWidth = width / factor;
    context.stroke(way);
  }
}

/** Where a gradient has its two colours. */
function drawEnds(context, ends, factor) {
  if (!ends.length) return;
  drawRing(
    context,
    factor,
    ends.flatMap(({ x, y }) => [x, y]),
  );
  for (const { x, y, color } of ends) {
    for (const [radius, fill] of [
      [8.5, ACCENT],
      [7, "#ffffff"],
      [5.5, color],
    ]) {
      context.beginPath();
      context.arc(x, y, radius / factor, 0, 2 * Math.PI);
      context.fillStyle = fill;
      context.fill();
    }
  }
}

/** The edge of what somebody works on, with a handle at each corner and one that turns it. */
function outlineFrame(context, view, placed, scale) {
  const at = placeOf(view);
  const { factor } = at;
  const frame = frameOf(placed, scale);
  const { corners, turn } = handlesOf(view, at, placed, scale);
  const path = new Path2D();
  for (const { x, y } of frame.corners) path.lineTo(x, y);
  path.closePath();
  const top = frame.at(0, -1);
  path.moveTo(top.x, top.y);
  path.lineTo(turn.x, turn.y);
  context.lineWidth = 3 / factor;
  context.strokeStyle = "rgb(255 255 255 / 80%)";
  context.stroke(path);
  context.lineWidth = 1.5 / factor;
  context.strokeStyle = ACCENT;
  context.stroke(path);
  if (view.desk.isClosed) return;
  context.fillStyle = "#ffffff";
  for (const [k, { x, y }] of [...corners, turn].entries()) {
    context.save();
    context.translate(x, y);
    context.rotate(frame.angle);
    const size = 4.5 / factor;
    context.beginPath();
    if (k < 4) context.rect(-size, -size, 2 * size, 2 * size);
    else context.arc(0, 0, size * 1.2, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
    context.restore();
  }
}

/** A ring in the making. */
export function drawRing(context, factor, ring) {
  context.lineWidth = 1.5 / factor;
  context.beginPath();
  for (let i = 0; i < ring.length; i += 2) context.lineTo(ring[i], ring[i + 1]);
  context.strokeStyle = "#ffffff";
  context.stroke();
  context.strokeStyle = ACCENT;
  context.setLineDash([5 / factor, 4 / factor]);
  context.stroke();
  context.setLineDash([]);
}

/** An area in the making: what it will cover, its outline, and the first corner, which closes it. */
export function drawCorners(context, view, points, hover = null) {
  const { factor } = placeOf(view);
  const ring = hover ? [...points, hover.x, hover.y] : points;
  if (ring.length >= 6) drawShapePreview(context, view, ring);
  drawRing(context, factor, ring);
  for (const i of [0, points.length - 2]) dot(context, points[i], points[i + 1], (i ? 3 : 5) / factor);
}

/** A stroke that is led from point to point. */
export function drawPathPreview(context, view, points, hover = null) {
  const { factor } = placeOf(view);
  const path = hover ? [...points, hover.x, hover.y] : points;
  if (bringsPaint(view.settings)) {
    prepare(context, view);
    for (let i = 0; i < path.length; i += 2) context.lineTo(path[i], path[i + 1]);
    context.stroke();
    context.globalAlpha = 1;
  }
  drawRing(context, factor, path);
  for (let i = 0; i < points.length; i += 2) dot(context, points[i], points[i + 1], 3 / factor);
}

function dot(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = "#ffffff";
  context.fill();
  context.stroke();
}

/** The rectangle of a selection in the making. */
export function drawBand(context, factor, from, to) {
  context.lineWidth = 1 / factor;
  dashed(context, factor, from.x, from.y, to.x - from.x, to.y - from.y);
}

function dashed(context, factor, ...box) {
  context.strokeStyle = "#ffffff";
  context.strokeRect(...box);
  context.strokeStyle = ACCENT;
  context.setLineDash([5 / factor, 4 / factor]);
  context.strokeRect(...box);
  context.setLineDash([]);
}

function drawCursor(context, view, factor) {
  const { hover, hand } = view.pointer;
  if (hand.at) drawCross(context, hand.at, factor);
  if (!hover || view.locked || !WITH_A_BRUSH.has(view.settings.tool)) return;
  const ring = (color, radius) => {
    context.beginPath();
    context.arc(hover.x, hover.y, radius, 0, 2 * Math.PI);
    context.lineWidth = 1 / factor;
    context.strokeStyle = color;
    context.stroke();
  };
  ring("rgb(0 0 0 / 70%)", view.brushSize / 2 + 0.75 / factor);
  ring("rgb(255 255 255 / 90%)", view.brushSize / 2);
}

/** Where keys draw. */
function drawCross(context, { x, y }, factor) {
  for (const [color, width] of [
    ["#ffffff", 4],
    [ACCENT, 2],
  ]) {
    context.beginPath();
    for (const [dx, dy] of [
      [1, 0],
      [-1, 0],
      [0, 1],
      [0, -1],
    ]) {
      context.moveTo(x + (4 * dx) / factor, y + (4 * dy) / factor);
      context.lineTo(x + (14 * dx) / factor, y + (14 * dy) / factor);
    }
    context.lineWidth = width / factor;
    context.strokeStyle = color;
    context.stroke();
  }
}

/** A straight line before the button is let go. */
export function drawLinePreview(context, view, [fromX, fromY], [toX, toY]) {
  prepare(context, view);
  context.moveTo(fromX, fromY);
  context.lineTo(toX, toY);
  context.stroke();
  context.globalAlpha = 1;
}

/** The same of a rectangle or an ellipse: filled on the paint, an outline on the sketch. */
export function drawShapePreview(context, view, ring) {
  prepare(context, view);
  for (let i = 0; i < ring.length; i += 2) context.lineTo(ring[i], ring[i + 1]);
  context.closePath();
  if (view.desk.kind === "sketch") context.stroke();
  else context.fill();
  context.globalAlpha = 1;
}

function prepare(context, view) {
  const { color, opacity, importance } = view.settings;
  const isSketch = view.desk.kind === "sketch";
  context.globalAlpha = isSketch ? importance : opacity;
  context.strokeStyle = context.fillStyle = isSketch ? `rgb(${SKETCH_COLOR.join(" ")})` : color;
  context.lineWidth = view.brushSize;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
}

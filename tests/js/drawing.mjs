/** What the canvas does with drawings, in one call each for the tests that are written in Python. */
import { EMPTY, readDrawing, rounded, writeDrawing } from "../../web/js/canvas/document.js";
import { keptPoints } from "../../web/js/canvas/geometry.js";
import { HeatPainter } from "../../web/js/canvas/heat.js";
import { Stack } from "../../web/js/canvas/stack.js";

/** The pixels of all paint and of the whole sketch, RGBA as base64. */
export function rendered(text, width, height) {
  const { drawing } = readDrawing(text);
  const stack = new Stack(width, height);
  stack.sync(drawing, width / drawing.width, height / drawing.height, {});
  return ["paint", "sketch"].map((wanted) => {
    const pixels = new Uint8ClampedArray(width * height * 4);
    for (const { id, kind, hidden, opacity } of drawing.layers)
      if (kind === wanted && !hidden) lay(pixels, stack.of(id).image.data, opacity, kind === "sketch");
    return Buffer.from(pixels).toString("base64");
  });
}

/** The pixels of the t0 map, each t0 as a grey on black, RGBA as base64. */
export function heated(text, width, height) {
  const { drawing } = readDrawing(text);
  const grey = (t0) =>
    `#${Math.round(255 * t0)
      .toString(16)
      .padStart(2, "0")
      .repeat(3)}`;
  const map = new HeatPainter(grey).painted(drawing);
  const stack = new Stack(width, height);
  stack.sync(map, width / drawing.width, height / drawing.height, {});
  const pixels = new Uint8ClampedArray(width * height * 4);
  for (const { id, hidden } of map.layers) if (!hidden) lay(pixels, stack.of(id).image.data, 1, false);
  return Buffer.from(pixels).toString("base64");
}

/** Puts one layer over another, as a canvas does; of sketch lines, the more important one is seen. */
function lay(below, above, opacity, isSketch) {
  for (let at = 0; at < below.length; at += 4) {
    const [top, under] = [(above[at + 3] / 255) * opacity, below[at + 3] / 255];
    const alpha = isSketch ? Math.max(top, under) : top + under * (1 - top);
    for (let c = at; c < at + 3; c++)
      below[c] = alpha ? below[c] + ((above[c] - below[c]) * Math.min(top, alpha)) / alpha : 0;
    below[at + 3] = alpha * 255;
  }
}

/** The text after reading and writing. */
export function rewritten(text) {
  return writeDrawing(readDrawing(text).drawing);
}

/** The text of strokes along paths of points, as a hand draws them. */
export function simplified(paths) {
  const strokes = paths.map((path, i) => {
    const points = path.map(([x, y]) => [x, y, 12]);
    const kept = keptPoints(points, 0.35).flatMap((k) => [rounded(points[k][0]), rounded(points[k][1])]);
    const color = `#${((i * 16381) % 16777216).toString(16).padStart(6, "0")}`;
    const look = {
      color,
      size: 8 + (i % 50),
      opacity: 0.8,
      hardness: 0.5,
      grain: 0,
      t0: 0.45,
      importance: 1,
      pressure: null,
    };
    return { tool: "brush", layer: "paint", ...look, paths: [kept] };
  });
  return writeDrawing({ ...EMPTY, width: 1024, height: 1024, strokes });
}

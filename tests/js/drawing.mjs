/** What the canvas does with drawings, in one call each for the tests that are written in Python. */
import { EMPTY, readDrawing, rounded, writeDrawing } from "../../web/js/canvas/document.js";
import { keptPoints } from "../../web/js/canvas/geometry.js";
import { StrokeLayer } from "../../web/js/canvas/layer.js";

/** The pixels of the two layers, RGBA as base64. */
export function rendered(text, width, height) {
  const { drawing } = readDrawing(text);
  return ["paint", "sketch"].map((name) => {
    const layer = new StrokeLayer(name, width, height);
    layer.sync(drawing.strokes, width / drawing.width, height / drawing.height);
    return Buffer.from(layer.image.data).toString("base64");
  });
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
    const look = { color, size: 8 + (i % 50), opacity: 0.8, hardness: 0.5, t0: 0.45, importance: 1, pressure: null };
    return { tool: "brush", layer: "paint", ...look, paths: [kept] };
  });
  return writeDrawing({ ...EMPTY, width: 1024, height: 1024, strokes });
}

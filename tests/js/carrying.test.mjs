/** Selected strokes that are scaled and turned by their frame. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { carried, frameAround, ONE } from "../../web/js/canvas/carrying.js";
import { gradientDown, moved } from "../../web/js/canvas/geometry.js";
import { dragged, frameOf, scaledBy, turnedTo } from "../../web/js/canvas/placing.js";

const stroke = (fields) =>
  Object.freeze({ tool: "brush", layer: "paint", size: 10, paths: [[20, 30, 60, 30]], ...fields });
const ring = stroke({
  tool: "fill",
  paths: [
    [10, 10, 50, 10, 50, 40],
    [20, 15, 30, 15, 30, 20],
  ],
});

test("the frame lies around all strokes and their width", () => {
  const frame = frameAround([stroke(), ring], ONE, 2);
  assert.deepEqual([frame.x, frame.y, ...frame.pixels], [37.5, 25, 59, 34]);
  const stretched = frameAround([ring], { x: 2, y: 1 }, 0);
  assert.deepEqual([stretched.x, ...stretched.pixels], [60, 80, 30]);
});

test("points, rings and the width of the brush are scaled about the middle of the frame", () => {
  const frame = frameAround([stroke()], ONE, 0);
  const after = carried(stroke(), frame, scaledBy(frame, 2, 1), ONE);
  assert.deepEqual([after.paths, after.size], [[[0, 30, 80, 30]], 20]);
  const rings = carried(ring, frameAround([ring], ONE, 0), scaledBy(frameAround([ring], ONE, 0), 0.5, 1), ONE).paths;
  assert.deepEqual(rings, [
    [20, 17.5, 40, 17.5, 40, 32.5],
    [25, 20, 30, 20, 30, 22.5],
  ]);
});

test("a quarter turn leaves the width, and four of them everything", () => {
  const frame = frameAround([stroke()], ONE, 0);
  const turn = (each) => carried(each, frame, turnedTo(frame, 90), ONE);
  assert.deepEqual(turn(stroke()).paths, [[40, 10, 40, 50]]);
  assert.equal(turn(stroke()).size, 10);
  assert.deepEqual(turn(turn(turn(turn(stroke())))), stroke());
});

test("on a stretched drawing a turned stroke keeps its shape as it is seen", () => {
  const scale = { x: 2, y: 0.5 };
  const frame = frameAround([stroke()], scale, 0);
  const [x0, y0, x1, y1] = carried(stroke(), frame, turnedTo(frame, 90), scale).paths[0];
  assert.equal((x1 - x0) * scale.x, 0);
  assert.equal((y1 - y0) * scale.y, 80, "as long as it was wide");
});

test("a corner that is dragged takes the strokes along, the one opposite stays", () => {
  const square = stroke({ tool: "fill", paths: [[100, 100, 200, 100, 200, 200, 100, 200]] });
  const frame = frameAround([square], ONE, 0);
  const [, , held] = frameOf(frame, ONE).corners;
  const after = dragged(frame, ONE, { corner: 2 }, held, { x: 300, y: 300 });
  assert.deepEqual(carried(square, frame, after, ONE).paths, [[100, 100, 300, 100, 300, 300, 100, 300]]);
});

test("a gradient goes with its area", () => {
  const shaded = stroke({ ...ring, gradient: { color: "#ffffff", way: [10, 10, 10, 40] } });
  const frame = frameAround([shaded], ONE, 0);
  assert.deepEqual(carried(shaded, frame, scaledBy(frame, 2, 1), ONE).gradient.way, [-10, -5, -10, 55]);
  assert.deepEqual(moved(shaded, 1, 2).gradient, { color: "#ffffff", way: [11, 12, 11, 42] });
  assert.deepEqual(gradientDown(ring.paths, "#000000").way, [30, 10, 30, 40]);
});

test("sizes stay within what a text may hold", () => {
  const frame = frameAround([stroke()], ONE, 0);
  assert.equal(carried(stroke({ size: 4000 }), frame, scaledBy(frame, 4, 1), ONE).size, 4096);
  assert.equal(carried(stroke({ size: 0.1 }), frame, scaledBy(frame, 0.5, 1), ONE).size, 0.1);
});

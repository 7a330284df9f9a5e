/** Paths of strokes: simplified, hit, moved, outlined. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { corners } from "../../web/js/canvas/coverage.js";
import {
  boundsOf,
  floodArea,
  keptPoints,
  moved,
  outlines,
  shapeRing,
  strokeAt,
  strokesAt,
  strokesInside,
  strokesWithin,
} from "../../web/js/canvas/geometry.js";

const stroke = (fields) => ({ tool: "brush", layer: "paint", size: 10, paths: [[0, 0, 100, 0]], ...fields });
const square = stroke({ tool: "fill", paths: [[20, 20, 60, 20, 60, 60, 20, 60]] });

test("points on a straight line go, corners stay", () => {
  const points = [0, 1, 2, 3, 4].map((x) => [x, 0, 5]);
  assert.deepEqual(keptPoints(points, 0.1), [0, 4]);
  assert.deepEqual(keptPoints([...points, [4, 1, 5], [4, 2, 5]], 0.1), [0, 4, 6]);
});

test("a change of width keeps its point", () => {
  const widths = [5, 5, 9, 5, 5].map((radius, x) => [x, 0, radius]);
  assert.deepEqual(keptPoints(widths, 0.5), [0, 1, 2, 3, 4]);
  assert.deepEqual(keptPoints([[0, 0, 1]], 0.5), [0]);
});

test("the simplified path is never off by more than the tolerance", () => {
  const points = Array.from({ length: 400 }, (_, i) => [i, 40 * Math.sin(i / 20), 3]);
  const kept = keptPoints(points, 0.35);
  assert.ok(kept.length < 120);
  for (let k = 1; k < kept.length; k++) {
    const [[ax, ay], [bx, by]] = [points[kept[k - 1]], points[kept[k]]];
    for (const [x, y] of points.slice(kept[k - 1], kept[k])) {
      const across = Math.abs((by - ay) * (x - ax) - (bx - ax) * (y - ay)) / Math.hypot(bx - ax, by - ay);
      assert.ok(across <= 0.35 + 1e-9);
    }
  }
});

test("the uppermost stroke of the layer is hit, fills by their inside", () => {
  const strokes = [stroke(), stroke({ layer: "sketch" }), square];
  assert.equal(strokeAt(strokes, "paint", 50, 4, 0), 0);
  assert.equal(strokeAt(strokes, "paint", 50, 6, 0), -1);
  assert.equal(strokeAt(strokes, "paint", 50, 6, 1), 0, "within the slack");
  assert.equal(strokeAt(strokes, "sketch", 50, 4, 0), 1);
  assert.equal(strokeAt(strokes, "paint", 40, 40, 0), 2);
  assert.equal(strokeAt([stroke(), stroke()], "paint", 0, 0, 0), 1);
  assert.equal(strokeAt([{ foreign: 1 }], "paint", 0, 0, 0), -1);
});

test("a hole in a fill is not hit", () => {
  const ring = { ...square, paths: [...square.paths, [30, 30, 50, 30, 50, 50, 30, 50]] };
  assert.equal(strokeAt([ring], "paint", 40, 40, 0), -1);
  assert.equal(strokeAt([ring], "paint", 25, 25, 0), 0);
});

test("a moved stroke is a new one, on tenths of pixels", () => {
  const before = stroke();
  assert.deepEqual(moved(before, 1.26, -3).paths, [[1.3, -3, 101.3, -3]]);
  assert.deepEqual(before.paths, [[0, 0, 100, 0]]);
});

test("bounds hold the width of a brush and the rim of a fill", () => {
  assert.deepEqual(boundsOf(stroke()), [-5, -5, 105, 5]);
  assert.deepEqual(boundsOf(square), [20, 20, 60, 60]);
});

/** A picture of text: each character is a colour. */
function picture(...rows) {
  const pixels = new Uint8ClampedArray(rows.join("").length * 4);
  [...rows.join("")].forEach((letter, i) => pixels.fill(letter === "#" ? 0 : 200, i * 4, i * 4 + 4));
  return [pixels, rows[0].length, rows.length];
}

test("a flood stops at other colours and at the border, and grows by its rim", () => {
  const [pixels, width, height] = picture("..#..", "..#..", "..#..");
  const sum = (area) => area.reduce((total, value) => total + value, 0);
  assert.equal(sum(floodArea(pixels, width, height, 0, 0, 28, 0)), 6);
  assert.equal(sum(floodArea(pixels, width, height, 0, 0, 28, 1)), 9);
  assert.equal(sum(floodArea(pixels, width, height, 4, 2, 28, 0)), 6, "rows do not run into each other");
  assert.equal(sum(floodArea(pixels, width, height, 2, 1, 28, 0)), 3);
  assert.equal(sum(floodArea(pixels, width, height, 0, 0, 255, 0)), 15);
});

/** Area of rings by the even-odd rule, as the sum of signed areas: holes turn the other way. */
function areaOf(rings) {
  const ringArea = (ring) => {
    let sum = 0;
    for (let i = 0, j = ring.length - 2; i < ring.length; j = i, i += 2)
      sum += ring[j] * ring[i + 1] - ring[i] * ring[j + 1];
    return sum / 2;
  };
  return Math.abs(rings.map(ringArea).reduce((a, b) => a + b, 0));
}

test("outlines enclose exactly the pixels of an area, with its holes", () => {
  const rows = [".....", ".###.", ".#.#.", ".####", "....."];
  const area = Uint8Array.from(rows.join(""), (letter) => Number(letter === "#"));
  const rings = outlines(area, 5, 5, 0, 0);
  assert.equal(rings.length, 2);
  assert.equal(areaOf(rings), 9);
  assert.ok(rings.flat().every(Number.isInteger));
});

test("areas that touch at a corner share a ring", () => {
  const rings = outlines(Uint8Array.from([1, 0, 0, 1]), 2, 2, 0, 0);
  assert.deepEqual([rings.length, areaOf(rings)], [1, 2]);
});

test("specks are left out", () => {
  const speck = Uint8Array.from({ length: 100 }, (_, i) => Number(i === 44));
  assert.deepEqual(outlines(speck, 10, 10), []);
  assert.equal(outlines(speck.fill(1), 10, 10).length, 1);
});

test("a rectangle selects the strokes of its layer that have a point inside", () => {
  const strokes = [
    { layer: "paint", paths: [[10, 10, 50, 50]] },
    { layer: "paint", paths: [[90, 90, 99, 99]] },
    { layer: "sketch", paths: [[20, 20, 30, 30]] },
    { foreign: 1 },
    {
      layer: "paint",
      paths: [
        [200, 200, 210, 200, 205, 210],
        [40, 45, 60, 45, 60, 60],
      ],
    },
  ];
  assert.deepEqual(strokesWithin(strokes, "paint", [5, 5, 55, 5, 55, 55, 5, 55]), [0, 4]);
  assert.deepEqual(strokesWithin(strokes, "sketch", [0, 0, 100, 0, 100, 100, 0, 100]), [2]);
});

test("a lasso selects what it goes around and what it crosses, not what it lies in", () => {
  const triangle = [0, -20, 50, 80, -50, 80];
  const strokes = [
    stroke({ paths: [[-10, 50, 10, 50]] }),
    stroke({ paths: [[-100, 60, 100, 60]] }),
    stroke({ paths: [[45, 0, 45, 50]] }),
    stroke({ paths: [[0, 70]] }),
    stroke({ tool: "fill", paths: [[-200, -200, 200, -200, 200, 200, -200, 200]] }),
    stroke({ tool: "fill", paths: [[40, 70, 80, 70, 80, 90]] }),
  ];
  assert.deepEqual(strokesWithin(strokes, "paint", triangle), [0, 1, 3, 5]);
});

test("an ellipse touches the middles of its sides", () => {
  const ring = shapeRing("ellipse", [10, 20], [110, 80]);
  assert.deepEqual(corners([ring]).map(Math.round), [10, 20, 110, 80]);
  assert.deepEqual(shapeRing("rectangle", [1, 2], [3, 4]), [1, 2, 3, 2, 3, 4, 1, 4]);
  for (const radius of [20, 200]) {
    const [x0, y0, x1, y1] = shapeRing("ellipse", [-radius, -radius], [radius, radius]);
    assert.ok(radius - Math.hypot(x0 + x1, y0 + y1) / 2 < 0.05, "no corner is seen, even at a high zoom");
  }
});

test("all strokes at a place are found from the uppermost down, and those that lie inside of a ring as a whole", () => {
  const strokes = [stroke({ paths: [[0, 0, 300, 0]] }), stroke({}), stroke({ layer: "other" }), square];
  assert.deepEqual(strokesAt(strokes, "paint", 50, 2, 0), [1, 0]);
  assert.deepEqual(strokesAt(strokes, "paint", 50, 50, 0), [3]);
  const ring = [-10, -10, 110, -10, 110, 70, -10, 70];
  assert.deepEqual(strokesInside(strokes, "paint", ring), [1, 3]);
  assert.deepEqual(strokesInside(strokes, "paint", [-10, -10, 110, -10, 110, 50, -10, 50]), [1]);
  const dented = [-10, -10, 40, -10, 50, 20, 60, -10, 110, -10, 110, 70, -10, 70];
  assert.deepEqual(strokesInside(strokes, "paint", dented), [3], "both ends inside are not enough");
});

/** How much of each pixel a stroke covers, against sums that can be done by hand. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { brushCover, corners, coverSegment, fillCover } from "../../web/js/canvas/coverage.js";

const part = (right, bottom) => ({ left: 0, top: 0, right, bottom });
const WHOLE = part(64, 64);
const total = (cover) => cover.values.reduce((sum, value) => sum + value, 0);
const at = (cover, x, y) => cover.values[(y - cover.y) * cover.width + x - cover.x];
const close = (found, wanted, most) => assert.ok(Math.abs(found - wanted) <= most, `${found} is not ${wanted}`);

test("a hard dot has the area of a disc", () => {
  const cover = brushCover([32, 32], [10], 1, WHOLE);
  close(total(cover), Math.PI * 100, 3);
  assert.equal(at(cover, 32, 32), 1);
});

test("a soft rim falls from the hard core to the radius", () => {
  const cover = brushCover([32, 32.5], [10], 0.4, WHOLE);
  const row = Array.from({ length: 11 }, (_, i) => at(cover, 32 + i, 32));
  assert.deepEqual(row.slice(0, 4), [1, 1, 1, 1]);
  for (let i = 1; i < row.length; i++) assert.ok(row[i] <= row[i - 1]);
  assert.ok(row[7] > 0 && row[7] < 1);
});

test("a line thinner than a pixel is fainter", () => {
  const [thin, one] = [0.25, 0.5].map((radius) =>
    total(brushCover([5, 8.5, 25, 8.5], [radius, radius], 1, part(32, 16))),
  );
  close(thin, one / 2, 0.05 * one);
});

test("the radius changes along a stroke", () => {
  const cover = brushCover([10, 32, 54, 32], [2, 10], 1, WHOLE);
  const width = (x) =>
    Array.from({ length: cover.height }, (_, i) => at(cover, x, cover.y + i)).reduce((a, b) => a + b);
  close(width(12), 4 + (16 * 2) / 44, 1);
  close(width(52), 20 - (16 * 2) / 44, 1);
});

test("a stroke drawn stretch by stretch is the stroke drawn at once", () => {
  const [path, radii] = [
    [4, 5, 50, 40, 20, 60, 20, 60],
    [3, 9, 5, 5],
  ];
  const whole = brushCover(path, radii, 0.5, WHOLE);
  const cover = { x: 0, y: 0, width: 64, height: 64, values: new Float32Array(64 * 64) };
  for (let i = 0; i < radii.length; i++) coverSegment(cover, path, radii, Math.max(0, i - 1), i, 0.5);
  for (let y = whole.y; y < whole.y + whole.height; y++)
    for (let x = whole.x; x < whole.x + whole.width; x++) close(at(cover, x, y), at(whole, x, y), 1e-6);
});

test("a ring in a ring is a hole, and edges are half covered", () => {
  const rings = [
    [2, 2, 14, 2, 14, 14, 2, 14],
    [5.5, 5.5, 10.5, 5.5, 10.5, 10.5, 5.5, 10.5],
  ];
  const cover = fillCover(rings, part(16, 16));
  assert.equal(at(cover, 3, 3), 1);
  assert.equal(at(cover, 8, 8), 0);
  close(at(cover, 5, 8), 0.5, 1e-6);
  close(total(cover), 144 - 25, 1);
});

test("what lies outside of the picture is nothing, and what lies across its edge is cut", () => {
  assert.equal(brushCover([-500, -500], [10], 1, WHOLE), null);
  assert.equal(fillCover([[200, 200, 300, 200, 300, 300]], WHOLE), null);
  const { x, y, width, height } = brushCover([0, 0], [10], 1, WHOLE);
  assert.deepEqual([x, y, width, height], [0, 0, 11, 11]);
});

test("a part of a stroke is what the whole stroke is there", () => {
  const [path, radii, rings] = [[4, 5, 50, 40, 20, 60], [3, 9, 5], [[5, 3, 60, 20, 30, 55, 8, 30]]];
  const box = { left: 20, top: 17, right: 41, bottom: 50 };
  for (const of of [(where) => brushCover(path, radii, 0.5, where), (where) => fillCover(rings, where)]) {
    const [whole, some] = [of(WHOLE), of(box)];
    for (let y = some.y; y < some.y + some.height; y++)
      for (let x = some.x; x < some.x + some.width; x++) assert.equal(at(some, x, y), at(whole, x, y));
    assert.ok(some.x >= 20 && some.y >= 17 && some.x + some.width <= 41 && some.y + some.height <= 50);
  }
});

test("corners of no path and of several", () => {
  assert.deepEqual(corners([]), [Infinity, Infinity, -Infinity, -Infinity]);
  assert.deepEqual(
    corners([
      [1, 2, 3, 4],
      [-5, 6],
    ]),
    [-5, 2, 3, 6],
  );
});

/** A drawing whose picture gets another size: in the middle, as large as it fits, and nothing is stretched. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { EMPTY } from "../../web/js/canvas/document.js";
import { layerOf, STANDARD } from "../../web/js/canvas/layers.js";
import { fitted, onGround } from "../../web/js/canvas/resizing.js";

const stroke = { tool: "brush", layer: "paint", size: 8, paths: [[0, 0, 256, 128]], gradient: null };
const photo = { file: `${"0".repeat(32)}.png`, pixels: [64, 64], x: 128, y: 128, scale: 1, rotation: 0 };
const layers = [...STANDARD, layerOf("picture 1", "picture", { picture: photo })];
const drawing = { ...EMPTY, width: 256, height: 256, layers, strokes: [stroke, { foreign: { tool: "laser" } }] };
const square = { width: 256, height: 256 };

test("a wide picture leaves room at both sides", () => {
  const { width, height, strokes, layers: after } = fitted(drawing, square, { width: 768, height: 512 });
  assert.deepEqual([width, height], [384, 256]);
  assert.deepEqual(strokes[0].paths, [[64, 0, 320, 128]]);
  assert.deepEqual(strokes[1], { foreign: { tool: "laser" } });
  assert.deepEqual([after[2].picture.x, after[2].picture.y], [192, 128]);
  assert.equal(after[0], STANDARD[0]);
});

test("a drawing that was stretched by its picture before looks as it did", () => {
  const { width, height, strokes } = fitted(drawing, { width: 512, height: 256 }, { width: 512, height: 512 });
  assert.deepEqual([width, height], [256, 512], "a unit is still twice as wide as high");
  assert.deepEqual(strokes[0].paths, [[0, 128, 256, 256]]);
});

test("a picture of the same size, and an empty drawing, change nothing", () => {
  assert.equal(fitted(drawing, square, { ...square }), drawing);
  assert.equal(fitted(EMPTY, square, { width: 9, height: 9 }), EMPTY);
  assert.deepEqual(onGround({ ...EMPTY, width: 256, height: 256, print: "0f" }, "ff"), EMPTY);
  assert.equal(onGround(drawing, "ff").print, "ff");
});

/** Lists of layers, and what their pixels look like together. */
import "./page.mjs";

import assert from "node:assert/strict";
import { test } from "node:test";

import { freshId, layerOf, STANDARD, titleOf, withLayer, withMoved, withPlaced } from "../../web/js/canvas/layers.js";

const ids = (layers) => layers.map(({ id }) => id);

test("a new layer lies above the one that is worked on, the sketch above all", () => {
  const second = withLayer(STANDARD, layerOf("paint 2", "paint"), "paint");
  assert.deepEqual(ids(second), ["paint", "paint 2", "sketch"]);
  assert.deepEqual(ids(withLayer(second, layerOf("paint 3", "paint"), "paint")), [
    "paint",
    "paint 3",
    "paint 2",
    "sketch",
  ]);
  assert.deepEqual(ids(withLayer(second, layerOf("sketch 2", "sketch"), "paint")), [...ids(second), "sketch 2"]);
  assert.deepEqual(ids(withLayer(second, layerOf("paint 3", "paint"), "sketch")), [
    "paint",
    "paint 2",
    "paint 3",
    "sketch",
  ]);
});

test("layers change their order within their pile", () => {
  const layers = withLayer(STANDARD, layerOf("paint 2", "paint"));
  assert.deepEqual(ids(withMoved(layers, "paint", 1)), ["paint 2", "paint", "sketch"]);
  assert.equal(withMoved(layers, "paint 2", 1), layers);
  assert.equal(withMoved(layers, "sketch", -1), layers);
  assert.equal(withMoved(layers, "paint", -1), layers);
});

test("a layer is put above another one of its pile, or below all of it", () => {
  const three = withLayer(withLayer(STANDARD, layerOf("paint 2", "paint")), layerOf("paint 3", "paint"));
  const foreign = [{ foreign: 1 }, ...three];
  assert.deepEqual(ids(withPlaced(three, "paint", "paint 3")), ["paint 2", "paint 3", "paint", "sketch"]);
  assert.deepEqual(ids(withPlaced(three, "paint 3", null)), ["paint 3", "paint", "paint 2", "sketch"]);
  assert.deepEqual(ids(withPlaced(foreign, "paint 3", null)), [undefined, "paint 3", "paint", "paint 2", "sketch"]);
  assert.equal(withPlaced(three, "paint 2", "paint"), three);
  assert.equal(withPlaced(three, "sketch", null), three);
});

test("a layer keeps its title wherever it lies", () => {
  assert.equal(freshId(STANDARD, "paint"), "paint 2");
  const titles = [layerOf("paint", "paint"), layerOf("paint 2", "paint"), layerOf("far", "paint")].map(titleOf);
  assert.deepEqual(titles, ["Paint", "Paint 2", "Paint"]);
});

/** What a model sees of a picture at a t0. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { STANDARD, layerOf } from "../../web/js/canvas/layers.js";
import { addNoise, largestT0, noiseShare, normals } from "../../web/js/canvas/noise.js";

test("the share of noise is the one of Stable Diffusion's training", () => {
  let kept = 1;
  for (let i = 0; i < 1000; i++) {
    const root = Math.sqrt(0.00085) + ((Math.sqrt(0.012) - Math.sqrt(0.00085)) * i) / 999;
    kept *= 1 - root * root;
    assert.ok(Math.abs(noiseShare((i + 1) / 1000) - (1 - kept)) < 0.003);
  }
  assert.equal(noiseShare(0), 0);
});

test("noise has the spread of its t0 and stands still", () => {
  const noise = normals(30000);
  const deviation = (values) => {
    const mean = values.reduce((a, b) => a + b) / values.length;
    return [mean, Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length)];
  };
  const [mean, spread] = deviation(noise);
  assert.ok(Math.abs(mean) < 0.02 && Math.abs(spread - 1) < 0.02);
  assert.deepEqual(noise, normals(30000));
  const grey = new Uint8ClampedArray(40000).fill(150);
  const clear = grey.slice();
  addNoise(clear, noise, 0);
  assert.deepEqual(clear, grey);
  addNoise(grey, noise, 0.2);
  assert.ok(
    grey.every((value, i) => i % 4 < 3 || value === 150),
    "alpha stays",
  );
  const [middle, wide] = deviation([...grey].filter((_, i) => i % 4 < 3));
  assert.ok(Math.abs(middle - (127.5 + 22.5 * Math.sqrt(1 - noiseShare(0.2)))) < 2);
  assert.ok(Math.abs(wide - 63.75 * Math.sqrt(noiseShare(0.2))) < 2);
});

test("the t0 of the run is the largest that is to be seen", () => {
  const stroke = (layer, t0, tool = "brush") => ({ layer, t0, tool, kind: layer });
  const strokes = [
    stroke("paint", 0.4),
    stroke("sketch", 1),
    stroke("paint", 0.9, "eraser"),
    stroke("paint", 0.95, "blur"),
    stroke("paint 2", 0.8),
  ];
  const hidden = layerOf("paint 2", "paint", { hidden: true });
  const picture = layerOf("picture 2", "picture", { t0: 0.7, picture: {} });
  assert.equal(largestT0({ layers: STANDARD, strokes: [] }, 0.55), 0.55);
  assert.equal(largestT0({ layers: [hidden, ...STANDARD], strokes }, 0.55), 0.4);
  assert.equal(largestT0({ layers: [picture, { foreign: 1 }, ...STANDARD], strokes }, 0.55), 0.7);
});

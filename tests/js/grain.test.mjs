/** Grain: gaps in what a brush covers, the same for a part as for the whole. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { brushCover } from "../../web/js/canvas/coverage.js";
import { grained, hasGrain } from "../../web/js/canvas/grain.js";

const SCALE = { scaleX: 1.3, scaleY: 0.8 };
const cover = brushCover([20, 30, 70, 40], [14, 9], 0.5, { left: 0, top: 0, right: 100, bottom: 80 });
const stroke = { tool: "brush", kind: "paint", size: 24, grain: 0.6 };

test("without grain, on a sketch and in an area, a cover stays what it is", () => {
  for (const fields of [{ grain: 0 }, { kind: "sketch" }, { tool: "fill" }]) {
    assert.equal(grained(cover, { ...stroke, ...fields }, SCALE), cover);
    assert.equal(hasGrain({ ...stroke, ...fields }), false);
  }
});

test("the grain of a part is that of the whole", () => {
  const whole = grained(cover, stroke, SCALE);
  const part = { x: 30, y: 25, width: 21, height: 13 };
  const some = grained(cover, stroke, SCALE, part);
  for (let row = 0; row < part.height; row++)
    for (let column = 0; column < part.width; column++) {
      const at = (row + part.y - whole.y) * whole.width + column + part.x - whole.x;
      assert.equal(some.values[row * part.width + column], whole.values[at]);
      assert.ok(whole.values[at] <= cover.values[at]);
    }
});

test("more grain leaves less, to gaps and heights", () => {
  const shares = [0.2, 0.5, 0.8, 1].map((grain) => {
    const { values } = grained(cover, { ...stroke, grain }, SCALE);
    return values.reduce((sum, value) => sum + value, 0) / cover.values.reduce((sum, value) => sum + value, 0);
  });
  assert.deepEqual(
    shares,
    shares.toSorted((a, b) => b - a),
  );
  assert.ok(shares[0] > 0.85 && shares[3] < 0.5, `${shares}`);
});

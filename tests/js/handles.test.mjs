/** The handles of a frame: on it, or at the rim of the stage where they would not be seen. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { handlesOf } from "../../web/js/canvas/handles.js";
import { Sight } from "../../web/js/canvas/sight.js";

const ONE = { x: 1, y: 1 };
const PLACE = { left: 0, top: 0, factor: 1 };
const stage = { clientWidth: 200, clientHeight: 100 };
const view = (degrees = 0) => {
  const sight = new Sight(
    () => [200, 100],
    () => {},
  );
  return { stage, sight: Object.assign(sight, { degrees }) };
};
const framed = (x, y, width, height) => ({ pixels: [width, height], x, y, scale: 1, rotation: 0 });
const places = ({ corners, turn }) => [...corners, turn].map(({ x, y }) => [Math.round(x), Math.round(y)]);

test("those of a frame in sight lie on it, the one that turns inside where there is no room above", () => {
  const found = handlesOf(view(), PLACE, framed(100, 60, 40, 20), ONE);
  assert.deepEqual(places(found).at(-1), [100, 24]);
  assert.deepEqual(places(found).slice(0, 2), [
    [80, 50],
    [120, 50],
  ]);
  const low = handlesOf(view(), PLACE, framed(100, 40, 40, 60), ONE);
  assert.deepEqual(places(low).at(-1), [100, 36]);
});

test("those that are out of sight come to the rim, whichever way the view is turned", () => {
  const large = framed(100, 50, 900, 700);
  const rim = [
    [12, 12],
    [188, 12],
    [188, 88],
    [12, 88],
    [100, 12],
  ];
  assert.deepEqual(places(handlesOf(view(), PLACE, large, ONE)), rim);
  for (const { x, y } of handlesOf(view(90), PLACE, large, ONE).corners) {
    const seen = view(90).sight.onStage({ x, y });
    assert.ok(seen.x >= 11.9 && seen.x <= 188.1 && seen.y >= 11.9 && seen.y <= 88.1);
  }
});

test("a frame that somebody has left stays where it is", () => {
  const away = framed(500, 50, 40, 20);
  assert.deepEqual(places(handlesOf(view(), PLACE, away, ONE))[0], [480, 40]);
});

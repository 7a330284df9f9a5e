/** How a picture is looked at: places on the stage and on the sheet, zoom, fingers, turning. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { Sight } from "../../web/js/canvas/sight.js";

const sight = (fields = {}) =>
  Object.assign(
    new Sight(
      () => [200, 100],
      () => {},
    ),
    fields,
  );
const near = (a, b) =>
  assert.ok(Math.hypot(a.x - b.x, a.y - b.y) < 1e-9, `${JSON.stringify(a)} is not ${JSON.stringify(b)}`);
/** The point of the picture, from its middle and in pixels at zoom 1, that is seen at a place on the stage. */
const seenAt = (view, place) => {
  const { x, y } = view.onSheet(place);
  return { x: (x - 100 - view.pan.x) / view.zoom, y: (y - 50 - view.pan.y) / view.zoom };
};

test("a turned and mirrored view finds the place under the hand, and back", () => {
  near(sight({ mirrored: true }).onSheet({ x: 30, y: 20 }), { x: 170, y: 20 });
  near(sight({ degrees: 90 }).onSheet({ x: 100, y: 80 }), { x: 130, y: 50 });
  for (const degrees of [0, 15, -130])
    for (const mirrored of [false, true]) {
      const view = sight({ degrees, mirrored });
      near(view.onStage(view.onSheet({ x: 12, y: 34 })), { x: 12, y: 34 });
    }
});

test("the wheel zooms about the pointer", () => {
  const view = sight({ degrees: 30, pan: { x: 5, y: -8 } });
  const before = seenAt(view, { x: 60, y: 70 });
  view.zoomBy(3, view.onSheet({ x: 60, y: 70 }));
  near(seenAt(view, { x: 60, y: 70 }), before);
  assert.equal(view.zoom, 3);
});

test("two fingers take the picture with them, whatever the view was like", () => {
  for (const mirrored of [false, true]) {
    const view = sight({ degrees: 20, mirrored, zoom: 1.5, pan: { x: 3, y: 4 } });
    const [first, second] = [
      { x: 80, y: 40 },
      { x: 120, y: 60 },
    ];
    const before = [first, second].map((place) => seenAt(view, place));
    const held = view.held(first, second);
    const moved = [
      { x: 70, y: 60 },
      { x: 150, y: 20 },
    ];
    view.follow(held, ...moved);
    moved.forEach((place, i) => near(seenAt(view, place), before[i]));
  }
});

test("fingers keep to right angles, keys turn by fifteen degrees as it is seen", () => {
  const view = sight();
  view.follow(view.held({ x: 0, y: 50 }, { x: 200, y: 50 }), { x: 0, y: 45 }, { x: 200, y: 55 });
  assert.equal(view.degrees, 0);
  view.turn(1);
  assert.equal(view.degrees, 15);
  view.mirrored = true;
  view.turn(1);
  assert.equal(view.degrees, 0, "clockwise is the other way in a mirror");
  for (let i = 0; i < 13; i++) view.turn(-1);
  assert.equal(view.degrees, -165);
  view.fit();
  assert.deepEqual([view.degrees, view.zoom], [0, 1]);
});

test("a place beside the stage is brought to its rim, one that is seen stays", () => {
  for (const fields of [{}, { mirrored: true, degrees: 30 }]) {
    const view = sight({ zoom: 4, ...fields });
    view.bring(view.onSheet({ x: 190, y: 8 }), 8);
    near(view.pan, { x: 0, y: 0 });
    const beside = view.onSheet({ x: 230, y: -40 });
    view.bring(beside, 8);
    near(view.onStage({ x: beside.x + view.pan.x, y: beside.y + view.pan.y }), { x: 192, y: 8 });
  }
});

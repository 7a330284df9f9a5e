/** Pictures on a drawing: where they lie, what takes hold of them, and what a drag makes of them. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { dragged, frameOf, holdAt, scaledBy, turnedTo, turningHandle } from "../../web/js/canvas/placing.js";
import { sha256 } from "../../web/js/canvas/sha256.js";

const ONE = { x: 1, y: 1 };
const PLACED = { file: "0123456789abcdef.png", pixels: [40, 20], x: 100, y: 50, scale: 2, rotation: 0 };
const places = ({ corners }) => corners.map(({ x, y }) => [Math.round(x), Math.round(y)]);

test("corners lie around the centre, scaled and turned clockwise", () => {
  const straight = [
    [60, 30],
    [140, 30],
    [140, 70],
    [60, 70],
  ];
  assert.deepEqual(places(frameOf(PLACED, ONE)), straight);
  assert.deepEqual(places(frameOf({ ...PLACED, rotation: 90 }, ONE))[0], [120, 10]);
  // On a stretched drawing the centre moves, and the picture keeps its shape.
  const [first, , third] = frameOf(PLACED, { x: 4, y: 1 }).corners;
  assert.deepEqual([third.x - first.x, third.y - first.y], [160, 80]);
  assert.deepEqual(frameOf(PLACED, { x: 4, y: 1 }).centre, { x: 400, y: 50 });
});

test("handles, the inside, and what lies beside", () => {
  const frame = frameOf(PLACED, ONE);
  const handles = { corners: frame.corners, turn: turningHandle(frame, 20) };
  const hold = (x, y) => holdAt(PLACED, ONE, { x, y }, 8, handles);
  assert.deepEqual(hold(62, 31), { corner: 0 });
  assert.deepEqual(hold(141, 72), { corner: 2 });
  assert.deepEqual(hold(100, 10), { turn: true });
  assert.deepEqual(hold(100, 50), { move: true });
  assert.equal(hold(100, 90), null);
  const { x, y } = turningHandle(frameOf({ ...PLACED, rotation: 90 }, ONE), 20);
  assert.deepEqual([Math.round(x), Math.round(y)], [140, 50]);
});

test("a corner scales about the one opposite, whatever the rotation", () => {
  for (const rotation of [0, 33]) {
    const before = { ...PLACED, rotation };
    const [, , held] = frameOf(before, ONE).corners;
    const [kept] = frameOf(before, ONE).corners;
    const to = { x: kept.x + 1.5 * (held.x - kept.x), y: kept.y + 1.5 * (held.y - kept.y) };
    const after = dragged(before, ONE, { corner: 2 }, held, to);
    assert.equal(after.scale, 3);
    const [now] = frameOf(after, ONE).corners;
    assert.ok(Math.hypot(now.x - kept.x, now.y - kept.y) < 0.2);
  }
  const tiny = dragged(PLACED, ONE, { corner: 2 }, { x: 140, y: 70 }, { x: -500, y: -500 });
  assert.equal(tiny.scale, 0.2, "never smaller than some pixels, never turned inside out");
});

test("a drag moves, and the handle above turns, with Shift in steps", () => {
  const moved = dragged(PLACED, { x: 2, y: 1 }, { move: true }, { x: 0, y: 0 }, { x: 10, y: -5 });
  assert.deepEqual([moved.x, moved.y], [105, 45]);
  const turn = (to, steady) => dragged(PLACED, ONE, { turn: true }, { x: 100, y: 0 }, to, steady).rotation;
  assert.equal(turn({ x: 150, y: 50 }), 90);
  assert.equal(turn({ x: 110, y: 0 }, true), 15);
  assert.equal(turnedTo(PLACED, 270).rotation, -90);
  assert.equal(scaledBy(PLACED, 1e9, 1).scale, 1000);
});

test("names of files are SHA-256, with and without the browser's own", () => {
  for (const length of [0, 1, 55, 56, 63, 64, 119, 120, 1000]) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 37) % 256);
    assert.equal(sha256(bytes), createHash("sha256").update(bytes).digest("hex"), String(length));
  }
});

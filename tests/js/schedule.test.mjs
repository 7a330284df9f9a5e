/** The weight over the path, and what the curve editor makes of an edit. */
import assert from "node:assert/strict";
import { test } from "node:test";

import * as maths from "../../web/js/schedule/maths.js";
import * as model from "../../web/js/schedule/model.js";

const DRAWN = "1:0.2, 0.8:1, 0.4:0.9, 0:0";
const state = (fields) => ({
  start: 1,
  end: 0,
  shape: "curve",
  weight: 1,
  text: DRAWN,
  steps: 20,
  snap: true,
  ...fields,
});
const textOf = ({ points }) => model.stored(points).text;

test("curves are read in either direction and written back", () => {
  assert.deepEqual(maths.parseCurve("0:0 1 : 1"), maths.parseCurve("1:1; 0:0"));
  assert.equal(maths.formatCurve(maths.parseCurve(DRAWN)), DRAWN);
  assert.equal(maths.formatCurve(maths.parseCurve("0:1,0.5:1,0.5:0,1:0")), "1:0, 0.5:0, 0.5:1, 0:1", "a jump");
});

for (const text of ["1", "1:", ":1", "1:1:1", "1:1 2", "a:1", "0x1:1", "1:Infinity", "1:NaN", "1:.", "1 1:1"])
  test(`'${text}' is no curve`, () =>
    assert.throws(() => maths.parseCurve(text), /^Error: The curve cannot be read at/));

test("what is out of range, empty or too long is told in a sentence", () => {
  assert.throws(() => maths.parseCurve("1.5:0"), /'1.5:0' is out of range: .*\.$/);
  assert.throws(() => maths.parseCurve("1:-2"), /out of range/);
  assert.throws(() => maths.parseCurve(" ,; "), /^Error: The curve is empty: write pairs/);
  assert.throws(() => maths.parseCurve("1:1,".repeat(25001)), /give at most 100000\.$/);
  assert.throws(
    () => maths.parseCurve("x".repeat(500)),
    ({ message }) => message.length < 150,
  );
});

test("a polyline is level beyond its ends, and equal places jump", () => {
  const at = maths.polyline([[0.2, 1], [0.5, 0], [0.5, -1], [0.8, -0.5]]); // prettier-ignore
  assert.deepEqual(
    [0, 0.2, 0.35, 0.5, 0.65, 0.8, 1].map((u) => maths.tidy(at(u))),
    [1, 1, 0.5, -1, -0.75, -0.5, -0.5],
  );
});

test("weights of the official code: 50 steps, a window over the first half", () => {
  const weights = (shape) => maths.weights({ start: 1, end: 0.5, weight: 1, shape }, 50);
  assert.deepEqual(weights("constant"), [...Array(25).fill(1), ...Array(25).fill(0)]);
  const [linear, cosine, exponential] = ["linear", "cosine", "exponential"].map(weights);
  assert.deepEqual([linear[0], linear[24], cosine[0], cosine[24]], [1, 0, 1, 0]);
  assert.equal(maths.tidy(cosine[12] - Math.SQRT1_2), 0);
  assert.equal(maths.tidy(exponential[24] - Math.exp(-5)), 0);
});

test("neighbouring windows share no step and leave none out", () => {
  for (const steps of [1, 2, 7, 20, 33, 1000]) {
    const places = maths.evenSteps(steps);
    const cuts = [1, 0.83, 0.5, 0.17, 0];
    const windows = cuts.slice(1).map((end, i) => maths.windowSteps(cuts[i], end, places));
    assert.deepEqual(
      windows.map(([first]) => first),
      [0, ...windows.map(([, stop]) => stop)].slice(0, -1),
    );
    assert.equal(windows.at(-1)[1], steps);
  }
});

test("a drawing begins with the shape that was shown", () => {
  for (const shape of ["constant", "linear", "cosine", "exponential"]) {
    const points = maths.pointsOf({ shape });
    const [drawn, exact] = [maths.polyline(points), maths.FORMULAS[shape]];
    for (let u = 0; u <= 1; u += 0.01) assert.ok(Math.abs(drawn(u) - exact(u)) < 0.05, shape);
  }
});

test("what is wrong is told, and cannot be edited", () => {
  const told = (fields) => model.read(state(fields));
  assert.match(told({ start: 0.3, end: 0.5 }).problem, /set start above end/);
  assert.match(told({ text: "up" }).problem, /cannot be read at 'up'/);
  assert.match(told({ linked: { samples: null } }).problem, /Run once/);
  assert.match(told({ linked: { samples: null }, shape: "linear" }).problem, /choose the drawn shape/);
  const blank = told({ text: "  " });
  assert.deepEqual([blank.problem, blank.invitation, blank.editable], ["", "Click to draw.", true]);
  for (const fields of [{ text: "up" }, { start: 0.3, end: 0.5 }]) assert.equal(told(fields).editable, false);
});

test("what is shown: points, line, bars of the steps in the window, a lower axis for negative weights", () => {
  const seen = model.read(state({ start: 0.8, end: 0.4 }));
  assert.equal(seen.points.length, 4);
  assert.deepEqual([seen.first, seen.stop, seen.bars.length, seen.low, seen.editable], [4, 12, 8, 0, true]);
  assert.equal(model.read(state({ text: "1:-0.5, 0:0" })).low, -1);
  assert.equal(model.read(state({ weight: -1, shape: "linear" })).low, -1);
  const linked = model.read(state({ linked: { samples: [[0, 1], [1, 0]] } })); // prettier-ignore
  assert.deepEqual([linked.points, linked.trail.length, linked.editable], [[], 4, false]);
  const computed = Array.from({ length: 201 }, (_, i) => `${1 - i / 200}:0.5`).join();
  assert.deepEqual(model.read(state({ text: computed })).points, [], "more points than anybody grabs");
});

test("points move between their neighbours, and are placed anywhere", () => {
  const seen = model.read(state());
  assert.equal(textOf(model.moved(seen, 1, 0.9, 2)), "1:0.2, 0.4:1, 0.4:0.9, 0:0");
  assert.equal(textOf(model.moved(seen, 0, -1, -2)), "1:-1, 0.8:1, 0.4:0.9, 0:0");
  assert.deepEqual(seen.points[1], maths.parseCurve(DRAWN)[1], "the state is not changed");
  const placed = model.placed(seen, 1, 0.8, 0.5);
  assert.equal(textOf(placed), "1:0.2, 0.4:0.9, 0.2:0.5, 0:0");
  assert.equal(placed.selected, 2);
});

test("points are added, halved and removed", () => {
  const seen = model.read(state());
  assert.equal(textOf(model.added(seen, 0.5, 0.3)), "1:0.2, 0.8:1, 0.5:0.3, 0.4:0.9, 0:0");
  assert.equal(textOf(model.halved(seen, 1)), "1:0.2, 0.8:1, 0.6:0.95, 0.4:0.9, 0:0");
  assert.equal(textOf(model.halved(seen, 3)), "1:0.2, 0.8:1, 0.4:0.9, 0.2:0.45, 0:0", "after the last: before it");
  assert.deepEqual(model.without(seen, 0).selected, 0);
  assert.equal(textOf(model.without(seen, 2)), "1:0.2, 0.8:1, 0:0");
  assert.equal(textOf(model.added(state({ shape: "linear" }), 0.5, 0.9)), "1:1, 0.5:0.9, 0:0", "on a formula");
  assert.equal(textOf(model.added(state({ text: "" }), 0.5, 0.9)), "0.5:0.9", "on nothing");
});

test("another shape keeps a drawing that is there, and else begins one", () => {
  assert.deepEqual(model.chosen(state(), "linear"), { shape: "linear" });
  assert.deepEqual(model.chosen(state({ shape: "linear" }), "curve"), { shape: "curve" });
  assert.deepEqual(model.chosen(state({ shape: "linear", text: "" }), "curve"), { shape: "curve", text: "1:1, 0:0" });
  assert.deepEqual(model.chosen(state({ shape: "linear", text: "", linked: {} }), "curve"), { shape: "curve" });
});

test("the window keeps a step's width, and its length when it is moved", () => {
  const edges = { start: 0.6, end: 0.4 };
  assert.equal(maths.tidy(model.movedEdge(edges, "start", 0.1).start), 0.41);
  assert.equal(maths.tidy(model.movedEdge(edges, "end", 2).end), 0.59);
  assert.deepEqual(model.movedWindow(0.2, 3), { start: 1, end: 0.8 });
  assert.deepEqual(model.movedWindow(0.2, 0), { start: 0.2, end: 0 });
  assert.equal(model.toPath(edges, model.toWindow(edges, 0.45)), 0.45);
});

test("values snap to the grid or to a magnet, unless they are free", () => {
  assert.equal(model.snapped(0.512, true), 0.5);
  assert.equal(model.snapped(0.512, true, 0.513), 0.513);
  assert.equal(model.snapped(0.51234, false), 0.5123);
});

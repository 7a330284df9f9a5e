/** What the canvas remembers beside the drawing: steps to undo, and how the tools were set. */
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { EMPTY } from "../../web/js/canvas/document.js";
import { historyOf, rememberedSettings, rememberSettings } from "../../web/js/canvas/memory.js";

const KEY = "DiffusionPath.StrokeCanvas";
const stroke = (x) => ({ tool: "line", layer: "paint", color: "#000000", size: 8, paths: [[x, 0, x, 9]] });
const filled = (fields) => ({ opacity: 1, hardness: 0.8, grain: 0, t0: 0.6, importance: 1, pressure: null, ...fields });
const drawing = (...places) => ({ ...EMPTY, width: 64, height: 64, strokes: places.map((x) => filled(stroke(x))) });

let store;
beforeEach(() => {
  store = new Map();
  const storage = { getItem: (key) => store.get(key) ?? null, setItem: (key, value) => store.set(key, value) };
  Object.defineProperty(globalThis, "localStorage", { value: storage, configurable: true });
});

test("undo and redo go step by step, and a new edit ends what could be redone", () => {
  const history = historyOf("", "");
  const [one, two] = [history.add(drawing(1)), history.add(drawing(1, 2))];
  assert.equal(history.move(1), null);
  assert.equal(history.move(-1), one);
  assert.equal(history.move(-1), "");
  assert.equal(history.move(-1), null);
  assert.equal(history.move(1), one);
  const other = history.add(drawing(1, 3));
  assert.notEqual(other, two);
  assert.equal(history.move(1), null);
  assert.equal(history.move(-1), one);
});

test("a step that changes the background alone keeps its place, and says what undo and redo bring", () => {
  const history = historyOf("c", "");
  const ground = { before: { image: null }, after: { image: "photo.png" } };
  assert.equal(history.add(EMPTY, ground), "");
  assert.equal(historyOf("c", "").groundAt(-1), ground.before, "not the step before, which has the same text");
  assert.equal(history.groundAt(1), undefined);
  assert.equal(history.move(-1), "");
  assert.deepEqual([history.groundAt(-1), history.groundAt(1)], [undefined, ground.after]);
  history.add(drawing(1));
  assert.equal(history.groundAt(-1), undefined);
});

test("steps are found again by canvas and text, as after undo of the graph or a change of tab", () => {
  const history = historyOf("a", "");
  const [one, two] = [history.add(drawing(1)), history.add(drawing(1, 2))];
  const again = historyOf("a", one);
  assert.equal(again.move(1), two);
  assert.equal(historyOf("b", one).move(1), null, "another canvas");
  assert.equal(historyOf("", one).move(1), null, "a node without a place in a graph");
  const foreign = historyOf("a", '[{"points":[1,2]}]');
  assert.equal(foreign.move(-1), null, "a text that is none of its steps");
  assert.equal(foreign.now.drawing.strokes.length, 1);
});

test("a text from outside is the last step before now that has it, with that step's background", () => {
  const history = historyOf("", "");
  const ground = { before: { image: null }, after: { image: "a.png" } };
  const empty = history.now.text;
  history.add(drawing(0), ground);
  history.steps[1].text = empty; // a background alone leaves the text as it is
  history.add(drawing(1));
  history.show(empty);
  assert.deepEqual(history.groundAt(-1), ground.before);
});

test("the oldest of very many steps are forgotten", () => {
  const history = historyOf("", "");
  for (let i = 0; i < 300; i++) history.add(drawing(i));
  let back = 0;
  while (history.move(-1) !== null) back++;
  assert.equal(back, 199);
});

test("how the tools were set is remembered, but not which tool", () => {
  const standard = rememberedSettings();
  assert.deepEqual([standard.tool, standard.sizes.brush, standard.pressure], ["brush", 24, true]);
  rememberSettings({ ...standard, tool: "eraser", color: "#123456", sizes: { brush: 99 } });
  const settings = rememberedSettings();
  assert.deepEqual([settings.tool, settings.color], ["brush", "#123456"]);
  assert.deepEqual(settings.sizes, { brush: 99, line: 8, eraser: 32, blur: 48, smudge: 48, sketch: 3 });
});

test("a damaged or forbidden store gives the standard, each time its own", () => {
  const standard = rememberedSettings();
  store.set(KEY, "{");
  const settings = rememberedSettings();
  assert.deepEqual(settings, standard);
  settings.sizes.brush = 1;
  assert.deepEqual(rememberedSettings(), standard);
  store.set(KEY, JSON.stringify({ opacity: "much", unknown: 1 }));
  assert.equal(rememberedSettings().opacity, 1);
  localStorage.setItem = localStorage.getItem = () => {
    throw new Error("forbidden");
  };
  rememberSettings(standard);
  assert.deepEqual(rememberedSettings(), standard);
});

/** The pixels of a layer of strokes: kept between changes, and always those of its strokes. */
import "./page.mjs";

import assert from "node:assert/strict";
import { test } from "node:test";

import { readDrawing } from "../../web/js/canvas/document.js";
import { StrokeLayer } from "../../web/js/canvas/layer.js";

const SIDE = 150; // more than one tile
const read = (...strokes) => readDrawing(JSON.stringify({ width: SIDE, height: SIDE, strokes })).drawing.strokes;
const dots = (count) =>
  read(
    ...Array.from({ length: count }, (_, i) => ({ points: [(i * 7) % SIDE, (i * 11) % SIDE], size: 9, opacity: 0.5 })),
  );

function layerOf(strokes, name = "paint") {
  const layer = new StrokeLayer(name, SIDE, SIDE);
  layer.sync(strokes, 1, 1);
  return layer;
}

const pixel = ({ image }, x, y) => [...image.data.subarray((y * SIDE + x) * 4, (y * SIDE + x) * 4 + 4)];

test("whatever was drawn before, a layer shows its strokes", () => {
  const strokes = dots(330);
  const layer = layerOf(strokes);
  // Back by one (undo), by many, to nothing; a stroke changed in the middle; forward again.
  const changed = strokes.with(120, { ...strokes[120], color: "#00ff00", grain: 0.7 });
  for (const wanted of [strokes.slice(0, 329), strokes.slice(0, 60), [], strokes, changed, strokes.toSpliced(10, 1)]) {
    layer.sync(wanted, 1, 1);
    assert.deepEqual(layer.image.data, layerOf(wanted).image.data);
  }
});

/** Strokes of every kind, each across several tiles. */
const mixed = (count, layer = "paint") =>
  read(
    ...Array.from({ length: count }, (_, i) => ({
      layer,
      tool: i % 5 === 4 ? "eraser" : i % 13 === 6 ? "blur" : "brush",
      points: [(i * 37) % SIDE, (i * 23) % SIDE, (i * 11) % SIDE, (i * 53) % SIDE],
      color: `#${((i * 81931 + 4000) % 16777216).toString(16).padStart(6, "0")}`,
      ...{
        size: 4 + (i % 20),
        opacity: i % 3 ? 0.6 : 1,
        importance: 0.3 + 0.1 * (i % 7),
        hardness: 0.4,
        grain: i % 4 ? 0 : 0.5,
      },
    })),
  );
const furthest = (a, b) => {
  let most = 0;
  for (let i = 0; i < a.length; i += 4) {
    const [alpha, other] = [a[i + 3] / 255, b[i + 3] / 255];
    for (let c = 0; c < 3; c++) most = Math.max(most, Math.abs(a[i + c] * alpha - b[i + c] * other));
    most = Math.max(most, Math.abs(a[i + 3] - b[i + 3]));
  }
  return most;
};

test("a smudge in the making is no wider than the picture", () => {
  const [dot, wide] = read({ points: [40, 40], size: 60 }, { tool: "smudge", points: [40, 40], size: 4096 });
  const layer = layerOf([dot]);
  const live = layer.begin(wide, 1, 1);
  for (const [x, y] of [
    [40, 40],
    [75, 60],
    [110, 80],
  ])
    live.add(x, y, 1);
  live.show();
  const shown = layer.image.data.slice();
  live.end();
  const [drawn] = read({ tool: "smudge", points: [40, 40, 75, 60, 110, 80], size: SIDE });
  assert.ok(furthest(shown, layerOf([dot, drawn]).image.data) <= 1);
  assert.notDeepEqual(shown, layerOf([dot]).image.data);
});

for (const name of ["paint", "sketch"])
  test(`a draft on ${name} looks like its strokes, and what is saved is them`, () => {
    const strokes = mixed(120, name);
    const layer = layerOf(strokes, name);
    for (const index of [0, 4, 60, 119])
      for (const shift of [5, 30, 0.5]) {
        const { paths } = strokes[index];
        const moved = { ...strokes[index], opacity: 0.4, importance: 0.9, paths: [paths[0].map((v) => v + shift)] };
        const wanted = strokes.with(index, moved);
        assert.ok(layer.sync(wanted, 1, 1, { draft: true }));
        const exact = layerOf(wanted, name).image.data;
        assert.ok(furthest(layer.image.data, exact) <= 4);
        layer.sync(wanted, 1, 1);
        assert.deepEqual(layer.image.data, exact);
      }
    layer.sync(strokes, 1, 1);
    assert.deepEqual(layer.image.data, layerOf(strokes, name).image.data);
  });

test("a layer that is drawn in slices, and changed in between, ends as its strokes", () => {
  const strokes = mixed(200);
  const layer = new StrokeLayer("paint", SIDE, SIDE);
  let [wanted, turns] = [strokes, 0];
  while (!layer.sync(wanted, 1, 1, { until: performance.now() + 0.3, draft: turns % 3 === 0 }) && turns < 10000) {
    turns += 1;
    if (turns === 2) wanted = strokes.with(3, { ...strokes[3], color: "#ffffff" });
    if (turns === 4) wanted = [...wanted, ...mixed(3)];
    if (turns === 6) wanted = wanted.toSpliced(150, 20);
  }
  layer.sync(wanted, 1, 1);
  assert.deepEqual(layer.image.data, layerOf(wanted).image.data);
});

test("without memory for what strokes cover, a layer looks the same", () => {
  const strokes = mixed(60);
  const layer = new StrokeLayer("paint", SIDE, SIDE);
  layer.sync([], 1, 1);
  layer.covers.most = 2000;
  layer.sync(strokes, 1, 1);
  const wanted = strokes.toSpliced(7, 1);
  layer.sync(wanted, 1, 1);
  assert.ok(layer.covers.bytes <= 2000);
  assert.deepEqual(layer.image.data, layerOf(wanted).image.data);
  layer.sync([], 1, 1);
  assert.equal(layer.covers.bytes, 0);
});

test("another scale draws everything again", () => {
  const layer = new StrokeLayer("paint", SIDE, SIDE);
  layer.sync(read({ points: [16, 16], size: 8, hardness: 1 }), 1, 1);
  layer.sync(read({ points: [16, 16], size: 8, hardness: 1 }), 2, 2);
  assert.equal(pixel(layer, 16, 16)[3], 0);
  assert.equal(pixel(layer, 32, 32)[3], 255);
});

test("strokes of the other layer, and foreign ones, draw nothing", () => {
  const layer = layerOf(read({ layer: "sketch", points: [32, 32] }, { tool: "airbrush" }));
  assert.ok(layer.image.data.every((value) => value === 0));
});

test("paint covers, mixes and is erased", () => {
  const red = { points: [32, 32], size: 20, hardness: 1, color: "#ff0000" };
  const half = { ...red, color: "#0000ff", opacity: 0.5 };
  assert.deepEqual(pixel(layerOf(read(red)), 32, 32), [255, 0, 0, 255]);
  assert.deepEqual(pixel(layerOf(read(red, half)), 32, 32), [128, 0, 128, 255]);
  assert.deepEqual(pixel(layerOf(read(half)), 32, 32), [0, 0, 255, 128]);
  assert.equal(pixel(layerOf(read(red, { ...red, tool: "eraser" })), 32, 32)[3], 0);
});

test("of overlapping sketch lines the more important one is seen", () => {
  const line = (importance) => ({ layer: "sketch", points: [0, 32, 64, 32], size: 6, importance });
  const layer = layerOf(read(line(0.8), line(0.2)), "sketch");
  assert.equal(pixel(layer, 32, 32)[3], 204);
});

test("a stroke in the making is taken back without a trace", () => {
  const layer = layerOf(dots(5));
  const before = layer.image.data.slice();
  const live = layer.begin(read({ points: [1, 1], size: 12 })[0], 1, 1);
  for (let x = 5; x < 60; x += 5) {
    live.add(x, 30, 1);
    live.show();
  }
  assert.equal(layer.sync([], 1, 1), false, "nothing else is drawn meanwhile");
  assert.notDeepEqual(layer.image.data, before);
  live.end();
  assert.deepEqual(layer.image.data, before);
});

test("a stroke in the making has the grain that it keeps", () => {
  const path = [10, 20, 60, 70, 130, 40];
  const [stroke] = read({ points: path, size: 30, grain: 0.6, hardness: 0.3 });
  const layer = new StrokeLayer("paint", SIDE, SIDE); // the first stroke of all
  const live = layer.begin(stroke, 1, 1);
  for (let i = 0; i < path.length; i += 2) {
    live.add(path[i], path[i + 1], 1);
    live.show();
  }
  assert.deepEqual(layer.image.data, layerOf([stroke]).image.data);
});

const inTheMaking = (tool) => {
  const path = [10, 20, 60, 70, 130, 40];
  const [stroke] = read({ tool, points: path, size: 40, grain: 0.3, opacity: 0.8 });
  const strokes = mixed(40);
  const layer = layerOf(strokes);
  const before = layer.image.data.slice();
  const live = layer.begin(stroke, 1, 1);
  for (let i = 0; i < path.length; i += 2) {
    live.add(path[i], path[i + 1], 1);
    live.show();
  }
  assert.ok(furthest(layer.image.data, before) > 0);
  assert.equal(furthest(layer.image.data, layerOf([...strokes, stroke]).image.data), 0);
  live.end();
  assert.equal(furthest(layer.image.data, before), 0);
};
test("a blur in the making is the one that it keeps", () => inTheMaking("blur"));
test("a smudge in the making is the one that it keeps", () => inTheMaking("smudge"));

/** Blurs and smudges that lie on each other, and strokes below, between and above them. */
const blurs = (count) =>
  read(
    ...Array.from({ length: count }, (_, i) => ({
      tool: ["brush", "blur", "brush", "brush", "smudge", "brush"][i % 6],
      points: [(i * 37) % SIDE, (i * 23) % SIDE, (i * 29 + 40) % SIDE, (i * 53) % SIDE],
      color: `#${((i * 81931 + 4000) % 16777216).toString(16).padStart(6, "0")}`,
      size: 10 + ((i * 7) % 40),
    })),
  );

for (const most of [128 << 20, 60000, 0])
  test(`what a change below blurs reaches is drawn again, with ${most} bytes for what they leave`, () => {
    const strokes = blurs(40);
    const layer = new StrokeLayer("paint", SIDE, SIDE);
    layer.effects.most = most;
    layer.sync(strokes, 1, 1);
    const moved = (i, by) => ({ ...strokes[i], paths: [strokes[i].paths[0].map((value) => value + by)] });
    const changes = [
      strokes.with(0, moved(0, 9)), // a brush below all of them
      strokes.with(0, moved(0, 9)).with(31, moved(31, -4)), // a blur between others
      strokes.toSpliced(16, 1), // one less
      strokes.toSpliced(5, 0, ...blurs(2)),
      [strokes[10], ...strokes.toSpliced(10, 1)], // another order
      strokes.slice(0, 20),
      [...strokes, ...blurs(70)],
    ];
    for (const wanted of [...changes, strokes]) {
      layer.sync(wanted, 1, 1, { draft: true });
      layer.sync(wanted, 1, 1);
      assert.equal(furthest(layer.image.data, layerOf(wanted).image.data), 0);
    }
    if (most < 1e6) assert.ok(layer.effects.bytes <= most);
    layer.sync([], 1, 1);
    assert.equal(layer.effects.bytes, 0);
  });

test("blurs that are drawn in slices, and changed in between, end as they are", () => {
  const strokes = blurs(60);
  const layer = layerOf(strokes);
  let [wanted, turns] = [strokes, 0];
  do {
    if (turns % 4 === 0 && turns < 40)
      wanted = strokes.with(turns, { ...strokes[turns], size: 30, opacity: 0.5 }).toSpliced(50, turns % 8);
    turns += 1;
  } while (!layer.sync(wanted, 1, 1, { until: performance.now() + 0.2, draft: turns % 3 === 0 }) && turns < 10000);
  while (!layer.sync(wanted, 1, 1, { until: performance.now() + 0.2 }));
  assert.equal(furthest(layer.image.data, layerOf(wanted).image.data), 0);
});

test("a blur of paint without colour brings no colour", () => {
  const red = { points: [32, 32], size: 20, hardness: 1, color: "#ff0000" };
  const soft = layerOf(read(red, { tool: "blur", points: [32, 32], size: 90, hardness: 1 }));
  for (const x of [32, 44, 50]) {
    const [r, g, b, alpha] = pixel(soft, x, 32);
    assert.ok(alpha > 0 && alpha < 200);
    assert.deepEqual([r, g, b], [255, 0, 0]);
  }
});

test("a stroke of very many points is drawn", () => {
  const points = Array.from({ length: 200000 }, (_, i) => (i % 60) + (i % 2));
  const { drawing, complaint } = readDrawing(JSON.stringify({ width: SIDE, height: SIDE, strokes: [{ points }] }));
  assert.equal(complaint, "");
  assert.equal(pixel(layerOf(drawing.strokes), 30, 30)[3], 255);
});

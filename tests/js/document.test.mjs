/** A drawing as text: what is good comes back as it was, and of what is bad all that can be kept is kept. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { EMPTY, numbersOf, readDrawing, rounded, storedSize, writeDrawing } from "../../web/js/canvas/document.js";
import { moved } from "../../web/js/canvas/geometry.js";
import { STANDARD, withChange } from "../../web/js/canvas/layers.js";
import { parseCurve } from "../../web/js/schedule/maths.js";

const LINE = { color: "#ff0000", size: 30, points: [50, 50, 400, 400] };
const text = (strokes, fields) =>
  JSON.stringify({ version: 1, width: 512, height: 512, paper: "#ffffff", strokes, ...fields });

test("nothing drawn is no complaint", () => {
  for (const given of ["", "  \n"])
    assert.deepEqual(readDrawing(given), { drawing: EMPTY, complaint: "", lost: false });
  assert.equal(writeDrawing(EMPTY), "");
});

test("every field survives reading and writing", () => {
  const strokes = [
    LINE,
    { tool: "line", layer: "sketch", importance: 0.25, points: [1, 2, 3, 4.5], pressure: [0, 100] },
    { tool: "eraser", hardness: 1, opacity: 0.5, points: [9, 9] },
    { tool: "fill", color: "#00ff00", t0: 0.9, rings: [[0, 0, 10, 0, 5, 9]] },
  ];
  const given = text(strokes, { paper: "#102030", background: "0123abcd", future: { kept: true } });
  const { drawing, complaint, lost } = readDrawing(given);
  assert.equal(complaint + lost, "false");
  assert.deepEqual(JSON.parse(writeDrawing(drawing)), JSON.parse(given));
});

test("a blur has the width and strength of a brush, and tells older versions that it is new", () => {
  const blur = { tool: "blur", size: 48, grain: 0.2, opacity: 0.5, points: [1, 2, 3, 4], color: "#ff0000", t0: 0.1 };
  const { drawing, complaint } = readDrawing(text([LINE, blur], { version: 3 }));
  assert.equal(complaint, "");
  const written = JSON.parse(writeDrawing(drawing));
  assert.equal(written.version, 3);
  assert.deepEqual(written.strokes[1], { tool: "blur", size: 48, grain: 0.2, opacity: 0.5, points: [1, 2, 3, 4] });
  assert.equal(JSON.parse(writeDrawing({ ...drawing, strokes: drawing.strokes.slice(0, 1) })).version, 1);
  const [foreign] = readDrawing(text([{ ...blur, layer: "sketch" }])).drawing.strokes;
  assert.equal(foreign.foreign.tool, "blur", "a sketch has none: it is kept, but not shown");
});

test("a bare list of strokes is a drawing", () => {
  assert.equal(readDrawing(JSON.stringify([LINE, LINE])).drawing.strokes.length, 2);
});

const BAD = [
  { given: text([LINE, LINE]).slice(0, -30), words: "damaged: 1 strokes", kept: 1, lost: true },
  { given: "hello", words: "damaged and cannot be shown", kept: 0, lost: true },
  { given: '{"strokes": null}', words: "no drawing", kept: 0, lost: true },
  { given: "5", words: "no drawing", kept: 0, lost: true },
  { given: "null", words: "no drawing", kept: 0, lost: true },
  { given: text([LINE], { version: 7 }), words: "newer version", kept: 1, lost: false },
  { given: text([{ ...LINE, size: -4, opacity: "much" }]), words: "1 strokes had values", kept: 1, lost: false },
  { given: text([{ ...LINE, color: "red" }]), words: "repaired", kept: 1, lost: false },
  { given: text([{ ...LINE, pressure: [1] }]), words: "repaired", kept: 1, lost: false },
];
for (const { given, words, kept, lost } of BAD)
  test(`a bad text is told in a sentence: ${given.slice(0, 40)}`, () => {
    const read = readDrawing(given);
    assert.match(read.complaint, new RegExp(words));
    assert.match(read.complaint, /\.$/);
    assert.equal(read.drawing.strokes.length, kept);
    assert.equal(read.lost, lost, "lost: saving would throw something away");
  });

test("values out of range are brought into it", () => {
  const [stroke] = readDrawing(text([{ ...LINE, size: 1e9, opacity: -1, hardness: null, t0: "x" }])).drawing.strokes;
  assert.deepEqual([stroke.size, stroke.opacity, stroke.hardness, stroke.t0], [4096, 0, 0.8, 0.6]);
});

test("points too far away are brought to the nearest place that may be stored, read or moved there", () => {
  const far = readDrawing(text([{ ...LINE, points: [-1e300, 3, 5, 40000] }]));
  assert.deepEqual(far.drawing.strokes[0].paths, [[-16384, 3, 5, 32768]]);
  assert.match(far.complaint, /repaired/);
  const edge = readDrawing(text([{ ...LINE, points: [-16384, 3, 5, 32768] }]));
  assert.equal(edge.complaint, "");
  assert.deepEqual(moved(edge.drawing.strokes[0], -1, 1).paths, [[-16384, 4, 4, 32768]]);
});

test("a brush's size is stored within what a text may hold", () => {
  assert.deepEqual([1e9, 400 / 3, 0.01].map(storedSize), [4096, 133.333, 0.1]);
});

const FOREIGN = [
  5,
  null,
  { tool: "airbrush", nozzle: 3 },
  { layer: "gold", points: [1, 2] },
  { points: [1] },
  { points: [1, null] },
  { points: "1 2" },
  { tool: "fill", rings: [[0, 0, 1, 1]] },
  { tool: "fill", rings: 7 },
];
test("strokes that this version does not know are kept as they are", () => {
  const given = text([LINE, ...FOREIGN], { version: 7 });
  const { drawing } = readDrawing(given);
  assert.equal(drawing.strokes.filter((stroke) => "foreign" in stroke).length, FOREIGN.length);
  assert.deepEqual(JSON.parse(writeDrawing(drawing)), JSON.parse(given));
});

test("what is saved of a damaged text keeps its measures", () => {
  const { drawing } = readDrawing(text([LINE, LINE], { width: 1024, height: 768 }).slice(0, -30));
  assert.deepEqual([drawing.width, drawing.height, drawing.strokes.length], [1024, 768, 1]);
});

test("limits: strokes, points, length of the text", () => {
  const dot = { points: [1, 2] };
  const many = readDrawing(text(Array(20001).fill(dot)));
  assert.deepEqual([many.drawing.strokes.length, many.lost], [20000, true]);
  assert.match(many.complaint, /^Only the first 20000 strokes are shown\.$/);
  const long = (count) => ({ points: Array.from({ length: 2 * count }, (_, i) => i % 400) });
  assert.ok(!("foreign" in readDrawing(text([long(100000)])).drawing.strokes[0]));
  assert.ok("foreign" in readDrawing(text([long(100001)])).drawing.strokes[0]);
  assert.ok("foreign" in readDrawing(text([long(99999), long(2)])).drawing.strokes[1]);
  assert.match(readDrawing(" ".repeat(8000000) + text([LINE])).complaint, /too large to show/);
  for (const width of [0, 16385, null, "512"])
    assert.equal(readDrawing(text([LINE], { width })).drawing.width, 0, String(width));
});

test("numbers that mean nothing for a stroke are not written", () => {
  assert.deepEqual(numbersOf({ tool: "fill", kind: "paint" }), ["opacity", "t0"]);
  assert.deepEqual(numbersOf({ tool: "line", kind: "paint" }), ["size", "hardness", "grain", "opacity", "t0"]);
  assert.deepEqual(numbersOf({ tool: "brush", kind: "sketch" }), ["size", "hardness", "importance"]);
  assert.deepEqual(numbersOf({ tool: "eraser", kind: "sketch" }), ["size", "hardness", "opacity"]);
  assert.equal(rounded(0.25), 0.3);
});

const TEXTS = {
  digits: (n) => "9".repeat(n),
  spaces: (n) => `${" ".repeat(n)}:`,
  colons: (n) => ":".repeat(n),
  pairs: (n) => "1:1,".repeat(n / 4),
  brackets: (n) => "[".repeat(n),
  gap: (n) => `"strokes"${" ".repeat(n)}`,
  "cut strokes": (n) => `{"strokes":[${" ".repeat(n)}`,
  "whole strokes": (n) => `{"strokes":[${'{"points":[1,2]},'.repeat(n / 17)}`,
};
for (const [kind, make] of Object.entries(TEXTS))
  for (const read of [parseCurve, readDrawing])
    test(`${read.name} takes linear time: ${kind}`, () => {
      const seconds = (given) => {
        const start = performance.now();
        try {
          read(given);
        } catch (error) {
          assert.ok(error.message.length <= 200);
        }
        return (performance.now() - start) / 1000;
      };
      const [short, long] = [90000, 900000].map((n) => Math.min(...[1, 2, 3].map(() => seconds(make(n)))));
      assert.ok(long <= 40 * short + 0.2, `${short} s, ${long} s`);
    });

const LAYERS = [
  { id: "paint", name: "Sky", t0: 0.75 },
  { id: "far", opacity: 0.5, hidden: true, locked: true, future: 1 },
  { id: "sketch", kind: "sketch", importance: 0.5 },
];
test("layers survive reading and writing, and strokes know the kind of theirs", () => {
  const strokes = [LINE, { ...LINE, layer: "far" }, { layer: "sketch", points: [1, 2] }];
  const given = text(strokes, { version: 2, layers: LAYERS });
  const { drawing, complaint } = readDrawing(given);
  assert.equal(complaint, "");
  assert.deepEqual(
    drawing.strokes.map(({ kind }) => kind),
    ["paint", "paint", "sketch"],
  );
  assert.deepEqual(JSON.parse(writeDrawing(drawing)), JSON.parse(given));
});

test("a drawing without layers of its own is written as before there were any", () => {
  const given = text([LINE]);
  const { drawing } = readDrawing(given);
  assert.equal(drawing.layers, STANDARD);
  assert.equal(JSON.parse(writeDrawing(drawing)).version, 1);
  assert.ok(!("layers" in JSON.parse(writeDrawing(drawing))));
  assert.equal(JSON.parse(writeDrawing({ ...drawing, layers: withChange(STANDARD, "paint", { t0: 0.5 }) })).version, 2);
});

test("layers and strokes on them that cannot be read are kept as they are", () => {
  const layers = [{ id: "paint" }, 5, { id: "paint", name: "again" }, { id: "x", kind: "gold" }, LAYERS[2]];
  const given = text([LINE, { layer: "x", points: [1, 2] }], { version: 2, layers });
  const { drawing, complaint, lost } = readDrawing(given);
  assert.match(complaint, /layers cannot be read/);
  assert.equal(lost, false);
  assert.ok("foreign" in drawing.strokes[1]);
  assert.deepEqual(JSON.parse(writeDrawing(drawing)), JSON.parse(given));
  assert.deepEqual(
    readDrawing(text([], { layers: 7 })).drawing.layers.map(({ id, foreign }) => id ?? foreign),
    [7, "paint", "sketch"],
  );
});

test("the layers of a damaged text are kept", () => {
  const given = text([LINE, { ...LINE, layer: "far" }, LINE], { layers: LAYERS });
  const head = `{"layers":${JSON.stringify(LAYERS)},"strokes":`;
  const { drawing } = readDrawing(head + given.slice(given.indexOf('"strokes":') + 10, -20));
  assert.equal(drawing.layers[1].opacity, 0.5);
  assert.ok(!("foreign" in drawing.strokes[1]));
});

const PICTURE = {
  id: "p",
  kind: "picture",
  name: "Boat",
  file: "0123456789abcdef.png",
  pixels: [40, 20],
  x: 5,
  y: 6.5,
};
test("pictures survive reading and writing, and broken ones are kept as they are", () => {
  const layers = [...STANDARD.map(({ id, kind }) => (kind === "paint" ? { id } : { id, kind })), PICTURE];
  const more = [{ ...PICTURE, id: "q", scale: 0.5, rotation: -30, opacity: 0.5, t0: 0.2, future: 1 }];
  const given = text([], { version: 2, layers: [...layers, ...more] });
  const { drawing, complaint } = readDrawing(given);
  assert.equal(complaint, "");
  assert.deepEqual(drawing.layers[2].picture, { ...{ x: 5, y: 6.5, scale: 1, rotation: 0 }, ...pixelsOf(PICTURE) });
  assert.deepEqual(JSON.parse(writeDrawing(drawing)), JSON.parse(given));
  for (const broken of [{ file: "../x.png" }, { file: "cat.png" }, { pixels: [1] }, { x: null }, { scale: "2" }]) {
    const bad = text([], { version: 2, layers: [...layers, { ...more[0], ...broken }] });
    const read = readDrawing(bad);
    assert.ok("foreign" in read.drawing.layers[3], JSON.stringify(broken));
    assert.deepEqual(JSON.parse(writeDrawing(read.drawing)), JSON.parse(bad));
  }
});

function pixelsOf({ file, pixels }) {
  return { file, pixels };
}

test("a gradient has a text for its colour and places within reach", () => {
  const area = { tool: "fill", color: "#1d5238", rings: [[0, 0, 9, 0, 9, 9]] };
  const read = (more) => readDrawing(JSON.stringify({ width: 9, height: 9, strokes: [{ ...area, ...more }] }));
  const far = read({ color2: "#ffffff", gradient: [-1e300, 0, 5, 1e300] });
  assert.deepEqual(far.drawing.strokes[0].gradient.way, [-16384, 0, 5, 32768]);
  const wrong = read({ color2: ["#ffffff"], gradient: [0, 0, 5, 5] });
  assert.equal(wrong.drawing.strokes[0].gradient, null);
  assert.notEqual(wrong.complaint, "");
});

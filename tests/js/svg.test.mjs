/** A drawing as SVG: layers, lines, outlines of pressure, erasers, pictures. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { readDrawing } from "../../web/js/canvas/document.js";
import { svgOf } from "../../web/js/canvas/svg.js";

const FRAME = { width: 100, height: 50 };
const written = (strokes, layers, pictures) =>
  svgOf(readDrawing(JSON.stringify({ ...FRAME, strokes, layers })).drawing, FRAME, pictures);
const paths = (text) => text.match(/<path [^>]*>/g) ?? [];

test("a hard line is a stroke with round ends, a point a dot, a fill its rings", () => {
  const text = written([
    { color: "#c5281e", size: 8, hardness: 1, opacity: 0.5, points: [10, 20, 30, 40, 50, 20] },
    { size: 8, hardness: 1, points: [7, 7] },
    {
      tool: "fill",
      color: "#1d5238",
      rings: [
        [0, 0, 9, 0, 9, 9],
        [2, 1, 4, 1, 4, 3],
      ],
    },
  ]);
  assert.deepEqual(paths(text), [
    '<path d="M10 20L30 40 50 20" fill="none" stroke="#c5281e" stroke-width="8" opacity="0.5"/>',
    '<path d="M7 7h0" fill="none" stroke="#000000" stroke-width="8"/>',
    '<path d="M0 0L9 0 9 9zM2 1L4 1 4 3z" fill="#1d5238"/>',
  ]);
  assert.match(text, /stroke-linecap="round"/);
  assert.match(text, /fill-rule="evenodd"/);
});

test("a gradient is one of the picture's places", () => {
  const shaded = {
    tool: "fill",
    color: "#c5281e",
    color2: "#ffffff",
    gradient: [0, 0, 0, 50],
    rings: [[0, 0, 9, 0, 9, 9]],
  };
  const text = written([shaded]);
  assert.match(text, /<linearGradient id="d1" gradientUnits="userSpaceOnUse" x1="0" y1="0" x2="0" y2="50">/);
  assert.match(paths(text)[0], /fill="url\(#d1\)"/);
});

test("lengths are pixels of the picture, and thin lines are fainter, as painted", () => {
  const { drawing } = readDrawing(
    JSON.stringify({ ...FRAME, strokes: [{ size: 0.2, hardness: 1, points: [1, 1, 2, 2] }] }),
  );
  const [line] = paths(svgOf(drawing, { width: 200, height: 100 }));
  assert.match(line, /d="M2 2L4 4"/);
  assert.match(line, /stroke-width="1" opacity="0.4"/);
});

test("a soft rim is blurred within a box of its own", () => {
  const text = written([{ size: 20, hardness: 0.5, points: [20, 20, 60, 20] }]);
  assert.match(text, /<filter id="d1" filterUnits="userSpaceOnUse"[^>]*><feGaussianBlur stdDeviation="1.323"\/>/);
  assert.match(paths(text)[0], /stroke-width="16" filter="url\(#d1\)"/);
});

test("grain is a noise that the line is seen through, with or without a soft rim", () => {
  for (const [hardness, line] of [
    [1, "SourceGraphic"],
    [0.2, "line"],
  ]) {
    const text = written([{ size: 25, hardness, grain: 0.5, points: [20, 20, 60, 20] }]);
    assert.equal(text.match(/<filter /g).length, 1);
    assert.equal(text.includes('result="line"'), line === "line");
    assert.match(
      text,
      /<feTurbulence type="fractalNoise" baseFrequency="0.325 0.325" numOctaves="2" result="paper"\/>/,
    );
    assert.match(text, new RegExp(`<feComposite in="${line}" in2="kept" operator="in"/></filter>`));
  }
});

test("pressure makes an outline whose parts all go round in one direction", () => {
  const text = written([{ size: 20, hardness: 1, pressure: [100, 40], points: [30, 20, 60, 30] }]);
  const d = /d="([^"]*)"/.exec(paths(text)[0])[1];
  assert.match(d, /^M20 20a10 10 0 0 1 20 0a10 10 0 0 1 -20 0z/, "clockwise, as y points down");
  const corners = d
    .split("z")[1]
    .match(/-?[\d.]+/g)
    .map(Number);
  let area = 0;
  for (let i = 0, j = corners.length - 2; i < corners.length; j = i, i += 2)
    area += (corners[j] * corners[i + 1] - corners[i] * corners[j + 1]) / 2;
  assert.ok(area > 0, "clockwise, too");
  assert.match(paths(text)[0], /fill-rule="nonzero"/);
});

test("an eraser masks what was drawn before it, on its layer", () => {
  const line = { size: 8, hardness: 1, points: [0, 10, 50, 10] };
  const eraser = { tool: "eraser", size: 4, hardness: 1, points: [20, 0, 20, 50] };
  const text = written([eraser, line, eraser, eraser, { ...line, color: "#ffffff" }]);
  assert.equal(text.match(/<mask /g).length, 1, "the first one found nothing");
  assert.equal(text.split("</mask>")[0].match(/stroke="#000000"/g).length, 2);
  assert.match(text, /<g mask="url\(#d1\)">\n<path [^>]*stroke="#000000"[^>]*>\n<\/g>\n<path [^>]*stroke="#ffffff"/);
});

test("what a layer has up to its last blur is a picture, and the rest vectors", () => {
  const line = (i) => ({ size: 8, hardness: 1, points: [0, i, 50, i] });
  const blur = { tool: "blur", size: 20, points: [0, 10, 50, 10] };
  const eraser = { tool: "eraser", size: 4, hardness: 1, points: [20, 0, 20, 50] };
  const mixed = new Map([["paint", "data:image/png;base64,CC"]]);
  const text = written([line(1), eraser, blur, line(2), blur, eraser, line(3)], undefined, { mixed });
  assert.match(text, /<g mask="url\(#d1\)">\n<image width="100" height="50"[^>]*base64,CC"\/>\n<\/g>\n<path d="M0 3L/);
  assert.equal(paths(text).length, 2, "the eraser in its mask, and the last line");
});

test("layers are groups with names, the sketch and what is hidden are not seen, pictures are inside", () => {
  const file = "0f3a6c0e5b1d4c22a90f3a6c0e5b1d4c.png";
  const picture = { id: "p", kind: "picture", file, pixels: [40, 20], x: 50, y: 25, scale: 0.5, rotation: 90 };
  const layers = [
    { id: "paint", name: 'Sky & "sea"', opacity: 0.8 },
    picture,
    { ...picture, id: "q", hidden: true },
    { id: "sketch", kind: "sketch" },
  ];
  const text = written([{ layer: "sketch", size: 3, importance: 0.5, points: [0, 0, 9, 9] }], layers, {
    background: "data:image/png;base64,AA",
    files: new Map([[file, "data:image/png;base64,BB"]]),
  });
  const groups = text.match(/<g id[^>]*>/g);
  assert.match(groups[0], /inkscape:label="Sky &amp; &quot;sea&quot;" opacity="0.8">/);
  assert.deepEqual(
    groups.map((group) => group.includes("display")),
    [false, false, true, true],
  );
  assert.match(text, /transform="translate\(50 25\) rotate\(90\) scale\(0.5\)" xlink:href="data:image\/png;base64,BB"/);
  assert.match(
    text,
    /<image width="100" height="50" preserveAspectRatio="none" xlink:href="data:image\/png;base64,AA"/,
  );
  assert.match(text, /stroke="rgb\(255,45,149\)"[^>]*opacity="0.5"/);
});

test("a gradient without a way is one colour, and names hold nothing that XML cannot", () => {
  const area = {
    tool: "fill",
    color: "#1d5238",
    color2: "#ffffff",
    gradient: [5, 5, 5, 5],
    rings: [[0, 0, 9, 0, 9, 9]],
  };
  const text = written(
    [area],
    [
      { id: "paint", name: 'a\u0001\ufffe"<b' },
      { id: "sketch", kind: "sketch" },
    ],
  );
  assert.ok(!text.includes("linearGradient"));
  assert.match(text, /fill="#1d5238"/);
  assert.match(text, /inkscape:label="a&quot;&lt;b"/);
});

test("what an eraser takes away shows nothing of what lay below", () => {
  const line = (y) => ({ size: 8, hardness: 1, points: [0, y, 50, y] });
  const eraser = { tool: "eraser", size: 4, opacity: 0.5, points: [20, 0, 20, 50] };
  const text = written([line(1), eraser, line(2), eraser, line(3)]).replaceAll(/<path d="M0 (\d)[^>]*>/g, "$1");
  assert.match(text, /<g mask="url\(#d2\)">\s*<g mask="url\(#d1\)">\s*1\s*<\/g>\s*2\s*<\/g>\s*3\s*<\/g>/);
});

test("hundreds of erasers in between are no more than some masks deep", () => {
  const line = (i) => ({ size: 8, hardness: 1, points: [0, i, 50, i] });
  const eraser = (i) => ({ tool: "eraser", size: 4, hardness: 1, points: [i, 0, i, 50] });
  const text = written(Array.from({ length: 300 }, (_, i) => [line(i), eraser(i)]).flat());
  let [deep, deepest] = [0, 0];
  for (const [tag] of text.matchAll(/<g|<\/g>/g)) deepest = Math.max(deepest, (deep += tag === "<g" ? 1 : -1));
  assert.ok(deepest < 112, `${deepest} groups`);
  const masks = new Map([...text.matchAll(/<mask id="(\w+)"(.*?)<\/mask>/gs)].map(([, id, content]) => [id, content]));
  const around = []; // the masks that a line lies in
  const seen = new Map();
  const erasedBy = (ids) =>
    ids.flatMap((id) => [...(masks.get(id) ?? "").matchAll(/M(\d+) 0L/g)].map(([, x]) => Number(x)));
  const tags = /<g[^>]*?(?:mask="url\(#(\w+)\)")?>|<\/g>|<path d="M0 (\d+)L/g;
  for (const [tag, mask, y] of text.split("</defs>")[1].matchAll(tags))
    if (tag.startsWith("<g")) around.push(mask);
    else if (tag === "</g>") around.pop();
    else seen.set(Number(y), erasedBy(around));
  assert.equal(seen.size, 300);
  for (const [y, erased] of seen)
    assert.deepEqual(
      erased.sort((a, b) => a - b),
      Array.from({ length: 300 - y }, (_, i) => y + i),
      `what is erased of line ${y}: what came after it, each once`,
    );
});

test("a stroke of very many points is written", () => {
  const points = Array.from({ length: 180000 }, (_, i) => i % 97);
  const text = written([{ size: 20, hardness: 0, points }]);
  assert.match(text, /<feGaussianBlur/);
});

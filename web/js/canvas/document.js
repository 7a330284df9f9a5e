/**
 * A drawing as text: reads and writes the JSON that images/strokes_document.py describes.
 *
 * @typedef {object} Stroke
 * @property {"brush"|"line"|"eraser"|"fill"|"blur"|"smudge"} tool
 * @property {string} layer          the id of its layer
 * @property {"paint"|"sketch"} kind of its layer
 * @property {number[][]} paths     one path, or the rings of a fill: x, y, x, y, ... in pixels of the drawing
 * @property {string} color
 * @property {number} size @property {number} opacity @property {number} hardness @property {number} grain
 * @property {number} t0 @property {number} importance
 * @property {number[]|null} pressure 0..100 per point, null for full
 * @property {{color: string, way: number[]}|null} gradient of a fill: its second colour, and x, y of both
 *
 * @typedef {object} Drawing         never changed in place
 * @property {number} width @property {number} height  what lengths refer to; 0 while nothing is drawn
 * @property {string} paper
 * @property {string} print          of the background it was drawn on, "" for none
 * @property {(import("./layers.js").Layer|{foreign: *})[]} layers
 * @property {(Stroke|{foreign: *})[]} strokes  foreign: what this version does not know, kept as it is
 * @property {object} rest           unknown fields, kept as they are
 */

import { clamp } from "../common/numbers.js";
import { FARTHEST, isStandard, readLayers, STANDARD, writeLayers } from "./layers.js";

const VERSION = 3;
const BEFORE_EFFECTS = 2;
const BEFORE_LAYERS = 1;
const WIDEST = 16384;
const MOST_STROKES = 20000;
const MOST_POINTS = 100000;
const LONGEST_TEXT = 8000000;
const TOOLS = ["brush", "line", "eraser", "fill", "blur", "smudge"];
const COLOR = /^#[0-9a-f]{6}$/i;

/** number: [default, low, high] */
export const RANGES = {
  size: [24, 0.1, 4096],
  opacity: [1, 0, 1],
  hardness: [0.8, 0, 1],
  grain: [0, 0, 1],
  t0: [0.6, 0, 1],
  importance: [1, 0, 1],
};

/** @type {Drawing} */
export const EMPTY = Object.freeze({
  ...{ width: 0, height: 0, paper: "#ffffff", print: "" },
  ...{ layers: STANDARD, strokes: [], rest: {} },
});

/** @returns {{drawing: Drawing, complaint: string, lost: boolean}} lost: saving would throw something away */
export function readDrawing(text) {
  if (!text.trim()) return { drawing: EMPTY, complaint: "", lost: false };
  if (text.length > LONGEST_TEXT) return unreadable("The drawing is too large to show; Python uses its beginning.");
  let data;
  let complaint = "";
  let lost = false;
  try {
    data = JSON.parse(text);
  } catch {
    data = salvaged(text);
    if (!data.strokes.length) return unreadable("The drawing's text is damaged and cannot be shown.");
    complaint = `The drawing's text is damaged: ${data.strokes.length} strokes before the damage are shown.`;
    lost = true;
  }
  if (Array.isArray(data)) data = { strokes: data };
  const { version = VERSION, width, height, paper, background, layers: piles, strokes = [], ...rest } = data ?? {};
  if (typeof data !== "object" || data === null || !Array.isArray(strokes))
    return unreadable("The text is no drawing and cannot be shown.");
  if (!(version <= VERSION)) {
    complaint ||= "The drawing was made by a newer version of this pack: what is unknown here is kept, not shown.";
    rest.version = version;
  }
  if (strokes.length > MOST_STROKES) [complaint, lost] = [`Only the first ${MOST_STROKES} strokes are shown.`, true];
  const { layers, repaired, cut } = readLayers(piles);
  if (repaired) complaint ||= "Some layers cannot be read: they are kept, but not shown.";
  lost ||= cut;
  const kinds = new Map(layers.flatMap(({ id, kind, picture }) => (picture ? [] : [[id, kind]])));
  const budget = { points: MOST_POINTS, repaired: 0, kinds };
  const read = strokes.slice(0, MOST_STROKES).map((item) => readStroke(item, budget));
  if (budget.repaired && !complaint)
    complaint = `${budget.repaired} strokes had values out of range and were repaired.`;
  const sides = isSide(width) && isSide(height) ? { width, height } : { width: 0, height: 0 };
  const known = { ...sides, paper: isColor(paper) ? paper : "#ffffff", print: asPrint(background) };
  return { drawing: { ...known, layers, strokes: read, rest }, complaint, lost };
}

/** The text of a drawing; "" if nothing is drawn. @param {Drawing} drawing */
export function writeDrawing(drawing) {
  const { width, height, paper, print, layers, strokes, rest } = drawing;
  const plain = isStandard(layers);
  if (!strokes.length && paper === EMPTY.paper && plain) return "";
  const version = strokes.some(isEffect) ? VERSION : plain ? BEFORE_LAYERS : BEFORE_EFFECTS;
  const head = { version, ...rest, width, height, paper };
  if (print) head.background = print;
  if (!plain) head.layers = writeLayers(layers);
  return JSON.stringify({ ...head, strokes: strokes.map(writeStroke) });
}

/** Coordinates as they are stored: to a tenth of a pixel. */
export function rounded(value) {
  return near(Math.round(value * 10) / 10);
}

/** A brush's size as it is stored. */
export function storedSize(size) {
  const [, thinnest, widest] = RANGES.size;
  return clamp(Number(size.toFixed(3)), thinnest, widest);
}

/** A coordinate, or the nearest one that may be stored. */
function near(value) {
  const [least, most] = FARTHEST;
  return clamp(value, least, most);
}

function unreadable(complaint) {
  return { drawing: EMPTY, complaint, lost: true };
}

function isSide(value) {
  return Number.isFinite(value) && value >= 1 && value <= WIDEST;
}

function asPrint(value) {
  return typeof value === "string" && /^[0-9a-f]{1,128}$/.test(value) ? value : "";
}

function readStroke(item, budget) {
  if (typeof item !== "object" || item === null) return { foreign: item };
  const { tool = "brush", layer = "paint" } = item;
  const kind = budget.kinds.get(layer);
  if (!TOOLS.includes(tool) || !kind || (kind === "sketch" && isEffect({ tool }))) return { foreign: item };
  const given = tool === "fill" ? item.rings : [item.points];
  const least = tool === "fill" ? 6 : 2;
  if (!Array.isArray(given) || !given.length || !given.every((path) => isPath(path, least))) return { foreign: item };
  const paths = given.map((path) => path.map(near));
  budget.points -= paths.reduce((sum, path) => sum + path.length / 2, 0);
  if (budget.points < 0) return { foreign: item };
  let repaired = paths.some((path, i) => path.some((value, j) => value !== given[i][j]));
  const stroke = { tool, layer, kind, paths, color: item.color ?? "#000000", pressure: null };
  if (!isColor(stroke.color)) [stroke.color, repaired] = ["#000000", true];
  for (const [name, [standard, low, high]] of Object.entries(RANGES)) {
    const value = item[name] ?? standard;
    stroke[name] = Number.isFinite(value) ? clamp(value, low, high) : standard;
    repaired ||= stroke[name] !== value;
  }
  const count = paths[0].length / 2;
  const { pressure } = item;
  if (Array.isArray(pressure) && pressure.length === count && pressure.every(Number.isFinite))
    stroke.pressure = pressure;
  else repaired ||= pressure != null;
  stroke.gradient = tool === "fill" ? readGradient(item) : null;
  repaired ||= tool === "fill" && !stroke.gradient && (item.color2 ?? item.gradient ?? null) !== null;
  if (repaired) budget.repaired += 1;
  return Object.freeze(stroke);
}

/** Whether a value is the text of a colour. */
export function isColor(value) {
  return typeof value === "string" && COLOR.test(value);
}

function readGradient({ color2, gradient }) {
  if (!isColor(color2) || !isPath(gradient, 4) || gradient.length !== 4) return null;
  return { color: color2, way: gradient.map(near) };
}

function isPath(path, least) {
  return Array.isArray(path) && path.length >= least && path.length % 2 === 0 && path.every(Number.isFinite);
}

function writeStroke(stroke) {
  if ("foreign" in stroke) return stroke.foreign;
  const { tool, layer, kind, paths, color, pressure, gradient } = stroke;
  const written = {};
  if (tool !== "brush") written.tool = tool;
  if (layer !== "paint") written.layer = layer;
  if (bringsPaint(stroke) && kind !== "sketch") written.color = color;
  for (const name of numbersOf(stroke))
    if (stroke[name] !== RANGES[name][0]) written[name] = Number(stroke[name].toFixed(3));
  if (tool === "fill") written.rings = paths;
  else written.points = paths[0];
  if (pressure) written.pressure = pressure;
  if (gradient) Object.assign(written, { color2: gradient.color, gradient: gradient.way });
  return written;
}

/** Whether a stroke changes what is there with what is there. */
export function isEffect({ tool }) {
  return tool === "blur" || tool === "smudge";
}

/** Whether a stroke has a colour and a t0 of its own. */
export function bringsPaint({ tool }) {
  return tool !== "eraser" && !isEffect({ tool });
}

/** The numbers that mean something for a stroke. */
export function numbersOf({ tool, kind }) {
  const brush = tool === "fill" ? [] : kind === "sketch" ? ["size", "hardness"] : ["size", "hardness", "grain"];
  if (!bringsPaint({ tool })) return [...brush, "opacity"];
  return [...brush, ...(kind === "sketch" ? ["importance"] : ["opacity", "t0"])];
}

/** The whole strokes before the damage, each an object without objects inside, and what their lengths refer to. */
function salvaged(text) {
  const begin = /"strokes"\s*:\s*\[/.exec(text);
  const data = { strokes: [] };
  if (!begin) return data;
  for (const name of ["version", "width", "height"]) {
    const found = new RegExp(`"${name}"\\s*:\\s*(\\d{1,9})`).exec(text.slice(0, begin.index));
    if (found) data[name] = Number(found[1]);
  }
  const head = text.slice(0, begin.index);
  const piles = /"layers"\s*:/.exec(head);
  try {
    if (piles) data.layers = JSON.parse(head.slice(piles.index + piles[0].length, head.lastIndexOf("]") + 1));
  } catch {
    // the strokes on layers of their own are kept with the text, but not shown
  }
  // Each search begins where the one before ended, so that the text is read once.
  const space = /[\s,]*/y;
  const stroke = /\{[^{}]*\}/y;
  for (let at = begin.index + begin[0].length; ; at = stroke.lastIndex) {
    space.lastIndex = at;
    space.exec(text);
    stroke.lastIndex = space.lastIndex;
    const match = stroke.exec(text);
    if (!match) break;
    try {
      data.strokes.push(JSON.parse(match[0]));
    } catch {
      break;
    }
  }
  return data;
}

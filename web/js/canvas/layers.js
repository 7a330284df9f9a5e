/**
 * The layers of a drawing, from the lowest to the uppermost: what a text says of them, and lists with one more, one
 * less, or another order. What is drawn on them is in the list of strokes.
 *
 * @typedef {object} Layer            never changed in place
 * @property {string} id
 * @property {"paint"|"sketch"|"picture"} kind
 * @property {string} name             "" for the name of its kind
 * @property {boolean} hidden @property {boolean} locked
 * @property {number} opacity
 * @property {number|null} t0 @property {number|null} importance  what new strokes begin with
 * @property {import("./placing.js").Placed|null} picture
 * @property {object} rest             unknown fields, kept as they are
 */

import { SCALES, turnedTo } from "./placing.js";

export const MOST_LAYERS = 32;
export const PICTURE_T0 = 0.6; // of a picture that names none
const LONGEST_NAME = 60;
export const FARTHEST = [-16384, 32768]; // coordinates that are farther away are brought there, as in images/strokes_document.py
const FILE = /^[0-9a-f]{16,64}\.[a-z]{3,4}$/;
const NAMES = { paint: "Paint", sketch: "Sketch", picture: "Picture" };
const NUMBERED = { paint: (n) => `Paint ${n}`, sketch: (n) => `Sketch ${n}`, picture: (n) => `Picture ${n}` };

/** A layer as it is made. @returns {Layer} */
export function layerOf(id, kind, fields = {}) {
  const plain = { name: "", hidden: false, locked: false, opacity: 1, t0: null, importance: null };
  return Object.freeze({ id, kind, ...plain, picture: null, rest: {}, ...fields });
}

/** Those of a drawing that names none. */
export const STANDARD = Object.freeze([layerOf("paint", "paint"), layerOf("sketch", "sketch")]);

/** The layers in a parsed text; what cannot be read is kept as {foreign}. The text is repaired: see `repaired`. */
export function readLayers(given) {
  if (given === undefined || given === null) return { layers: STANDARD, repaired: false, cut: false };
  const items = Array.isArray(given) ? given : [given];
  const ids = new Set();
  let repaired = false;
  const layers = items.slice(0, 2 * MOST_LAYERS).map((item) => {
    const layer = ids.size < MOST_LAYERS ? readLayer(item) : null;
    if (!layer || ids.has(layer.id)) {
      repaired = true;
      return { foreign: item };
    }
    ids.add(layer.id);
    return layer;
  });
  for (const standard of STANDARD)
    if (!layers.some(({ kind }) => kind === standard.kind))
      layers.push(ids.has(standard.id) ? layerOf(freshId(layers, standard.kind), standard.kind) : standard);
  return { layers: Object.freeze(layers), repaired, cut: items.length > 2 * MOST_LAYERS };
}

function readLayer(item) {
  if (typeof item !== "object" || item === null || typeof item.id !== "string") return null;
  const { id, kind = "paint", name, hidden, locked, opacity, t0, importance, ...others } = item;
  if (!Object.hasOwn(NAMES, kind)) return null;
  const { picture, rest } = kind === "picture" ? readPlaced(others) : { picture: null, rest: others };
  if (kind === "picture" && !picture) return null;
  return layerOf(id, kind, {
    name: typeof name === "string" ? name.slice(0, LONGEST_NAME) : "",
    hidden: hidden === true,
    locked: locked === true,
    opacity: share(opacity) ?? 1,
    t0: share(t0),
    importance: share(importance),
    picture,
    rest,
  });
}

function readPlaced({ file, pixels, x, y, scale = 1, rotation = 0, ...rest }) {
  const isSize = Array.isArray(pixels) && pixels.length === 2 && pixels.every((side) => side >= 1 && side < Infinity);
  const known = typeof file === "string" && FILE.test(file) && isSize && [x, y, scale, rotation].every(Number.isFinite);
  if (!known) return { picture: null, rest };
  const within = (value, [low, high]) => Math.min(Math.max(value, low), high);
  const place = { x: within(x, FARTHEST), y: within(y, FARTHEST), scale: within(scale, SCALES) };
  return { picture: turnedTo({ file, pixels, ...place }, rotation), rest };
}

/** A number brought into 0..1, or null. */
function share(value) {
  return Number.isFinite(value) ? Math.min(Math.max(value, 0), 1) : null;
}

/** The layers as a text has them; undefined for the standard ones. */
export function writeLayers(layers) {
  if (isStandard(layers)) return undefined;
  return layers.map(writeLayer);
}

function writeLayer(layer) {
  if ("foreign" in layer) return layer.foreign;
  const { id, kind, name, hidden, locked, opacity, t0, importance, picture, rest } = layer;
  const written = { id };
  if (kind !== "paint") written.kind = kind;
  if (name) written.name = name;
  if (hidden) written.hidden = true;
  if (locked) written.locked = true;
  for (const [key, value, standard] of [
    ["opacity", opacity, 1],
    ["t0", t0, null],
    ["importance", importance, null],
  ])
    if (value !== standard) written[key] = Number(value.toFixed(3));
  return { ...written, ...(picture && writePlaced(picture)), ...rest };
}

function writePlaced({ file, pixels, x, y, scale, rotation }) {
  const written = { file, pixels, x, y };
  if (scale !== 1) written.scale = scale;
  if (rotation) written.rotation = rotation;
  return written;
}

/** Whether there is nothing about the layers that a drawing without a list of them would not have. */
export function isStandard(layers) {
  return layers === STANDARD || JSON.stringify(layers) === JSON.stringify(STANDARD);
}

/** An id that no layer has: "paint 2", as the first is "paint"; "picture 1". */
export function freshId(layers, kind) {
  const taken = new Set(layers.map(({ id }) => id));
  for (let i = kind === "picture" ? 1 : 2; ; i++) if (!taken.has(`${kind} ${i}`)) return `${kind} ${i}`;
}

/** What a layer is called, in words that can be translated: its kind, and the number in its id. */
export function titleOf({ id, kind }) {
  const number = id.startsWith(`${kind} `) ? id.slice(kind.length + 1) : "";
  return number ? NUMBERED[kind](number) : NAMES[kind];
}

/** The sketch lies above everything; all else is one pile. */
export function isSketch({ kind }) {
  return kind === "sketch";
}

/** With a layer above another one of its pile, or on top of the pile. */
export function withLayer(layers, layer, above = null) {
  const at = layers.findIndex(({ id }) => id === above);
  const fits = at >= 0 && isSketch(layers[at]) === isSketch(layer);
  const top = layers.findLastIndex((each) => !("foreign" in each) && isSketch(each) === isSketch(layer));
  return layers.toSpliced((fits ? at : top) + 1, 0, layer);
}

/** With a layer moved by one place within its pile; the same list if there is none. */
export function withMoved(layers, id, by) {
  const from = layers.findIndex((layer) => layer.id === id);
  let to = from + by;
  while (layers[to] && ("foreign" in layers[to] || isSketch(layers[to]) !== isSketch(layers[from]))) to += by;
  return layers[to] ? layers.toSpliced(from, 1).toSpliced(to, 0, layers[from]) : layers;
}

/** With a layer directly above another one of its pile, or below all of it (null); the same list if it is there. */
export function withPlaced(layers, id, above) {
  const layer = layers.find((each) => each.id === id);
  const others = layers.filter((each) => each !== layer);
  const isAlike = (each) => !("foreign" in each) && isSketch(each) === isSketch(layer);
  const at = above === null ? others.findIndex(isAlike) : others.findIndex((each) => each.id === above) + 1;
  const placed = at < 0 ? layers : others.toSpliced(at, 0, layer);
  return placed.every((each, i) => each === layers[i]) ? layers : placed;
}

/** With some fields of a layer changed. */
export function withChange(layers, id, fields) {
  return layers.map((layer) => (layer.id === id ? Object.freeze({ ...layer, ...fields }) : layer));
}

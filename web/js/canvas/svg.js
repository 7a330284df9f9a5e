/**
 * A drawing as an SVG file: every stroke a path, every layer a group with its name. Lengths are pixels of the picture.
 * Soft rims are blurred lines and grain is SVG's own noise, which come near to what is painted; what an eraser took
 * away is in masks. What a layer has up to its last effect, such as blur, is a picture.
 */

import { say } from "../common/language.js";
import { largest } from "../common/numbers.js";
import { SKETCH_COLOR } from "./blend.js";
import { corners } from "./coverage.js";
import { radiiOf } from "./covers.js";
import { isEffect } from "./document.js";
import { hasGrain, roughnessOf } from "./grain.js";
import { isSketch, titleOf } from "./layers.js";
import { frameOf } from "./placing.js";

const DEEPEST = 100; // masks within masks: programs that read XML give up at 256 elements
const BLUR = 0.27; // standard deviation of a blur with the slope of a rim one pixel wide
// A painted paper beside feTurbulence: its frequency, and how far its depths are spread.
const COARSER = 0.65;
const SPREAD = 1.5;
const NAMESPACES = [
  'xmlns="http://www.w3.org/2000/svg"',
  'xmlns:xlink="http://www.w3.org/1999/xlink"',
  'xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape"',
].join(" ");

/** @typedef {{width: number, height: number, scale: {x: number, y: number}, defs: string[]}} Sheet */

/**
 * @param {import("./document.js").Drawing} drawing
 * @param {{width: number, height: number}} frame of the picture
 * @param {{background: string|null, files: Map<string, string>, mixed: Map<string, string>}} pictures addresses of data:
 *   by the names of files; by the ids of layers with effects, what they have up to the last one
 */
export function svgOf(drawing, { width, height }, { background = null, files = new Map(), mixed = new Map() } = {}) {
  const scale = { x: width / (drawing.width || width), y: height / (drawing.height || height) };
  const size = `width="${width}" height="${height}"`;
  const sheet = { width, height, scale, defs: [] };
  const known = drawing.layers.filter((layer) => !("foreign" in layer));
  const strokesOf = ({ id }) => drawing.strokes.filter(({ layer }) => layer === id);
  const below = (address) => (address ? `<image ${size} preserveAspectRatio="none" xlink:href="${address}"/>\n` : "");
  const written = [...known.filter((layer) => !isSketch(layer)), ...known.filter(isSketch)].map((layer, i) => {
    const content = layer.picture
      ? image(layer.picture, files, scale)
      : strokes(strokesOf(layer), sheet, below(mixed.get(layer.id)));
    const label = escaped(layer.name || say(titleOf(layer)));
    const look = [layer.opacity < 1 && `opacity="${short(layer.opacity)}"`, isUnseen(layer) && 'display="none"'];
    const names = `id="layer${i + 1}" inkscape:groupmode="layer" inkscape:label="${label}"`;
    return `<g ${[names, ...look].filter(Boolean).join(" ")}>\n${content}</g>\n`;
  });
  return [
    `<svg ${NAMESPACES} ${size} viewBox="0 0 ${width} ${height}"`,
    ` fill-rule="evenodd" stroke-linecap="round" stroke-linejoin="round">\n`,
    sheet.defs.length ? `<defs>\n${sheet.defs.join("\n")}\n</defs>\n` : "",
    `<rect ${size} fill="${drawing.paper}"/>\n`,
    below(background),
    ...written,
    "</svg>\n",
  ].join("");
}

/** The sketch is in the file for those who go on with it, but hidden, as it is no part of the picture. */
function isUnseen(layer) {
  return layer.hidden || isSketch(layer);
}

/** The strokes of a layer after `mixed`, what it has up to its last effect; erasers mask what was drawn before them. */
function strokes(list, sheet, mixed) {
  const rest = list.slice(list.findLastIndex(isEffect) + 1);
  const runs = [{ erasers: "", content: mixed }]; // erasers, and what is drawn after them until the next ones
  for (const [i, stroke] of rest.entries()) {
    const isEraser = stroke.tool === "eraser";
    if (isEraser && rest[i - 1]?.tool !== "eraser") runs.push({ erasers: "", content: "" });
    runs.at(-1)[isEraser ? "erasers" : "content"] += element(stroke, sheet, isEraser ? "#000000" : stroke.color);
  }
  return nested(runs, sheet);
}

/** Each run over what is left of those before it. */
function nested(runs, sheet) {
  const old = runs.slice(0, -DEEPEST);
  let content = old.length ? halved(old, sheet) : "";
  for (const { erasers, content: next } of runs.slice(-DEEPEST))
    content = (erasers ? masked(content, erasers, sheet) : content) + next;
  return content;
}

/**
 * The same by halves, which is only as deep as log2 of the runs: where an eraser takes half of a stroke away, a little of
 * what lay below the stroke is seen through it.
 */
function halved(runs, sheet) {
  if (runs.length === 1) return runs[0].content;
  const half = Math.ceil(runs.length / 2);
  const later = runs.slice(half);
  const erasers = later.map((run) => run.erasers).join("");
  return masked(halved(runs.slice(0, half), sheet), erasers, sheet) + halved(later, sheet);
}

function masked(content, erasers, { width, height, defs }) {
  if (!content) return "";
  const area = `x="0" y="0" width="${width}" height="${height}"`;
  const id = `d${defs.length + 1}`;
  defs.push(`<mask id="${id}" maskUnits="userSpaceOnUse" ${area}>\n<rect ${area} fill="#ffffff"/>\n${erasers}</mask>`);
  return `<g mask="url(#${id})">\n${content}</g>\n`;
}

function element(stroke, sheet, color) {
  const { tool, kind, paths } = stroke;
  const { x, y } = sheet.scale;
  const scaled = paths.map((path) => path.map((value, i) => value * (i % 2 ? y : x)));
  const isLine = kind === "sketch" && tool !== "eraser";
  const paint = isLine ? `rgb(${SKETCH_COLOR.join(",")})` : color;
  const share = isLine ? stroke.importance : stroke.opacity;
  if (tool === "fill") {
    const d = scaled.map((ring) => `${lineTo(ring)}z`).join("");
    const filled = stroke.gradient && !isLine ? gradientOf(stroke, sheet) : paint;
    return `<path d="${d}" fill="${filled}"${opacity(share)}/>\n`;
  }
  const radii = radiiOf(stroke, stroke.size * Math.sqrt(x * y));
  const rims = radii.map((radius) => rimOf(radius, stroke.hardness));
  const faint = Math.min(1, 2 * largest(radii)); // as thin lines are painted
  const middle = rims[rims.length >> 1];
  const more = `${opacity(share * faint)}${filterOf(stroke, scaled[0], rims, sheet)}`;
  if (!stroke.pressure)
    return `<path d="${lineTo(scaled[0])}" fill="none" stroke="${paint}" stroke-width="${short(2 * middle.radius)}"${more}/>\n`;
  const d = outlineOf(
    scaled[0],
    rims.map(({ radius }) => radius),
  );
  return `<path d="${d}" fill="${paint}" fill-rule="nonzero"${more}/>\n`;
}

function gradientOf({ color, gradient }, { scale, defs }) {
  const [x1, y1, x2, y2] = gradient.way.map((value, i) => short(value * (i % 2 ? scale.y : scale.x)));
  if (x1 === x2 && y1 === y2) return color; // SVG would take the second one
  const id = `d${defs.length + 1}`;
  const stop = (at, shade) => `<stop offset="${at}" stop-color="${shade}"/>`;
  const place = `gradientUnits="userSpaceOnUse" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"`;
  defs.push(`<linearGradient id="${id}" ${place}>${stop(0, color)}${stop(1, gradient.color)}</linearGradient>`);
  return `url(#${id})`;
}

/** Where half of a brush's paint is left, from its middle, and the blur of its rim: see `profile` in coverage.js. */
function rimOf(radius, hardness) {
  const drawn = Math.max(radius, 0.5);
  const edge = Math.max(drawn * (1 - hardness), 1);
  return { radius: drawn + 0.5 - edge / 2, blur: BLUR * Math.sqrt(edge * edge - 1) };
}

/** A filter for one line, where it needs one: of a box around a straight one, nothing would be seen. */
function filterOf(stroke, path, rims, { scale, defs }) {
  const deviation = rims[rims.length >> 1].blur;
  const steps = [];
  const isSoft = deviation > 0.3;
  if (isSoft)
    steps.push(`<feGaussianBlur stdDeviation="${short(deviation)}"${hasGrain(stroke) ? ' result="line"' : ""}/>`);
  if (hasGrain(stroke)) steps.push(grainOf(stroke, scale, isSoft ? "line" : "SourceGraphic"));
  if (!steps.length) return "";
  const reach = largest(rims.map((rim) => rim.radius)) + 3 * deviation + 1;
  const [left, top, right, bottom] = corners([path]);
  const sides = [left - reach, top - reach, right - left + 2 * reach, bottom - top + 2 * reach];
  const [x, y, width, height] = sides.map(short);
  const id = `d${defs.length + 1}`;
  defs.push(
    `<filter id="${id}" filterUnits="userSpaceOnUse" x="${x}" y="${y}" width="${width}" height="${height}" ` +
      `color-interpolation-filters="sRGB">${steps.join("")}</filter>`,
  );
  return ` filter="url(#${id})"`;
}

/** A paper of the viewer's own noise, of the same roughness as what is painted. */
function grainOf(stroke, { x, y }, line) {
  const { cell, contrast, worn } = roughnessOf(stroke);
  const frequencies = [COARSER / (cell * x), COARSER / (cell * y)].map((value) => Number(value.toPrecision(4)));
  const kept = [contrast * worn, -contrast * SPREAD, 1 - (contrast * (1 - SPREAD)) / 2].map(short);
  return [
    `<feTurbulence type="fractalNoise" baseFrequency="${frequencies.join(" ")}" numOctaves="2" result="paper"/>`,
    `<feComposite in="${line}" in2="paper" operator="arithmetic" k1="0" k2="${kept[0]}" k3="${kept[1]}" k4="${kept[2]}"`,
    ` result="kept"/><feComposite in="${line}" in2="kept" operator="in"/>`,
  ].join("");
}

/** A line whose width changes: a disc at each point and what lies between two of them, all in one direction. */
function outlineOf(path, radii) {
  let d = "";
  for (let i = 0; i < radii.length; i++) {
    const [x, y, radius] = [path[2 * i], path[2 * i + 1], radii[i]];
    const half = `a${short(radius)} ${short(radius)} 0 0 1`;
    d += `M${short(x - radius)} ${short(y)}${half} ${short(2 * radius)} 0${half} ${short(-2 * radius)} 0z`;
    if (i + 1 === radii.length) break;
    const [dx, dy, next] = [path[2 * i + 2] - x, path[2 * i + 3] - y, radii[i + 1]];
    const length = Math.hypot(dx, dy);
    if (!length) continue;
    const [acrossX, acrossY] = [dy / length, -dx / length];
    const between = [
      ...[x + acrossX * radius, y + acrossY * radius, x + dx + acrossX * next, y + dy + acrossY * next],
      ...[x + dx - acrossX * next, y + dy - acrossY * next, x - acrossX * radius, y - acrossY * radius],
    ];
    d += `${lineTo(between)}z`;
  }
  return d;
}

function image(picture, files, scale) {
  const address = files.get(picture.file);
  if (!address) return "";
  const { centre, factor, angle } = frameOf(picture, scale);
  const [width, height] = picture.pixels;
  const turn = `rotate(${short((angle * 180) / Math.PI)})`;
  const place = `translate(${short(centre.x)} ${short(centre.y)}) ${turn} scale(${Number(factor.toPrecision(6))})`;
  const box = `x="${-width / 2}" y="${-height / 2}" width="${width}" height="${height}" preserveAspectRatio="none"`;
  return `<image ${box} transform="${place}" xlink:href="${address}"/>\n`;
}

/** A path through points; of one point a dot, which round ends make visible. */
function lineTo(path) {
  const [x, y, ...rest] = path.map(short);
  return `M${x} ${y}${rest.length ? `L${rest.join(" ")}` : "h0"}`;
}

function opacity(share) {
  return share < 1 ? ` opacity="${short(share)}"` : "";
}

function short(value) {
  return Math.round(value * 1000) / 1000;
}

function escaped(text) {
  const known = text.replace(/\p{Cc}|[\ufffe\uffff]/gu, ""); // what XML cannot hold
  return known.replace(/[&<>"]/g, (each) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[each]);
}

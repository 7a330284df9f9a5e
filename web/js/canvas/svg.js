/**
 * A drawing as an SVG file: every stroke a path, every layer a group with its name. Lengths are pixels of the picture.
 * Soft rims are blurred lines, which come near to what is painted; what an eraser took away is in masks.
 */

import { say } from "../common/language.js";
import { SKETCH_COLOR } from "./blend.js";
import { isSketch, titleOf } from "./layers.js";
import { frameOf } from "./placing.js";

const BLUR = 0.27; // standard deviation of a blur with the slope of a rim one pixel wide
const NAMESPACES = [
  'xmlns="http://www.w3.org/2000/svg"',
  'xmlns:xlink="http://www.w3.org/1999/xlink"',
  'xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape"',
].join(" ");

/** @typedef {{width: number, height: number, scale: {x: number, y: number}, defs: string[]}} Sheet */

/**
 * @param {import("./document.js").Drawing} drawing
 * @param {{width: number, height: number}} frame of the picture
 * @param {{background: string|null, files: Map<string, string>}} pictures addresses of data, by the names of files
 */
export function svgOf(drawing, { width, height }, { background = null, files = new Map() } = {}) {
  const scale = { x: width / (drawing.width || width), y: height / (drawing.height || height) };
  const sheet = { width, height, scale, defs: [] };
  const known = drawing.layers.filter((layer) => !("foreign" in layer));
  const strokesOf = ({ id }) => drawing.strokes.filter(({ layer }) => layer === id);
  const written = [...known.filter((layer) => !isSketch(layer)), ...known.filter(isSketch)].map((layer, i) => {
    const content = layer.picture ? image(layer.picture, files, scale) : strokes(strokesOf(layer), sheet);
    const label = escaped(layer.name || say(titleOf(layer)));
    const look = [layer.opacity < 1 && `opacity="${short(layer.opacity)}"`, isUnseen(layer) && 'display="none"'];
    const names = `id="layer${i + 1}" inkscape:groupmode="layer" inkscape:label="${label}"`;
    return `<g ${[names, ...look].filter(Boolean).join(" ")}>\n${content}</g>\n`;
  });
  const size = `width="${width}" height="${height}"`;
  const below = background ? `<image ${size} preserveAspectRatio="none" xlink:href="${background}"/>\n` : "";
  return [
    `<svg ${NAMESPACES} ${size} viewBox="0 0 ${width} ${height}"`,
    ` fill-rule="evenodd" stroke-linecap="round" stroke-linejoin="round">\n`,
    sheet.defs.length ? `<defs>\n${sheet.defs.join("\n")}\n</defs>\n` : "",
    `<rect ${size} fill="${drawing.paper}"/>\n`,
    below,
    ...written,
    "</svg>\n",
  ].join("");
}

/** The sketch is in the file for those who go on with it, but hidden, as it is no part of the picture. */
function isUnseen(layer) {
  return layer.hidden || isSketch(layer);
}

/** The strokes of a layer; erasers mask what was drawn before them. */
function strokes(list, sheet) {
  let content = "";
  for (let i = 0; i < list.length; i++) {
    const erasers = [];
    while (list[i]?.tool === "eraser") erasers.push(element(list[i++], sheet, "#000000"));
    if (erasers.length && content) {
      const { width, height, defs } = sheet;
      const area = `x="0" y="0" width="${width}" height="${height}"`;
      const id = `d${defs.length + 1}`;
      defs.push(`<mask id="${id}" maskUnits="userSpaceOnUse" ${area}>`);
      defs.push(`<rect ${area} fill="#ffffff"/>\n${erasers.join("")}</mask>`);
      content = `<g mask="url(#${id})">\n${content}</g>\n`;
    }
    if (i < list.length) content += element(list[i], sheet, list[i].color);
  }
  return content;
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
  const radii = radiiOf(stroke, Math.sqrt(x * y));
  const rims = radii.map((radius) => rimOf(radius, stroke.hardness));
  const faint = Math.min(1, 2 * Math.max(...radii)); // as thin lines are painted
  const middle = rims[rims.length >> 1];
  const soft = middle.blur > 0.3 ? blur(scaled[0], rims, middle.blur, sheet) : "";
  const more = `${opacity(share * faint)}${soft}`;
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

function radiiOf({ size, pressure, paths }, sizeScale) {
  const radius = (size / 2) * sizeScale;
  const share = (i) => (pressure ? Math.min(Math.max(pressure[i] / 100, 0), 1) : 1);
  return Array.from({ length: paths[0].length / 2 }, (_, i) => radius * share(i));
}

/** Where half of a brush's paint is left, from its middle, and the blur of its rim: see `profile` in coverage.js. */
function rimOf(radius, hardness) {
  const drawn = Math.max(radius, 0.5);
  const edge = Math.max(drawn * (1 - hardness), 1);
  return { radius: drawn + 0.5 - edge / 2, blur: BLUR * Math.sqrt(edge * edge - 1) };
}

/** A filter for one line: of a box around a straight one, nothing would be seen. */
function blur(path, rims, deviation, { defs }) {
  const reach = Math.max(...rims.map((rim) => rim.radius)) + 3 * deviation + 1;
  const sides = [0, 1].map((side) => {
    const values = path.filter((_, i) => i % 2 === side);
    const low = Math.min(...values) - reach;
    return [low, Math.max(...values) + reach - low].map(short);
  });
  const [[x, width], [y, height]] = sides;
  const id = `d${defs.length + 1}`;
  defs.push(
    `<filter id="${id}" filterUnits="userSpaceOnUse" x="${x}" y="${y}" width="${width}" height="${height}" ` +
      `color-interpolation-filters="sRGB"><feGaussianBlur stdDeviation="${short(deviation)}"/></filter>`,
  );
  return ` filter="url(#${id})"`;
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
    const corners = [
      ...[x + acrossX * radius, y + acrossY * radius, x + dx + acrossX * next, y + dy + acrossY * next],
      ...[x + dx - acrossX * next, y + dy - acrossY * next, x - acrossX * radius, y - acrossY * radius],
    ];
    d += `${lineTo(corners)}z`;
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

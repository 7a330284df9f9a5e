/** Paths of strokes: fewer points without a visible change, hits, moves, outlines of filled areas. */

import { corners } from "./coverage.js";
import { rounded } from "./document.js";

/**
 * Ramer, Douglas and Peucker's simplification: indices of the points to keep, so that neither path nor radius is off
 * by more than `tolerance`. points: [x, y, radius].
 */
export function keptPoints(points, tolerance) {
  const keep = new Uint8Array(points.length);
  keep[0] = keep[points.length - 1] = 1;
  const open = [[0, points.length - 1]];
  while (open.length) {
    const [first, last] = open.pop();
    let [worst, at] = [tolerance, -1];
    for (let i = first + 1; i < last; i++) {
      const error = deviation(points[i], points[first], points[last]);
      if (error > worst) [worst, at] = [error, i];
    }
    if (at < 0) continue;
    keep[at] = 1;
    open.push([first, at], [at, last]);
  }
  return points.flatMap((_, i) => (keep[i] ? [i] : []));
}

function deviation([x, y, radius], [ax, ay, from], [bx, by, to]) {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const along = length > 0 ? Math.min(Math.max(((x - ax) * dx + (y - ay) * dy) / length, 0), 1) : 0;
  return Math.max(Math.hypot(x - ax - along * dx, y - ay - along * dy), Math.abs(radius - from - along * (to - from)));
}

/** Distance of a point from a path, from the middle of the line. */
function distanceTo(path, x, y) {
  let nearest = Infinity;
  for (let i = 0; i < path.length; i += 2) {
    const j = Math.min(i + 2, path.length - 2);
    nearest = Math.min(nearest, deviation([x, y, 0], [path[i], path[i + 1], 0], [path[j], path[j + 1], 0]));
  }
  return nearest;
}

/** Whether a point is inside rings, by the even-odd rule. */
function isInside(rings, x, y) {
  let inside = false;
  for (const ring of rings)
    for (let i = 0, j = ring.length - 2; i < ring.length; j = i, i += 2)
      if (ring[i + 1] > y !== ring[j + 1] > y) {
        const crossing = ring[i] + ((y - ring[i + 1]) * (ring[j] - ring[i])) / (ring[j + 1] - ring[i + 1]);
        if (x < crossing) inside = !inside;
      }
  return inside;
}

/** Index of the uppermost stroke of a layer at a point, or -1. Erasers are hit like brushes. */
export function strokeAt(strokes, layer, x, y, slack) {
  return strokes.findLastIndex((stroke) => stroke.layer === layer && isHit(stroke, x, y, slack));
}

/** Indices of all of them, the uppermost first. */
export function strokesAt(strokes, layer, x, y, slack) {
  return strokes.flatMap((stroke, i) => (stroke.layer === layer && isHit(stroke, x, y, slack) ? [i] : [])).reverse();
}

function isHit({ tool, paths, size }, x, y, slack) {
  return tool === "fill" ? isInside(paths, x, y) : distanceTo(paths[0], x, y) <= size / 2 + slack;
}

/** Indices of the strokes of a layer that lie inside of a ring with all of the middle of their lines. */
export function strokesInside(strokes, layer, ring) {
  const isAllInside = (path, isClosed) => {
    for (let i = isClosed ? 0 : 2, j = isClosed ? path.length - 2 : 0; i < path.length; j = i, i += 2)
      if (crosses(ring, path[j], path[j + 1], path[i], path[i + 1])) return false;
    return isInside([ring], path[0], path[1]);
  };
  const isWithin = ({ tool, paths }) => paths.every((path) => isAllInside(path, tool === "fill"));
  return strokes.flatMap((stroke, i) => (stroke.layer === layer && isWithin(stroke) ? [i] : []));
}

/** Indices of the strokes of a layer that lie inside of a ring, or cross it, by the middle of their lines. */
export function strokesWithin(strokes, layer, ring) {
  const box = corners([ring]);
  const touches = (path, isClosed) => {
    const [left, top, right, bottom] = corners([path]);
    if (left > box[2] || right < box[0] || top > box[3] || bottom < box[1]) return false;
    for (let i = isClosed ? 0 : 2, j = isClosed ? path.length - 2 : 0; i < path.length; j = i, i += 2)
      if (crosses(ring, path[j], path[j + 1], path[i], path[i + 1])) return true;
    return isInside([ring], path[0], path[1]);
  };
  const isWithin = ({ tool, paths }) => paths.some((path) => touches(path, tool === "fill"));
  return strokes.flatMap((stroke, i) => (stroke.layer === layer && isWithin(stroke) ? [i] : []));
}

/** Whether a line from a to b crosses the edge of a ring. */
function crosses(ring, ax, ay, bx, by) {
  const [left, top, right, bottom] = [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
  const side = (x0, y0, x1, y1, x, y) => (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0;
  for (let i = 0, j = ring.length - 2; i < ring.length; j = i, i += 2) {
    const [cx, cy, dx, dy] = [ring[j], ring[j + 1], ring[i], ring[i + 1]];
    if (Math.max(cx, dx) < left || Math.min(cx, dx) > right || Math.max(cy, dy) < top || Math.min(cy, dy) > bottom)
      continue;
    const isParted = side(ax, ay, bx, by, cx, cy) !== side(ax, ay, bx, by, dx, dy);
    if (isParted && side(cx, cy, dx, dy, ax, ay) !== side(cx, cy, dx, dy, bx, by)) return true;
  }
  return false;
}

const ROUND = Math.PI / Math.sqrt(2 * 0.03); // corners for each root of the radius: 0.03 pixels off the ellipse

/** The outline of a rectangle or an ellipse between two corners: one ring, x, y, x, y, ... */
export function shapeRing(shape, [ax, ay], [bx, by]) {
  if (shape === "rectangle") return [ax, ay, bx, ay, bx, by, ax, by];
  const [x, y, across, down] = [(ax + bx) / 2, (ay + by) / 2, (bx - ax) / 2, (by - ay) / 2];
  const radius = Math.max(Math.abs(across), Math.abs(down));
  const count = Math.ceil(Math.min(Math.max(ROUND * Math.sqrt(radius), 32), 360));
  return Array.from({ length: count }, (_, i) => (2 * Math.PI * i) / count).flatMap((angle) => [
    x + across * Math.cos(angle),
    y + down * Math.sin(angle),
  ]);
}

/** The stroke with its paths, and the way of its gradient, somewhere else. */
export function withPaths(stroke, move) {
  const { gradient } = stroke;
  const went = gradient && { ...gradient, way: move(gradient.way) };
  return Object.freeze({ ...stroke, paths: stroke.paths.map(move), ...(went && { gradient: went }) });
}

/** A gradient from the top of an area to its bottom, where it has the second colour. */
export function gradientDown(paths, color) {
  const [left, top, right, bottom] = corners(paths);
  const x = rounded((left + right) / 2);
  return { color, way: [x, rounded(top), x, rounded(bottom)] };
}

/** The stroke moved. */
export function moved(stroke, dx, dy) {
  const shift = (value, i) => rounded(value + (i % 2 ? dy : dx));
  return withPaths(stroke, (path) => path.map(shift));
}

/** What a stroke occupies: left, top, right, bottom. */
export function boundsOf(stroke) {
  const [left, top, right, bottom] = corners(stroke.paths);
  const reach = stroke.tool === "fill" ? 0 : stroke.size / 2;
  return [left - reach, top - reach, right + reach, bottom + reach];
}

/** The connected area of one colour around a pixel, grown under the soft rims of the strokes around it. */
export function floodArea(pixels, width, height, startX, startY, tolerance, rim) {
  const area = new Uint8Array(width * height);
  const start = startY * width + startX;
  const color = pixels.subarray(start * 4, start * 4 + 3);
  const near = (at, channel) => Math.abs(pixels[at * 4 + channel] - color[channel]) <= tolerance;
  const fits = (at) => !area[at] && near(at, 0) && near(at, 1) && near(at, 2);
  const open = [start];
  area[start] = 1;
  while (open.length) {
    const at = open.pop();
    const x = at % width;
    for (const next of [x > 0 ? at - 1 : -1, x < width - 1 ? at + 1 : -1, at - width, at + width]) {
      if (next < 0 || next >= area.length || !fits(next)) continue;
      area[next] = 1;
      open.push(next);
    }
  }
  let result = area;
  for (let i = 0; i < rim; i++) result = grown(result, width, height);
  return result;
}

function grown(area, width, height) {
  const result = new Uint8Array(area);
  for (let at = 0; at < area.length; at++) {
    if (!area[at]) continue;
    const x = at % width;
    if (x > 0) result[at - 1] = 1;
    if (x < width - 1) result[at + 1] = 1;
    if (at >= width) result[at - width] = 1;
    if (at + width < width * height) result[at + width] = 1;
  }
  return result;
}

const STEP_X = [1, 0, -1, 0]; // east, south, west, north
const STEP_Y = [0, 1, 0, -1];

/** Outlines of an area along the borders of its pixels, simplified: rings of x, y, x, y, ... */
export function outlines(area, width, height, tolerance = 0.75, smallest = 6) {
  const at = (x, y) => x >= 0 && y >= 0 && x < width && y < height && area[y * width + x] === 1;
  const seen = new Uint8Array(width * height); // upper borders that belong to a ring already
  const rings = [];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (at(x, y) && !at(x, y - 1) && !seen[y * width + x]) {
        const ring = simplifiedRing(walk(at, seen, width, x, y), tolerance);
        if (ring.length >= 6 && Math.abs(areaOf(ring)) >= smallest) rings.push(ring);
      }
  return rings;
}

/** Follows a border with the area on the right hand, from the upper border of a pixel on. */
function walk(at, seen, width, startX, startY) {
  const points = [];
  let [x, y, direction] = [startX, startY, 0];
  do {
    points.push([x, y, 0]);
    if (direction === 0) seen[y * width + x] = 1;
    const [dx, dy] = [STEP_X[direction], STEP_Y[direction]];
    [x, y] = [x + dx, y + dy];
    // the two pixels ahead of the corner: on the left and on the right of the way
    const left = at(x + (dx + dy - 1) / 2, y + (dy - dx - 1) / 2);
    const right = at(x + (dx - dy - 1) / 2, y + (dy + dx - 1) / 2);
    if (left) direction = (direction + 3) % 4;
    else if (!right) direction = (direction + 1) % 4;
  } while (x !== startX || y !== startY || direction !== 0);
  return points;
}

function simplifiedRing(points, tolerance) {
  const half = Math.floor(points.length / 2);
  const closed = [...points, points[0]];
  const first = keptPoints(closed.slice(0, half + 1), tolerance);
  const second = keptPoints(closed.slice(half), tolerance).map((i) => i + half);
  return [...first.slice(0, -1), ...second.slice(0, -1)].flatMap((i) => [closed[i][0], closed[i][1]]);
}

function areaOf(ring) {
  let sum = 0;
  for (let i = 0, j = ring.length - 2; i < ring.length; j = i, i += 2)
    sum += ring[j] * ring[i + 1] - ring[i] * ring[j + 1];
  return sum / 2;
}

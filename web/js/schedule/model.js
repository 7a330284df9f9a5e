/** What the curve editor shows and what an edit makes of it, as pure functions of the node's values. */

import { clamp } from "../common/numbers.js";
import {
  evenSteps,
  formatCurve,
  parseCurve,
  pointsOf,
  polyline,
  shapeOf,
  tidy,
  weights,
  windowSteps,
} from "./maths.js";

const GRID = 0.05;
const NARROWEST = 0.01; // window
const MOST_POINTS = 200; // that can be grabbed: more are a line that somebody computed

/**
 * A state, read: start, end, shape, weight, text, snap, steps, sigmas (or null), positions (of the steps, or null), linked (null, or {samples: [[u, weight]]
 * or null}) as given; further `problem` and `invitation` (sentences or ""), `points` [u, weight] that can be grabbed,
 * `trail` of the line, `bars` (the weight at each step of the window), `low` (end of the axis).
 */
export function read(state) {
  const drawn = state.shape === "curve";
  const blank = drawn && !state.linked && !state.text.trim();
  const seen = { ...state, problem: "", invitation: "", points: [], trail: [], bars: [], low: 0 };
  seen.positions = state.positions ?? evenSteps(state.steps);
  [seen.first, seen.stop] = windowSteps(state.start, state.end, seen.positions);
  try {
    if (state.start <= state.end) throw new Error("The window is empty: set start above end.");
    if (state.linked && !drawn) throw new Error("A curve is connected: choose the drawn shape for it.");
    if (state.linked && !state.linked.samples) throw new Error("A curve is connected. Run once to see it here.");
    if (blank) {
      seen.invitation = "Click to draw.";
      return { ...seen, editable: true };
    }
    const corners = state.linked?.samples ?? (drawn ? parseCurve(state.text) : []);
    const shape = corners.length ? polyline(corners) : shapeOf(state);
    if (drawn && !state.linked && corners.length <= MOST_POINTS) seen.points = corners;
    seen.trail = corners.length
      ? [[0, corners[0][1]], ...corners, [1, corners.at(-1)[1]]]
      : Array.from({ length: 97 }, (_, k) => [k / 96, shape(k / 96)]);
    seen.bars = weights(state, state.steps, shape).slice(seen.first, seen.stop);
    seen.low = [...seen.trail.map((point) => point[1]), state.weight].some((weight) => weight < 0) ? -1 : 0;
  } catch (error) {
    seen.problem = error.message;
  }
  seen.editable = !state.linked && !seen.problem && (!drawn || seen.points.length > 0);
  return seen;
}

/** Position on the path of a place in the window, and back. */
export function toPath({ start, end }, u) {
  return tidy(start + (end - start) * u);
}

export function toWindow({ start, end }, position) {
  return clamp((start - position) / Math.max(start - end, 1e-6), 0, 1);
}

export function snapped(value, on, ...magnets) {
  if (!on) return tidy(value);
  const near = [Math.round(value / GRID) * GRID, ...magnets];
  return tidy(near.sort((a, b) => Math.abs(a - value) - Math.abs(b - value))[0]);
}

// Edits of points: each gives {points, selected}.

/** Between its neighbours; on one of them it makes a jump. */
export function moved({ points }, k, u, weight) {
  const next = points.map((point) => [...point]);
  next[k] = [clamp(u, points[k - 1]?.[0] ?? 0, points[k + 1]?.[0] ?? 1), clamp(weight, -1, 1)];
  return { points: next, selected: k };
}

/** Anywhere: points change places. */
export function placed({ points }, k, u, weight) {
  const point = [clamp(u, 0, 1), clamp(weight, -1, 1)];
  const next = points.map((each, i) => (i === k ? point : each)).sort((a, b) => a[0] - b[0]);
  return { points: next, selected: next.indexOf(point) };
}

/** A new point in what is drawn now, be it a formula. */
export function added(state, u, weight) {
  const points = state.shape === "curve" && !state.text.trim() ? [] : pointsOf(state);
  const k = points.filter((point) => point[0] <= u).length;
  return { points: [...points.slice(0, k), [u, clamp(weight, -1, 1)], ...points.slice(k)], selected: k };
}

/** A new point in the middle of the stretch after a point. */
export function halved({ points }, selected) {
  const k = Math.min(selected, Math.max(points.length - 2, 0));
  const u = (points[k][0] + (points[k + 1]?.[0] ?? 1)) / 2;
  const point = [u, tidy(polyline(points)(u))];
  return { points: [...points.slice(0, k + 1), point, ...points.slice(k + 1)], selected: k + 1 };
}

export function without({ points }, k) {
  return { points: points.filter((_, i) => i !== k), selected: Math.max(k - 1, 0) };
}

/** The edit of the node's values that stores points. */
export function stored(points) {
  return { shape: "curve", text: formatCurve(points) };
}

/** Another shape; a drawing that is there is taken up again, else one begins with the shape that was shown. */
export function chosen(state, shape) {
  if (shape !== "curve" || state.linked || readable(state.text)) return { shape };
  return stored(pointsOf(state));
}

export function movedEdge({ start, end }, name, to) {
  return { [name]: name === "start" ? clamp(to, end + NARROWEST, 1) : clamp(to, 0, start - NARROWEST) };
}

/** The whole window, its length kept. */
export function movedWindow(length, start) {
  const to = clamp(start, length, 1);
  return { start: to, end: tidy(to - length) };
}

function readable(text) {
  try {
    return parseCurve(text).length > 0;
  } catch {
    return false;
  }
}

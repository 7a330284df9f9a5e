/**
 * Selected strokes in one frame, which is dragged, scaled and turned as a picture is (see placing.js). The frame is in
 * pixels of the shown picture; strokes follow it from where they were saved.
 */

import { rounded, storedSize } from "./document.js";
import { boundsOf, withPaths } from "./geometry.js";

export const ONE = Object.freeze({ x: 1, y: 1 }); // the scale of a frame: its units are pixels already

/** An upright frame around strokes, `gap` pixels away from them. @returns {import("./placing.js").Placed} */
export function frameAround(strokes, scale, gap) {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const stroke of strokes) {
    const bounds = boundsOf(stroke);
    [left, top] = [Math.min(left, bounds[0]), Math.min(top, bounds[1])];
    [right, bottom] = [Math.max(right, bounds[2]), Math.max(bottom, bounds[3])];
  }
  const pixels = [(right - left) * scale.x + 2 * gap, (bottom - top) * scale.y + 2 * gap];
  const centre = { x: ((left + right) / 2) * scale.x, y: ((top + bottom) / 2) * scale.y };
  return Object.freeze({ pixels, ...centre, scale: 1, rotation: 0 });
}

/** A stroke that goes with its frame from one place to another. @param {import("./placing.js").Scale} scale */
export function carried(stroke, before, after, scale) {
  const by = after.scale / before.scale;
  const angle = ((after.rotation - before.rotation) * Math.PI) / 180;
  const [cos, sin] = [by * Math.cos(angle), by * Math.sin(angle)];
  const carry = (path) => {
    const result = [];
    for (let i = 0; i < path.length; i += 2) {
      const [x, y] = [path[i] * scale.x - before.x, path[i + 1] * scale.y - before.y];
      result.push(rounded((after.x + cos * x - sin * y) / scale.x));
      result.push(rounded((after.y + sin * x + cos * y) / scale.y));
    }
    return result;
  };
  return withPaths({ ...stroke, size: storedSize(stroke.size * by) }, carry);
}

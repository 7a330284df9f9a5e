/** The weight over the path, as samplers/schedule.py computes it: windows, shapes, curves. */

export const FORMULAS = {
  constant: () => 1,
  linear: (u) => 1 - u,
  cosine: (u) => Math.sin((Math.PI / 2) * (1 - u)), // exactly 0 where it ends
  exponential: (u) => Math.exp(-5 * u),
};

const LONGEST_TEXT = 100000;
const LONGEST_NUMBER = 64;
const DIGITS = /^[0-9+\-.eE]+$/;

/** A plain decimal number, NaN for anything else. Its text is looked at once, whatever its length. */
function readNumber(word) {
  return word.length <= LONGEST_NUMBER && DIGITS.test(word) ? Number(word) : NaN;
}

/** A word for an error message. */
function quoted(word) {
  return word.length > 60 ? `'${word.slice(0, 60)}...'` : `'${word}'`;
}

/** Points [u, weight] of "position:weight" pairs; u = 1 - position runs from 0, the noisy end of the window, to 1. */
export function parseCurve(text) {
  if (text.length > LONGEST_TEXT)
    throw new Error(`The curve has ${text.length} characters: give at most ${LONGEST_TEXT}.`);
  const words = text
    .replaceAll(":", " : ")
    .split(/[,;\s]+/)
    .filter(Boolean);
  if (!words.length) throw new Error("The curve is empty: write pairs position:weight such as '1:1, 0.5:0.8, 0:0'.");
  const points = [];
  for (let i = 0; i < words.length; i += 3) {
    const [first, colon, second = ""] = words.slice(i, i + 3);
    const [position, weight] = [readNumber(first), readNumber(second)];
    const pair = quoted(words.slice(i, i + 3).join(""));
    if (colon !== ":" || Number.isNaN(position) || Number.isNaN(weight))
      throw new Error(`The curve cannot be read at ${pair}: write pairs position:weight.`);
    if (!(position >= 0 && position <= 1 && weight >= -1 && weight <= 1))
      throw new Error(`The point ${pair} is out of range: positions go from 1 to 0, weights from -1 to 1.`);
    points.push([1 - position, weight]);
  }
  // Two weights at one position are a jump, in the order of the path however the list is written.
  if (points[0][0] > points.at(-1)[0]) points.reverse();
  return points.sort((a, b) => a[0] - b[0]);
}

export function formatCurve(points) {
  return points.map(([u, weight]) => `${tidy(1 - u)}:${tidy(weight)}`).join(", ");
}

/** Four decimals, without the noise of binary fractions. */
export function tidy(value) {
  return Number(value.toFixed(4)) + 0;
}

const EDGE = 1e-4; // as in Python: a step that starts this near to an edge of the window starts at it

/** Straight lines between points, level beyond the ends; equal places make a jump. */
export function polyline(points) {
  return (u) => {
    let [after, end] = [0, points.length]; // the first point beyond u, by halving
    while (after < end) {
      const middle = (after + end) >> 1;
      if (points[middle][0] > u) end = middle;
      else after = middle + 1;
    }
    if (after === 0) return points[0][1];
    if (after === points.length) return points.at(-1)[1];
    const [[x0, y0], [x1, y1]] = [points[after - 1], points[after]];
    return y0 + ((y1 - y0) * (u - x0)) / (x1 - x0);
  };
}

/** The weight before scaling, as a function of u; throws for a curve that cannot be read. */
export function shapeOf({ shape, text }) {
  return shape === "curve" ? polyline(parseCurve(text)) : FORMULAS[shape];
}

/** Where each of N steps starts that are even in training time; 1 = noise, 0 = picture. */
export const evenSteps = (steps) => Array.from({ length: steps }, (_, i) => 1 - i / steps);

/** First step of the window and the one after its last, counted from 0 at the noisy end; positions: where steps start. */
export function windowSteps(start, end, positions) {
  const count = (inside) => positions.filter(inside).length;
  const stop = count((position) => position > end + EDGE || end === 0);
  return [count((position) => position > start + EDGE), Math.max(stop, 0)];
}

/** The weight at each of N steps; `shape` where it is known already. */
export function weights(schedule, steps, shape = shapeOf(schedule)) {
  const positions = schedule.positions ?? evenSteps(steps);
  const { start, end, weight } = schedule;
  const [first, stop] = windowSteps(start, end, positions);
  return positions.map((position, i) => {
    if (i < first || i >= stop) return 0;
    const following = positions[i + 1] ?? 0;
    const reach = start - end - (position - following);
    if (reach <= EDGE) return weight * shape(0);
    const place = following <= end + EDGE ? 1 : (start - position) / reach;
    return weight * shape(Math.min(Math.max(place, 0), 1));
  });
}

/** A drawing to start from: the points that stand for a shape. */
export function pointsOf(schedule) {
  if (schedule.shape === "curve") return parseCurve(schedule.text);
  const count = { constant: 2, linear: 2, cosine: 7, exponential: 9 }[schedule.shape];
  return Array.from({ length: count }, (_, k) => {
    const u = k / (count - 1);
    return [u, tidy(FORMULAS[schedule.shape](u))];
  });
}

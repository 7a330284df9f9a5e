/**
 * Blur: a brush that softens the paint of its layer. The same sums as images/strokes_blur.py, which says what they are,
 * so that both agree.
 */

const DEVIATION = 1 / 8; // of the blur, for a brush of the size 1
const PASSES = 3;
const BAND = 64; // rows that are blurred at a time, or three times as far as the blur reaches

/** The box that is applied three times: `radius` pixels to each side of the middle, and `end` of the next ones. */
function boxOf(deviation) {
  const variance = deviation ** 2 / PASSES;
  const radius = Math.floor((Math.sqrt(1 + 12 * variance) - 1) / 2);
  const rest = variance - (radius * (radius + 1)) / 3;
  const end = ((2 * radius + 1) * rest) / (2 * ((radius + 1) ** 2 - variance));
  return { radius, end, share: 1 / (2 * radius + 1 + 2 * end) };
}

/** How far around it a stroke of a brush looks, given its diameter; in pixels. */
export function reachOf(diameter) {
  return PASSES * (boxOf(diameter * DEVIATION).radius + 1);
}

/**
 * Writes the pixels that a stroke leaves where it covers a part of the layer: straight RGBA, one after the other as in
 * `spans`. Where it `spreads`, as on the map of t0s, nothing becomes fainter.
 * @param {{spans: import("./covers.js").Spans, part: {left, top, right, bottom}}} place
 * @param {import("./blend.js").Piece} source with what lies within reach, cut only at the edges of the layer
 */
export function blurred(result, { spans, part }, source, { opacity, spreads = false }, diameter) {
  const box = boxOf(diameter * DEVIATION);
  const reach = PASSES * (box.radius + 1);
  const band = Math.max(BAND, 3 * reach);
  const [first, last] = [Math.max(part.top, spans.y), Math.min(part.bottom, spans.y + spans.height)];
  for (let top = first; top < last; top += band) {
    const covered = columnsOf(spans, { ...part, top, bottom: Math.min(top + band, last) });
    if (covered) mix(result, source, spans, soft(source, covered, reach, box), { opacity, spreads });
  }
}

/** A part with those columns alone that a stroke covers; null if there are none. */
function columnsOf({ y, rows }, part) {
  let [left, right] = [part.right, part.left];
  for (let row = part.top - y; row < part.bottom - y; row++) {
    if (rows[3 * row] >= rows[3 * row + 1]) continue;
    left = Math.min(left, rows[3 * row]);
    right = Math.max(right, rows[3 * row + 1]);
  }
  [left, right] = [Math.max(left, part.left), Math.min(right, part.right)];
  return left < right ? { ...part, left, right } : null;
}

/** A part of a picture, blurred: colours multiplied by alpha, 0..255. */
function soft(source, part, reach, box) {
  const left = Math.max(part.left - reach, source.x);
  const top = Math.max(part.top - reach, source.y);
  const width = Math.min(part.right + reach, source.x + source.width) - left;
  const height = Math.min(part.bottom + reach, source.y + source.height) - top;
  let values = new Float32Array(4 * width * height);
  for (let row = 0, to = 0; row < height; row++) {
    let at = 4 * ((row + top - source.y) * source.width + left - source.x);
    for (let column = 0; column < width; column++, at += 4, to += 4) {
      const alpha = source.data[at + 3];
      if (alpha === 0) continue;
      for (let c = 0; c < 3; c++) values[to + c] = (source.data[at + c] * alpha) / 255;
      values[to + 3] = alpha;
    }
  }
  values = thrice(across, values, width, height, box);
  const inner = part.right - part.left; // columns that are still needed
  const kept = new Float32Array(4 * inner * height);
  for (let row = 0; row < height; row++) {
    const at = 4 * (row * width + part.left - left);
    kept.set(values.subarray(at, at + 4 * inner), 4 * row * inner);
  }
  return { ...part, x: part.left, y: top, width: inner, values: thrice(down, kept, inner, height, box) };
}

function thrice(along, values, width, height, box) {
  let [from, to] = [values, new Float32Array(values.length)];
  for (let i = 0; i < PASSES; i++) {
    along(from, to, width, height, box);
    [from, to] = [to, from];
  }
  return from;
}

/** One box along the rows. Beyond its edges, a picture goes on as it ends. */
function across(from, to, width, height, { radius, end, share }) {
  const last = 4 * (width - 1);
  for (let row = 0; row < height; row++) {
    const start = 4 * row * width;
    for (let c = start; c < start + 4; c++) {
      let sum = 0;
      for (let i = -radius; i <= radius; i++) sum += from[c + Math.min(Math.max(4 * i, 0), last)];
      for (let at = 0; at <= last; at += 4) {
        const before = at - 4 * (radius + 1);
        const next = from[c + Math.min(at + 4 * (radius + 1), last)];
        to[c + at] = (sum + end * (from[c + Math.max(before, 0)] + next)) * share;
        sum += next - from[c + Math.max(before + 4, 0)];
      }
    }
  }
}

/** The same along the columns. */
function down(from, to, width, height, { radius, end, share }) {
  const length = 4 * width;
  const rowAt = (row) => length * Math.min(Math.max(row, 0), height - 1);
  const sums = new Float64Array(length);
  for (let i = -radius; i <= radius; i++) for (let j = 0, at = rowAt(i); j < length; j++, at++) sums[j] += from[at];
  for (let row = 0; row < height; row++) {
    const [before, first, next] = [row - radius - 1, row - radius, row + radius + 1].map(rowAt);
    const start = row * length;
    for (let j = 0; j < length; j++) {
      const coming = from[next + j];
      to[start + j] = (sums[j] + end * (from[before + j] + coming)) * share;
      sums[j] += coming - from[first + j];
    }
  }
}

/** Goes from what is there to what is blurred, as far as a stroke covers it. */
export function mix(result, { x, y, width, data }, { y: top, rows, values }, blur, { opacity, spreads }) {
  const strength = opacity / 255;
  for (let row = blur.top; row < blur.bottom; row++) {
    const run = 3 * (row - top);
    const [first, last] = [Math.max(rows[run], blur.left), Math.min(rows[run + 1], blur.right)];
    let from = 4 * ((row - y) * width + first - x);
    let soften = 4 * ((row - blur.y) * blur.width + first - blur.x);
    let i = rows[run + 2] + first - rows[run];
    for (let column = first; column < last; column++, i++, from += 4, soften += 4) {
      const share = values[i] * strength;
      const before = data[from + 3];
      const alpha = before + share * (blur.values[soften + 3] - before);
      for (let c = 0; c < 3; c++) {
        const color = (data[from + c] * before) / 255;
        const mixed = color + share * (blur.values[soften + c] - color);
        result[4 * i + c] = alpha > 1e-3 && share > 0 ? Math.min((mixed * 255) / alpha + 0.5, 255) : data[from + c];
      }
      result[4 * i + 3] = Math.max(alpha, spreads ? before : 0) + 0.5;
    }
  }
}

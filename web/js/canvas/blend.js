/** Lays strokes over straight 8-bit RGBA, as images/strokes_render.py does in floats. */

export const SKETCH_COLOR = [255, 45, 149];

/**
 * Pixels of a part of a layer. `through`: how much of what lies below is still seen through them, where that is needed.
 * @typedef {{x: number, y: number, width: number, height: number, data: Uint8Array, through?: Float32Array}} Piece
 */

/**
 * Lays a stroke over the pixels of a piece. @param {Piece} piece @param {import("./covers.js").Spans} spans
 * @param {{scaleX: number, scaleY: number}|null} scale pixels for each unit of the drawing, of which gradients are
 */
export function lay(piece, spans, stroke, scale = null) {
  const put = putterOf(piece, stroke, scale);
  const bottom = Math.min(spans.y + spans.height, piece.y + piece.height);
  for (let row = Math.max(spans.y, piece.y); row < bottom; row++) {
    const at = (row - spans.y) * 3;
    const first = spans.rows[at];
    const [from, to] = [Math.max(first, piece.x), Math.min(spans.rows[at + 1], piece.x + piece.width)];
    if (from < to)
      put(
        (row - piece.y) * piece.width + from - piece.x,
        spans,
        spans.rows[at + 2] + from - first,
        to - from,
        from,
        row,
      );
  }
}

/** A piece seen through another one: what `above` was drawn from nothing comes over what is there. */
export function layOver({ data }, { data: above, through }, isSketch) {
  for (let i = 0, at = 0; i < through.length; i++, at += 4) {
    const seen = through[i];
    if (above[at + 3] === 0 && seen === 1) continue;
    const [top, below] = [above[at + 3], data[at + 3] * seen];
    const alpha = isSketch ? Math.max(top, below) : Math.min(top + below, 255);
    const share = alpha ? top / alpha : 0; // of what is above in what is seen
    for (let c = at; c < at + 3; c++)
      data[c] = isSketch ? SKETCH_COLOR[c - at] : (data[c] + (above[c] - data[c]) * share + 0.5) | 0;
    data[at + 3] = (alpha + 0.5) | 0;
  }
}

/**
 * What lays one run of pixels: from pixel `start` on, `count` of them, covered as in spans.values from `at` on. The first
 * is in this column and row.
 */
function putterOf({ data, through }, stroke, scale) {
  const { tool, kind, color, opacity, importance } = stroke;
  if (tool === "eraser") return eraser(data, through, opacity / 255);
  if (kind === "sketch") return pencil(data, importance);
  if (stroke.gradient) return ramp(data, through, stroke, scale);
  return brush(data, through, channels(color), opacity / 255);
}

// Bytes take whole numbers quickest, so that these are rounded by hand.

function eraser(data, through, strength) {
  return (start, { values }, from, count) => {
    for (let i = 0; i < count; i++) {
      const kept = 1 - values[from + i] * strength;
      const at = (start + i) * 4 + 3;
      data[at] = (data[at] * kept + 0.5) | 0;
      if (through) through[start + i] *= kept;
    }
  };
}

/** A sketch line: its importance as alpha, of overlapping lines the larger one. */
function pencil(data, importance) {
  const [red, green, blue] = SKETCH_COLOR;
  return (start, { values }, from, count) => {
    for (let i = 0; i < count; i++) {
      const covered = values[from + i];
      if (covered === 0) continue;
      const at = (start + i) * 4;
      data[at] = red;
      data[at + 1] = green;
      data[at + 2] = blue;
      data[at + 3] = Math.max(data[at + 3], (covered * importance + 0.5) | 0);
    }
  };
}

function channels(color) {
  return [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
}

function brush(data, through, [red, green, blue], strength) {
  return (start, { values }, from, count) => {
    for (let i = 0; i < count; i++) {
      const alpha = values[from + i] * strength;
      if (alpha === 0) continue;
      blend(data, (start + i) * 4, alpha, red, green, blue);
      if (through) through[start + i] *= 1 - alpha;
    }
  };
}

/** Pixels between the two places of a gradient; with less it is filled with its first colour. As in strokes_render.py. */
export const LEAST_WAY = 1e-3;

/** A brush in the colour that a gradient has at each place. */
function ramp(data, through, { color, opacity, gradient }, { scaleX, scaleY }) {
  const [red, green, blue] = channels(color);
  const [moreRed, moreGreen, moreBlue] = channels(gradient.color).map((value, c) => value - [red, green, blue][c]);
  const [x0, y0, x1, y1] = gradient.way.map((value, i) => value * (i % 2 ? scaleY : scaleX));
  const length = (x1 - x0) ** 2 + (y1 - y0) ** 2;
  const [stepX, stepY] = length >= LEAST_WAY ** 2 ? [(x1 - x0) / length, (y1 - y0) / length] : [0, 0];
  const strength = opacity / 255;
  return (start, { values }, from, count, column, row) => {
    const begin = (row + 0.5 - y0) * stepY + (column + 0.5 - x0) * stepX;
    for (let i = 0; i < count; i++) {
      const alpha = values[from + i] * strength;
      if (alpha === 0) continue;
      const at = begin + i * stepX;
      const along = at < 0 ? 0 : at > 1 ? 1 : at;
      blend(data, (start + i) * 4, alpha, red + along * moreRed, green + along * moreGreen, blue + along * moreBlue);
      if (through) through[start + i] *= 1 - alpha;
    }
  };
}

/** Lays a colour over the pixel whose bytes begin at a place. */
function blend(data, at, alpha, red, green, blue) {
  const before = data[at + 3];
  let share = alpha; // of the new colour in what is seen
  if (before < 255 && alpha < 1) {
    const all = alpha + (before / 255) * (1 - alpha);
    share = alpha / all;
    data[at + 3] = (all * 255 + 0.5) | 0;
  } else data[at + 3] = 255;
  data[at] = (data[at] + (red - data[at]) * share + 0.5) | 0;
  data[at + 1] = (data[at + 1] + (green - data[at + 1]) * share + 0.5) | 0;
  data[at + 2] = (data[at + 2] + (blue - data[at + 2]) * share + 0.5) | 0;
}

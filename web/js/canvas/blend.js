/** Lays strokes over straight 8-bit RGBA, as images/strokes_render.py does in floats. */

export const SKETCH_COLOR = [255, 45, 149];

/**
 * Pixels of a part of a layer. `through`: how much of what lies below is still seen through them, where that is needed.
 * @typedef {{x: number, y: number, width: number, height: number, data: Uint8Array, through?: Float32Array}} Piece
 */

/** Lays a stroke over the pixels of a piece. @param {Piece} piece @param {import("./covers.js").Spans} spans */
export function lay(piece, spans, stroke) {
  const put = putterOf(piece, stroke);
  const bottom = Math.min(spans.y + spans.height, piece.y + piece.height);
  for (let row = Math.max(spans.y, piece.y); row < bottom; row++) {
    const at = (row - spans.y) * 3;
    const first = spans.rows[at];
    const [from, to] = [Math.max(first, piece.x), Math.min(spans.rows[at + 1], piece.x + piece.width)];
    if (from < to)
      put((row - piece.y) * piece.width + from - piece.x, spans, spans.rows[at + 2] + from - first, to - from);
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

/** What lays one run of pixels: from pixel `start` on, `count` of them, covered as in spans.values from `at` on. */
function putterOf({ data, through }, stroke) {
  const { tool, kind, color, opacity, importance } = stroke;
  if (tool === "eraser") return eraser(data, through, opacity / 255);
  if (kind === "sketch") return pencil(data, importance);
  return brush(
    data,
    through,
    [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16)),
    opacity / 255,
  );
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

function brush(data, through, [red, green, blue], strength) {
  return (start, { values }, from, count) => {
    for (let i = 0; i < count; i++) {
      const alpha = values[from + i] * strength;
      if (alpha === 0) continue;
      const at = (start + i) * 4;
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
      if (through) through[start + i] *= 1 - alpha;
    }
  };
}

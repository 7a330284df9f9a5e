/**
 * Grain: a rough paper below a brush, of which only the heights take paint. The same sums as images/strokes_grain.py,
 * which says what they are, so that both agree.
 */

const SIDE = 128;
const CELL = 0.4;
const CONTRAST = 4;
const FULL = 0.25;
const WORN = 0.7;

/** Whether a stroke shows grain; sketch lines never do. */
export function hasGrain({ tool, kind, grain }) {
  return grain > 0 && tool !== "fill" && kind !== "sketch";
}

/** Of the paper below a stroke: the side of a cell in units of the drawing, the contrast, and how high the paint stands. */
export function roughnessOf({ size, grain }) {
  return { cell: CELL * Math.sqrt(size), contrast: CONTRAST * Math.min(1, grain / FULL), worn: 1 - WORN * grain };
}

/**
 * What the grain of a stroke leaves of a cover, or of a part of it. A stroke without grain leaves the cover itself.
 * @param {import("./coverage.js").Cover} cover @param {{scaleX: number, scaleY: number}} scale
 */
export function grained(cover, stroke, { scaleX, scaleY }, part = cover) {
  if (!cover || !hasGrain(stroke)) return cover;
  const { x, y, width, height } = part;
  const { cell, contrast, worn } = roughnessOf(stroke);
  const [coarse, fine] = [1, 2].map((finer) => ({
    rows: cellsOf(y, height, finer / (cell * scaleY)),
    columns: cellsOf(x, width, finer / (cell * scaleX)),
    line: new Float32Array(SIDE + 1),
  }));
  const values = new Float32Array(width * height);
  for (let row = 0; row < height; row++) {
    const from = (row + y - cover.y) * cover.width + x - cover.x;
    let isLaid = false;
    for (let column = 0; column < width; column++) {
      const covered = cover.values[from + column];
      if (covered === 0) continue;
      if (!isLaid) for (const octave of [coarse, fine]) layLine(octave, row);
      isLaid = true;
      const raw = 0.5 + 1.25 * (0.6 * depthAt(coarse, column) + 0.4 * depthAt(fine, column) - 0.5);
      const depth = raw < 0 ? 0 : raw > 1 ? 1 : raw;
      const kept = 1 - contrast * (depth - covered * worn);
      values[row * width + column] = kept <= 0 ? 0 : kept >= 1 ? covered : covered * kept;
    }
  }
  return { x, y, width, height, values };
}

/** For each of `count` pixels the cell that its middle is in, and how far. perPixel: cells. */
function cellsOf(begin, count, perPixel) {
  const [cells, shares] = [new Uint8Array(count), new Float32Array(count)];
  for (let i = 0; i < count; i++) {
    const at = (begin + i + 0.5) * perPixel;
    cells[i] = Math.floor(at) % SIDE;
    shares[i] = at - Math.floor(at);
  }
  return { cells, shares };
}

/** The paper along a row of pixels: a depth for each column of cells, and the first once more. */
function layLine({ rows, line }, row) {
  const depths = hashes();
  const [first, second] = [rows.cells[row] * SIDE, ((rows.cells[row] + 1) % SIDE) * SIDE];
  const share = rows.shares[row];
  for (let i = 0; i < SIDE; i++) line[i] = depths[first + i] + (depths[second + i] - depths[first + i]) * share;
  line[SIDE] = line[0];
}

function depthAt({ columns, line }, column) {
  const at = columns.cells[column];
  return line[at] + (line[at + 1] - line[at]) * columns.shares[column];
}

let table = null;

/** Values 0..1 of the lattice, row by row. */
function hashes() {
  if (table) return table;
  table = new Float32Array(SIDE * SIDE);
  for (let y = 0; y < SIDE; y++)
    for (let x = 0; x < SIDE; x++) {
      let value = (Math.imul(x, 0x9e3779b1) + Math.imul(y, 0x85ebca77)) >>> 0;
      value = Math.imul(value ^ (value >>> 15), 0x2c1b3c6d);
      value = Math.imul(value ^ (value >>> 12), 0x297a2d39);
      table[y * SIDE + x] = ((value ^ (value >>> 15)) >>> 8) / 2 ** 24;
    }
  return table;
}

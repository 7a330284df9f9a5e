/** Squares that a layer is drawn in, numbered row by row. */

export const TILE = 64;

/** The numbers of those that a box touches, of a layer that is `width` pixels wide. */
export function tilesOf({ left, top, right, bottom }, width) {
  const [columns, tiles] = [Math.ceil(width / TILE), []];
  for (let row = Math.floor(top / TILE); row * TILE < bottom; row++)
    for (let column = Math.floor(left / TILE); column * TILE < right; column++) tiles.push(row * columns + column);
  return tiles;
}

/** The pixels of one of them. */
export function boxOfTile(tile, { width, height }) {
  const columns = Math.ceil(width / TILE);
  const [left, top] = [(tile % columns) * TILE, Math.floor(tile / columns) * TILE];
  return { left, top, right: Math.min(left + TILE, width), bottom: Math.min(top + TILE, height) };
}

/** The box around two; either may be null. */
export function joined(a, b) {
  if (!a || !b) return a ?? b;
  const [left, top] = [Math.min(a.left, b.left), Math.min(a.top, b.top)];
  return { left, top, right: Math.max(a.right, b.right), bottom: Math.max(a.bottom, b.bottom) };
}

/** What two have in common; null if it is nothing. */
export function shared(a, b) {
  const [left, top] = [Math.max(a.left, b.left), Math.max(a.top, b.top)];
  const [right, bottom] = [Math.min(a.right, b.right), Math.min(a.bottom, b.bottom)];
  return left < right && top < bottom ? { left, top, right, bottom } : null;
}

/** A box with what is within reach of it on a layer. */
export function widened({ left, top, right, bottom }, reach, { width, height }) {
  return {
    left: Math.max(0, left - reach),
    top: Math.max(0, top - reach),
    right: Math.min(width, right + reach),
    bottom: Math.min(height, bottom + reach),
  };
}

/** How many pixels it has. */
export function areaOf({ left, top, right, bottom }) {
  return (right - left) * (bottom - top);
}

/**
 * How much of each pixel a stroke covers. The same sums as images/strokes_coverage.py, so that both agree. A path is
 * x, y, x, y, ... in pixels; the centre of the first pixel is at 0.5, 0.5.
 *
 * @typedef {{x: number, y: number, width: number, height: number, values: Float32Array}} Cover coverage 0..1
 */

/** Pixels within reach of some paths, cut at a part of the picture and counted from its corner; null if there are none. */
function boxAround(paths, reach, { x = 0, y = 0, width, height }) {
  const [lowX, lowY, highX, highY] = corners(paths);
  const left = Math.max(0, Math.floor(lowX - reach - x));
  const top = Math.max(0, Math.floor(lowY - reach - y));
  const right = Math.min(width, Math.ceil(highX + reach - x));
  const bottom = Math.min(height, Math.ceil(highY + reach - y));
  return left >= right || top >= bottom ? null : { left, top, right, bottom };
}

/** Coverage of a round brush led along a path, in a part of the picture. @returns {Cover|null} */
export function brushCover(path, radii, hardness, part) {
  const reach = radii.reduce((most, radius) => Math.max(most, radius), 0) + 1;
  const cover = blankAround([path], reach, part);
  if (!cover) return null;
  const count = path.length / 2;
  for (let i = 0; i < Math.max(1, count - 1); i++)
    coverSegment(cover, path, radii, i, Math.min(i + 1, count - 1), hardness);
  return cover;
}

/** Adds one stretch of a brush stroke to a cover; returns the pixels it may have changed. */
export function coverSegment(cover, path, radii, i, j, hardness) {
  const [ax, ay, dx, dy] = [path[2 * i], path[2 * i + 1], path[2 * j] - path[2 * i], path[2 * j + 1] - path[2 * i + 1]];
  const [from, grows] = [radii[i], radii[j] - radii[i]];
  const reach = Math.max(from, radii[j]) + 1;
  const { x: left, y: top, width, values } = cover;
  const part = boxAround([[ax, ay, ax + dx, ay + dy]], reach, cover);
  if (!part) return null;
  const length = dx * dx + dy * dy;
  const farthest = reach * reach;
  const full = fullWithin(Math.min(from, radii[j]), hardness);
  const slant = Math.abs(dy) > 1e-6 ? (reach * Math.sqrt(length)) / Math.abs(dy) : Infinity;
  for (let row = part.top; row < part.bottom; row++) {
    const y = row + top + 0.5 - ay;
    const middle = slant < Infinity ? (y * dx) / dy + ax - left : 0; // only a band around the line is looked at
    const last = Math.min(part.right, Math.ceil(middle + slant + 1));
    for (let column = Math.max(part.left, Math.floor(middle - slant - 1)); column < last; column++) {
      const at = row * width + column;
      if (values[at] === 1) continue;
      const x = column + left + 0.5 - ax;
      let along = length > 0 ? (x * dx + y * dy) / length : 0;
      along = along < 0 ? 0 : along > 1 ? 1 : along;
      const acrossX = x - along * dx;
      const acrossY = y - along * dy;
      const square = acrossX * acrossX + acrossY * acrossY;
      if (square > farthest) continue;
      const covered = square <= full ? 1 : profile(Math.sqrt(square), from + along * grows, hardness);
      if (covered > values[at]) values[at] = covered;
    }
  }
  return part;
}

/** Square of the distance within which a brush of this radius covers everything. */
function fullWithin(radius, hardness) {
  if (radius < 0.5) return -1;
  const solid = radius + 0.5 - Math.max(radius * (1 - hardness), 1);
  return solid > 0 ? solid * solid : -1;
}

/** Coverage at a distance from the middle; a line thinner than a pixel is fainter instead. */
export function profile(distance, radius, hardness) {
  const drawn = radius > 0.5 ? radius : 0.5;
  const edge = Math.max(drawn * (1 - hardness), 1);
  let rise = (drawn + 0.5 - distance) / edge;
  rise = rise < 0 ? 0 : rise > 1 ? 1 : rise;
  return (rise * rise * (3 - 2 * rise) * radius) / drawn;
}

/** Coverage of the inside of closed rings by the even-odd rule, with a border one pixel wide. @returns {Cover|null} */
export function fillCover(rings, part) {
  const cover = blankAround(rings, 1, part);
  if (!cover) return null;
  const { values } = cover;
  values.fill(0.5);
  const toggles = new Uint8Array((cover.width + 1) * cover.height);
  for (const ring of rings)
    for (let i = 0, j = ring.length - 2; i < ring.length; j = i, i += 2) {
      cross(toggles, ring[j], ring[j + 1], ring[i], ring[i + 1], cover);
      approach(cover, ring[j], ring[j + 1], ring[i], ring[i + 1]);
    }
  for (let row = 0; row < cover.height; row++) {
    let within = 0;
    for (let column = 0; column < cover.width; column++) {
      within ^= toggles[row * (cover.width + 1) + column];
      const at = row * cover.width + column;
      values[at] = within ? 0.5 + values[at] : 0.5 - values[at];
    }
  }
  return cover;
}

/** In each row whose middle an edge crosses: toggles the first pixel whose centre lies right of it. */
function cross(toggles, ax, ay, bx, by, { x: left, y: top, width, height }) {
  if (ay > by) [ax, ay, bx, by] = [bx, by, ax, ay];
  const last = Math.min(top + height, Math.ceil(by - 0.5));
  for (let row = Math.max(top, Math.ceil(ay - 0.5)); row < last; row++) {
    const crossing = ax + ((row + 0.5 - ay) * (bx - ax)) / (by - ay);
    const column = Math.min(Math.max(Math.ceil(crossing - 0.5), left), left + width) - left;
    toggles[(row - top) * (width + 1) + column] ^= 1;
  }
}

/** Lowers the distance of the pixels around an edge, of which only half a pixel matters. */
function approach(cover, ax, ay, bx, by) {
  const { x: left, y: top, width, values } = cover;
  const part = boxAround([[ax, ay, bx, by]], 1, cover);
  if (!part) return;
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  for (let row = part.top; row < part.bottom; row++)
    for (let column = part.left; column < part.right; column++) {
      const [x, y] = [column + left + 0.5 - ax, row + top + 0.5 - ay];
      const along = length > 0 ? Math.min(Math.max((x * dx + y * dy) / length, 0), 1) : 0;
      const distance = Math.hypot(x - along * dx, y - along * dy);
      const at = row * width + column;
      if (distance < values[at]) values[at] = distance;
    }
}

/** Lowest and highest x and y of some paths. */
export function corners(paths) {
  let [lowX, lowY, highX, highY] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const path of paths)
    for (let i = 0; i < path.length; i += 2) {
      lowX = Math.min(lowX, path[i]);
      highX = Math.max(highX, path[i]);
      lowY = Math.min(lowY, path[i + 1]);
      highY = Math.max(highY, path[i + 1]);
    }
  return [lowX, lowY, highX, highY];
}

function blankAround(paths, reach, { left, top, right, bottom }) {
  const box = boxAround(paths, reach, { x: left, y: top, width: right - left, height: bottom - top });
  if (!box) return null;
  return blank({ left: box.left + left, top: box.top + top, right: box.right + left, bottom: box.bottom + top });
}

/** Nothing covered. @returns {Cover} */
export function blank({ left, top, right, bottom }) {
  const [width, height] = [right - left, bottom - top];
  return { x: left, y: top, width, height, values: new Float32Array(width * height) };
}

/**
 * Where a picture lies on a drawing, and where it goes when its handles are dragged. Sums as in
 * images/strokes_pictures.py: positions stretch with the drawing, the picture itself keeps its shape.
 *
 * @typedef {object} Placed          never changed in place
 * @property {string} file            its name: the hash of its content
 * @property {number[]} pixels        width and height of the file
 * @property {number} x @property {number} y  its centre, in units of the drawing
 * @property {number} scale           units of the drawing for each of its pixels
 * @property {number} rotation        degrees, clockwise
 *
 * @typedef {{x: number, y: number}} Scale    pixels of the shown picture for each unit of the drawing
 */

const STEP = 15; // degrees that Shift keeps to
const LEAST = 4; // pixels of the shorter side that a picture is scaled down to
export const SCALES = [0.001, 1000];

/** Its centre, axes and corners in pixels of the shown picture. @param {Placed} placed @param {Scale} scale */
export function frameOf({ pixels, x, y, scale: own, rotation }, scale) {
  const factor = own * Math.sqrt(scale.x * scale.y);
  const angle = (rotation * Math.PI) / 180;
  const [cos, sin] = [factor * Math.cos(angle), factor * Math.sin(angle)];
  const centre = { x: x * scale.x, y: y * scale.y };
  const at = (across, down) => ({
    x: centre.x + (across * cos * pixels[0] - down * sin * pixels[1]) / 2,
    y: centre.y + (across * sin * pixels[0] + down * cos * pixels[1]) / 2,
  });
  return { centre, factor, angle, at, corners: [at(-1, -1), at(1, -1), at(1, 1), at(-1, 1)] };
}

/** The place of the handle that turns: `far` pixels beyond the middle of the upper edge. */
export function turningHandle({ at, angle }, far) {
  const top = at(0, -1);
  return { x: top.x + far * Math.sin(angle), y: top.y - far * Math.cos(angle) };
}

/** What a pointer takes hold of, given where the handles are: {turn}, {corner} 0..3, {move}, or null beside all of them. */
export function holdAt(placed, scale, point, reach, { corners, turn }) {
  const isNear = (place) => Math.hypot(place.x - point.x, place.y - point.y) <= reach;
  if (isNear(turn)) return { turn: true };
  const corner = corners.findIndex(isNear);
  if (corner >= 0) return { corner };
  return isOver(placed, scale, point) ? { move: true } : null;
}

/** Whether it lies at a point of the shown picture. */
export function isOver(placed, scale, { x, y }) {
  const { pixels } = placed;
  const { centre, factor, angle } = frameOf(placed, scale);
  const [dx, dy] = [x - centre.x, y - centre.y];
  const across = dx * Math.cos(angle) + dy * Math.sin(angle);
  const down = dy * Math.cos(angle) - dx * Math.sin(angle);
  return Math.abs(across) <= (factor * pixels[0]) / 2 && Math.abs(down) <= (factor * pixels[1]) / 2;
}

/** The picture after a drag; with `steady`, in steps of 15 degrees. @returns {Placed} */
export function dragged(placed, scale, hold, from, to, steady = false) {
  if (hold.turn) return turned(placed, scale, from, to, steady);
  if (hold.move)
    return movedTo(placed, scale, { x: placed.x * scale.x + to.x - from.x, y: placed.y * scale.y + to.y - from.y });
  const { corners } = frameOf(placed, scale);
  const [held, kept] = [corners[hold.corner], corners[(hold.corner + 2) % 4]];
  const [dx, dy] = [held.x - kept.x, held.y - kept.y];
  const by = ((to.x - from.x) * dx + (to.y - from.y) * dy) / (dx * dx + dy * dy) + 1;
  const changed = scaledBy(placed, by, Math.sqrt(scale.x * scale.y));
  const share = changed.scale / placed.scale / 2;
  return movedTo(changed, scale, { x: kept.x + dx * share, y: kept.y + dy * share });
}

function turned(placed, scale, from, to, steady) {
  const { centre } = frameOf(placed, scale);
  const angleOf = ({ x, y }) => (Math.atan2(y - centre.y, x - centre.x) * 180) / Math.PI;
  const angle = placed.rotation + angleOf(to) - angleOf(from);
  return turnedTo(placed, steady ? Math.round(angle / STEP) * STEP : angle);
}

/** With another rotation, written from -180 to 180 degrees. */
export function turnedTo(placed, degrees) {
  const around = ((((degrees + 180) % 360) + 360) % 360) - 180;
  return Object.freeze({ ...placed, rotation: Math.round(around * 10) / 10 });
}

/** With the centre at a place of the shown picture. */
export function movedTo(placed, scale, { x, y }) {
  const tenth = (value) => Math.round(value * 10) / 10;
  return Object.freeze({ ...placed, x: tenth(x / scale.x), y: tenth(y / scale.y) });
}

/** Larger or smaller about its centre. */
export function scaledBy(placed, by, sizeScale) {
  const least = Math.max(SCALES[0], LEAST / Math.min(placed.pixels[0], placed.pixels[1]) / sizeScale);
  const scale = Math.min(Math.max(placed.scale * by, least), SCALES[1]);
  return Object.freeze({ ...placed, scale: Number(scale.toPrecision(5)) });
}

/** Draws it on a context whose units are pixels of the shown picture; a crossed box for what is missing. */
export function drawPlaced(context, source, placed, scale) {
  const { centre, factor, angle } = frameOf(placed, scale);
  const [width, height] = placed.pixels;
  context.save();
  context.translate(centre.x, centre.y);
  context.rotate(angle);
  context.scale(factor, factor);
  if (source) {
    context.imageSmoothingQuality = "medium";
    context.drawImage(source, -width / 2, -height / 2, width, height);
  } else {
    context.fillStyle = "rgb(128 128 128 / 45%)";
    context.fillRect(-width / 2, -height / 2, width, height);
    context.beginPath();
    for (const side of [-1, 1]) {
      context.moveTo(-width / 2, (-side * height) / 2);
      context.lineTo(width / 2, (side * height) / 2);
    }
    context.lineWidth = Math.max(width, height) / 60;
    context.strokeStyle = "rgb(255 255 255 / 80%)";
    context.stroke();
  }
  context.restore();
}

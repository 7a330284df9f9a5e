/** Parts of pictures that become layers: which picture a ring is cut from, and where the part lies then. */

import { cutOut } from "./pictures.js";
import { frameOf } from "./placing.js";

/** Pictures that are layers and seen, the uppermost first. */
function shown({ desk }) {
  return desk.list.filter(({ picture, hidden }) => picture && !hidden).reverse();
}

/** Whether there is anything to cut from. @param {import("./view.js").StrokesView} view */
export function isCuttable(view) {
  return Boolean(view.background?.picture) || shown(view).length > 0;
}

/** The picture that is shown through what lies on it while somebody cuts; null for the background. */
export function pictureToCut({ desk: { active }, background }) {
  return active.picture && !active.hidden ? active.picture : background?.picture ? null : undefined;
}

/**
 * What is inside of a ring of pixels of the shown picture: of the chosen picture if all of the ring is on it, else of
 * the background, else of the uppermost picture that has anything there.
 * @returns {Promise<{blob: Blob, place: object, above?: string}|null>} place: as LayerDesk.addPicture takes it; above:
 *   the layer of the picture
 */
export async function partOf(view, ring) {
  const pictures = shown(view);
  const chosen = pictures.filter((layer) => layer === view.desk.active && holds(view, layer.picture, ring));
  for (const layer of [...chosen, null, ...pictures]) {
    const part = await (layer ? fromPicture(view, layer.picture, ring) : fromBackground(view, ring));
    if (part) return { ...part, above: layer?.id };
  }
  return null;
}

async function fromBackground({ background, frame }, ring) {
  const picture = background?.picture;
  if (!picture) return null;
  const units = [frame.width / picture.width, frame.height / picture.height];
  const part = await cutOut(
    picture,
    ring.map((value, i) => value / units[i % 2]),
  );
  const place = part && { x: part.x * units[0], y: part.y * units[1], factor: units[0], rotation: 0 };
  return part && { blob: part.blob, place };
}

async function fromPicture(view, picture, ring) {
  const canvas = await view.pictures.whole(picture.file);
  if (!canvas) return null;
  const { width, height } = canvas;
  const part = await cutOut({ width, height, whole: () => canvas }, inPicture(view, picture, ring));
  if (!part) return null;
  const { at, factor } = frameOf(picture, view.scale);
  const { x, y } = at((2 * part.x) / width - 1, (2 * part.y) / height - 1);
  return { blob: part.blob, place: { x, y, factor, rotation: picture.rotation } };
}

/** A ring in a picture's own pixels. */
function inPicture({ scale }, picture, ring) {
  const { centre, factor, angle } = frameOf(picture, scale);
  const [cos, sin] = [Math.cos(angle) / factor, Math.sin(angle) / factor];
  const [width, height] = picture.pixels;
  const own = [];
  for (let i = 0; i < ring.length; i += 2) {
    const [dx, dy] = [ring[i] - centre.x, ring[i + 1] - centre.y];
    own.push(dx * cos + dy * sin + width / 2, dy * cos - dx * sin + height / 2);
  }
  return own;
}

function holds(view, picture, ring) {
  return inPicture(view, picture, ring).every((value, i) => value >= 0 && value <= picture.pixels[i % 2]);
}

/** A drawing whose picture gets another size. */

import { rounded } from "./document.js";
import { moved } from "./geometry.js";
import { isStandard } from "./layers.js";

/**
 * The drawing in the middle of a picture of another size, as large as it fits there, with the proportions that it had:
 * what its lengths refer to gets the shape of the new picture. Nothing is stretched, and nothing is cut off.
 * @param {import("./document.js").Drawing} drawing  @param {{width: number, height: number}} before  of the picture
 */
export function fitted(drawing, before, after) {
  const { width, height } = drawing;
  if (!width || (before.width === after.width && before.height === after.height)) return drawing;
  const factor = Math.min(after.width / before.width, after.height / before.height);
  const sides = [after.width / factor, after.height / factor]; // in pixels of the picture before
  const units = [before.width / width, before.height / height];
  const [wide, high] = sides.map((side, i) => Math.round((side / units[i]) * 10) / 10);
  const [dx, dy] = [(wide - width) / 2, (high - height) / 2];
  const placed = ({ picture }) => Object.freeze({ ...picture, x: rounded(picture.x + dx), y: rounded(picture.y + dy) });
  const layers = drawing.layers.map((layer) =>
    layer.picture ? Object.freeze({ ...layer, picture: placed(layer) }) : layer,
  );
  const strokes = drawing.strokes.map((stroke) => ("foreign" in stroke ? stroke : moved(stroke, dx, dy)));
  return { ...drawing, width: wide, height: high, layers, strokes };
}

/** The drawing on a background that was chosen for it: the print says so; an empty one starts afresh. */
export function onGround(drawing, print) {
  const isEmpty = !drawing.strokes.length && isStandard(drawing.layers);
  return { ...drawing, ...(isEmpty ? { width: 0, height: 0, print: "" } : { print }) };
}

/** A picture cut to these sides about its middle, as large as it covers them. */
export async function cropped(file, { width, height }) {
  const bitmap = await createImageBitmap(file);
  const factor = Math.max(width / bitmap.width, height / bitmap.height);
  const [across, down] = [bitmap.width * factor, bitmap.height * factor];
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (width - across) / 2, (height - down) / 2, across, down);
  bitmap.close();
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const name = (file.name ?? "").replace(/\.[^.]*$/, "") || "background";
  return new File([blob], `${name}-${width}x${height}.png`, { type: "image/png" });
}

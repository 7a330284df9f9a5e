/** The picture as a file: what is seen, with all pixels of the picture. */

import { html } from "../common/elements.js";
import { StrokeLayer } from "./layer.js";

const SLICE_MS = 20;
const NAME = "stroke-canvas.png";

/** Saves paper, background and paint, drawn at full size in slices between which the page goes on. */
export async function savePicture({ frame, reference, drawing, background }) {
  const { width, height } = frame;
  const layer = new StrokeLayer("paint", width, height);
  const [x, y] = [width / reference.width, height / reference.height];
  while (!layer.sync(drawing.strokes, x, y, { until: performance.now() + SLICE_MS }))
    await new Promise((resolve) => setTimeout(resolve));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.fillStyle = drawing.paper;
  context.fillRect(0, 0, width, height);
  if (background?.picture) context.drawImage(await background.picture.whole(), 0, 0, width, height);
  context.drawImage(layer.canvas, 0, 0);
  const file = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const address = URL.createObjectURL(file);
  html("a", { href: address, download: NAME }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

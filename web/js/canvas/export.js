/** The picture as a file: what is seen, with all pixels of the picture. */

import { html } from "../common/elements.js";
import { paperOf, Stack } from "./stack.js";

const SLICE_MS = 20;
const NAME = "stroke-canvas.png";

/** Saves paper, background and paint, drawn at full size in slices between which the page goes on. */
export async function savePicture({ frame, reference, drawing, background, pictures }) {
  const { width, height } = frame;
  const stack = new Stack(width, height);
  const [x, y] = [width / reference.width, height / reference.height];
  while (!stack.sync(drawing, x, y, { until: performance.now() + SLICE_MS }))
    await new Promise((resolve) => setTimeout(resolve));
  stack.pictures = pictures;
  for (const { picture, hidden } of drawing.layers) if (picture && !hidden) await pictures.whole(picture.file);
  const context = paperOf(drawing.paper, width, height);
  if (background?.picture) context.drawImage(await background.picture.whole(), 0, 0, width, height);
  stack.drawPaint(context, drawing, width, height);
  const file = await new Promise((resolve) => context.canvas.toBlob(resolve, "image/png"));
  const address = URL.createObjectURL(file);
  html("a", { href: address, download: NAME }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

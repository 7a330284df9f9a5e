/** The picture as a file or in the clipboard: what is seen, with all pixels of the picture, or as vectors. */

import { app } from "../../../../scripts/app.js";

import { html } from "../common/elements.js";
import { say } from "../common/language.js";
import { isLinked } from "../common/outputs.js";
import { isEffect } from "./document.js";
import { StrokeLayer } from "./layer.js";
import { sentenceOf, Told } from "./notices.js";
import { paperOf, Stack } from "./stack.js";
import { svgOf } from "./svg.js";

const SLICE_MS = 20;
const NAME = "stroke-canvas";
const SEEN_MS = 2500; // that a sentence is read in
const COPIED = "The picture is in the clipboard.";
const NOT_HERE =
  "The browser does not let this page copy pictures: open it by https or on this computer, or save a PNG.";
const REFUSED = "The browser has refused the clipboard: allow this page to use it, or save a PNG.";
const NOT_COPIED = "The picture could not be copied.";
const NOT_DRAWN = "The picture could not be drawn: it may be too large for this browser.";
const WITHOUT = "Pictures that are missing were left out.";

/** Paper, background and paint as a PNG file, drawn at full size in slices between which the page goes on. */
async function pngOf({ frame, reference, drawing, background, pictures }) {
  const { width, height } = frame;
  const stack = new Stack(width, height);
  await drawAll(stack, drawing, { frame, reference });
  stack.pictures = pictures;
  for (const { picture, hidden } of drawing.layers) if (picture && !hidden) await pictures.whole(picture.file);
  const context = paperOf(drawing.paper, width, height);
  if (background?.picture) context.drawImage(await background.picture.whole(), 0, 0, width, height);
  stack.drawPaint(context, drawing, width, height);
  return fileOf(context.canvas);
}

/** Draws strokes at full size. @param {Stack|StrokeLayer} place */
async function drawAll(place, strokes, { frame, reference }) {
  const [x, y] = [frame.width / reference.width, frame.height / reference.height];
  while (!place.sync(strokes, x, y, { until: performance.now() + SLICE_MS }))
    await new Promise((resolve) => setTimeout(resolve));
}

async function fileOf(canvas) {
  const file = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!file) throw new Told(NOT_DRAWN);
  return file;
}

/** What the layers with effects have up to the last one, which vectors cannot tell: addresses of data by their ids. */
async function mixedOf(view) {
  const mixed = new Map();
  for (const layer of view.drawing.layers) {
    const strokes = view.drawing.strokes.filter((stroke) => stroke.layer === layer.id);
    const count = strokes.findLastIndex(isEffect) + 1;
    if (!count) continue;
    const place = new StrokeLayer(layer.id, view.frame.width, view.frame.height);
    await drawAll(place, strokes.slice(0, count), view);
    mixed.set(layer.id, await asData(await fileOf(place.canvas)));
  }
  return mixed;
}

export async function savePng(view) {
  download(await pngOf(view), "png");
  if (isWithout(view)) view.notify(WITHOUT);
}

/** Whether something that should be seen is missing. */
function isWithout(view) {
  return lacksBackground(view) || view.pictures.areMissing(view.drawing);
}

function lacksBackground({ background, host }) {
  return !background && isLinked(host.owner, "background");
}

/** Saves vectors, with the pictures inside of the file. */
export async function saveSvg(view) {
  const { frame, drawing, background, pictures } = view;
  const files = new Map();
  let isComplete = !lacksBackground(view);
  for (const { picture } of drawing.layers) {
    const file = picture && !files.has(picture.file) ? await pictures.fileOf(picture.file) : null;
    if (file) files.set(picture.file, await asData(file));
    isComplete &&= !picture || files.has(picture.file);
  }
  const below = background?.picture ? await asData(background.picture.file) : null;
  const text = svgOf(drawing, frame, { background: below, files, mixed: await mixedOf(view) });
  download(new Blob([text], { type: "image/svg+xml" }), "svg");
  if (!isComplete) view.notify(WITHOUT);
}

/** Puts the picture into the clipboard. It is still drawn when the browser asks: else the click would be forgotten. */
export async function copyPicture(view) {
  const refuse = (sentence) => view.notify(sentence, ["Save as PNG", () => (view.notify(""), view.actions.png())]);
  if (!navigator.clipboard?.write || !globalThis.ClipboardItem) return refuse(NOT_HERE);
  let failed = null; // the clipboard tells of it in words of its own
  const drawn = pngOf(view).catch((error) => {
    failed = error;
    throw error;
  });
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": drawn })]);
  } catch (error) {
    await drawn.catch(() => {});
    if (failed) view.notify(sentenceOf(failed, NOT_COPIED));
    else refuse(error.name === "NotAllowedError" ? REFUSED : sentenceOf(error, NOT_COPIED));
    return;
  }
  if (isWithout(view)) return view.notify(`${say(COPIED)} ${say(WITHOUT)}`);
  view.notify(COPIED);
  setTimeout(() => view.notice?.[0] === COPIED && view.notify(""), SEEN_MS);
}

/** The workflow's name, under which the picture is found again. */
function nameOf() {
  return app.extensionManager?.workflow?.activeWorkflow?.filename || NAME;
}

function download(file, ending) {
  const address = URL.createObjectURL(file);
  html("a", { href: address, download: `${nameOf()}.${ending}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

function asData(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    Object.assign(reader, { onload: () => resolve(reader.result), onerror: reject });
    reader.readAsDataURL(file);
  });
}

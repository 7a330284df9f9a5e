/** The pixels of all layers of a drawing, and how they lie on each other. */

import { set } from "../common/elements.js";
import { StrokeLayer } from "./layer.js";
import { isSketch } from "./layers.js";
import { drawPlaced } from "./placing.js";

const SHARPEST = 1536; // pixels of the longer side that layers are kept in
const SKETCH_BESIDE_PAINT = 0.55; // how much of the sketch is seen while somebody paints

export class Stack {
  constructor(width, height) {
    Object.assign(this, { width, height });
    this.layers = new Map(); // by id
    this.pictures = null; // where the pictures of layers come from
    this.tints = new WeakMap();
    this.merged = []; // canvases of neighbours that nobody works on
  }

  /** Width and height of the layers of a picture. */
  static sizeOf({ width, height }) {
    const sharpness = Math.min(1, SHARPEST / Math.max(width, height));
    return [width, height].map((side) => Math.max(1, Math.round(side * sharpness)));
  }

  hasSize([width, height]) {
    return this.width === width && this.height === height;
  }

  /** @returns {StrokeLayer} */
  of(id) {
    if (!this.layers.has(id)) this.layers.set(id, new StrokeLayer(id, this.width, this.height));
    return this.layers.get(id);
  }

  /** Brings the visible layers to a drawing; see StrokeLayer.sync. @returns {boolean} whether nothing is left to do */
  sync(drawing, scaleX, scaleY, how) {
    const groups = this.#groupsOf(drawing.strokes);
    let done = true;
    for (const { id, hidden } of drawing.layers)
      if (!hidden && (groups.has(id) || this.layers.has(id)))
        done = this.of(id).sync(groups.get(id) ?? [], scaleX, scaleY, how) && done;
    for (const id of this.layers.keys()) if (!drawing.layers.some((layer) => layer.id === id)) this.layers.delete(id);
    return done;
  }

  show() {
    for (const layer of this.layers.values()) layer.live?.show();
  }

  /** Draws the paint over what is there. What is drawn on `active` may change with every frame. */
  drawPaint(context, drawing, width, height, active = null) {
    const { layers } = drawing;
    const isThere = ({ id, picture }) => Boolean(picture) || this.layers.has(id);
    const shown = layers.filter(
      (layer) => !layer.hidden && !("foreign" in layer) && !isSketch(layer) && isThere(layer),
    );
    let quiet = [];
    let merges = 0;
    const flush = () => {
      if (quiet.length > 1) this.#drawMerged(context, merges++, quiet, width, height);
      else for (const layer of quiet) this.#drawLayer(context, layer, width, height);
      quiet = [];
    };
    for (const layer of shown) {
      if (layer.id !== active && !layer.picture) {
        quiet.push(layer);
        continue;
      }
      flush();
      if (layer.picture) this.#drawPicture(context, layer, drawing, width, height, active !== null);
      else this.#drawLayer(context, layer, width, height);
    }
    flush();
    this.merged.length = merges;
  }

  /** Draws the sketch over what is there, faintly unless it is what somebody works on. */
  drawSketch(context, { layers }, width, height, isActive) {
    for (const layer of layers)
      if (isSketch(layer) && !layer.hidden && this.layers.has(layer.id))
        this.#drawLayer(context, layer, width, height, isActive ? 1 : SKETCH_BESIDE_PAINT);
  }

  #drawLayer(context, { id, opacity }, width, height, share = 1) {
    context.globalAlpha = opacity * share;
    context.drawImage(this.of(id).canvas, 0, 0, width, height);
    context.globalAlpha = 1;
  }

  /** isMarked: whether a box shows where one is missing. */
  #drawPicture(context, { picture, opacity, tint }, drawing, width, height, isMarked) {
    const scale = { x: width / drawing.width, y: height / drawing.height };
    const { a, b } = context.getTransform();
    const factor = picture.scale * Math.sqrt(scale.x * scale.y) * Math.hypot(a, b);
    const source = this.pictures?.at(picture.file, factor);
    if (!source && !(isMarked && this.pictures?.isMissing(picture.file))) return;
    context.globalAlpha = opacity;
    drawPlaced(context, source && tint ? this.#tinted(source, tint) : source, picture, scale);
    context.globalAlpha = 1;
  }

  /** A picture in one colour. */
  #tinted(source, color) {
    const known = this.tints.get(source);
    if (known?.color === color) return known.canvas;
    const canvas = Object.assign(document.createElement("canvas"), { width: source.width, height: source.height });
    const context = canvas.getContext("2d");
    context.drawImage(source, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = color;
    context.fillRect(0, 0, source.width, source.height);
    this.tints.set(source, { color, canvas });
    return canvas;
  }

  #drawMerged(context, number, layers, width, height) {
    const state = layers.map(({ id, opacity }) => `${id}:${this.of(id).version}:${opacity}`).join("/");
    const canvas = this.merged[number]?.canvas ?? document.createElement("canvas");
    if (this.merged[number]?.state !== state) {
      Object.assign(canvas, { width: this.width, height: this.height }); // and clears it
      const own = canvas.getContext("2d");
      for (const layer of layers) this.#drawLayer(own, layer, this.width, this.height);
      this.merged[number] = { canvas, state };
    }
    context.drawImage(canvas, 0, 0, width, height);
  }

  #groupsOf(strokes) {
    if (this.grouped?.strokes === strokes) return this.grouped.groups;
    const groups = new Map();
    for (const stroke of strokes) {
      if ("foreign" in stroke) continue;
      if (!groups.has(stroke.layer)) groups.set(stroke.layer, []);
      groups.get(stroke.layer).push(stroke);
    }
    this.grouped = { strokes, groups };
    return groups;
  }
}

/** Brings the stack of a view to its drawing, or as near to it as it gets until then. */
export function bringStack(view, until, kept) {
  const size = Stack.sizeOf(view.frame);
  if (!view.stack?.hasSize(size)) view.stack = kept(size) ?? new Stack(...size);
  view.stack.pictures = view.pictures;
  view.layerScale = { x: size[0] / view.reference.width, y: size[1] / view.reference.height };
  const { x, y } = view.layerScale;
  view.behind = !view.stack.sync(view.drawing, x, y, { until, draft: view.preview !== null });
  set(view.easel, { "aria-busy": view.behind && "true" });
}

/** The visible picture of a view as a canvas, its longer side no more than `longest`, for eyedropper and fill. */
export function compositeOf({ stack, drawing, background, lens }, longest) {
  const factor = Math.min(1, longest / Math.max(stack.width, stack.height));
  const [width, height] = [stack.width, stack.height].map((side) => Math.max(1, Math.round(side * factor)));
  const context = paperOf(drawing.paper, width, height);
  if (background?.picture) context.drawImage(background.picture.small, 0, 0, width, height);
  lens?.lay?.(context, { width, height }, true);
  stack.drawPaint(context, drawing, width, height);
  lens?.lay?.(context, { width, height }, false);
  return { context, width, height };
}

/** A sheet of paper to draw on. */
export function paperOf(color, width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = color;
  context.fillRect(0, 0, width, height);
  return context;
}

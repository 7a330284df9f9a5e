/** The t0 of every place as a colour over the picture: how far a run may go from what is there. */

import { isEffect } from "./document.js";
import { isSketch, PICTURE_T0 } from "./layers.js";
import { largestT0 } from "./noise.js";
import { Stack } from "./stack.js";

/** From what stays to what is forgotten: t0, red, green, blue. */
const RAMP = [
  [0, 39, 64, 139],
  [0.35, 42, 157, 143],
  [0.65, 244, 201, 93],
  [1, 228, 87, 46],
];
const WHOLE = { gradient: null, opacity: 1, grain: 0 }; // what a stroke is to a run that may change it
const SHARE = 0.88; // of the colour in what is seen
const VEIL = "rgb(24 26 30 / 60%)"; // over what stays as it is, so that colours of the picture are not taken for t0s

/** All of its colours from left to right, for CSS. */
export function heatGradient() {
  const stops = RAMP.map(([at, ...color]) => `rgb(${color.join(" ")}) ${100 * at}%`);
  return `linear-gradient(to right, ${stops.join(", ")})`;
}

/** The colour of a t0 as #rrggbb. */
export function heatColor(t0) {
  const next = Math.max(
    1,
    RAMP.findIndex(([at]) => at >= t0),
  );
  const [[low, ...from], [high, ...to]] = [RAMP[next - 1], RAMP[next]];
  const share = (t0 - low) / (high - low);
  const mixed = from.map((value, i) => Math.round(value + (to[i] - value) * share));
  return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

/** Paints a drawing in the colours of its t0s, as if every stroke and picture covered what is below. */
export class HeatPainter {
  /** colorOf(t0): its colour; each stroke keeps its own copy, so that a stack knows it again. */
  constructor(colorOf = heatColor) {
    Object.assign(this, { colorOf, copies: new WeakMap() });
  }

  /** @param {import("./document.js").Drawing} drawing */
  painted(drawing) {
    const { layers, strokes } = drawing;
    const shown = layers.filter((layer) => !("foreign" in layer) && !isSketch(layer));
    const heated = shown.map((layer) => {
      const tint = layer.picture ? this.colorOf(layer.t0 ?? PICTURE_T0) : null;
      return { ...layer, opacity: 1, tint };
    });
    const paint = strokes.filter((stroke) => stroke.kind === "paint");
    return { ...drawing, layers: heated, strokes: paint.map((stroke) => this.#copyOf(stroke)) };
  }

  #copyOf(stroke) {
    if (stroke.tool === "eraser") return stroke;
    const look = () => (isEffect(stroke) ? { spreads: true } : { ...WHOLE, color: this.colorOf(stroke.t0) });
    if (!this.copies.has(stroke)) this.copies.set(stroke, Object.freeze({ ...stroke, ...look() }));
    return this.copies.get(stroke);
  }
}

/** The map of one canvas, drawn while it is wanted. */
export class Heat {
  name = "heat";

  constructor() {
    this.painter = new HeatPainter();
  }

  /** Brings the map to the drawing of a view and puts it over what is there. @returns {boolean} whether it is whole */
  draw(context, view, until) {
    const { frame, drawing, layerScale, pictures } = view;
    const size = Stack.sizeOf(frame);
    if (!this.stack?.hasSize(size)) this.stack = new Stack(...size);
    if (this.drawing !== drawing) [this.drawing, this.heated] = [drawing, this.painter.painted(drawing)];
    this.stack.pictures = pictures;
    const done = this.stack.sync(this.heated, layerScale.x, layerScale.y, { until });
    const canvas = (this.canvas ??= document.createElement("canvas"));
    Object.assign(canvas, { width: size[0], height: size[1] }); // and clears it
    this.stack.drawPaint(canvas.getContext("2d"), this.heated, ...size);
    context.fillStyle = VEIL;
    context.fillRect(0, 0, frame.width, frame.height);
    context.globalAlpha = SHARE;
    const bare = view.background ? 0 : largestT0(drawing, 0); // nothing of bare paper is kept
    if (bare > 0) {
      context.fillStyle = heatColor(bare);
      context.fillRect(0, 0, frame.width, frame.height);
    }
    context.drawImage(canvas, 0, 0, frame.width, frame.height);
    context.globalAlpha = 1;
    return done;
  }
}

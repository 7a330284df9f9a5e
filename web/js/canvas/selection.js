/** The strokes that are selected, and what is done to all of them. */

import { carried, frameAround } from "./carrying.js";
import { numbersOf, rounded } from "./document.js";
import { gradientDown, moved } from "./geometry.js";
import { scaledBy, turnedTo } from "./placing.js";
import { placeOf } from "./stage.js";

const BESIDE = 16; // pixels of the picture between a stroke and its copy
const GAP = 4; // pixels of the stage between strokes and their frame

export class Selection {
  /** @param {import("./view.js").StrokesView} view */
  constructor(view) {
    this.view = view;
    this.indices = [];
    this.carriedTo = null; // where the frame is while it is dragged
  }

  /** Those of them that are there and known. */
  get strokes() {
    const { strokes } = this.view.drawing;
    return this.indices.map((i) => strokes[i]).filter((stroke) => stroke && !("foreign" in stroke));
  }

  has(index) {
    return this.indices.includes(index);
  }

  choose(indices) {
    if (indices.length) this.view.desk.endOffer();
    this.indices = indices;
    this.view.refresh();
  }

  /** The strokes were others before: those that are selected stay so where they are on the active layer still. */
  follow(before) {
    const { strokes } = this.view.drawing;
    const places = new Map(strokes.map((stroke, i) => [stroke, i]));
    const known = new Set(before);
    const isSame = (i) => strokes.length === before.length && strokes[i] && !known.has(strokes[i]);
    const found = this.indices.map((i) => places.get(before[i]) ?? (isSame(i) ? i : -1));
    const { id } = this.view.desk.active;
    this.indices = found.filter((i) => strokes[i]?.layer === id);
  }

  toggle(index) {
    this.choose(this.has(index) ? this.indices.filter((each) => each !== index) : [...this.indices, index]);
  }

  /** The next stroke of the layer after the first that is selected, or the one before it. */
  step(by) {
    const shown = this.#layer();
    if (!shown.length) return;
    this.#takeTool();
    const [first = -1] = this.indices;
    const at = first < 0 && by < 0 ? 0 : shown.indexOf(first);
    this.choose([shown[(at + by + shown.length) % shown.length]]);
  }

  all() {
    this.#takeTool();
    this.choose(this.#layer());
  }

  /** What another tool has in the making ends. */
  #takeTool() {
    this.view.pointer.settle();
    this.view.settings.tool = "select";
  }

  /** Gives a value to the strokes that have one of this name; returns whether there are any. */
  change(name, value, done) {
    const has = (stroke) => name === "color" || numbersOf(stroke).includes(name);
    if (!this.strokes.some(has)) return false;
    this.#replace((stroke) => (has(stroke) ? { ...stroke, [name]: value } : stroke), done);
    return true;
  }

  /** Gives the selected areas a gradient to a colour, or takes it away; returns whether there are any. */
  shade(on, color) {
    const isArea = ({ tool, kind }) => tool === "fill" && kind !== "sketch";
    if (!this.strokes.some(isArea)) return false;
    const shaded = (stroke) => ({
      ...stroke,
      gradient: on ? (stroke.gradient ?? gradientDown(stroke.paths, color)) : null,
    });
    this.#replace((stroke) => (isArea(stroke) ? shaded(stroke) : stroke), true);
    return true;
  }

  /** Swaps the colours of the selected gradients; returns whether there are any. */
  swapColors() {
    if (!this.strokes.some(({ gradient }) => gradient)) return false;
    const swapped = ({ color, gradient }) => ({ color: gradient.color, gradient: { ...gradient, color } });
    this.#replace((stroke) => (stroke.gradient ? { ...stroke, ...swapped(stroke) } : stroke), true);
    return true;
  }

  /** The places in the picture where the gradient of the only selected stroke has its colours, or none. */
  get ends() {
    const [{ gradient, color } = {}, another] = this.strokes;
    if (another || !gradient || !this.frame || this.carriedTo) return [];
    const { x, y } = this.view.scale;
    const [x0, y0, x1, y1] = gradient.way;
    return [
      { x: x0 * x, y: y0 * y, color },
      { x: x1 * x, y: y1 * y, color: gradient.color },
    ];
  }

  /** Brings one of them to another place. */
  bringEnd(end, { x, y }, done) {
    const { scale } = this.view;
    const place = [rounded(x / scale.x), rounded(y / scale.y)];
    const led = ({ way }) => (end ? [way[0], way[1], ...place] : [...place, way[2], way[3]]);
    this.#replace((stroke) => ({ ...stroke, gradient: { ...stroke.gradient, way: led(stroke.gradient) } }), done);
  }

  /** Moves by units of the drawing from where they were saved. */
  shift(x, y, done) {
    this.#replace((stroke) => moved(stroke, x, y), done);
  }

  /** What their handles are at: pixels of the picture, as where a picture lies; null where nothing is selected. */
  get frame() {
    const { strokes, view } = this;
    if (!strokes.length || view.locked || view.desk.isClosed) return null;
    return this.carriedTo ?? frameAround(strokes, view.scale, GAP / placeOf(view).factor);
  }

  /** Takes the strokes along with their frame. */
  carry(before, after, done) {
    const { scale } = this.view;
    this.carriedTo = done ? null : after;
    this.#replace((stroke) => carried(stroke, before, after, scale), done);
  }

  /** Larger or smaller by a factor, turned by degrees, about the middle. */
  nudge({ factor = 1, degrees = 0 }) {
    const { frame } = this;
    if (frame) this.carry(frame, scaledBy(turnedTo(frame, degrees), factor, 1), true);
  }

  /** Back to what was saved, from what is only shown. */
  drop() {
    this.carriedTo = null;
    this.view.preview = null;
    this.view.refresh();
  }

  remove() {
    if (!this.strokes.length) return;
    const strokes = this.view.drawing.strokes.filter((_, i) => !this.has(i));
    this.indices = [];
    this.view.edit({ strokes });
  }

  duplicate() {
    const { scale, drawing } = this.view;
    const copies = new Map(this.strokes.map((stroke) => [stroke, moved(stroke, BESIDE / scale.x, BESIDE / scale.y)]));
    const strokes = drawing.strokes.flatMap((stroke) => (copies.has(stroke) ? [stroke, copies.get(stroke)] : [stroke]));
    this.#rearrange(strokes, new Set(copies.values()));
  }

  /** Brings them above (1) or below (-1) the next stroke of the layer, or above or below all of it (Infinity). */
  raise(by) {
    const chosen = new Set(this.strokes);
    const list = this.view.drawing.strokes.filter((stroke) => !chosen.has(stroke));
    if (Math.abs(by) === Infinity) return this.#rearrange(by > 0 ? [...list, ...chosen] : [...chosen, ...list], chosen);
    const strokes = [...this.view.drawing.strokes];
    const places = strokes.flatMap((stroke, i) => (chosen.has(stroke) ? [i] : []));
    for (const from of by > 0 ? places.reverse() : places) {
      let to = from + by;
      while (strokes[to] && strokes[to].layer !== strokes[from].layer) to += by;
      if (strokes[to] && !chosen.has(strokes[to])) strokes.splice(to, 0, ...strokes.splice(from, 1));
    }
    this.#rearrange(strokes, chosen);
  }

  #rearrange(strokes, chosen) {
    if (!chosen.size || this.view.locked) return;
    this.indices = strokes.flatMap((stroke, i) => (chosen.has(stroke) ? [i] : []));
    this.view.edit({ strokes });
  }

  #layer() {
    const { drawing, desk } = this.view;
    const { id } = desk.active;
    return desk.isClosed ? [] : drawing.strokes.flatMap(({ layer }, i) => (layer === id ? [i] : []));
  }

  #replace(change, done) {
    const { view } = this;
    const base = view.history.now.drawing;
    const strokes = base.strokes.map((stroke, i) =>
      this.has(i) && !("foreign" in stroke) ? Object.freeze(change(stroke)) : stroke,
    );
    if (done) view.edit({ strokes });
    else view.propose({ ...base, strokes });
  }
}

/** The editor of a weight over the path: a plot with points and window, presets, exact numbers. Knows no node. */

import { html, set, svg } from "../common/elements.js";
import { say } from "../common/language.js";
import { clamp } from "../common/numbers.js";
import { button, consume, icon } from "../common/plot.js";
import { FORMULAS, tidy } from "./maths.js";
import * as model from "./model.js";
import { CurvePlot } from "./plot.js";

const REACH = 0.02; // how far beside the window a click still draws
const PRESETS = [
  ["constant", "Constant: the full weight in the whole window"],
  ["linear", "Linear: from 1 to 0"],
  ["cosine", "Cosine: stays long, falls late"],
  ["exponential", "Exponential: falls at once"],
  ["curve", "Drawn: your own curve"],
];

export class CurveView {
  /**
   * onEdit({start, end, shape, text, snap}): some of them changed; the owner stores them and calls show().
   * onCommit(): the change is complete (one step of undo).
   */
  constructor({ onEdit, onCommit }) {
    this.edit = onEdit;
    this.commit = onCommit;
    this.selected = 0;
    this.seen = null;
    this.dragging = false;
    this.presses = []; // the points under the last two presses: the first of a double click may have made one
    this.#build();
    new ResizeObserver(() => this.seen && this.plot.draw(this.seen, this.selected)).observe(this.plot.element);
  }

  /** state: see read() in model.js. */
  show(state) {
    this.state = state;
    const low = this.dragging ? this.seen.low : 0; // the axis stays as it is under a hand
    this.seen = model.read(state);
    this.seen.low = Math.min(this.seen.low, low);
    this.#draw();
  }

  #build() {
    this.presets = PRESETS.map(([shape, title]) => button(title, shapeIcon(shape), () => this.#choose(shape), "radio"));
    this.snap = button("Snap to the grid (hold Alt for free)", magnet(), () => this.#apply({ snap: !this.seen.snap }));
    this.note = html("span", { class: "dpath-note", "aria-live": "polite" });
    this.plot = new CurvePlot({
      pointerdown: (e) => this.#press(e),
      pointermove: (e) =>
        e.buttons || !this.seen ? this.plot.clearHint() : this.plot.drawHint(this.seen, this.plot.where(e).position),
      pointerleave: () => this.plot.clearHint(),
      dblclick: (e) => this.presses.every((each) => each !== undefined) && this.#remove(this.presses[1], e),
      keydown: (e) => this.#key(e),
      focusin: (e) => this.#select(e.target.dataset?.point),
    });
    this.position = field("position", "Position of the selected point on the path: 1 = noise, 0 = picture", 0);
    this.value = field("weight", "Weight of the selected point, from -1 to 1", -1);
    for (const box of [this.position, this.value]) box.input.addEventListener("change", () => this.#typed());
    this.add = button("Add a point after the selected one", "+", () => this.#insert());
    this.drop = button("Remove the selected point (Delete)", "\u2212", (e) => this.#remove(this.selected, e));
    this.fields = html("div", { class: "dpath-row" }, this.position.label, this.value.label, this.add, this.drop);
    const title = "The curve as text: position in the window (1 = its noisy end) and weight";
    const text = { type: "text", class: "dpath-text", spellcheck: "false", title, "aria-label": "The curve as text" };
    this.text = html("input", { ...text, change: () => this.#apply({ text: this.text.value }) });
    const radio = { class: "dpath-row dpath-group", role: "radiogroup", "aria-label": "Shape" };
    const presets = html("div", { ...radio, keydown: (e) => this.#walk(e) }, ...this.presets);
    const head = html("div", { class: "dpath-row" }, presets, this.snap, this.note);
    const root = { class: "dpath-panel dpath-curve-editor", role: "group", "aria-label": "Weight over the path" };
    // The text alone counts in the window, which may move; everything else counts on the path.
    const line = html("label", { class: "dpath-row" }, "in the window", this.text);
    this.element = html("div", root, head, this.plot.element, this.fields, line);
  }

  #draw() {
    const { seen } = this;
    this.selected = clamp(this.selected, 0, Math.max(seen.points.length - 1, 0));
    this.plot.draw(seen, this.selected);
    this.presets.forEach((each, k) => {
      const on = PRESETS[k][0] === seen.shape;
      set(each, { "aria-checked": String(on), tabindex: on ? "0" : "-1" });
    });
    set(this.snap, { "aria-pressed": String(seen.snap) });
    // They keep their room whatever the shape: the first click draws, and the plot must not move under the second.
    const isDrawn = seen.shape === "curve" && !seen.linked;
    this.text.disabled = !isDrawn;
    const point = isDrawn ? seen.points[this.selected] : null;
    this.position.show(point ? model.toPath(seen, point[0]) : "");
    this.value.show(point ? tidy(point[1]) : "");
    this.add.disabled = !point;
    this.drop.disabled = !isDrawn || seen.points.length < 2;
    if (document.activeElement !== this.text) this.text.value = isDrawn ? seen.text : "";
    const { first, stop, steps, weight } = seen;
    const held = say(stop > first ? `steps ${first + 1}\u2013${stop} of ${steps}` : `no step of ${steps}`);
    this.note.textContent = seen.problem ? "" : weight === 1 ? held : `${held}, \u00d7 ${tidy(weight)}`;
  }

  // ---- edits

  #apply(change) {
    this.edit(change);
    this.commit();
  }

  #store({ points, selected }) {
    this.selected = selected;
    this.edit(model.stored(points));
  }

  #choose(shape) {
    if (shape !== this.seen.shape) this.#apply(model.chosen(this.seen, shape));
  }

  #typed() {
    const [position, weight] = [this.position.input, this.value.input].map((input) => input.valueAsNumber);
    if (!this.seen.points[this.selected] || !Number.isFinite(position + weight)) return this.#draw();
    this.#store(model.placed(this.seen, this.selected, model.toWindow(this.seen, position), weight));
    this.commit();
  }

  #insert() {
    this.#store(model.halved(this.seen, this.selected));
    this.commit();
    this.plot.dots.children[this.selected]?.focus();
  }

  #remove(point, event) {
    if (point === undefined || !this.seen.editable || this.seen.points.length < 2) return;
    event.stopPropagation();
    this.#store(model.without(this.seen, Number(point)));
    this.commit();
    if (event.type !== "click") this.plot.dots.children[this.selected]?.focus();
  }

  #select(point) {
    if (point === undefined || Number(point) === this.selected) return;
    this.selected = Number(point);
    this.#draw();
  }

  // ---- mouse and pen

  #press(event) {
    const edge = event.target.closest?.("[data-grip]")?.dataset.grip;
    if (event.button !== 0 || !event.isPrimary || !this.seen || (this.seen.problem && !edge)) return;
    const [at, { start, end, editable }, point] = [this.plot.where(event), this.seen, event.target.dataset?.point];
    this.plot.clearHint();
    this.presses = [this.presses[1], point];
    if (edge) {
      const to = (next) => this.#snapped(clamp(this.plot.where(next).position, 0, 1), next);
      this.#drag(event, (next) => this.edit(model.movedEdge(this.seen, edge, to(next))), this.plot.grips[edge]);
    } else if (at.above && at.position <= start && at.position >= end) {
      const to = (next) => this.#snapped(start + this.plot.where(next).position - at.position, next);
      this.#drag(event, (next) => this.edit(model.movedWindow(start - end, to(next))));
    } else if (point !== undefined) this.#grab(event, Number(point));
    else if (editable && !at.above && at.position <= start + REACH && at.position >= end - REACH) {
      this.#store(model.added(this.seen, ...this.#place(event)));
      this.#grab(event, this.selected);
    }
  }

  #grab(event, k) {
    this.#select(k);
    if (!this.seen.editable) return;
    const move = (next) => this.#store(model.moved(this.seen, k, ...this.#place(next)));
    this.#drag(event, move, this.plot.dots.children[k]);
  }

  /** Follows the pointer until it is let go; one step of undo. */
  #drag(event, move, focus) {
    const target = this.plot.element;
    target.setPointerCapture(event.pointerId);
    event.stopPropagation();
    const stop = new AbortController();
    this.dragging = true;
    const done = () => {
      stop.abort();
      this.dragging = false;
      this.show(this.state);
      this.commit();
    };
    const on = (name, act) =>
      target.addEventListener(name, (next) => next.pointerId === event.pointerId && act(next), { signal: stop.signal });
    on("pointermove", move);
    for (const end of ["pointerup", "pointercancel"]) on(end, done);
    focus?.focus({ preventScroll: true });
  }

  /** Place in the window and weight under the pointer, on the grid. */
  #place(event) {
    const { position, weight } = this.plot.where(event);
    const { start, end, low } = this.seen;
    const u = model.toWindow(this.seen, this.#snapped(position, event, start, end));
    return [u, clamp(this.#snapped(weight, event), low, 1)];
  }

  #snapped(value, event, ...magnets) {
    return model.snapped(value, this.seen.snap && !event.altKey, ...magnets);
  }

  // ---- keys

  /** Arrow keys inside of the radio group. */
  #walk(event) {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!by) return;
    consume(event);
    const k = (this.presets.indexOf(event.target) + by + PRESETS.length) % PRESETS.length;
    this.#choose(PRESETS[k][0]);
    this.presets[k].focus();
  }

  #key(event) {
    const by = event.shiftKey ? 0.1 : 0.01;
    // Noise is on the left: to the left means a higher position.
    const keys = { ArrowLeft: [by, 0], ArrowRight: [-by, 0], ArrowUp: [0, by], ArrowDown: [0, -by] };
    const [across, up] = keys[event.key] ?? [0, 0];
    const { point, grip } = event.target.dataset ?? {};
    if (point !== undefined && ["Delete", "Backspace"].includes(event.key)) {
      consume(event);
      this.#remove(point, event);
    } else if (point !== undefined && this.seen.editable && (across || up)) {
      consume(event);
      const [u, weight] = this.seen.points[Number(point)];
      const to = model.toWindow(this.seen, model.toPath(this.seen, u) + across);
      this.#store(model.moved(this.seen, Number(point), to, tidy(weight + up)));
      this.commit();
    } else if (grip && (across || up)) {
      consume(event);
      this.#apply(model.movedEdge(this.seen, grip, tidy(this.seen[grip] + (across || up))));
    }
  }
}

function field(name, title, low) {
  const input = html("input", { type: "number", step: "0.01", min: low, max: 1, title, "aria-label": title });
  const show = (value) => {
    if (document.activeElement !== input || input.value === "" || Number(input.value) !== value) input.value = value;
    input.disabled = value === "";
  };
  return { input, show, label: html("label", {}, name, input) };
}

function shapeIcon(shape) {
  const drawn = [0, 0.35, 0.35, 1, 0.65, 0.3, 1, 0]; // u, weight, u, weight, ...
  const trail = FORMULAS[shape]
    ? Array.from({ length: 13 }, (_, k) => [k / 12, FORMULAS[shape](k / 12)])
    : [0, 2, 4, 6].map((k) => [drawn[k], drawn[k + 1]]);
  const places = trail.map(([u, weight]) => [2 + u * 16, 12 - weight * 10]);
  const dots = FORMULAS[shape] ? [] : places.slice(1, 3).map(([cx, cy]) => svg("circle", { cx, cy, r: 2 }));
  return icon(20, 14, svg("polyline", { points: places.join(" ") }), ...dots);
}

function magnet() {
  return icon(16, 14, svg("path", { d: "M3 2v5a5 5 0 0 0 10 0V2M3 4.5h3M10 4.5h3M6 2v5a2 2 0 0 0 4 0V2" }));
}

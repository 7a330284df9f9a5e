/** The drawing of a weight over the path, and what can be grabbed in it. Knows no node: state in, edits out. */

import { field, grip, icon, label, magnet, noiseStrip, upright } from "./curve_parts.js";
import { html, set, svg } from "./elements.js";
import { formatCurve, parseCurve, pointsOf, polyline, shapeOf, tidy, weights, windowSteps } from "./schedule_math.js";

const EDGES = { left: 44, right: 14, top: 24, bottom: 40 };
const GRID = 0.05;
const NARROWEST = 0.01;
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
    this.edit = (change) => onEdit(change);
    this.commit = () => onCommit();
    this.selected = 0;
    this.state = null;
    this.#build();
    new ResizeObserver(() => this.state && this.#draw()).observe(this.plot);
  }

  /** state: start, end, shape, weight, text, snap, steps, sigmas (or null), linked (null, or {samples: [] or null}). */
  show(state) {
    this.state = state;
    this.#draw();
  }

  #build() {
    this.presets = PRESETS.map(([shape, title]) =>
      html(
        "button",
        { type: "button", role: "radio", title, "aria-label": title, click: () => this.#choose(shape) },
        icon(shape),
      ),
    );
    this.snap = html(
      "button",
      {
        type: "button",
        title: "Snap to the grid (hold Alt for free)",
        "aria-label": "Snap to the grid",
        click: () => (this.edit({ snap: !this.state.snap }), this.commit()),
      },
      magnet(),
    );
    this.note = html("span", { class: "dpath-note", "aria-live": "polite" });
    const head = html(
      "div",
      { class: "dpath-row" },
      html(
        "div",
        { class: "dpath-row dpath-group", role: "radiogroup", "aria-label": "Shape", keydown: (e) => this.#walk(e) },
        ...this.presets,
      ),
      this.snap,
      this.note,
    );
    this.svg = svg("svg", { class: "dpath-plot-svg" });
    this.back = svg("g");
    this.shade = svg("g");
    this.line = svg("polyline", { class: "dpath-curve" });
    this.front = svg("g");
    this.grips = { start: grip("start"), end: grip("end") };
    this.bar = svg("rect", { class: "dpath-window-bar", "aria-hidden": true });
    this.dots = svg("g");
    this.hover = svg("g", { class: "dpath-hover", "aria-hidden": true });
    this.svg.append(
      this.back,
      this.shade,
      this.front,
      this.line,
      this.bar,
      this.grips.start,
      this.grips.end,
      this.dots,
      this.hover,
    );
    this.message = html("div", { class: "dpath-message", role: "status" });
    this.plot = html(
      "div",
      {
        class: "dpath-plot",
        pointerdown: (e) => this.#press(e),
        pointermove: (e) => this.#point(e),
        pointerleave: () => this.hover.replaceChildren(),
        dblclick: (e) => this.#remove(e.target.dataset?.point, e),
        keydown: (e) => this.#key(e),
        focusin: (e) => this.#focus(e),
      },
      this.svg,
      this.message,
    );
    this.position = field("position", "Position of the selected point on the path: 1 = noise, 0 = picture", 0);
    this.value = field("weight", "Weight of the selected point, from -1 to 1", -1);
    for (const box of [this.position, this.value]) box.input.addEventListener("change", () => this.#typed());
    this.add = html(
      "button",
      {
        type: "button",
        title: "Add a point after the selected one",
        "aria-label": "Add a point",
        click: () => this.#insert(),
      },
      "+",
    );
    this.drop = html(
      "button",
      {
        type: "button",
        title: "Remove the selected point (Delete)",
        "aria-label": "Remove the point",
        click: (e) => this.#remove(this.selected, e),
      },
      "\u2212",
    );
    this.fields = html("div", { class: "dpath-row" }, this.position.label, this.value.label, this.add, this.drop);
    this.text = html("input", {
      type: "text",
      class: "dpath-text",
      spellcheck: "false",
      "aria-label": "The curve as text",
      title: "The curve as text: position in the window (1 = its noisy end) and weight",
      change: () => (this.edit({ text: this.text.value }), this.commit()),
    });
    this.element = html(
      "div",
      { class: "dpath-panel dpath-curve-editor", role: "group", "aria-label": "Weight over the path" },
      head,
      this.plot,
      this.fields,
      this.text,
    );
  }

  // ---- geometry: path positions run from 1 on the left to 0 on the right

  get #box() {
    const { left, right, top, bottom } = EDGES;
    const [width, height] = [this.plot.clientWidth || 300, this.plot.clientHeight || 150];
    return {
      left,
      top,
      right: Math.max(width - right, left + 40),
      bottom: Math.max(height - bottom, top + 20),
      width,
      height,
    };
  }

  get #low() {
    const { weight, shape } = this.state;
    return weight < 0 || (shape === "curve" && this.points.some((point) => point[1] < 0)) ? -1 : 0;
  }

  #x(position) {
    const box = this.#box;
    return box.left + (1 - position) * (box.right - box.left);
  }

  #y(weight) {
    const box = this.#box;
    return box.bottom - ((weight - this.#low) / (1 - this.#low)) * (box.bottom - box.top);
  }

  #where(event) {
    const [box, rect] = [this.#box, this.plot.getBoundingClientRect()];
    const x = ((event.clientX - rect.left) / rect.width) * box.width;
    const y = ((event.clientY - rect.top) / rect.height) * box.height;
    return {
      position: 1 - (x - box.left) / (box.right - box.left),
      weight: this.#low + ((box.bottom - y) / (box.bottom - box.top)) * (1 - this.#low),
      above: y < box.top - 4,
    };
  }

  #toPath(u) {
    return this.state.start + (this.state.end - this.state.start) * u;
  }

  #toWindow(position) {
    return clamp((this.state.start - position) / Math.max(this.state.start - this.state.end, 1e-6), 0, 1);
  }

  #snapped(value, event, ...magnets) {
    if (!this.state.snap || event?.altKey) return tidy(value);
    const near = [Math.round(value / GRID) * GRID, ...magnets].sort(
      (a, b) => Math.abs(a - value) - Math.abs(b - value),
    );
    return tidy(near[0]);
  }

  get #editable() {
    return !this.state.linked && !this.problem;
  }

  // ---- drawing

  #draw() {
    const { state } = this;
    const { samples } = state.linked ?? {};
    this.problem = "";
    this.points = [];
    let shape = null;
    try {
      if (state.start <= state.end) throw new Error("The window is empty: set start above end.");
      if (state.linked && state.shape === "curve") shape = samples ? polyline(samples) : null;
      else {
        shape = shapeOf(state);
        this.points = state.shape === "curve" ? parseCurve(state.text) : [];
      }
      if (state.linked && state.shape === "curve" && !samples)
        this.problem = "A curve is connected. Run once to see it here.";
      else if (state.linked && state.shape !== "curve")
        this.problem = "A curve is connected: choose the drawn shape for it.";
    } catch (error) {
      this.problem = error.message;
    }
    this.selected = clamp(this.selected, 0, Math.max(this.points.length - 1, 0));
    this.presets.forEach((button, k) => {
      const on = PRESETS[k][0] === state.shape;
      set(button, { "aria-checked": String(on), tabindex: on ? "0" : "-1" });
    });
    set(this.snap, { "aria-pressed": String(state.snap) });
    this.message.replaceChildren(...(this.problem ? [html("span", {}, this.problem)] : []));
    this.#drawAxes();
    this.#drawShape(shape);
    this.#drawWindow();
    this.#drawDots();
    this.#fill(shape);
  }

  #drawAxes() {
    const [box, parts] = [this.#box, []];
    set(this.svg, { viewBox: `0 0 ${box.width} ${box.height}` });
    for (const weight of this.#low < 0 ? [-1, -0.5, 0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]) {
      const y = this.#y(weight);
      parts.push(
        svg("line", { x1: box.left, x2: box.right, y1: y, y2: y, class: weight === 0 ? "dpath-axis" : "dpath-rule" }),
      );
      if (weight * 2 === Math.round(weight * 2)) parts.push(label(box.left - 6, y + 4, weight, "end"));
    }
    for (let k = 0; k <= 10; k++) {
      const [x, strong] = [this.#x(k / 10), k % 2 === 0];
      parts.push(svg("line", { x1: x, x2: x, y1: box.top, y2: box.bottom, class: "dpath-rule" }));
      const room = Math.min(k, 10 - k) * (box.right - box.left) > 600;
      if (strong && room) parts.push(label(x, box.bottom + 27, k / 10, "middle"));
    }
    parts.push(
      label(box.left, box.bottom + 27, "1 noise", "start"),
      label(box.right, box.bottom + 27, "picture 0", "end"),
    );
    parts.push(upright(14, (box.top + box.bottom) / 2, "weight"));
    parts.push(noiseStrip(box));
    this.back.replaceChildren(...parts);
  }

  #drawShape(shape) {
    const { state } = this;
    const box = this.#box;
    const [parts, ticks] = [[], []];
    const zero = this.#y(0);
    const real = shape ? this.#weights(shape) : [];
    for (let i = 0; i <= state.steps && state.steps <= 200; i++) {
      const [x, inside] = [this.#x(1 - i / state.steps), real[i] !== undefined && this.#inside(i)];
      ticks.push(
        svg("line", {
          x1: x,
          x2: x,
          y1: box.bottom,
          y2: box.bottom + 6,
          class: inside ? "dpath-step-in" : "dpath-step",
        }),
      );
    }
    real.forEach((weight, i) => {
      if (!this.#inside(i)) return;
      const [x0, x1, y] = [
        this.#x(1 - i / state.steps),
        this.#x(1 - (i + 1) / state.steps),
        this.#y(clamp(weight, -1, 1)),
      ];
      parts.push(
        svg("rect", {
          x: x0,
          width: Math.max(x1 - x0 - (state.steps > 60 ? 0 : 1), 0.5),
          y: Math.min(y, zero),
          height: Math.max(Math.abs(y - zero), 0.5),
          class: "dpath-bar",
        }),
      );
    });
    this.shade.replaceChildren(...parts);
    this.front.replaceChildren(...ticks);
    set(this.line, {
      points: shape ? this.#trace(shape) : "",
      class: state.linked ? "dpath-curve dpath-fixed" : "dpath-curve",
    });
  }

  #trace(shape) {
    const corners = this.state.linked?.samples ?? this.points;
    const smooth = Array.from({ length: 97 }, (_, k) => [k / 96, 0]).map(([u]) => [u, shape(u)]);
    const trail = corners.length ? [[0, corners[0][1]], ...corners, [1, corners.at(-1)[1]]] : smooth;
    return trail
      .map(([u, weight]) => `${this.#x(this.#toPath(u)).toFixed(1)},${this.#y(clamp(weight, -1, 1)).toFixed(1)}`)
      .join(" ");
  }

  #inside(step) {
    const [first, stop] = windowSteps(this.state.start, this.state.end, this.state.steps);
    return step >= first && step < stop;
  }

  #weights(shape) {
    const { state } = this;
    if (!state.linked || state.shape !== "curve") return weights(state, state.steps);
    const [first, stop] = windowSteps(state.start, state.end, state.steps);
    const last = stop - first - 1;
    return Array.from({ length: state.steps }, (_, i) =>
      this.#inside(i) ? state.weight * shape(last ? (i - first) / last : 0) : 0,
    );
  }

  #drawWindow() {
    const { state } = this;
    const box = this.#box;
    for (const [name, element] of Object.entries(this.grips)) {
      const [x, side] = [this.#x(state[name]), name === "start" ? -1 : 1];
      set(element, {
        transform: `translate(${x.toFixed(1)} 0)`,
        "aria-valuenow": tidy(state[name]),
        "aria-valuetext": `${name} of the window at ${tidy(state[name])}`,
      });
      element.replaceChildren(
        svg("rect", { x: -7, width: 14, y: box.top - 22, height: box.bottom - box.top + 22, class: "dpath-catch" }),
        svg("line", { y1: box.top - 14, y2: box.bottom, class: "dpath-edge" }),
        svg("path", {
          d: `M0 ${box.top - 18} h${-9 * side} l${-4 * side} 6 l${4 * side} 6 h${9 * side} z`,
          class: "dpath-flag",
        }),
      );
    }
    const [x0, x1] = [this.#x(state.start), this.#x(state.end)];
    set(this.bar, { x: Math.min(x0, x1), width: Math.abs(x1 - x0), y: box.top - 18, height: 12 });
  }

  #drawDots() {
    const dots = [...this.dots.children];
    while (dots.length > this.points.length) dots.pop().remove();
    while (dots.length < this.points.length) {
      const dot = svg("circle", {
        r: 5.5,
        class: "dpath-dot",
        tabindex: "0",
        role: "slider",
        "aria-valuemin": -1,
        "aria-valuemax": 1,
      });
      dots.push(dot);
      this.dots.append(dot);
    }
    this.points.forEach(([u, weight], k) => {
      const at = tidy(this.#toPath(u));
      set(dots[k], {
        cx: this.#x(at),
        cy: this.#y(weight),
        "data-point": k,
        "aria-valuenow": weight,
        "aria-label": `Point ${k + 1} of ${this.points.length}`,
        "aria-valuetext": `position ${at}, weight ${tidy(weight)}`,
        class: k === this.selected ? "dpath-dot dpath-chosen" : "dpath-dot",
      });
    });
  }

  #fill(shape) {
    const { state } = this;
    const drawn = state.shape === "curve" && !state.linked;
    this.fields.hidden = this.text.hidden = !drawn;
    const point = this.points[this.selected];
    this.position.show(point ? tidy(this.#toPath(point[0])) : "");
    this.value.show(point ? tidy(point[1]) : "");
    this.drop.disabled = this.points.length < 2;
    this.add.disabled = !point;
    if (document.activeElement !== this.text) this.text.value = state.text;
    const [first, stop] = windowSteps(state.start, state.end, state.steps);
    const held = stop > first ? `steps ${first + 1}\u2013${stop} of ${state.steps}` : `no step of ${state.steps}`;
    this.note.textContent = !shape ? "" : state.weight === 1 ? held : `${held}, \u00d7 ${tidy(state.weight)}`;
  }

  #point(event) {
    if (event.buttons || !this.state || this.problem) return this.hover.replaceChildren();
    const box = this.#box;
    const { position } = this.#where(event);
    if (position < 0 || position > 1) return this.hover.replaceChildren();
    const { state } = this;
    const step = clamp(Math.floor((1 - position) * state.steps), 0, state.steps - 1);
    const weight = this.#inside(step) ? this.#weights(this.#shape())[step] : 0;
    const level = state.sigmas ? `, \u03c3 ${Number(state.sigmas[step].toPrecision(3))}` : "";
    const lines = [
      `step ${step + 1} of ${state.steps}${level}`,
      `weight ${Number(weight.toFixed(3))} at ${position.toFixed(2)}`,
    ];
    const x = this.#x(position);
    const flip = x > (box.left + box.right) / 2;
    const wide = Math.max(...lines.map((line) => line.length)) * 6.1 + 12;
    this.hover.replaceChildren(
      svg("line", { x1: x, x2: x, y1: box.top, y2: box.bottom }),
      svg("rect", { x: flip ? x - wide - 8 : x + 8, y: box.top + 4, width: wide, height: 34, rx: 4 }),
      ...lines.map((line, k) => label(flip ? x - wide - 2 : x + 14, box.top + 18 + 14 * k, line, "start")),
    );
  }

  #shape() {
    return this.state.linked && this.state.shape === "curve"
      ? polyline(this.state.linked.samples)
      : shapeOf(this.state);
  }

  // ---- edits

  #choose(shape) {
    if (shape === this.state.shape) return;
    const text =
      shape === "curve" && !this.state.linked && !readable(this.state.text)
        ? { text: formatCurve(pointsOf(this.state)) }
        : {};
    this.edit({ shape, ...text });
    this.commit();
  }

  /** Arrow keys inside of the radio group. */
  #walk(event) {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!by) return;
    consume(event);
    const k = (this.presets.indexOf(event.target) + by + PRESETS.length) % PRESETS.length;
    this.#choose(PRESETS[k][0]);
    this.presets[k].focus();
  }

  #press(event) {
    if (event.button !== 0 || (this.problem && !event.target.closest?.("[data-grip]"))) return;
    const grabbed = event.target.closest?.("[data-grip]")?.dataset.grip;
    const at = this.#where(event);
    this.hover.replaceChildren();
    if (grabbed)
      this.#drag(event, (move) => this.#moveEdge(grabbed, this.#where(move).position, move), this.grips[grabbed]);
    else if (at.above) {
      const { start, end } = this.state;
      if (at.position <= start && at.position >= end)
        this.#drag(event, (move) => this.#moveWindow(start, end, this.#where(move).position - at.position, move));
    } else if (event.target.dataset?.point !== undefined) this.#grab(event, Number(event.target.dataset.point));
    else if (this.#editable && at.position <= this.state.start + 0.02 && at.position >= this.state.end - 0.02) {
      const points = pointsOf(this.state);
      const u = this.#toWindow(this.#snapped(at.position, event, this.state.start, this.state.end));
      const k = points.filter((point) => point[0] <= u).length;
      points.splice(k, 0, [u, clamp(this.#snapped(at.weight, event), -1, 1)]);
      this.#store(points, k);
      this.#grab(event, k);
    }
  }

  #grab(event, k) {
    this.selected = k;
    this.#draw();
    if (!this.#editable) return;
    this.#drag(
      event,
      (move) => {
        const at = this.#where(move);
        const points = this.points.map((point) => [...point]);
        const u = this.#toWindow(this.#snapped(at.position, move, this.state.start, this.state.end));
        points[k] = [
          clamp(u, points[k - 1]?.[0] ?? 0, points[k + 1]?.[0] ?? 1),
          clamp(this.#snapped(at.weight, move), this.#low, 1),
        ];
        this.#store(points, k);
      },
      this.dots.children[k],
    );
  }

  /** Follows the pointer until it is let go; one step of undo. */
  #drag(event, move, focus) {
    this.plot.setPointerCapture(event.pointerId);
    event.stopPropagation();
    const stop = new AbortController();
    const follow = (next) => next.pointerId === event.pointerId && move(next);
    const done = () => (stop.abort(), this.commit());
    this.plot.addEventListener("pointermove", follow, { signal: stop.signal });
    for (const end of ["pointerup", "pointercancel"]) this.plot.addEventListener(end, done, { signal: stop.signal });
    focus?.focus({ preventScroll: true });
  }

  #moveEdge(name, position, event) {
    const { start, end } = this.state;
    const to = this.#snapped(clamp(position, 0, 1), event);
    this.edit({ [name]: name === "start" ? clamp(to, end + NARROWEST, 1) : clamp(to, 0, start - NARROWEST) });
  }

  #moveWindow(start, end, by, event) {
    const to = this.#snapped(clamp(start + by, start - end, 1), event);
    const length = start - end;
    this.edit({ start: clamp(to, length, 1), end: tidy(clamp(to, length, 1) - length) });
  }

  #store(points, selected) {
    this.selected = selected;
    this.edit({ shape: "curve", text: formatCurve(points) });
  }

  #typed() {
    const [position, weight] = [this.position.input, this.value.input].map((input) => input.valueAsNumber);
    if (Number.isFinite(position) && Number.isFinite(weight) && this.points[this.selected]) {
      const points = this.points.map((point) => [...point]);
      points[this.selected] = [this.#toWindow(position), clamp(weight, -1, 1)];
      const moved = points[this.selected];
      points.sort((a, b) => a[0] - b[0]);
      this.#store(points, points.indexOf(moved));
      this.commit();
    } else this.#draw();
  }

  #insert() {
    const k = Math.min(this.selected, Math.max(this.points.length - 2, 0));
    const next = this.points[k + 1] ?? [1, this.points[k][1]];
    const u = (this.points[k][0] + next[0]) / 2;
    const points = [...this.points];
    points.splice(k + 1, 0, [u, tidy(polyline(this.points)(u))]);
    this.#store(points, k + 1);
    this.commit();
    this.dots.children[k + 1]?.focus();
  }

  #remove(k, event) {
    if (k === undefined || !this.#editable || this.points.length < 2) return;
    event?.stopPropagation();
    const points = this.points.filter((_, i) => i !== Number(k));
    this.#store(points, Math.max(Number(k) - 1, 0));
    this.commit();
    if (event?.type !== "click") this.dots.children[this.selected]?.focus();
  }

  #focus(event) {
    const k = event.target.dataset?.point;
    if (k === undefined || Number(k) === this.selected) return;
    this.selected = Number(k);
    this.#draw();
  }

  #key(event) {
    const by = event.shiftKey ? 0.1 : 0.01;
    // Noise is on the left: to the left means a higher position.
    const [across, up] = { ArrowLeft: [by, 0], ArrowRight: [-by, 0], ArrowUp: [0, by], ArrowDown: [0, -by] }[
      event.key
    ] ?? [0, 0];
    const { point, grip: edge } = event.target.dataset ?? {};
    if (point !== undefined && this.#editable) {
      if (event.key === "Delete" || event.key === "Backspace") {
        consume(event);
        return this.#remove(point, event);
      }
      if (!across && !up) return;
      consume(event);
      const [k, points] = [Number(point), this.points.map((each) => [...each])];
      const u = this.#toWindow(tidy(this.#toPath(points[k][0]) + across));
      points[k] = [clamp(u, points[k - 1]?.[0] ?? 0, points[k + 1]?.[0] ?? 1), clamp(tidy(points[k][1] + up), -1, 1)];
      this.#store(points, k);
      this.commit();
    } else if (edge && (across || up)) {
      consume(event);
      this.#moveEdge(edge, this.state[edge] + (across || up), { altKey: true });
      this.commit();
    }
  }
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

function readable(text) {
  try {
    return parseCurve(text).length > 0;
  } catch {
    return false;
  }
}

/** The key is ours: the page must not delete or move the node by it. */
function consume(event) {
  event.preventDefault();
  event.stopPropagation();
}

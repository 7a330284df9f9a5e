/** The plot of the curve editor: where things are, and how they look. Path positions run from 1, left, to 0, right. */

import { html, set, svg } from "../common/elements.js";
import { say } from "../common/language.js";
import { clamp, largest } from "../common/numbers.js";
import { bar, boxOf, label, line, noiseStrip, placeIn, pointsText } from "../common/plot.js";
import { tidy } from "./maths.js";
import { toPath } from "./model.js";

const EDGES = { left: 44, right: 14, top: 24, bottom: 40 };
const MOST_TICKS = 200;

export class CurvePlot {
  constructor(listeners) {
    this.svg = svg("svg", { class: "dpath-plot-svg" });
    const silent = { "aria-hidden": true }; // the points and the window's ends say what there is to say
    this.axes = svg("g", silent);
    this.bars = svg("g", silent);
    this.ticks = svg("g", silent);
    this.line = svg("polyline", silent);
    this.bar = svg("rect", { class: "dpath-window-bar", "aria-hidden": true });
    this.grips = { start: grip("start", "Window start"), end: grip("end", "Window end") };
    this.dots = svg("g");
    this.hint = svg("g", { class: "dpath-hover", "aria-hidden": true });
    this.svg.append(this.axes, this.bars, this.ticks, this.line, this.bar);
    this.svg.append(...Object.values(this.grips), this.dots, this.hint);
    this.message = html("div", { class: "dpath-message", role: "status" });
    this.element = html("div", { class: "dpath-plot", ...listeners }, this.svg, this.message);
    this.low = 0;
  }

  // ---- where things are

  get box() {
    return boxOf(this.element, EDGES);
  }

  x(position) {
    const { left, right } = this.box;
    return left + (1 - position) * (right - left);
  }

  y(weight) {
    const { top, bottom } = this.box;
    return bottom - ((clamp(weight, -1, 1) - this.low) / (1 - this.low)) * (bottom - top);
  }

  /** Position and weight under the pointer; above: in the window's bar. */
  where(event) {
    const [box, { x, y }] = [this.box, placeIn(this.element, event)];
    return {
      position: 1 - (x - box.left) / (box.right - box.left),
      weight: this.low + ((box.bottom - y) / (box.bottom - box.top)) * (1 - this.low),
      above: y < box.top - 4,
    };
  }

  // ---- how they look

  draw(seen, selected) {
    this.low = seen.low;
    const words = seen.problem || seen.invitation;
    this.message.replaceChildren(...(words ? [html("span", {}, words)] : []));
    this.#drawAxes();
    this.#drawSteps(seen);
    const points = pointsText(seen.trail.map(([u, weight]) => [this.x(toPath(seen, u)), this.y(weight)]));
    set(this.line, { points, class: seen.linked ? "dpath-curve dpath-fixed" : "dpath-curve" });
    this.#drawWindow(seen);
    this.#drawDots(seen, selected);
  }

  #drawAxes() {
    const { left, right, top, bottom, width, height } = this.box;
    const parts = [];
    set(this.svg, { viewBox: `0 0 ${width} ${height}` });
    for (const weight of this.low < 0 ? [-1, -0.5, 0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]) {
      const y = this.y(weight);
      parts.push(line(left, y, right, y, weight === 0 ? "dpath-axis" : "dpath-rule"));
      if (Number.isInteger(weight * 2)) parts.push(label(left - 6, y + 4, weight, "end"));
    }
    for (let k = 0; k <= 10; k++) {
      const x = this.x(k / 10);
      parts.push(line(x, top, x, bottom, "dpath-rule"));
      const room = Math.min(k, 10 - k) * (right - left) > 600;
      if (k % 2 === 0 && room) parts.push(label(x, bottom + 27, k / 10, "middle"));
    }
    parts.push(label(left, bottom + 27, "1 noise", "start"), label(right, bottom + 27, "picture 0", "end"));
    const upright = label(0, 0, "weight", "middle");
    set(upright, { transform: `translate(14 ${(top + bottom) / 2}) rotate(-90)` });
    this.axes.replaceChildren(...parts, upright, noiseStrip(this.box));
  }

  #drawSteps({ steps, first, stop, bars, positions }) {
    const [{ bottom }, zero, gap] = [this.box, this.y(0), steps > 60 ? 0 : 1];
    const at = (i) => this.x(positions[i] ?? 0);
    this.bars.replaceChildren(
      ...bars.map((weight, j) => bar(at(first + j), at(first + j + 1) - gap, this.y(weight), zero, "dpath-bar")),
    );
    const ticks = Array.from({ length: steps <= MOST_TICKS ? steps + 1 : 0 }, (_, i) => {
      const held = bars.length && i >= first && i < stop;
      return line(at(i), bottom, at(i), bottom + 6, held ? "dpath-step-in" : "dpath-step");
    });
    this.ticks.replaceChildren(...ticks);
  }

  #drawWindow({ start, end }) {
    const { top, bottom } = this.box;
    for (const [name, place, side, said] of [
      ["start", start, -1, `start of the window at ${tidy(start)}`],
      ["end", end, 1, `end of the window at ${tidy(end)}`],
    ]) {
      const element = this.grips[name];
      set(element, { transform: `translate(${this.x(place).toFixed(1)} 0)` });
      set(element, { "aria-valuenow": tidy(place), "aria-valuetext": said });
      const flag = `M0 ${top - 18} h${-9 * side} l${-4 * side} 6 l${4 * side} 6 h${9 * side} z`;
      element.replaceChildren(
        bar(-7, 7, top - 22, bottom, "dpath-catch"),
        line(0, top - 14, 0, bottom, "dpath-edge"),
        svg("path", { d: flag, class: "dpath-flag" }),
      );
    }
    const [x0, x1] = [this.x(start), this.x(end)];
    set(this.bar, { x: Math.min(x0, x1), width: Math.abs(x1 - x0), y: top - 18, height: 12 });
  }

  /** Elements are kept, so that the focus stays where it is. */
  #drawDots(seen, selected) {
    const dots = [...this.dots.children];
    while (dots.length > seen.points.length) dots.pop().remove();
    while (dots.length < seen.points.length) {
      const dot = svg("circle", { r: 5.5, tabindex: "0", role: "slider", "aria-valuemin": -1, "aria-valuemax": 1 });
      dots.push(dot);
      this.dots.append(dot);
    }
    seen.points.forEach(([u, weight], k) => {
      const at = toPath(seen, u);
      set(dots[k], { cx: this.x(at), cy: this.y(weight), "data-point": k, "aria-valuenow": tidy(weight) });
      set(dots[k], { "aria-label": `Point ${k + 1} of ${seen.points.length}` });
      set(dots[k], { "aria-valuetext": `position ${at}, weight ${tidy(weight)}` });
      set(dots[k], { class: k === selected ? "dpath-dot dpath-chosen" : "dpath-dot" });
    });
  }

  /** The step under the pointer, and its numbers. */
  drawHint(seen, position) {
    if (seen.problem || !(position >= 0 && position <= 1)) return this.hint.replaceChildren();
    const { box } = this;
    const step = clamp(seen.positions.filter((start) => start >= position).length - 1, 0, seen.steps - 1);
    const weight = seen.bars[step - seen.first] ?? 0;
    const level = seen.sigmas ? `, \u03c3 ${Number(seen.sigmas[step].toPrecision(3))}` : "";
    const lines = [
      say(`step ${step + 1} of ${seen.steps}`) + level,
      say(`weight ${Number(weight.toFixed(3))} at ${position.toFixed(2)}`),
    ];
    const words = lines.map((text, k) => label(0, 14 + 14 * k, text, "start"));
    const [edge, back] = [line(0, box.top, 0, box.bottom, null), svg("rect", { height: 34, rx: 4 })];
    this.hint.replaceChildren(edge, back, ...words);
    const width = largest(words.map((word) => word.getComputedTextLength())) + 12;
    const x = this.x(position);
    const left = x + 8 + width > box.right ? x - width - 8 : x + 8;
    const top = weight > (1 + this.low) / 2 ? box.bottom - 38 : box.top + 4; // beside the curve
    set(edge, { x1: x, x2: x });
    set(back, { x: left, y: top, width });
    for (const word of words) set(word, { transform: `translate(${left + 6} ${top})` });
  }

  clearHint() {
    this.hint.replaceChildren();
  }
}

function grip(name, title) {
  const range = { "aria-valuemin": 0, "aria-valuemax": 1 };
  return svg("g", {
    class: "dpath-grip",
    "data-grip": name,
    tabindex: "0",
    role: "slider",
    "aria-label": title,
    ...range,
  });
}

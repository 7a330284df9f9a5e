/** Scrubs along a path: its decoded pictures, and the numbers of every step under them. Knows no node. */

import { html, set, svg } from "../common/elements.js";
import { say } from "../common/language.js";
import { clamp, largest } from "../common/numbers.js";
import { bar, boxOf, button, consume, icon, label, line, noiseStrip, placeIn, pointsText } from "../common/plot.js";

const EDGES = { left: 10, right: 10, top: 8, bottom: 26 };
const FRAME_MS = 180;

export class PathView {
  constructor() {
    this.data = null;
    this.at = 0;
    this.wiping = false;
    this.edge = 0.5;
    this.#build();
    new ResizeObserver(() => this.data && this.#drawTrack()).observe(this.track);
  }

  /**
   * data: names; sigmas, shares (of noise) [N + 1]; levels (the levels that were decoded); frames (per name, the
   * address of each level's picture); drift [N + 1] or null; weights [N] or null. null: nothing was run yet.
   */
  show(data) {
    this.#stop();
    this.data = data;
    this.element.classList.toggle("dpath-empty", !data);
    if (!data) {
      const invitation = html("span", {}, "Run to walk along the path.");
      return this.stage.replaceChildren(html("div", { class: "dpath-message" }, invitation));
    }
    this.steps = data.sigmas.length - 1;
    const picture = (src) => html("img", { src, alt: "", draggable: "false" });
    this.pictures = data.frames.map((row) => row.map(picture));
    const figures = data.names.map((name, row) => {
      const frame = html("div", { class: "dpath-frame" }, ...this.pictures[row]);
      return html("figure", {}, frame, html("figcaption", {}, name));
    });
    this.stage.replaceChildren(...figures);
    this.over.hidden = data.names.length < 2;
    this.#lay(this.wiping && data.names.length > 1);
    this.go(data.levels.length - 1);
    this.#drawTrack();
  }

  /** Shows a decoded point, counted from the noisy end. */
  go(index) {
    const { levels } = this.data;
    this.at = clamp(index, 0, levels.length - 1);
    for (const row of this.pictures) row.forEach((picture, k) => set(picture, { class: k === this.at && "dpath-now" }));
    const words = this.#words(levels[this.at]).map(say).join(", ");
    set(this.track, { "aria-valuemax": levels.length - 1, "aria-valuenow": this.at, "aria-valuetext": words });
    this.#tell(levels[this.at]);
    this.#drawHead();
  }

  #build() {
    this.stage = html("div", {
      class: "dpath-stage",
      pointermove: (e) => this.#wipe(placeIn(this.stage, e).x / this.stage.clientWidth),
      keydown: (e) => this.#wipeKey(e),
    });
    const shape = svg("path", { d: "M2 2h12v10H2zM8 1v12M8 4l6 0M8 7h6M8 10h6" });
    const title = "One over the other, parted where the mouse is";
    this.over = button(title, icon(16, 14, shape), () => this.#lay(!this.wiping));
    this.play = button("Play (space)", "\u25b6", () => this.#toggle());
    this.note = html("div", { class: "dpath-numbers" });
    this.svg = svg("svg", { class: "dpath-plot-svg", "aria-hidden": true });
    this.still = svg("g");
    this.head = svg("g");
    this.svg.append(this.still, this.head);
    const slider = { tabindex: "0", role: "slider", "aria-label": "Place on the path", "aria-valuemin": 0 };
    const listeners = {
      pointerdown: (e) => this.#press(e),
      pointermove: (e) => this.#hover(e),
      pointerleave: () => this.data && this.#tell(this.data.levels[this.at]),
      keydown: (e) => this.#key(e),
    };
    this.track = html("div", { class: "dpath-track", ...slider, ...listeners }, this.svg);
    const row = html("div", { class: "dpath-row" }, this.play, this.over, this.note);
    const root = { class: "dpath-panel dpath-path-viewer dpath-empty", role: "group", "aria-label": "Path viewer" };
    this.element = html("div", root, this.stage, row, this.track);
    this.show(null);
  }

  /** Side by side, or one over the other. */
  #lay(over) {
    this.wiping = over;
    this.stage.classList.toggle("dpath-over", over);
    set(this.over, { "aria-pressed": String(over) });
    const slider = { tabindex: "0", role: "slider", "aria-label": "Edge between the two pictures, in percent" };
    set(this.stage, over ? slider : { tabindex: null, role: null, "aria-label": null });
    this.#wipe(this.edge);
  }

  #wipe(edge) {
    if (!this.wiping) return;
    this.edge = clamp(edge, 0, 1);
    this.stage.style.setProperty("--dpath-edge", `${100 * this.edge}%`);
    set(this.stage, { "aria-valuenow": Math.round(100 * this.edge) });
  }

  #wipeKey(event) {
    const by = { ArrowLeft: -0.05, ArrowRight: 0.05 }[event.key];
    if (!by || !this.wiping) return;
    consume(event);
    this.#wipe(this.edge + by);
  }

  get #box() {
    return boxOf(this.track, EDGES);
  }

  #x(level) {
    const { left, right } = this.#box;
    return left + (level / this.steps) * (right - left);
  }

  #drawTrack() {
    const { left, right, top, bottom, width, height } = this.#box;
    const [{ drift, weights, levels }, steps, parts] = [this.data, this.steps, []];
    set(this.svg, { viewBox: `0 0 ${width} ${height}` });
    const inside = weights?.flatMap((weight, i) => (weight ? [i] : [])) ?? [];
    if (inside.length) {
      const [from, to] = [this.#x(inside[0]), this.#x(inside.at(-1) + 1)];
      parts.push(bar(from, to, top - 4, bottom, "dpath-window-shade"));
    }
    for (const i of inside) {
      const high = bottom - Math.min(Math.abs(weights[i]), 1) * (bottom - top);
      parts.push(bar(this.#x(i), this.#x(i + 1) - 1, high, bottom, "dpath-bar"));
    }
    parts.push(line(left, bottom, right, bottom, "dpath-axis"));
    for (let i = 0; i <= steps && steps <= 200; i++)
      parts.push(line(this.#x(i), bottom, this.#x(i), bottom + 4, "dpath-step"));
    if (drift) {
      const most = largest(drift, 1e-6);
      const places = drift.map((value, i) => [this.#x(i), bottom - (value / most) * (bottom - top - 3)]);
      parts.push(svg("polyline", { points: pointsText(places), class: "dpath-drift" }));
    }
    for (const level of levels)
      parts.push(svg("circle", { cx: this.#x(level), cy: bottom, r: 3.2, class: "dpath-stop" }));
    parts.push(noiseStrip({ left, right, bottom: bottom - 2 }));
    parts.push(label(left, height - 3, "noise", "start"), label(right, height - 3, "picture", "end"));
    if (drift) parts.push(legend((left + right) / 2, height - 3, inside.length > 0));
    this.still.replaceChildren(...parts);
    this.#drawHead();
  }

  #drawHead() {
    const [{ bottom }, x] = [this.#box, this.#x(this.data.levels[this.at])];
    const knob = svg("circle", { cx: x, cy: bottom, r: 6, class: "dpath-dot dpath-chosen" });
    this.head.replaceChildren(line(x, 2, x, bottom, "dpath-head"), knob);
  }

  #words(level) {
    const { sigmas, shares, drift, weights } = this.data;
    const words = [
      level < this.steps ? `step ${level + 1} of ${this.steps}` : "picture",
      `\u03c3 ${Number(sigmas[level].toPrecision(3))}`,
      `t ${(1 - level / this.steps).toFixed(2)}`,
      `noise ${Math.round(100 * shares[level])} %`,
    ];
    if (drift) words.push(`apart ${Number(drift[level].toPrecision(2))}`);
    if (weights && level < this.steps) words.push(`weight ${Number(weights[level].toFixed(3))}`);
    return words;
  }

  #tell(level) {
    this.note.replaceChildren(...this.#words(level).map((word) => html("span", {}, word)));
  }

  #level(event) {
    const { left, right } = this.#box;
    return clamp(Math.round(((placeIn(this.track, event).x - left) / (right - left)) * this.steps), 0, this.steps);
  }

  #goNear(event) {
    const apart = this.data.levels.map((each) => Math.abs(each - this.#level(event)));
    this.go(apart.reduce((nearest, each, i) => (each < apart[nearest] ? i : nearest), 0));
  }

  #press(event) {
    if (event.button !== 0 || !this.data) return;
    event.stopPropagation();
    this.#stop();
    this.track.setPointerCapture(event.pointerId);
    this.track.focus({ preventScroll: true });
    this.#goNear(event);
  }

  #hover(event) {
    if (!this.data) return;
    if (event.buttons & 1 && this.track.hasPointerCapture(event.pointerId)) this.#goNear(event);
    else this.#tell(this.#level(event));
  }

  #key(event) {
    if (!this.data) return;
    const [back, on, last] = [this.at - 1, this.at + 1, this.data.levels.length - 1];
    const keys = { ArrowLeft: back, ArrowDown: back, ArrowRight: on, ArrowUp: on, Home: 0, End: last };
    const to = keys[event.key];
    if (to === undefined && event.key !== " ") return;
    consume(event);
    if (to === undefined) return this.#toggle();
    this.#stop();
    this.go(to);
  }

  #toggle() {
    if (!this.data) return;
    if (this.timer) return this.#stop();
    if (this.at === this.data.levels.length - 1) this.go(0);
    this.#playing(true);
    this.timer = setInterval(() => {
      this.go(this.at + 1);
      if (this.at === this.data.levels.length - 1 || !this.element.isConnected) this.#stop();
    }, FRAME_MS);
  }

  #stop() {
    clearInterval(this.timer);
    this.timer = 0;
    this.#playing(false);
  }

  #playing(on) {
    this.play.textContent = on ? "\u275a\u275a" : "\u25b6";
    set(this.play, { "aria-pressed": String(on) });
  }
}

function legend(x, y, windowed) {
  const words = [svg("tspan", { class: "dpath-word-drift" }, "apart")];
  if (windowed) words.push(svg("tspan", { class: "dpath-word-window", dx: 8 }, "window"));
  return svg("text", { x, y, "text-anchor": "middle" }, ...words);
}

/** Scrubs along a path: its decoded pictures, and the numbers of every step under them. Knows no node. */

import { button, label, noiseStrip } from "./curve_parts.js";
import { html, set, svg } from "./elements.js";
import { say } from "./language.js";

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
    if (!data)
      return this.stage.replaceChildren(
        html("div", { class: "dpath-message" }, html("span", {}, "Run to walk along the path.")),
      );
    this.steps = data.sigmas.length - 1;
    this.pictures = data.frames.map((row) =>
      row.map((source) => html("img", { src: source, alt: "", draggable: "false" })),
    );
    this.stage.replaceChildren(
      ...data.names.map((name, row) =>
        html("figure", {}, html("div", { class: "dpath-frame" }, ...this.pictures[row]), html("figcaption", {}, name)),
      ),
    );
    this.over.hidden = data.names.length < 2;
    this.#lay(this.wiping && data.names.length > 1);
    this.go(data.levels.length - 1);
    this.#drawTrack();
  }

  /** Shows a decoded point, counted from the noisy end. */
  go(index) {
    const { levels } = this.data;
    this.at = Math.min(Math.max(index, 0), levels.length - 1);
    for (const row of this.pictures) row.forEach((picture, k) => set(picture, { class: k === this.at && "dpath-now" }));
    set(this.track, {
      "aria-valuemax": levels.length - 1,
      "aria-valuenow": this.at,
      "aria-valuetext": this.#words(levels[this.at]).map(say).join(", "),
    });
    this.#tell(levels[this.at]);
    this.#drawHead();
  }

  #build() {
    this.stage = html("div", {
      class: "dpath-stage",
      pointermove: (e) =>
        this.#wipe((e.clientX - this.stage.getBoundingClientRect().left) / this.stage.getBoundingClientRect().width),
      keydown: (e) => this.#wipeKey(e),
    });
    this.over = button("One over the other, parted where the mouse is", overlapping(), () => this.#lay(!this.wiping));
    this.play = button("Play (space)", "\u25b6", () => this.#toggle());
    this.note = html("div", { class: "dpath-numbers" });
    this.svg = svg("svg", { class: "dpath-plot-svg", "aria-hidden": true });
    this.still = svg("g");
    this.head = svg("g");
    this.svg.append(this.still, this.head);
    this.track = html(
      "div",
      {
        class: "dpath-track",
        tabindex: "0",
        role: "slider",
        "aria-label": "Place on the path",
        "aria-valuemin": 0,
        pointerdown: (e) => this.#press(e),
        pointermove: (e) => this.#hover(e),
        pointerleave: () => this.data && this.#tell(this.data.levels[this.at]),
        keydown: (e) => this.#key(e),
      },
      this.svg,
    );
    this.element = html(
      "div",
      { class: "dpath-panel dpath-path-viewer dpath-empty", role: "group", "aria-label": "Path viewer" },
      this.stage,
      html("div", { class: "dpath-row" }, this.play, this.over, this.note),
      this.track,
    );
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
    this.edge = Math.min(Math.max(edge, 0), 1);
    this.stage.style.setProperty("--dpath-edge", `${100 * this.edge}%`);
    set(this.stage, { "aria-valuenow": Math.round(100 * this.edge) });
  }

  #wipeKey(event) {
    const by = { ArrowLeft: -0.05, ArrowRight: 0.05 }[event.key];
    if (!by || !this.wiping) return;
    event.preventDefault();
    event.stopPropagation();
    this.#wipe(this.edge + by);
  }

  get #box() {
    const [width, height] = [this.track.clientWidth || 300, this.track.clientHeight || 70];
    return {
      left: EDGES.left,
      right: Math.max(width - EDGES.right, 60),
      top: EDGES.top,
      bottom: height - EDGES.bottom,
      width,
      height,
    };
  }

  #x(level) {
    const box = this.#box;
    return box.left + (level / this.steps) * (box.right - box.left);
  }

  #drawTrack() {
    const [box, parts, { data, steps }] = [this.#box, [], this];
    set(this.svg, { viewBox: `0 0 ${box.width} ${box.height}` });
    const high = box.bottom - box.top;
    const inside = data.weights?.map((weight, i) => (weight ? i : -1)).filter((i) => i >= 0) ?? [];
    if (inside.length)
      parts.push(
        svg("rect", {
          x: this.#x(inside[0]),
          width: this.#x(inside.at(-1) + 1) - this.#x(inside[0]),
          y: box.top - 4,
          height: high + 4,
          class: "dpath-window-shade",
        }),
      );
    inside.forEach((i) => {
      const tall = Math.min(Math.abs(data.weights[i]), 1) * high;
      parts.push(
        svg("rect", {
          x: this.#x(i),
          width: Math.max(this.#x(i + 1) - this.#x(i) - 1, 0.5),
          y: box.bottom - tall,
          height: tall,
          class: "dpath-bar",
        }),
      );
    });
    parts.push(svg("line", { x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, class: "dpath-axis" }));
    for (let i = 0; i <= steps && steps <= 200; i++)
      parts.push(
        svg("line", { x1: this.#x(i), x2: this.#x(i), y1: box.bottom, y2: box.bottom + 4, class: "dpath-step" }),
      );
    if (data.drift) {
      const most = Math.max(...data.drift, 1e-6);
      const line = data.drift
        .map((value, i) => `${this.#x(i).toFixed(1)},${(box.bottom - (value / most) * (high - 3)).toFixed(1)}`)
        .join(" ");
      parts.push(svg("polyline", { points: line, class: "dpath-drift" }));
    }
    parts.push(
      ...data.levels.map((level) => svg("circle", { cx: this.#x(level), cy: box.bottom, r: 3.2, class: "dpath-stop" })),
    );
    parts.push(noiseStrip({ ...box, bottom: box.bottom - 2 }));
    parts.push(label(box.left, box.height - 3, "noise", "start"), label(box.right, box.height - 3, "picture", "end"));
    if (data.drift) parts.push(legend(box, inside.length > 0));
    this.still.replaceChildren(...parts);
    this.#drawHead();
  }

  #drawHead() {
    const [box, x] = [this.#box, this.#x(this.data.levels[this.at])];
    this.head.replaceChildren(
      svg("line", { x1: x, x2: x, y1: 2, y2: box.bottom, class: "dpath-head" }),
      svg("circle", { cx: x, cy: box.bottom, r: 6, class: "dpath-dot dpath-chosen" }),
    );
  }

  #words(level) {
    const { sigmas, shares, drift, weights } = this.data;
    const step = level < this.steps ? `step ${level + 1} of ${this.steps}` : "picture";
    const words = [
      step,
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
    const [box, rect] = [this.#box, this.track.getBoundingClientRect()];
    const x = ((event.clientX - rect.left) / rect.width) * box.width;
    return Math.min(Math.max(Math.round(((x - box.left) / (box.right - box.left)) * this.steps), 0), this.steps);
  }

  #nearest(level) {
    const apart = this.data.levels.map((each) => Math.abs(each - level));
    return apart.indexOf(Math.min(...apart));
  }

  #press(event) {
    if (event.button !== 0 || !this.data) return;
    event.stopPropagation();
    this.#stop();
    this.track.setPointerCapture(event.pointerId);
    this.track.focus({ preventScroll: true });
    this.go(this.#nearest(this.#level(event)));
  }

  #hover(event) {
    if (!this.data) return;
    if (event.buttons & 1 && this.track.hasPointerCapture(event.pointerId)) this.go(this.#nearest(this.#level(event)));
    else this.#tell(this.#level(event));
  }

  #key(event) {
    if (!this.data) return;
    const last = this.data.levels.length - 1;
    const to = {
      ArrowLeft: this.at - 1,
      ArrowDown: this.at - 1,
      ArrowRight: this.at + 1,
      ArrowUp: this.at + 1,
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    if (to === undefined) this.#toggle();
    else {
      this.#stop();
      this.go(to);
    }
  }

  #toggle() {
    if (!this.data) return;
    if (this.timer) return this.#stop();
    if (this.at === this.data.levels.length - 1) this.go(0);
    this.play.textContent = "\u275a\u275a";
    this.timer = setInterval(() => {
      this.go(this.at + 1);
      if (this.at === this.data.levels.length - 1 || !this.element.isConnected) this.#stop();
    }, FRAME_MS);
  }

  #stop() {
    clearInterval(this.timer);
    this.timer = 0;
    this.play.textContent = "\u25b6";
  }
}

function overlapping() {
  const shape = svg("path", { d: "M2 2h12v10H2zM8 1v12M8 4l6 0M8 7h6M8 10h6" });
  return svg("svg", { viewBox: "0 0 16 14", width: 16, height: 14, "aria-hidden": true }, shape);
}

function legend(box, windowed) {
  const middle = (box.left + box.right) / 2;
  const words = [svg("tspan", { class: "dpath-word-drift" }, "apart")];
  if (windowed) words.push(svg("tspan", { class: "dpath-word-window", dx: 8 }, "window"));
  return svg("text", { x: middle, y: box.height - 3, "text-anchor": "middle" }, ...words);
}

/** Other ways to see a drawing, one at a time. None of them is saved or sent. */

import { addressOf, outputOf } from "../common/outputs.js";
import { Background } from "./background.js";
import { Heat } from "./heat.js";
import { addNoise, CELL, largestT0, normals } from "./noise.js";
import { compositeOf } from "./stack.js";

const MOST_CELLS = 512; // of the longer side
const FILES = /\.(png|jpe?g|webp|gif|avif|bmp)$/i;
const PAINT_SHARE = 0.35; // of the drawing's colours over the last result
const NO_RESULT = "Run the graph: what it ends with is shown here, behind the drawing.";

/** What the model begins with, about: the drawing with the noise of its largest t0. */
class Noised {
  name = "noise";
  caption = "Approximately what the model begins with; a lower t0 comes in later:";

  get level() {
    return `t0 ${this.#t0.toFixed(2)}`;
  }

  constructor(view) {
    this.view = view;
  }

  get #t0() {
    return largestT0(this.view.drawing, this.view.settings.t0);
  }

  draw(context, view) {
    const { width, height } = view.frame;
    const cells = Math.min(MOST_CELLS, Math.max(width, height) / CELL);
    const small = compositeOf(view, cells);
    const area = [0, 0, small.width, small.height];
    const pixels = small.context.getImageData(...area);
    const count = 3 * small.width * small.height;
    if (this.noise?.length !== count) this.noise = normals(count);
    addNoise(pixels.data, this.noise, this.#t0);
    small.context.putImageData(pixels, 0, 0);
    context.imageSmoothingEnabled = true;
    context.drawImage(small.context.canvas, 0, 0, width, height);
    return true;
  }
}

/** The picture that the graph has made, under the drawing as under tracing paper. */
class Result {
  name = "result";
  picture = null;
  address = "";

  isAlone = false; // without the drawing

  get caption() {
    if (!this.picture) return "";
    return this.isAlone ? "The last result" : "The last result, behind the drawing; once more (U): alone";
  }

  /** Clicked once more. Returns whether there is another way to show it. */
  next() {
    const goesOn = Boolean(this.address) && !this.isAlone;
    this.isAlone = goesOn;
    return goesOn;
  }

  constructor(view) {
    this.view = view;
    this.look();
    this.isAwaited = !this.address;
    if (this.isAwaited) view.notify(NO_RESULT);
  }

  /** Takes what a run has brought; the picture before stays until the new one is there. */
  look() {
    const address = resultAddress(this.view.host.node);
    if (address === this.address) return;
    this.address = address;
    this.#take(address);
  }

  async #take(address) {
    const picture = address ? await Background.load(address).catch(() => null) : null;
    if (this.address !== address) return;
    this.picture = picture;
    if (picture && this.isAwaited) this.view.notify("");
    this.isAwaited &&= !picture;
    this.view.refresh();
  }

  /** Draws it to be below the paint, or over it to thin the paint. scale: pixels of the screen per unit of the frame. */
  lay(context, { width, height }, isBelow, scale = 0) {
    const { picture } = this;
    if (!picture) return;
    const fit = Math.min(width / picture.width, height / picture.height);
    const size = [picture.width * fit, picture.height * fit];
    context.globalAlpha = isBelow || this.isAlone ? 1 : 1 - PAINT_SHARE;
    const source = picture.at(fit * scale, () => this.view.draw());
    context.drawImage(source, (width - size[0]) / 2, (height - size[1]) / 2, ...size);
    context.globalAlpha = 1;
  }
}

/** Where the last picture is that came of a node: of all that are shown, the one most steps away from it, or "". */
function resultAddress(node) {
  const { graph } = node;
  if (!graph) return "";
  const root = graph.rootGraph ?? graph;
  const steps = stepsFrom(node.id, graph);
  let [found, most] = [null, -1];
  for (const each of new Set([...root.nodes, ...graph.nodes])) {
    const file = outputOf(each)?.images?.[0];
    if (!file || file.type === "input" || !FILES.test(file.filename)) continue;
    const away = each.graph === graph ? (steps.get(String(each.id)) ?? 0) : 0;
    if (away >= most) [found, most] = [file, away];
  }
  return found ? addressOf(found) : "";
}

/** How many nodes the longest way from a node to each that follows from it has, by id. */
function stepsFrom(id, graph) {
  const links = [...graph.links.values()].map((link) => [String(link.origin_id), String(link.target_id)]);
  const steps = new Map([[String(id), 0]]);
  for (let round = 0, isDone = false; !isDone && round <= graph.nodes.length; round++) {
    isDone = true;
    for (const [from, to] of links) {
      if (!(steps.get(from) + 1 > (steps.get(to) ?? 0))) continue;
      steps.set(to, steps.get(from) + 1);
      isDone = false;
    }
  }
  return steps;
}

export const LENSES = { heat: Heat, noise: Noised, result: Result };

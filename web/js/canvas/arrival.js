/**
 * Pictures that come to a canvas: dropped, pasted, chosen as a file, or cut out of its background. The first one is the
 * background, by way of a Load Image; on whatever is there already, a picture is a layer.
 */

import { html } from "../common/elements.js";
import { captureUndo } from "../common/widget_host.js";
import { sourceOf } from "./background.js";
import { sentenceOf } from "./notices.js";
import { cutOut, sent, uploaded } from "./pictures.js";

const GAP = 60; // between a new Load Image and the canvas
const FAILED = "The picture could not be taken.";
const NO_BACKGROUND = "Only a background can be cut: connect a picture to background, or drop one here.";

export class Arrival {
  /** @param {import("./view.js").StrokesView} view */
  constructor(view) {
    this.view = view;
  }

  /** Listeners for an element of the canvas. */
  get listeners() {
    const take = (event, list) => {
      const file = [...(list ?? [])].find(({ type }) => type.startsWith("image/"));
      if (!file) return;
      event.preventDefault();
      event.stopPropagation(); // the page would add a Load Image of its own
      this.#receive(file);
    };
    const hasFiles = ({ dataTransfer }) => dataTransfer?.types.includes("Files");
    const allow = (event) => hasFiles(event) && (event.preventDefault(), event.stopPropagation());
    return {
      dragover: allow,
      dragenter: allow,
      drop: (event) => take(event, event.dataTransfer?.files),
      paste: (event) => take(event, event.clipboardData?.files),
    };
  }

  /** Opens the choice of files; the chosen picture becomes a layer. */
  choose() {
    if (this.view.locked) return;
    const input = html("input", { type: "file", accept: "image/*" });
    input.addEventListener("change", () => input.files[0] && this.#try(() => this.#toLayer(input.files[0])));
    input.click();
  }

  /** Takes up the lasso, or puts it down. */
  lasso() {
    const { view } = this;
    if (!view.background?.picture) view.notify(NO_BACKGROUND);
    else if (view.settings.tool !== "lasso") view.change("tool", "lasso", true);
    else view.change("tool", view.desk.active.picture ? "select" : "brush", true);
  }

  /** What is inside of a ring of pixels of the picture becomes a layer where it was. */
  cut(ring) {
    this.#try(async () => {
      const { view } = this;
      const { picture } = view.background;
      const units = [view.frame.width / picture.width, view.frame.height / picture.height];
      const part = await cutOut(
        picture,
        ring.map((value, i) => value / units[i % 2]),
      );
      if (!part) return;
      const place = { x: part.x * units[0], y: part.y * units[1], factor: units[0] };
      view.desk.addPicture(await uploaded(part.blob), "", place);
    });
  }

  #receive(file) {
    const { view } = this;
    const isEmpty = !view.background && !view.drawing.strokes.length && view.desk.list.every(({ picture }) => !picture);
    if (isEmpty && this.#takesBackground) return this.#try(() => this.#toBackground(file));
    if (view.locked) return;
    this.#try(async () => {
      const before = view.history.now;
      await this.#toLayer(file);
      if (view.history.now === before) return;
      const under = () => this.#try(() => this.#toBackground(file).then(() => view.desk.remove()));
      if (this.#takesBackground) view.notify("The picture is a layer of its own.", ["Make it the background", under]);
    });
  }

  #try(work) {
    return work().catch((error) => this.view.notify(sentenceOf(error, FAILED)));
  }

  async #toLayer(file) {
    const name = (file.name ?? "").replace(/\.[^.]*$/, "").slice(0, 60);
    const known = await uploaded(file);
    this.view.pictures.retry();
    this.view.desk.addPicture(known, name === "image" ? "" : name); // as every pasted picture is called
  }

  get #slot() {
    return this.view.host.owner.inputs.findIndex(({ name }) => name === "background");
  }

  /** What comes from another node than a Load Image stays. */
  get #takesBackground() {
    const source = sourceOf(this.view.host.owner, this.#slot);
    return !source || source.type === "LoadImage";
  }

  async #toBackground(file) {
    const { owner } = this.view.host;
    const name = await toInput(file);
    const loader = sourceOf(owner, this.#slot) ?? newLoader(owner, this.#slot);
    const widget = loader.widgets.find((each) => each.name === "image");
    const { values } = widget.options;
    if (Array.isArray(values) && !values.includes(name)) values.push(name);
    widget.value = name;
    widget.callback?.(name);
    owner.graph.setDirtyCanvas?.(true, true);
    captureUndo();
  }
}

async function toInput(file) {
  const body = new FormData();
  body.append("image", file);
  const { name, subfolder } = await (await sent(body)).json();
  return subfolder ? `${subfolder}/${name}` : name;
}

function newLoader(owner, slot) {
  const loader = globalThis.LiteGraph.createNode("LoadImage");
  loader.pos = [owner.pos[0] - loader.size[0] - GAP, owner.pos[1]];
  owner.graph.add(loader);
  loader.connect(0, owner, slot);
  return loader;
}

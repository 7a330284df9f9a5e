/**
 * Pictures that come to a canvas: dropped, pasted, chosen as a file, or cut out of its background. The first one is the
 * background, by way of a Load Image; on whatever is there already, a picture is a layer.
 */

import { html } from "../common/elements.js";
import { say } from "../common/language.js";
import { captureUndo } from "../common/widget_host.js";
import { sourceOf } from "./background.js";
import { isCuttable, partOf } from "./cutting.js";
import { sentenceOf, tellError } from "./notices.js";
import { sent, uploaded } from "./pictures.js";
import { cropped, fitted, onGround } from "./resizing.js";

const GAP = 60; // between a new Load Image and the canvas
const FAILED = "The picture could not be added.";
const NOTHING_TO_CUT = "There is no picture to cut from.";
const OWN = "The picture is a layer of its own.";
const CAN_BE = "The picture can be the background.";
const TAKEN = "The background comes from another node: disconnect it first.";
const NOTHING_THERE = "There is no picture inside this outline.";

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
    input.addEventListener("change", () => input.files[0] && this.#try(() => this.#asLayer(input.files[0])));
    input.click();
  }

  /** Takes up the lasso, or puts it down. */
  lasso() {
    const { view } = this;
    if (!isCuttable(view)) view.notify(NOTHING_TO_CUT, ["Add a picture", () => this.choose()]);
    else if (view.settings.tool !== "lasso") view.change("tool", "lasso", true);
    else view.change("tool", view.desk.active.picture ? "select" : "brush", true);
  }

  /** What is inside of a ring of pixels of the picture becomes a layer where it was. */
  cut(ring) {
    this.#try(async () => {
      const { view } = this;
      const part = await partOf(view, ring);
      if (!part) return view.notify(NOTHING_THERE);
      const taken = new Set(view.desk.list.map(({ name }) => name));
      let name = say("Cut-out");
      for (let number = 2; taken.has(name); number++) name = say(`Cut-out ${number}`);
      const known = await uploaded(part.blob);
      if (part.above) view.desk.choose(part.above);
      view.desk.addPicture(known, name, part.place);
    });
  }

  #receive(file) {
    const { view } = this;
    const isEmpty = !view.background && !view.drawing.strokes.length && view.desk.list.every(({ picture }) => !picture);
    if (isEmpty && this.#takesBackground)
      this.#try(() => this.#toBackground(file).then((ground) => keep(view, ground)));
    else if (!view.locked) this.#try(() => this.#asLayer(file));
  }

  /** A picture as a layer, with the offer to make it the background. */
  async #asLayer(file) {
    const { view } = this;
    const before = view.history.now;
    await this.#toLayer(file);
    if (view.history.now !== before) this.#offer(file, OWN);
  }

  /** Offers to make the active picture the background. */
  offer() {
    const { active } = this.view.desk;
    if (active.picture)
      this.#try(async () => {
        const blob = await this.view.pictures.fileOf(active.picture.file);
        if (blob) this.#offer(new File([blob], active.picture.file, { type: blob.type }), CAN_BE);
      });
  }

  #offer(file, sentence) {
    const { view } = this;
    const { id, picture } = view.desk.active;
    if (!picture) return;
    if (!this.#takesBackground) return sentence === OWN ? undefined : view.notify(TAKEN);
    const [width, height] = picture.pixels;
    const { frame } = view;
    const under = (crops) => () => this.#try(() => this.#layerToBackground(id, file, crops));
    const asItIs = ["Make it the background", under(false)];
    const cut = [`Make it the background, cut to ${frame.width} × ${frame.height}`, under(true)];
    const resized = [`Make it the background, and the canvas ${width} × ${height}`, under(false)];
    const isAlike = width === frame.width && height === frame.height;
    view.notify(sentence, ...(isAlike ? [asItIs] : [cut, resized]), ["OK", () => view.notify("")]);
  }

  /** A layer's picture becomes the background in its place, in one step of undo; crops: to the size that is. */
  async #layerToBackground(id, file, crops) {
    const { view } = this;
    const before = view.frame;
    const ground = await this.#toBackground(crops ? await cropped(file, before) : file);
    const change = (drawing) => onGround(fitted(drawing, before, view.frame), view.background?.print ?? "");
    view.desk.choose(id);
    if (view.desk.active.id === id) view.desk.remove(change, ground);
    else keep(view, ground, change(view.drawing));
    captureUndo();
  }

  #try(work) {
    return work().catch((error) => {
      const again = () => (this.view.notify(""), this.#try(work));
      tellError(this.view, sentenceOf(error, FAILED), ...(error.mayPass ? [["Try again", again]] : []));
    });
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

  /** Loads a file below the drawing; the background {before, after}, for undo. */
  async #toBackground(file) {
    const source = sourceOf(this.view.host.owner, this.#slot);
    const after = { image: await toInput(file) };
    const before = source ? { image: imageOf(source).value } : { image: null, made: after.image };
    this.bring(after);
    await this.view.ground.coming;
    return { before, after };
  }

  /**
   * Puts a file of the input folder below the drawing, or nothing in the place of the one that was `made` for it; what
   * another node than a Load Image gives stays.
   */
  bring({ image, made }) {
    const { owner } = this.view.host;
    if (!this.#takesBackground) return;
    const source = sourceOf(owner, this.#slot);
    if (image === null) {
      if (!source || imageOf(source).value !== made) return;
      owner.disconnectInput(this.#slot);
      if (source.isAnyOutputConnected?.() === false) source.graph.remove(source);
    } else {
      const widget = imageOf(source ?? newLoader(owner, this.#slot));
      const { values } = widget.options;
      if (Array.isArray(values) && !values.includes(image)) values.push(image);
      widget.value = image;
      widget.callback?.(image);
    }
    owner.graph.setDirtyCanvas?.(true, true);
    this.view.pointer.settle(); // while a stroke is in the making, nothing below it is looked at
    this.view.look();
  }
}

/** A step of undo that changes the background. */
function keep(view, ground, change = {}) {
  view.edit(change, ground);
  captureUndo();
}

function imageOf(loader) {
  return loader.widgets.find(({ name }) => name === "image");
}

async function toInput(file) {
  const body = new FormData();
  body.append("image", file);
  const { name, subfolder } = await (await sent(body)).json();
  return subfolder ? `${subfolder}/${name}` : name;
}

function newLoader(owner, slot) {
  const loader = globalThis.LiteGraph.createNode("LoadImage");
  const [x, y] = [owner.pos[0] - loader.size[0] - GAP, owner.pos[1]];
  loader.pos = [x, freeBelow(owner.graph, x, y, loader.size)];
  owner.graph.add(loader);
  loader.connect(0, owner, slot);
  return loader;
}

/** The first height from y on where a node of this size lies over no other. */
function freeBelow(graph, x, y, [width, height]) {
  const isOver = ({ pos, size }) =>
    pos[0] < x + width && x < pos[0] + size[0] && pos[1] - GAP < y + height && y - GAP < pos[1] + size[1];
  for (let other = graph.nodes.find(isOver); other; other = graph.nodes.find(isOver))
    y = other.pos[1] + other.size[1] + GAP;
  return y;
}

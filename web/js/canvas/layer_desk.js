/** Which layer somebody works on, and what is done to the layers of a drawing. Every change is one step of its undo. */

import { bringsPaint } from "./document.js";
import { strokesAt } from "./geometry.js";
import {
  freshId,
  isSketch,
  isStandard,
  layerOf,
  MOST_LAYERS,
  withChange,
  withLayer,
  withMoved,
  withPlaced,
} from "./layers.js";
import { dragged, isOver, movedTo, scaledBy, turnedTo } from "./placing.js";

const DEFAULTS = { paint: "t0", sketch: "importance", picture: "t0" }; // what new strokes of a layer begin with
const BESIDE = 16; // pixels of the picture between a picture and its copy
const ROOM = 0.8; // of the drawing, that a new picture takes at most

const OFFERS = {
  t0: "New strokes on this layer begin with this t0.",
  importance: "New lines on this layer begin with this importance.",
};

const isOpen = ({ hidden, locked }) => !hidden && !locked;

export class LayerDesk {
  /** @param {import("./view.js").StrokesView} view */
  constructor(view) {
    Object.assign(this, { view, chosen: "paint", last: new Map() });
  }

  /** Those that this version knows, the lowest first. */
  get list() {
    return this.view.drawing.layers.filter((layer) => !("foreign" in layer));
  }

  /** @returns {import("./layers.js").Layer} */
  get active() {
    return this.#find(this.chosen) ?? this.list.findLast(({ kind }) => kind === "paint");
  }

  get kind() {
    return this.active.kind;
  }

  get isClosed() {
    return this.active.locked || this.active.hidden;
  }

  /** Whether nothing may be drawn on the active layer; the page then says so and offers what opens it. */
  refuses() {
    const { hidden, locked, id } = this.active;
    if (hidden) this.view.notify("This layer is hidden.", ["Show it", () => this.toggle(id, "hidden")]);
    else if (locked) this.view.notify("This layer is locked.", ["Unlock it", () => this.toggle(id, "locked")]);
    return hidden || locked;
  }

  /** The drawing is another one: its layers say what new strokes begin with. */
  begin() {
    this.#take(this.active);
  }

  choose(id) {
    const layer = this.#find(id);
    if (!layer) return;
    const { view } = this;
    view.pointer.settle();
    if (layer.kind !== this.kind) view.settings.tool = layer.picture ? "select" : "brush";
    if (id !== this.active.id) view.selection.indices = [];
    this.#take(layer);
    view.notify("");
    view.refresh();
  }

  /** Chooses the uppermost picture or stroke at a point in pixels of the picture; returns whether there is any. */
  chooseAt(point, slack) {
    const [hit] = this.#hitsAt(point, slack);
    if (hit) this.#chooseHit(hit);
    return Boolean(hit);
  }

  /** Chooses the next one below the chosen one, of all layers, after the lowest the uppermost. */
  chooseBelow(point, slack) {
    const hits = this.#hitsAt(point, slack);
    const [chosen = -1] = this.view.selection.indices;
    const at = hits.findIndex(({ id, index }) => id === this.active.id && index === chosen);
    if (hits.length > 1) this.#chooseHit(hits[(at + 1) % hits.length]);
  }

  /** Chooses strokes of one layer. */
  chooseStrokes(id, indices) {
    this.choose(id);
    this.view.settings.tool = "select";
    this.view.selection.choose(indices);
  }

  /** The strokes and pictures at a point, the uppermost first; index: -1 for a picture. */
  #hitsAt(point, slack) {
    const { scale, drawing } = this.view;
    const [x, y] = [point.x / scale.x, point.y / scale.y];
    return this.open.flatMap(({ id, picture }) => {
      if (picture) return isOver(picture, scale, point) ? [{ id, index: -1 }] : [];
      return strokesAt(drawing.strokes, id, x, y, slack).map((index) => ({ id, index }));
    });
  }

  #chooseHit({ id, index }) {
    this.chooseStrokes(id, index < 0 ? [] : [index]);
  }

  /** Those that are neither hidden nor locked, the uppermost first. */
  get open() {
    return this.list.filter(isOpen).reverse();
  }

  /** The layer of this kind that was chosen last, or the uppermost. */
  chooseKind(kind) {
    const known = this.#find(this.last.get(kind));
    this.choose((known ?? this.list.findLast((layer) => layer.kind === kind)).id);
  }

  /** The layer above (1) or below (-1) the active one. */
  step(by) {
    const at = this.list.indexOf(this.active) + by;
    if (this.list[at]) this.choose(this.list[at].id);
  }

  /** A new layer above the active one and of its kind, with the strokes that are selected. */
  add() {
    const { view, active } = this;
    view.pointer.settle();
    if (this.#isFull()) return;
    const layers = this.#settled();
    const kind = active.picture ? "paint" : active.kind;
    if (active.picture) view.settings.tool = "brush";
    const layer = layerOf(freshId(layers, kind), kind, { [DEFAULTS[kind]]: view.settings[DEFAULTS[kind]] });
    this.#put(layer.id, withLayer(layers, layer, active.id));
  }

  /** A picture that was uploaded, above the active layer; placed: where, or in the middle with all of it in sight. */
  addPicture(uploaded, name, placed = null) {
    const { view, active } = this;
    view.pointer.settle();
    if (this.#isFull()) return;
    const { frame, scale, sizeScale } = view;
    const [width, height] = uploaded.pixels;
    const fitting = Math.min(1, (ROOM * frame.width) / width, (ROOM * frame.height) / height);
    const middle = { x: frame.width / 2, y: frame.height / 2, factor: fitting, rotation: 0 };
    const { x, y, factor, rotation } = placed ?? middle;
    const own = { ...uploaded, scale: Number((factor / sizeScale).toPrecision(5)), rotation };
    const layers = this.#settled();
    const fields = { name, t0: view.settings.t0, picture: movedTo(own, scale, { x, y }) };
    const layer = layerOf(freshId(layers, "picture"), "picture", fields);
    view.selection.indices = [];
    view.settings.tool = "select";
    this.#put(layer.id, withLayer(layers, layer, active.id));
  }

  /** A tool for strokes was taken on a picture: they go to the paint above it. */
  leavePicture() {
    if (!this.active.picture) return;
    const { list } = this;
    const above = list.slice(list.indexOf(this.active)).find((layer) => layer.kind === "paint" && isOpen(layer));
    if (above) this.choose(above.id);
    else this.add();
  }

  /** Changes where the active picture lies; what is not done is only shown. */
  place(picture, done = true) {
    if (done || this.active.picture !== picture) this.change(this.active.id, { picture }, done);
  }

  /** The same by keys: a way in pixels of the picture, by a factor, or by degrees. */
  nudge({ way = null, factor = 1, degrees = 0 }) {
    const { view, active } = this;
    if (view.locked || this.refuses()) return;
    let { picture } = active;
    if (way) picture = dragged(picture, view.scale, { move: true }, { x: 0, y: 0 }, way);
    if (factor !== 1) picture = scaledBy(picture, factor, view.sizeScale);
    if (degrees) picture = turnedTo(picture, picture.rotation + degrees);
    this.place(picture);
  }

  /** A copy of the active picture beside it. */
  duplicate() {
    const { view, active } = this;
    if (this.#isFull() || this.refuses()) return;
    const { layers } = view.drawing;
    const way = { x: BESIDE, y: BESIDE };
    const picture = dragged(active.picture, view.scale, { move: true }, { x: 0, y: 0 }, way);
    const copy = Object.freeze({ ...active, id: freshId(layers, "picture"), picture });
    this.#put(copy.id, withLayer(layers, copy, active.id));
  }

  /** Moves what is selected to another layer of the same kind. */
  send(id) {
    if (this.#find(id)?.kind === this.kind && !this.#find(id).locked) this.#put(id, this.view.drawing.layers);
  }

  /**
   * Removes the active layer and what is on it, unless it is the last of its kind. change(drawing): what else becomes
   * of the drawing; ground: the background, if that is changed with it.
   */
  remove(change = (drawing) => drawing, ground = null) {
    const { view, active } = this;
    if (!this.canRemove) return;
    const alike = this.list.filter(
      (layer) => layer === active || (!layer.picture && isSketch(layer) === isSketch(active)),
    );
    const at = alike.indexOf(active);
    const next = alike[at - 1] ?? alike[at + 1];
    view.selection.indices = [];
    const { drawing } = view;
    const layers = drawing.layers.filter((layer) => layer !== active);
    const strokes = drawing.strokes.filter(({ layer }) => layer !== active.id);
    view.edit(change({ ...drawing, layers, strokes }), ground);
    view.settings.tool = "brush";
    this.choose(next.id);
  }

  get canRemove() {
    const { active } = this;
    return !active.locked && (active.picture || this.list.filter(({ kind }) => kind === active.kind).length > 1);
  }

  raise(by) {
    const layers = withMoved(this.view.drawing.layers, this.active.id, by);
    if (layers !== this.view.drawing.layers) this.view.edit({ layers });
  }

  /** Brings a layer directly above another one of its pile, or below all of it, and chooses it. */
  move(id, above) {
    const { view } = this;
    this.choose(id);
    const layers = withPlaced(view.drawing.layers, id, above);
    if (layers !== view.drawing.layers) view.edit({ layers });
  }

  canRaise(by) {
    return withMoved(this.view.drawing.layers, this.active.id, by) !== this.view.drawing.layers;
  }

  /** Hides or shows, locks or unlocks. @param {"hidden"|"locked"} field */
  toggle(id, field) {
    const layer = this.#find(id);
    if (!layer || this.view.locked) return;
    if (layer === this.active) this.view.selection.indices = [];
    this.change(id, { [field]: !layer[field] });
  }

  rename(id, name) {
    if (this.#find(id) && this.#find(id).name !== name) this.change(id, { name });
  }

  /** Changes fields of a layer; what is not done is only shown. */
  change(id, fields, done = true) {
    const { view } = this;
    const base = view.history.now.drawing;
    const layers = withChange(base.layers, id, fields);
    if (done) view.edit({ layers });
    else view.propose({ ...base, layers });
  }

  /** The same of the active layer, unless it is closed. */
  changeOpen(fields, done) {
    if (!this.view.locked && !this.refuses()) this.change(this.active.id, fields, done);
  }

  /** What new strokes of the active layer begin with, where the drawing has layers of its own. */
  keepDefault(name, value) {
    const { view, active } = this;
    if (name !== DEFAULTS[active.kind] || view.locked) return;
    if (!isStandard(view.drawing.layers) && active[name] !== value) this.change(active.id, { [name]: value });
    this.#offer(name, value);
  }

  /** The least and the greatest of what the strokes of each layer have of its default, by the layer's id. */
  spans() {
    const { layers, strokes } = this.view.drawing;
    const names = new Map(layers.map(({ id, kind }) => [id, DEFAULTS[kind]]));
    const spans = new Map();
    for (const stroke of strokes) {
      const { layer, tool } = stroke;
      const value = stroke[names.get(layer)];
      if (tool === "eraser" || value === undefined) continue;
      const span = spans.get(layer);
      if (!span) spans.set(layer, [value, value]);
      else spans.set(layer, [Math.min(span[0], value), Math.max(span[1], value)]);
    }
    return spans;
  }

  /** The strokes that are there keep what they have, which is easily overlooked. */
  #offer(name, value) {
    const { view, active } = this;
    const others = (stroke) => stroke.layer === active.id && bringsPaint(stroke) && stroke[name] !== value;
    const sentence = OFFERS[name];
    if (view.notice?.[0] === sentence) view.notify("");
    if (this.isClosed || !view.drawing.strokes.some(others)) return;
    const give = (stroke) => (others(stroke) ? Object.freeze({ ...stroke, [name]: value }) : stroke);
    const toAll = () => view.edit({ strokes: view.drawing.strokes.map(give) });
    view.notify(sentence, ["Apply it to all strokes of the layer", toAll], ["OK", () => view.notify("")]);
  }

  /** Something else is done: what was offered for the layer is not wanted. */
  endOffer() {
    if (Object.values(OFFERS).includes(this.view.notice?.[0])) this.view.notify("");
  }

  /** Leaves a picture as Escape leaves strokes: nothing is selected then. */
  leaveAlone() {
    const { view } = this;
    this.chooseKind("paint");
    view.settings.tool = "select";
    view.refresh();
  }

  #find(id) {
    return this.list.find((layer) => layer.id === id);
  }

  #take(layer) {
    this.chosen = layer.id;
    this.last.set(layer.kind, layer.id);
    const name = DEFAULTS[layer.kind];
    if (layer[name] !== null) this.view.settings[name] = layer[name];
  }

  #isFull() {
    const full = this.view.drawing.layers.length >= MOST_LAYERS;
    if (full) this.view.notify(`A drawing has at most ${MOST_LAYERS} layers.`);
    return full;
  }

  /** The layers, each with the default that was in use when there was only one of its kind. */
  #settled() {
    const settle = (layer) => {
      const name = DEFAULTS[layer.kind];
      return layer[name] === null ? Object.freeze({ ...layer, [name]: this.view.settings[name] }) : layer;
    };
    return this.view.drawing.layers.map(settle);
  }

  #put(id, layers) {
    const { view } = this;
    if (view.locked) return;
    const chosen = new Set(view.selection.strokes);
    const put = (stroke) => (chosen.has(stroke) ? Object.freeze({ ...stroke, layer: id }) : stroke);
    view.edit({ layers, strokes: chosen.size ? view.drawing.strokes.map(put) : view.drawing.strokes });
    this.#take(this.#find(id));
    view.refresh();
  }
}

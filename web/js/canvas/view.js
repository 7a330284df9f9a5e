/** The stroke canvas: stage, controls and drawing of one node. */

import { html, set } from "../common/elements.js";
import { captureUndo } from "../common/widget_host.js";
import { actionsOf } from "./actions.js";
import { Arrival } from "./arrival.js";
import { COLORS } from "./color.js";
import { bringsPaint, numbersOf, storedSize } from "./document.js";
import { press } from "./keys.js";
import { LayerDesk } from "./layer_desk.js";
import { LayerPanel } from "./layer_panel.js";
import { LENSES } from "./lenses.js";
import { gradientDown } from "./geometry.js";
import { Ground } from "./ground.js";
import { historyOf, keepLayers, keptLayers, rememberedSettings, rememberSettings } from "./memory.js";
import { noticesOf, tellUnused } from "./notices.js";
import { Pictures } from "./pictures.js";
import { StrokePointer } from "./pointer.js";
import { Room } from "./room.js";
import { Selection } from "./selection.js";
import { Sight } from "./sight.js";
import { bringStack } from "./stack.js";
import { drawStage } from "./stage.js";
import { Controls } from "./toolbar.js";
import { WholeWindow } from "./window.js";

const LOOK_AGAIN_MS = 400;
const SLICE_MS = 20; // of a frame that strokes are drawn in: what is left waits for the next one
const LONG_SLICE_MS = 45; // the same between frames, while a whole drawing is opened
const GLIMPSE_MS = 400; // between two looks at a picture that is not whole yet
const MOST_RECENT = 24; // of which those are shown that are not in the palette

const WITHOUT_STROKES = new Set(["select", "pick", "lasso"]);

const FREEHAND = new Set(["brush", "eraser", "blur", "smudge"]);

const SHAPES = new Set(["rectangle", "ellipse", "outline"]);

export class StrokesView {
  /** @param {import("../common/widget_host.js").WidgetHost} host */
  constructor(host) {
    this.host = host;
    this.settings = rememberedSettings();
    this.history = historyOf("", "");
    this.frame = { width: 512, height: 512 };
    this.background = null; // {picture, print}; null also if it cannot be loaded
    this.ground = new Ground(this);
    this.sight = new Sight(
      () => [this.stage.clientWidth, this.stage.clientHeight],
      () => this.#looked(),
    );
    this.lens = null; // another way to see the drawing
    this.selection = new Selection(this);
    this.desk = new LayerDesk(this);
    this.arrival = new Arrival(this);
    this.pictures = new Pictures(() => this.refresh());
    this.preview = null; // a drawing that is shown, but not saved yet
    this.#build();
    this.pointer = new StrokePointer(this);
    this.observer = new ResizeObserver(() => drawStage(this)); // at once: the picture is never seen stretched
    this.observer.observe(this.stage);
    this.timer = setInterval(() => this.look(), LOOK_AGAIN_MS); // no event tells of every change beside the widget
    this.controls.setPalette(COLORS);
    this.refresh();
  }

  // ---- what the host calls

  show(text) {
    this.pointer.cancel();
    this.key = this.#key();
    this.history = historyOf(this.key, text);
    this.preview = null;
    this.notice = null; // what was offered is of another drawing
    this.selection.indices = [];
    this.desk.begin();
    this.look();
    this.refresh();
  }

  setReadOnly() {
    this.refresh();
  }

  changed() {
    this.look();
  }

  dispose() {
    this.pointer.cancel();
    clearInterval(this.timer);
    clearTimeout(this.slice);
    this.observer.disconnect();
    this.pointer.fingers.dispose();
    this.whole.close();
    this.room.running.dispose();
    if (this.key && this.stack) keepLayers(this.key, this.stack);
  }

  // ---- state

  get drawing() {
    return this.preview ?? this.history.now.drawing;
  }

  get locked() {
    return this.host.readOnly || this.history.now.lost;
  }

  /** What the drawing's lengths refer to. */
  get reference() {
    return this.drawing.width ? this.drawing : this.frame;
  }

  /** Pixels of the picture per unit of the drawing, in both directions. */
  get scale() {
    const { width, height } = this.reference;
    return { x: this.frame.width / width, y: this.frame.height / height };
  }

  /** Pixels of the picture per unit of a stroke's width. */
  get sizeScale() {
    return Math.sqrt(this.scale.x * this.scale.y);
  }

  get sizeKey() {
    const { tool } = this.settings;
    if (["eraser", "blur", "smudge"].includes(tool)) return tool;
    return this.desk.kind === "sketch" ? "sketch" : tool === "line" ? "line" : "brush";
  }

  /** Diameter of the brush in pixels of the picture. */
  get brushSize() {
    return this.settings.sizes[this.sizeKey];
  }

  /** The same of the first selected stroke, where there is one. */
  get shownSize() {
    return this.selectedStroke ? this.selectedStroke.size * this.sizeScale : this.brushSize;
  }

  get selectedStroke() {
    return this.selection.strokes[0] ?? null;
  }

  /** A stroke as the tools are set, without its path. Lengths in units of the drawing. */
  brush(tool = this.settings.tool) {
    const { color, opacity, hardness, grain, t0, importance } = this.settings;
    const size = storedSize(this.brushSize / this.sizeScale);
    const { id: layer, kind } = this.desk.active;
    const own = { tool, layer, kind, color, opacity, hardness, grain, t0, importance, size };
    return { ...own, pressure: null, gradient: null, paths: [] };
  }

  /** Saves an edit; ground: the background {before, after}, if that is changed with it. */
  edit(change, ground = null) {
    if (this.locked) return;
    this.pointer.cancel(); // what is in the making knows the strokes as they were
    this.#findSteps();
    const drawing = { ...this.history.now.drawing, ...change };
    if (!drawing.width && !ground) Object.assign(drawing, this.frame);
    if (this.background && !drawing.print && !ground) drawing.print = this.background.print;
    this.preview = null;
    this.notice = null;
    this.host.commit(this.history.add(drawing, ground));
    this.refresh();
  }

  addStroke(stroke) {
    if (bringsPaint(stroke) && stroke.kind !== "sketch") this.#remember(stroke.color);
    rememberSettings(this.settings);
    const shades = stroke.tool === "fill" && this.settings.gradient;
    const gradient = shades ? gradientDown(stroke.paths, this.settings.previous) : null;
    this.edit({ strokes: [...this.history.now.drawing.strokes, Object.freeze({ ...stroke, gradient })] });
  }

  /** The colour is the last that was used. */
  #remember(color) {
    this.settings.recent = [...new Set([color, ...this.settings.recent])].slice(0, MOST_RECENT);
  }

  /** Shows a drawing that is not saved yet. */
  propose(drawing) {
    this.preview = this.locked ? null : drawing;
    this.refresh();
  }

  step(by) {
    if (this.locked || (by < 0 ? this.pointer.takeBack() : this.pointer.cancel())) return;
    const ground = this.history.groundAt(by);
    const before = this.drawing.strokes;
    const text = this.history.move(by);
    if (text === null) return;
    this.preview = null;
    this.notice = null;
    this.desk.begin();
    this.selection.follow(before);
    if (ground) this.arrival.bring(ground);
    this.host.commit(text);
    if (ground) captureUndo();
    this.refresh();
  }

  clear() {
    if (this.desk.refuses()) return;
    const { id } = this.desk.active;
    const strokes = this.drawing.strokes.filter(({ layer }) => layer !== id);
    this.selection.indices = [];
    if (strokes.length < this.drawing.strokes.length) this.edit({ strokes });
  }

  /** Moves what is selected by pixels of the picture. */
  moveSelected({ x, y }) {
    this.selection.shift(x / this.scale.x, y / this.scale.y, true);
  }

  /** A control was moved. */
  change(name, value, done) {
    this.#change(name, value, done);
    if (name === "t0" && done) tellUnused(this);
  }

  #change(name, value, done) {
    const stored = name === "size" ? storedSize(value / this.sizeScale) : value;
    if (name === "gradient" && this.selection.shade(value, this.settings.previous)) return;
    if (name === "color" && done && this.selection.strokes.length) this.#remember(value);
    if (this.selection.change(name, stored, done)) return;
    if (name === "paper") {
      this.edit({ paper: value });
    } else {
      if (this.desk.active.picture && (name === "opacity" || name === "t0"))
        return this.desk.changeOpen({ [name]: value }, done);
      if (name === "tool") this.#takeTool(value);
      if (name === "tool" && !WITHOUT_STROKES.has(value)) this.desk.leavePicture();
      if (name === "color") this.#mix(value, done);
      if (name === "size") this.settings.sizes[this.sizeKey] = value;
      else this.settings[name] = value;
      if (done) rememberSettings(this.settings);
      if (done) this.desk.keepDefault(name, value);
      this.refresh();
    }
  }

  /** The tool for selecting, taken once more, is the other one: rectangle or lasso. */
  #takeTool(tool) {
    this.pointer.settle();
    const isAgain = tool === "select" && this.settings.tool === "select";
    if (isAgain) this.settings.loop = !this.settings.loop;
    else this.selection.indices = [];
  }

  /** The colour that a change of it began with is the previous one once the change is done. */
  #mix(value, done) {
    this.colorBefore ??= this.settings.color;
    if (!done) return;
    if (this.colorBefore !== value) this.settings.previous = this.colorBefore;
    this.colorBefore = null;
  }

  swapColors() {
    if (this.selection.swapColors()) return;
    const { color, previous } = this.settings;
    Object.assign(this.settings, { color: previous, previous: color });
    rememberSettings(this.settings);
    this.refresh();
  }

  // ---- the picture below

  /** Looks at what may have changed outside: sizes, links, the background. */
  look() {
    if (this.host.element.isConnected === false && this.stack) return;
    if (this.pointer.action) return; // nothing moves below a stroke in the making
    this.#findSteps();
    this.ground.look();
  }

  /** A node gets its place in a graph only after its widgets were made. */
  #findSteps() {
    const key = this.#key();
    if (key === this.key) return;
    [this.key, this.history, this.stack] = [key, historyOf(key, this.host.value), null];
    this.behind = true;
  }

  #key() {
    const { node, name } = this.host;
    return node.graph && node.id !== -1 ? `${node.graph.rootGraph?.id ?? ""}/${node.graph.id}/${node.id}/${name}` : "";
  }

  // ---- drawing

  /** Brings controls to the state at once, layers and stage in the next frame. */
  refresh() {
    this.behind = true;
    this.#showControls();
    this.draw();
  }

  draw() {
    this.frameRequest ??= requestAnimationFrame(() => {
      this.frameRequest = null;
      this.drawnAt = performance.now();
      if (this.behind) this.bringLayers(this.drawnAt + SLICE_MS);
      this.stack?.show();
      drawStage(this);
      this.pointer.showCursor();
      if (this.behind) this.#goOn();
    });
  }

  /** Draws what is left of many strokes in slices, between which the page does what else there is to do. */
  #goOn() {
    if (this.preview || this.pointer.action) return this.draw();
    this.slice ??= setTimeout(() => {
      this.slice = null;
      if (this.behind) this.bringLayers(performance.now() + LONG_SLICE_MS);
      if (this.behind && performance.now() - this.drawnAt < GLIMPSE_MS) this.#goOn();
      else this.draw();
    });
  }

  /** Brings the layers to the state, or as near to it as they get until then. */
  bringLayers(until = Infinity) {
    bringStack(this, until, ([width, height]) => keptLayers(this.key, width, height));
  }

  #build() {
    this.actions = actionsOf(this);
    const act = (name) => this.actions[name]();
    this.controls = new Controls({ change: (...given) => this.change(...given), action: act });
    this.room = new Room(this.actions);
    this.stage = this.room.stage;
    this.easel = this.room.easel;
    const attributes = { class: "dpath-panel dpath-strokes", role: "group", "aria-label": "Stroke canvas" };
    const listeners = {
      keydown: (event) => press(this, event),
      click: (event) => this.#clicked(event),
      ...this.arrival.listeners,
    };
    this.controls.head.firstChild.after(this.room.large);
    this.layerPanel = new LayerPanel(this.desk, this.actions);
    const parts = [this.controls.head, this.room.element, this.controls.foot];
    this.panel = html("div", { ...attributes, ...listeners }, ...parts);
    this.host.element.append(this.panel);
    const moved = () => {
      this.sight.fit();
      this.#showControls();
      this.pointer.leave();
      this.easel.focus({ preventScroll: true });
    };
    const stray = (event) => {
      this.easel.focus({ preventScroll: true });
      press(this, event);
    };
    this.whole = new WholeWindow(this.panel, moved, stray);
  }

  /** It is looked at in another way. */
  #looked() {
    this.room.show(this, this.settings, this.whole.isOpen);
    this.draw();
  }

  /** Shows the drawing in another way, or as it is again. @param {keyof LENSES} name */
  see(name) {
    if (this.lens?.name !== name) this.lens = new LENSES[name](this);
    else if (!this.lens.next?.()) this.lens = null;
    this.#showControls();
    this.draw();
  }

  /** Something is drawn: it is to be seen. */
  endAlone() {
    if (!this.lens?.isAlone) return;
    this.lens.isAlone = false;
    this.refresh();
  }

  /** Sliders folded, which gives their room to the picture; layers listed. @param {"folded"|"listed"} setting */
  turn(setting) {
    this.settings[setting] = !this.settings[setting];
    rememberSettings(this.settings);
    this.#showControls();
  }

  #showControls() {
    const { settings, selectedStroke: stroke, history, drawing } = this;
    const { kind } = this.desk;
    const made = { kind, tool: SHAPES.has(settings.tool) && kind !== "sketch" ? "fill" : settings.tool };
    const numbers = stroke || !WITHOUT_STROKES.has(settings.tool) ? numbersOf(stroke ?? made) : [];
    const { picture, opacity, t0 } = this.desk.active;
    const isListed = this.whole.isOpen || settings.listed; // with a slider for the layer's opacity
    if (picture && !isListed) numbers.push("opacity");
    if (picture) numbers.push("t0");
    if ((stroke ?? made).tool === "fill" && kind !== "sketch") numbers.push("gradient");
    const previous = stroke?.gradient?.color ?? settings.previous;
    const own = picture ? { opacity, t0: t0 ?? settings.t0 } : stroke;
    const shown = stroke || !FREEHAND.has(settings.tool) ? numbers : [...numbers, "smoothing"];
    this.controls.show({ ...settings, ...own, previous, kind, tool: settings.tool, size: this.shownSize }, shown, {
      canUndo: history.at > 0,
      canRedo: history.at < history.steps.length - 1,
      paperColor: drawing.paper,
      hasBackground: Boolean(this.background),
      hasSelection: Boolean(stroke ?? picture),
    });
    if (this.locked !== this.wasLocked) this.controls.disable(this.locked);
    this.wasLocked = this.locked;
    this.#tell();
    this.#showLayers();
    set(this.panel, { "data-folded": settings.folded, "data-whole": this.whole.isOpen });
    this.room.show(this, settings, this.whole.isOpen);
    this.room.describe(this.frame, drawing.strokes.filter((each) => !("foreign" in each)).length);
  }

  /** Over the picture of the node where they are wanted, beside it in the window. */
  #showLayers() {
    const { element } = this.layerPanel;
    const place = this.whole.isOpen ? this.controls.foot : this.room.element;
    if (element.parentElement !== place) place.append(element);
    element.hidden = !this.whole.isOpen && !this.settings.listed;
    if (!element.hidden) this.layerPanel.show(this.locked);
  }

  /** Says something until it has been read, or [text, click] of a button has been clicked. */
  notify(sentence, ...buttons) {
    const read = ["OK", () => this.notify("")];
    this.notice = sentence ? [sentence, ...(buttons.length ? buttons : [read])] : null;
    this.isOffer = buttons.length > 0;
    this.#tell();
  }

  #tell() {
    const said = noticesOf(this);
    this.room.tell(...said);
    set(this.room.banner, { "data-calm": said === this.notice && this.isOffer }); // a choice, nothing that went wrong
  }

  /** A button clicked with the mouse leaves the keyboard to the stage. */
  #clicked(event) {
    const writes = document.activeElement?.type === "text"; // a name, which that button began
    if (event.detail > 0 && !writes && event.target.closest("button")) this.easel.focus({ preventScroll: true });
  }
}

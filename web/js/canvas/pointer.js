/** Mouse, pen and finger on the stage of a stroke canvas: which of them does what, and where it is on the picture. */

import { set } from "../common/elements.js";
import { placeIn } from "../common/plot.js";
import { PATH } from "./corners.js";
import { Fingers } from "./fingers.js";
import { KeyHand } from "./keyhand.js";
import { outline } from "./outlining.js";
import { cursorAt, loop, move, place } from "./selecting.js";
import { placeOf } from "./stage.js";
import { cut, draw, fill, line, pan, pick, shape } from "./tools.js";

/** A tool makes an action of a press: what moving and ending the drag means, and what it shows meanwhile. */
const TOOLS = {
  brush: draw,
  eraser: draw,
  blur: draw,
  smudge: draw,
  line,
  rectangle: shape,
  ellipse: shape,
  outline,
  fill,
  select: move,
};

export class StrokePointer {
  /** @param {import("./view.js").StrokesView} view */
  constructor(view) {
    this.view = view;
    this.hover = null; // in pixels of the picture
    this.action = null; // {move(event), end(cancelled), guide?(context)}
    this.held = null; // the pointer that does it, null for keys: a palm beside a pen is another one
    this.hand = new KeyHand(this);
    this.pressed = null; // where something was chosen, in pixels of the picture: a second click there goes deeper
    this.corners = null; // what is set point by point, between two presses: see corners.js
    this.fingers = new Fingers(view, (event) => placeIn(view.stage, event));
    this.spaceHeld = false;
    const end = (cancelled) => (event) => event.pointerId === this.held && this.#end(cancelled);
    set(view.easel, {
      pointerdown: (event) => this.#down(event),
      pointermove: (event) => this.#move(event),
      pointerup: end(false),
      pointercancel: end(true),
      lostpointercapture: end(false),
      pointerleave: () => this.leave(),
      keyup: (event) => event.key === " " && this.holdSpace(false),
      blur: () => this.#left(),
    });
    view.easel.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  /** Whether something is in the making. */
  get isBusy() {
    return Boolean(this.action ?? this.corners);
  }

  /** Draws what the tool is about to do. */
  drawGuide(context) {
    if (this.action?.guide) this.action.guide(context);
    else this.corners?.draw(context, this.hover);
  }

  /** The mouse is somewhere else. */
  leave() {
    if (!this.hand.at) this.#hoverAt(null);
  }

  /** Shows by the mouse's cursor what a press would take hold of. */
  showCursor() {
    const { hover, action, view } = this;
    if (hover && !action && !this.hand.at) view.easel.style.cursor = this.spaceHeld ? "" : cursorAt(view, hover);
  }

  /** Takes back what is being done. Returns whether there was anything. */
  cancel() {
    const { isBusy } = this;
    this.corners = null;
    if (this.action) this.#end(true);
    else if (isBusy) this.view.draw();
    return isBusy;
  }

  /** Ends what is set point by point, with the points that it has. */
  close() {
    const { corners } = this;
    this.corners = null;
    corners?.finish();
  }

  /** Something else begins: a stroke ends with the points that it has, all else that is in the making is dropped. */
  settle() {
    if (this.corners?.kind === PATH) this.close();
    this.cancel();
  }

  /** Takes back the last point of what is set point by point, or what is being done. Returns whether there was anything. */
  takeBack() {
    if (!this.corners || this.action) return this.cancel();
    if (!this.corners.takeBack()) this.corners = null;
    this.view.draw();
    return true;
  }

  #down(event) {
    const { view } = this;
    view.easel.focus({ preventScroll: true });
    if (event.button === 0 && !this.spaceHeld) view.endAlone();
    this.hand.leave();
    if (this.action && this.held === null) this.#end(true);
    const isPalm = this.action && this.heldType !== "touch";
    if (!isPalm && this.fingers.came(event, () => this.action && this.#end(true))) return event.stopPropagation();
    if (this.action) return event.stopPropagation();
    const drags = event.button === 1 && view.whole.isOpen; // on the node, the middle button is the graph's
    if (event.button !== 0 && !drags) return;
    event.stopPropagation();
    [this.held, this.heldType] = [event.pointerId, event.pointerType];
    view.easel.setPointerCapture(event.pointerId);
    const pans = this.spaceHeld || drags;
    if (!pans && this.corners?.kind === PATH) this.close(); // the mouse goes on where keys have drawn
    this.press(event, pans);
  }

  /** Begins what the tool does. event: of a pointer, or {at} with a place on the picture. */
  press(event, drags = false) {
    this.action = this.#toolFor(event, drags)?.(this, event) ?? null;
    this.view.draw();
  }

  /** Ends it. */
  release() {
    if (this.action) this.#end(false);
  }

  #toolFor({ altKey }, drags) {
    const { tool } = this.view.settings;
    if (drags) return pan;
    if (this.view.locked) return null;
    const { picture } = this.view.desk.active;
    if (tool === "pick" || (altKey && (picture || tool !== "select"))) return pick;
    if (tool === "lasso") return cut;
    if (this.view.desk.refuses()) return null;
    if (picture) return place;
    return altKey ? loop : TOOLS[tool];
  }

  #move(event) {
    if (this.action) event.stopPropagation();
    if (this.fingers.moved(event)) return event.stopPropagation();
    if (this.action && event.pointerId !== this.held) return;
    if (this.hand.at && !event.movementX && !event.movementY) return; // the page moved below a mouse that rests
    this.hand.leave();
    this.#hoverAt(event);
    this.action?.move(event);
    this.view.draw();
  }

  #end(cancelled) {
    const { action } = this;
    [this.action, this.held] = [null, null];
    action?.end(cancelled);
    this.view.draw();
  }

  /** As with a text box: the wheel is the stage's while it has the focus, with Ctrl always the graph's. */
  #wheel(event) {
    const { view } = this;
    const isGraphs = event.ctrlKey || event.metaKey || document.activeElement !== view.easel;
    if (isGraphs && !view.whole.isOpen) return;
    event.preventDefault();
    event.stopPropagation();
    const pinched = event.ctrlKey ? 4 : 1; // two fingers on a touchpad send small steps of a wheel with Ctrl
    view.sight.zoomBy(Math.exp(-event.deltaY * 0.002 * pinched), this.onSheet(event));
  }

  holdSpace(held) {
    this.spaceHeld = held;
    this.view.easel.toggleAttribute("data-pan", held);
  }

  /** The keyboard is somewhere else. */
  #left() {
    this.holdSpace(false);
    if (this.action && this.held === null) this.#end(true);
    if (this.corners?.kind === PATH) this.close();
    this.hand.leave();
  }

  #hoverAt(event) {
    this.hover = event && this.onPicture(event);
    this.view.draw();
  }

  onSheet(event) {
    return this.view.sight.onSheet(placeIn(this.view.stage, event));
  }

  /** Pixels of the picture. */
  onPicture(event) {
    if (event.at) return event.at;
    const { x, y } = this.onSheet(event);
    const { left, top, factor } = placeOf(this.view);
    return { x: (x - left) / factor, y: (y - top) / factor };
  }

  /** Column and row, in a copy of the picture, of the pixel under the pointer; null beside it. */
  pixelIn({ width, height }, event) {
    const [{ x, y }, { frame }] = [this.onPicture(event), this.view];
    if (x < 0 || y < 0 || x > frame.width || y > frame.height) return null;
    const at = (share, count) => Math.min(Math.floor(share * count), count - 1); // the edge is the last pixel's
    return [at(x / frame.width, width), at(y / frame.height, height)];
  }
}

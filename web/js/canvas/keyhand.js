/** A hand made of keys: arrows move a cross over the picture, and Enter does there what the tool does. */

import { clamp } from "../common/numbers.js";
import { AREA, Corners, CUT, PATH, REACH } from "./corners.js";
import { placeOf } from "./stage.js";

const STEP = 3; // pixels of the stage, but at least one of the picture
const FAST = 10; // times as far
const MARGIN = 8; // pixels of the stage around the cross that are seen

/** Tools that are led from point to point, and those that go from one place to another. */
const SET = { brush: PATH, eraser: PATH, blur: PATH, smudge: PATH, outline: AREA, lasso: CUT };
const PULLED = new Set(["line", "rectangle", "ellipse"]);

export class KeyHand {
  /** @param {import("./pointer.js").StrokePointer} pointer */
  constructor(pointer) {
    Object.assign(this, { pointer, view: pointer.view, at: null }); // at: whole pixels of the picture
  }

  /** Where the cross is on the sheet, or null. */
  get onSheet() {
    const { left, top, factor } = placeOf(this.view);
    return this.at && { x: left + this.at.x * factor, y: top + this.at.y * factor };
  }

  /** Moves the cross; a way of one step in the picture. @param {import("./sight.js").Point} way */
  move({ x, y }, fast) {
    const { pointer, view } = this;
    if (pointer.held !== null) return;
    this.#begin();
    const step = Math.max(1, Math.round(STEP / placeOf(view).factor)) * (fast ? FAST : 1);
    const { width, height } = view.frame;
    this.at = {
      x: Math.round(clamp(this.at.x + x * step, 0, width)),
      y: Math.round(clamp(this.at.y + y * step, 0, height)),
    };
    pointer.hover = this.at;
    view.sight.bring(this.onSheet, MARGIN);
    pointer.action?.move({ at: this.at });
    this.tell();
    view.draw();
  }

  /** Sets a point, or begins or ends what the tool draws. */
  enter() {
    const { pointer, view } = this;
    const isPlaced = view.desk.active.picture && view.settings.tool !== "lasso";
    if (view.locked || isPlaced || pointer.held !== null) return;
    if (!this.at) return this.move({ x: 0, y: 0 }); // what Enter will do is seen first
    const kind = SET[view.settings.tool];
    const before = view.history.now;
    if (pointer.action) pointer.release();
    else if (kind) this.#set(kind);
    else {
      pointer.press({ at: this.at });
      if (!PULLED.has(view.settings.tool)) pointer.release();
    }
    this.tell();
    if (view.history.now !== before) view.room.say(`Stroke ${view.drawing.strokes.length} is drawn`);
    else if (view.settings.tool === "select") view.room.say(view.selectedStroke ? "Selected" : "Nothing is here");
    view.draw();
  }

  /** Ends a stroke with the points that it has; returns whether there was one. */
  end() {
    if (this.pointer.corners?.kind !== PATH) return false;
    this.pointer.close();
    this.tell();
    return true;
  }

  /** The cross goes; returns whether there was one. */
  leave() {
    if (!this.at) return false;
    this.at = null;
    this.pointer.hover = null;
    this.view.room.say("");
    this.view.draw();
    return true;
  }

  /** Says where the cross is and what Enter does there. */
  tell() {
    if (!this.at) return;
    const { pointer, view } = this;
    const [{ x, y }, { tool }] = [this.at, view.settings];
    let sentence = `At ${x}, ${y}: Enter uses the tool here`;
    if (pointer.corners) sentence = `At ${x}, ${y}: Enter sets point ${pointer.corners.count + 1}, twice ends`;
    else if (SET[tool]) sentence = `At ${x}, ${y}: Enter sets a point`;
    else if (PULLED.has(tool))
      sentence = pointer.action ? `At ${x}, ${y}: Enter ends here` : `At ${x}, ${y}: Enter begins here`;
    view.room.say(sentence);
  }

  #begin() {
    const { width, height } = this.view.frame;
    const { x, y } = this.at ?? this.pointer.hover ?? { x: width / 2, y: height / 2 };
    this.at = { x: Math.round(clamp(x, 0, width)), y: Math.round(clamp(y, 0, height)) };
    this.pointer.hover = this.at;
  }

  #set(kind) {
    const { pointer, view, at } = this;
    const open = pointer.corners;
    if (open && (open.isLast(at, 0.5) || open.isFirst(at, REACH / placeOf(view).factor))) return pointer.close();
    if (!open && kind !== CUT && view.desk.refuses()) return;
    pointer.corners ??= new Corners(view, kind);
    pointer.corners.add([at.x, at.y]);
  }
}

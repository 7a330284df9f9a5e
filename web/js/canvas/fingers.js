/** Two fingers on the stage of a stroke canvas: they move, zoom and turn the picture; a tap of both undoes. */

import { set } from "../common/elements.js";
import { middleOf, spanOf } from "./sight.js";

const PATIENCE_MS = 400; // a stroke that is older goes on: what comes then is a palm
const TAP_MS = 300;
const TAP_REACH = 12; // pixels of the stage
const TOUCHES = ["touchstart", "touchmove", "touchend", "touchcancel"];

export class Fingers {
  /** place(event): where an event is on the stage. @param {import("./view.js").StrokesView} view */
  constructor(view, place) {
    Object.assign(this, { view, place, gesture: null, down: new Map() });
    this.stop = new AbortController();
    // The page zooms the graph by touch events, which it hears before any element below it does.
    const own = (event) => event.target === view.easel && event.stopPropagation();
    for (const name of TOUCHES) window.addEventListener(name, own, { capture: true, signal: this.stop.signal });
    const up = (event) => this.#up(event);
    set(view.easel, { pointerup: up, pointercancel: up, lostpointercapture: up });
  }

  /** A finger comes down; returns whether it is one of two, and draws nothing. cancel(): takes back what the first did. */
  came(event, cancel) {
    if (event.pointerType !== "touch") return false;
    this.down.set(event.pointerId, { ...this.place(event), time: event.timeStamp });
    if (this.gesture) return true;
    if (this.down.size !== 2) return false;
    const [first, second] = this.down.values();
    if (second.time - first.time > PATIENCE_MS) return false;
    cancel();
    const ids = [...this.down.keys()];
    const held = this.view.sight.held(first, second);
    this.gesture = { held, middle: middleOf(first, second), time: second.time, far: false, ids };
    return true;
  }

  /** Returns whether the finger is one of two. */
  moved(event) {
    const { gesture, view } = this;
    if (!this.down.has(event.pointerId)) return false;
    Object.assign(this.down.get(event.pointerId), this.place(event));
    if (!gesture) return false;
    const both = gesture.ids.map((id) => this.down.get(id));
    if (!both.every(Boolean)) return true;
    const { held, middle } = gesture;
    const moved = spanOf(middle, middleOf(...both)).length;
    gesture.far ||= moved + Math.abs(spanOf(...both).length - held.start.length) > TAP_REACH;
    if (gesture.far) view.sight.follow(held, ...both);
    return true;
  }

  dispose() {
    this.stop.abort();
  }

  #up(event) {
    const { gesture } = this;
    if (!this.down.delete(event.pointerId) || !gesture || this.down.size) return;
    this.gesture = null;
    if (!gesture.far && event.timeStamp - gesture.time < TAP_MS && event.type !== "pointercancel") this.view.step(-1);
  }
}

/** Two fingers on the stage of a stroke canvas: they move and zoom the picture; a tap of both undoes. */

import { set } from "../common/elements.js";
import { clamp } from "../common/numbers.js";
import { LEAST_ZOOM, MOST_ZOOM } from "./stage.js";

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
    const { zoom, pan } = this.view;
    this.gesture = {
      start: spanOf(first, second),
      zoom,
      pan,
      time: second.time,
      far: false,
      ids: [...this.down.keys()],
    };
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
    const { start } = gesture;
    const now = spanOf(...both);
    gesture.far ||= Math.hypot(now.x - start.x, now.y - start.y) + Math.abs(now.length - start.length) > TAP_REACH;
    if (gesture.far) look(view, gesture, now);
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

/** The point of the picture that was between the fingers when they came stays between them. */
function look(view, { start, zoom, pan }, now) {
  const { clientWidth, clientHeight } = view.stage;
  view.zoom = clamp((zoom * now.length) / Math.max(start.length, 1), LEAST_ZOOM, MOST_ZOOM);
  const kept = (at, middle, by) => ((at - middle - by) * view.zoom) / zoom;
  const x = now.x - clientWidth / 2 - kept(start.x, clientWidth / 2, pan.x);
  view.pan = { x, y: now.y - clientHeight / 2 - kept(start.y, clientHeight / 2, pan.y) };
  view.draw();
}

/** The middle between two places, and how far they are from each other. */
function spanOf(a, b) {
  return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, length: Math.hypot(a.x - b.x, a.y - b.y) };
}

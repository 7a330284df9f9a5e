/** What mouse, pen and finger do on the stage of a stroke canvas, tool by tool. */

import { set } from "../common/elements.js";
import { placeIn } from "../common/plot.js";
import { hex } from "./background.js";
import { rounded } from "./document.js";
import { Fingers } from "./fingers.js";
import { ONE } from "./carrying.js";
import { floodArea, keptPoints, outlines, shapeRing, strokeAt, strokesWithin } from "./geometry.js";
import { dragged, frameOf, holdAt } from "./placing.js";
import { compositeOf } from "./stack.js";
import { drawBand, drawLinePreview, drawRing, drawShapePreview, handleAway, placeOf } from "./stage.js";

const TOLERANCE = 0.35; // pixels of the picture that a simplified path may be off
const FILL_SIZE = 768; // longer side of the picture in which areas are found
const FILL_TOLERANCE = 28;
const FILL_RIM = 3; // pixels of that picture
const PATIENCE_MS = 40;
const HANDLE_REACH = 11; // pixels of the stage, as the next ones
const LASSO_STEP = 2;
const HIT_SLACK = 4; // pixels of the stage

export class StrokePointer {
  /** @param {import("./view.js").StrokesView} view */
  constructor(view) {
    this.view = view;
    this.hover = null; // in pixels of the picture
    this.action = null; // {move(event), end(cancelled), guide?(context)}
    this.held = null; // the pointer that does it: a palm beside a pen is another one
    this.fingers = new Fingers(view, (event) => placeIn(view.stage, event));
    this.spaceHeld = false;
    const end = (cancelled) => (event) => event.pointerId === this.held && this.#end(cancelled);
    set(view.easel, {
      pointerdown: (event) => this.#down(event),
      pointermove: (event) => this.#move(event),
      pointerup: end(false),
      pointercancel: end(true),
      lostpointercapture: end(false),
      pointerleave: () => this.#hoverAt(null),
      keyup: (event) => event.key === " " && this.holdSpace(false),
      blur: () => this.holdSpace(false),
    });
    view.easel.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  /** Draws what the tool is about to do. */
  drawGuide(context) {
    this.action?.guide?.(context);
  }

  /** Takes back what is being done. Returns whether there was anything. */
  cancel() {
    if (!this.action) return false;
    this.#end(true);
    return true;
  }

  #down(event) {
    const { view } = this;
    view.easel.focus({ preventScroll: true });
    const isPalm = this.action && this.heldType !== "touch";
    if (!isPalm && this.fingers.came(event, () => this.cancel())) return event.stopPropagation();
    if (this.action) return event.stopPropagation();
    const drags = event.button === 1 && view.whole.isOpen; // on the node, the middle button is the graph's
    if (event.button !== 0 && !drags) return;
    event.stopPropagation();
    [this.held, this.heldType] = [event.pointerId, event.pointerType];
    view.easel.setPointerCapture(event.pointerId);
    const { tool } = view.settings;
    if (this.spaceHeld || drags) this.action = this.#pan(event);
    else if (view.locked) return;
    else if (event.altKey || tool === "pick") this.action = this.#pick(event);
    else if (tool === "lasso") this.action = this.#lasso(event);
    else if (view.desk.refuses()) return;
    else if (view.desk.active.picture) this.action = this.#place(event);
    else if (tool === "select") this.action = this.#drag(event);
    else if (tool === "fill") this.#fill(event);
    else if (tool === "rectangle" || tool === "ellipse") this.action = this.#shape(event, tool);
    else if (tool === "line") this.action = this.#line(event);
    else this.action = this.#draw(event);
    view.draw();
  }

  #move(event) {
    if (this.action) event.stopPropagation();
    if (this.fingers.moved(event)) return event.stopPropagation();
    if (this.action && event.pointerId !== this.held) return;
    this.#hoverAt(event);
    this.action?.move(event);
    this.view.draw();
  }

  #end(cancelled) {
    const { action } = this;
    this.action = null;
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
    view.sight.zoomBy(Math.exp(-event.deltaY * 0.002 * pinched), this.#onSheet(event));
  }

  holdSpace(held) {
    this.spaceHeld = held;
    this.view.easel.toggleAttribute("data-pan", held);
  }

  #hoverAt(event) {
    this.hover = event && this.#onPicture(event);
    this.view.draw();
  }

  #onSheet(event) {
    return this.view.sight.onSheet(placeIn(this.view.stage, event));
  }

  /** Pixels of the picture. */
  #onPicture(event) {
    const { x, y } = this.#onSheet(event);
    const { left, top, factor } = placeOf(this.view);
    return { x: (x - left) / factor, y: (y - top) / factor };
  }

  /** Column and row, in a copy of the picture, of the pixel under the pointer; null beside it. */
  #pixelIn({ width, height }, event) {
    const [{ x, y }, { frame }] = [this.#onPicture(event), this.view];
    const [column, row] = [Math.floor((x * width) / frame.width), Math.floor((y * height) / frame.height)];
    return column < 0 || row < 0 || column >= width || row >= height ? null : [column, row];
  }

  // ---- tools: each returns what moving and ending the drag means

  #draw(event) {
    const { view } = this;
    const stroke = view.brush();
    view.bringLayers(performance.now() + PATIENCE_MS); // the stroke before may still be missing
    const live = view.stack.of(stroke.layer).begin(stroke, view.layerScale.x, view.layerScale.y);
    const points = []; // x, y, pressure in units of the drawing
    const usesPen = event.pointerType === "pen" && view.settings.pressure;
    const hold = 1 - view.settings.smoothing;
    let brush = null;
    let hand = null;
    const lead = (x, y, pressure) => {
      const last = points.at(-1);
      if (last && Math.hypot(x - last[0], y - last[1]) * view.sizeScale < 0.2) return;
      points.push([x, y, pressure]);
      live.add(x, y, pressure);
    };
    const follow = (each) => {
      const { x, y } = this.#onPicture(each);
      hand = [x / view.scale.x, y / view.scale.y, usesPen ? Math.max(each.pressure, 0.02) : 1];
      brush = brush ? brush.map((value, i) => value + (hand[i] - value) * hold) : hand;
      lead(...brush);
    };
    follow(event);
    return {
      move: (next) => {
        const between = next.getCoalescedEvents?.() ?? [];
        for (const each of between.length ? between : [next]) follow(each);
      },
      end: (cancelled) => {
        lead(...hand);
        live.end();
        if (!cancelled) view.addStroke(finished(stroke, points, view.sizeScale, usesPen));
      },
    };
  }

  #line(event) {
    const { view } = this;
    const from = this.#onPicture(event);
    let to = from;
    return {
      move: (next) => (to = next.shiftKey ? snapped(from, this.#onPicture(next)) : this.#onPicture(next)),
      end: (cancelled) => {
        const path = [from, to].flatMap(({ x, y }) => [rounded(x / view.scale.x), rounded(y / view.scale.y)]);
        if (!cancelled && Math.hypot(to.x - from.x, to.y - from.y) > 1)
          view.addStroke({ ...view.brush(), paths: [path] });
      },
      guide: (context) => drawLinePreview(context, view, [from.x, from.y], [to.x, to.y]),
    };
  }

  #fill(event) {
    const { view } = this;
    const { frame, scale } = view;
    view.bringLayers();
    const copy = compositeOf(view, FILL_SIZE);
    const { context, width, height } = copy;
    const place = this.#pixelIn(copy, event);
    if (!place) return;
    const pixels = context.getImageData(0, 0, width, height).data;
    const rings = outlines(floodArea(pixels, width, height, ...place, FILL_TOLERANCE, FILL_RIM), width, height);
    const units = [frame.width / width / scale.x, frame.height / height / scale.y];
    const paths = rings.map((ring) => ring.map((value, i) => rounded(value * units[i % 2])));
    if (paths.length) view.addStroke({ ...view.brush("fill"), paths });
  }

  #pick(event) {
    const { view } = this;
    view.bringLayers();
    const copy = compositeOf(view, Infinity);
    const before = view.settings.color;
    let color = null;
    const take = (each) => {
      const place = this.#pixelIn(copy, each);
      if (!place) return;
      color = hex([...copy.context.getImageData(...place, 1, 1).data.slice(0, 3)]);
      view.change("color", color, false);
    };
    take(event);
    return {
      move: take,
      end: (cancelled) => {
        view.preview = null; // of a selected stroke, which takes the colour instead of the brush
        if (color && !cancelled) return view.change("color", color, true);
        view.settings.color = before;
        view.refresh();
      },
    };
  }

  #drag(event) {
    const { view } = this;
    const { selection, scale } = view;
    const { x, y } = this.#onPicture(event);
    const hold = this.#holdOf(selection.frame, ONE, { x, y });
    if (hold && !hold.move) return this.#carry(hold, { x, y });
    const { strokes } = view.history.now.drawing;
    const index = strokeAt(strokes, view.desk.active.id, x / scale.x, y / scale.y, this.#slack);
    if (index < 0) return this.#band(event);
    if (event.shiftKey) return (selection.toggle(index), null);
    if (!selection.has(index)) selection.choose([index]);
    let way = null; // in units of the drawing
    return {
      move: (next) => {
        const to = this.#onPicture(next);
        if (!way && Math.hypot(to.x - x, to.y - y) * placeOf(view).factor < 3) return;
        way = [(to.x - x) / scale.x, (to.y - y) / scale.y];
        selection.shift(...way, false);
      },
      end: (cancelled) => {
        if (way && !cancelled) selection.shift(...way, true);
        else selection.drop();
      },
    };
  }

  /** Scales or turns what is selected. */
  #carry(hold, from) {
    const { selection } = this.view;
    const before = selection.frame;
    let now = before;
    return {
      move: (next) => {
        now = dragged(before, ONE, hold, from, this.#onPicture(next), next.shiftKey);
        selection.carry(before, now, false);
      },
      end: (cancelled) => {
        if (now !== before && !cancelled) selection.carry(before, now, true);
        else selection.drop();
      },
    };
  }

  /** What of a frame and its handles a point of the picture takes hold of. */
  #holdOf(placed, scale, point) {
    const { view } = this;
    const reach = HANDLE_REACH / placeOf(view).factor;
    return placed && holdAt(placed, scale, point, reach, handleAway(view, frameOf(placed, scale)));
  }

  /** How far beside a stroke it is hit, in units of the drawing. */
  get #slack() {
    return HIT_SLACK / placeOf(this.view).factor / this.view.sizeScale;
  }

  /** A rectangle around what is to be selected; with Shift, beside what is already. */
  #band(event) {
    const { view } = this;
    const { selection, scale } = view;
    const before = event.shiftKey ? selection.indices : [];
    const from = this.#onPicture(event);
    let to = from;
    selection.choose(before);
    return {
      move: (next) => (to = this.#onPicture(next)),
      end: (cancelled) => {
        if (!cancelled && to === from) view.desk.chooseAt(from, this.#slack);
        if (cancelled || to === from) return;
        const corners = [from, to].map(({ x, y }) => [x / scale.x, y / scale.y]);
        const found = strokesWithin(view.history.now.drawing.strokes, view.desk.active.id, ...corners);
        selection.choose([...new Set([...before, ...found])]);
      },
      guide: (context) => drawBand(context, placeOf(view).factor, from, to),
    };
  }

  /** A filled shape on the paint, and its outline on the sketch. */
  #shape(event, shape) {
    const { view } = this;
    const from = this.#onPicture(event);
    let to = from;
    const ring = () => shapeRing(shape, [from.x, from.y], [to.x, to.y]);
    return {
      move: (next) => (to = next.shiftKey ? squared(from, this.#onPicture(next)) : this.#onPicture(next)),
      end: (cancelled) => {
        const path = ring().map((value, i) => rounded(value / (i % 2 ? view.scale.y : view.scale.x)));
        if (cancelled || Math.min(Math.abs(to.x - from.x), Math.abs(to.y - from.y)) < 1) return;
        const isPaint = view.desk.kind !== "sketch";
        const paths = [isPaint ? path : [...path, path[0], path[1]]];
        view.addStroke({ ...view.brush(isPaint ? "fill" : "brush"), paths });
      },
      guide: (context) => drawShapePreview(context, view, ring()),
    };
  }

  /** Around what is to be cut out of the background. */
  #lasso(event) {
    const { view } = this;
    const ring = [];
    const add = (each) => {
      const { x, y } = this.#onPicture(each);
      const [lastX, lastY] = ring.slice(-2);
      if (!ring.length || Math.hypot(x - lastX, y - lastY) * placeOf(view).factor >= LASSO_STEP) ring.push(x, y);
    };
    add(event);
    return {
      move: add,
      end: (cancelled) => !cancelled && ring.length >= 6 && view.arrival.cut(ring),
      guide: (context) => drawRing(context, placeOf(view).factor, ring),
    };
  }

  /** Moves, scales or turns the active picture. */
  #place(event) {
    const { view } = this;
    const { picture } = view.desk.active;
    const from = this.#onPicture(event);
    const hold = this.#holdOf(picture, view.scale, from);
    if (!hold) return view.desk.chooseAt(from, this.#slack) ? null : this.#band(event);
    let now = picture;
    return {
      move: (next) => {
        now = dragged(picture, view.scale, hold, from, this.#onPicture(next), next.shiftKey);
        view.desk.place(now, false);
      },
      end: (cancelled) => {
        view.preview = null;
        if (!cancelled && now !== picture) view.desk.place(now);
        else view.refresh();
      },
    };
  }

  #pan(event) {
    const { view } = this;
    const from = this.#onSheet(event);
    const before = view.sight.pan;
    return {
      move: (next) => {
        const to = this.#onSheet(next);
        view.sight.moveFrom(before, { x: to.x - from.x, y: to.y - from.y });
      },
      end: () => {},
    };
  }
}

/** A stroke with the path of a drag, with as few points as look the same. */
function finished(stroke, points, sizeScale, usesPen) {
  const wide = points.map(([x, y, pressure]) => [x, y, (pressure * stroke.size) / 2]);
  const kept = keptPoints(wide, TOLERANCE / sizeScale);
  const path = kept.flatMap((i) => [rounded(points[i][0]), rounded(points[i][1])]);
  const pressure = usesPen ? kept.map((i) => Math.round(points[i][2] * 100)) : null;
  return { ...stroke, size: rounded(stroke.size) || 0.1, paths: [path], pressure };
}

/** The end of a line turned to the next of 24 directions. */
function snapped(from, to) {
  const step = Math.PI / 12;
  const angle = Math.round(Math.atan2(to.y - from.y, to.x - from.x) / step) * step;
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  return { x: from.x + length * Math.cos(angle), y: from.y + length * Math.sin(angle) };
}

/** The other corner of a shape as high as it is wide. */
function squared(from, to) {
  const side = Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y));
  return { x: from.x + Math.sign(to.x - from.x) * side, y: from.y + Math.sign(to.y - from.y) * side };
}

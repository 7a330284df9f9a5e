/** What a press means where strokes and pictures are selected, moved, scaled and turned. */

import { ONE } from "./carrying.js";
import { strokeAt, strokesInside, strokesWithin } from "./geometry.js";
import { handlesOf } from "./handles.js";
import { dragged, frameOf, holdAt } from "./placing.js";
import { drawBand, placeOf } from "./stage.js";
import { pick, trace } from "./tools.js";

const HANDLE_REACH = 11; // pixels of the stage, as the next ones
const HIT_SLACK = 4;
const LEAST_WAY = 3;

/** Takes hold of what is selected, or of a stroke that is hit, or selects what is around. */
export function move(pointer, event) {
  const { view } = pointer;
  const { selection, settings } = view;
  const from = pointer.onPicture(event);
  const reach = HANDLE_REACH / placeOf(view).factor;
  const end = selection.ends.findIndex(({ x, y }) => Math.hypot(x - from.x, y - from.y) <= reach);
  if (end >= 0) return leadEnd(pointer, end);
  const hold = holdOf(view, selection.frame, ONE, from);
  if (hold && !hold.move) return carry(pointer, hold, from);
  const again = isSamePlace(pointer, from) && !event.shiftKey ? onlyAt(view, from) : -1;
  const index = again < 0 ? heldAt(view, from) : again;
  if (settings.loop && !selection.has(index)) return loop(pointer, event);
  if (index < 0) return band(pointer, event);
  if (event.shiftKey) return (selection.toggle(index), null);
  if (!selection.has(index)) selection.choose([index]);
  return shift(pointer, from, again >= 0);
}

/** The stroke that is hit. Beside the paper nothing is seen: there only what is selected can be held. */
function heldAt(view, from) {
  const index = indexAt(view, from);
  return isOnPaper(view, from) || view.selection.has(index) ? index : -1;
}

function isOnPaper({ frame }, { x, y }) {
  return x >= 0 && y >= 0 && x <= frame.width && y <= frame.height;
}

/** Whether the press before this one was at this place; keeps the place. */
function isSamePlace(pointer, from) {
  const { view, pressed } = pointer;
  pointer.pressed = from;
  return Boolean(pressed) && isClick(view, pressed, from);
}

/** Whether a hand that goes from one point to the other has not moved. */
function isClick(view, from, to) {
  return Math.hypot(to.x - from.x, to.y - from.y) * placeOf(view).factor < LEAST_WAY;
}

/** The only selected stroke if it is hit, or -1. */
function onlyAt(view, from) {
  const [index, another] = view.selection.indices;
  const [stroke] = view.selection.strokes;
  return stroke && another === undefined && indexAt(view, from, [stroke]) === 0 ? index : -1;
}

/** A lasso around what is to be selected; a click beside a way selects, or with Alt picks a colour as elsewhere. */
export function loop(pointer, event) {
  const { view } = pointer;
  const before = event.shiftKey ? view.selection.indices : [];
  const click = () => {
    if (event.altKey) return pick(pointer, event).end(false);
    const from = pointer.onPicture(event);
    const index = heldAt(view, from);
    pointer.pressed = from;
    if (index < 0) chooseElse(view, from, before);
    else if (event.shiftKey) view.selection.toggle(index);
    else view.selection.choose([index]);
  };
  return trace(pointer, event, (ring) => chooseWithin(view, ring, before), click);
}

/** Moves, scales or turns the active picture. */
export function place(pointer, event) {
  const { view } = pointer;
  const { picture } = view.desk.active;
  const from = pointer.onPicture(event);
  const hold = holdOf(view, picture, view.scale, from);
  const isAgain = isSamePlace(pointer, from);
  if (!hold) return isOnPaper(view, from) && view.desk.chooseAt(from, slackOf(view)) ? null : band(pointer, event);
  let now = picture;
  return {
    move: (next) => {
      const to = pointer.onPicture(next);
      if (now === picture && hold.move && isClick(view, from, to)) return;
      now = dragged(picture, view.scale, hold, from, to, next.shiftKey);
      view.desk.place(now, false);
    },
    end: (cancelled) => {
      view.preview = null;
      if (!cancelled && now !== picture) view.desk.place(now);
      else view.refresh();
      if (isAgain && hold.move && !cancelled && now === picture) view.desk.chooseBelow(from, slackOf(view));
    },
  };
}

/** Moves what is selected. A click where the one before was, isAgain, chooses what is below. */
function shift(pointer, from, isAgain) {
  const { view } = pointer;
  const { selection, scale } = view;
  let way = null; // in units of the drawing
  return {
    move: (next) => {
      const to = pointer.onPicture(next);
      if (!way && isClick(view, from, to)) return;
      way = [(to.x - from.x) / scale.x, (to.y - from.y) / scale.y];
      selection.shift(...way, false);
    },
    end: (cancelled) => {
      if (way && !cancelled) return selection.shift(...way, true);
      selection.drop();
      if (cancelled || way) return;
      if (!isOnPaper(view, from)) selection.choose([]);
      else if (isAgain) view.desk.chooseBelow(from, slackOf(view));
    },
  };
}

/** Scales or turns what is selected. */
function carry(pointer, hold, from) {
  const { selection } = pointer.view;
  const before = selection.frame;
  let now = before;
  return {
    move: (next) => {
      now = dragged(before, ONE, hold, from, pointer.onPicture(next), next.shiftKey);
      selection.carry(before, now, false);
    },
    end: (cancelled) => {
      if (now !== before && !cancelled) selection.carry(before, now, true);
      else selection.drop();
    },
  };
}

/** Moves an end of the gradient of what is selected. */
function leadEnd(pointer, end) {
  const { selection } = pointer.view;
  let to = null;
  return {
    move: (next) => {
      to = pointer.onPicture(next);
      selection.bringEnd(end, to, false);
    },
    end: (cancelled) => {
      if (to && !cancelled) selection.bringEnd(end, to, true);
      else selection.drop();
    },
  };
}

/** A rectangle around what is to be selected; with Shift, beside what is already. */
function band(pointer, event) {
  const { view } = pointer;
  const before = event.shiftKey ? view.selection.indices : [];
  const from = pointer.onPicture(event);
  let to = from;
  view.selection.choose(before);
  return {
    move: (next) => (to = pointer.onPicture(next)),
    end: (cancelled) => {
      if (cancelled) return;
      if (to === from) chooseElse(view, from, before);
      else chooseWithin(view, [from.x, from.y, to.x, from.y, to.x, to.y, from.x, to.y], before);
    },
    guide: (context) => drawBand(context, placeOf(view).factor, from, to),
  };
}

/** A click beside all strokes of the layer: what lies there on another one, or nothing. */
function chooseElse(view, from, before) {
  if (!isOnPaper(view, from) || !view.desk.chooseAt(from, slackOf(view))) view.selection.choose(before);
}

/**
 * Selects the strokes inside of a ring in pixels of the picture: those of the chosen layer, else, if there are none,
 * of the uppermost one that has any. Only where no stroke is inside, those that the ring touches.
 */
function chooseWithin({ selection, history, desk, scale }, ring, before) {
  const own = ring.map((value, i) => value / (i % 2 ? scale.y : scale.x));
  const { strokes } = history.now.drawing;
  const { id } = desk.active;
  const inside = desk.isClosed ? [] : strokesInside(strokes, id, own);
  const add = (found) => selection.choose([...new Set([...before, ...found])]);
  if (inside.length || before.length) return add(inside.length ? inside : strokesWithin(strokes, id, own));
  for (const other of desk.open) {
    const found = other.picture ? [] : strokesInside(strokes, other.id, own);
    if (found.length) return desk.chooseStrokes(other.id, found);
  }
  add(strokesWithin(strokes, id, own));
}

function indexAt(view, { x, y }, strokes = view.history.now.drawing.strokes) {
  const { scale, desk } = view;
  return strokeAt(strokes, desk.active.id, x / scale.x, y / scale.y, slackOf(view));
}

/** How far beside a stroke it is hit, in units of the drawing. */
function slackOf(view) {
  return HIT_SLACK / placeOf(view).factor / view.sizeScale;
}

/** What the pointer would do at a point, as a cursor of CSS; "" where a tool draws. @param {import("./view.js").StrokesView} view */
export function cursorAt(view, point) {
  const { desk, selection, settings, locked } = view;
  const { picture } = desk.active;
  if (locked || settings.tool !== "select") return "";
  const reach = HANDLE_REACH / placeOf(view).factor;
  if (selection.ends.some(({ x, y }) => Math.hypot(x - point.x, y - point.y) <= reach)) return "move";
  const [placed, scale] = picture && !desk.isClosed ? [picture, view.scale] : [selection.frame, ONE];
  const hold = holdOf(view, placed, scale, point);
  if (hold?.turn) return "grab";
  if (hold?.corner !== undefined) return sizing(view, frameOf(placed, scale), hold.corner);
  if ((picture && hold) || (!picture && heldAt(view, point) >= 0)) return "move";
  return "default";
}

/** The cursor of a corner, as it is seen in the view. */
function sizing({ sight }, { centre, corners }, corner) {
  const at = [centre, corners[corner]].map((each) => sight.onStage(each));
  const angle = (Math.atan2(at[1].y - at[0].y, at[1].x - at[0].x) * 180) / Math.PI;
  return ["ew-resize", "nwse-resize", "ns-resize", "nesw-resize"][((Math.round(angle / 45) % 4) + 4) % 4];
}

/** What of a frame and its handles a point of the picture takes hold of. */
function holdOf(view, placed, scale, point) {
  const at = placeOf(view);
  return placed && holdAt(placed, scale, point, HANDLE_REACH / at.factor, handlesOf(view, at, placed, scale));
}

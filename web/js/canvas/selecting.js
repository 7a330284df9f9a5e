/** What a press means where strokes and pictures are selected, moved, scaled and turned. */

import { ONE } from "./carrying.js";
import { strokeAt, strokesWithin } from "./geometry.js";
import { dragged, frameOf, holdAt } from "./placing.js";
import { drawBand, handleAway, placeOf } from "./stage.js";
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
  const index = indexAt(view, from);
  if (settings.loop && !selection.has(index)) return loop(pointer, event);
  if (index < 0) return band(pointer, event);
  if (event.shiftKey) return (selection.toggle(index), null);
  if (!selection.has(index)) selection.choose([index]);
  return shift(pointer, from);
}

/** A lasso around what is to be selected; a click beside a way selects, or with Alt picks a colour as elsewhere. */
export function loop(pointer, event) {
  const { view } = pointer;
  const before = event.shiftKey ? view.selection.indices : [];
  const click = () => {
    if (event.altKey) return pick(pointer, event).end(false);
    const from = pointer.onPicture(event);
    const index = indexAt(view, from);
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
  if (!hold) return view.desk.chooseAt(from, slackOf(view)) ? null : band(pointer, event);
  let now = picture;
  return {
    move: (next) => {
      now = dragged(picture, view.scale, hold, from, pointer.onPicture(next), next.shiftKey);
      view.desk.place(now, false);
    },
    end: (cancelled) => {
      view.preview = null;
      if (!cancelled && now !== picture) view.desk.place(now);
      else view.refresh();
    },
  };
}

/** Moves what is selected. */
function shift(pointer, from) {
  const { view } = pointer;
  const { selection, scale } = view;
  let way = null; // in units of the drawing
  return {
    move: (next) => {
      const to = pointer.onPicture(next);
      if (!way && Math.hypot(to.x - from.x, to.y - from.y) * placeOf(view).factor < LEAST_WAY) return;
      way = [(to.x - from.x) / scale.x, (to.y - from.y) / scale.y];
      selection.shift(...way, false);
    },
    end: (cancelled) => {
      if (way && !cancelled) selection.shift(...way, true);
      else selection.drop();
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
  if (!view.desk.chooseAt(from, slackOf(view))) view.selection.choose(before);
}

/** Selects the strokes within a ring in pixels of the picture. */
function chooseWithin({ selection, history, desk, scale }, ring, before) {
  const own = ring.map((value, i) => value / (i % 2 ? scale.y : scale.x));
  const found = strokesWithin(history.now.drawing.strokes, desk.active.id, own);
  selection.choose([...new Set([...before, ...found])]);
}

function indexAt(view, { x, y }) {
  const { scale, desk, history } = view;
  return strokeAt(history.now.drawing.strokes, desk.active.id, x / scale.x, y / scale.y, slackOf(view));
}

/** How far beside a stroke it is hit, in units of the drawing. */
function slackOf(view) {
  return HIT_SLACK / placeOf(view).factor / view.sizeScale;
}

/** What of a frame and its handles a point of the picture takes hold of. */
function holdOf(view, placed, scale, point) {
  const reach = HANDLE_REACH / placeOf(view).factor;
  return placed && holdAt(placed, scale, point, reach, handleAway(view, frameOf(placed, scale)));
}

/** What keys do on a stroke canvas. */

import { clamp } from "../common/numbers.js";
import { claim } from "../common/widget_host.js";
import { WIDEST } from "./toolbar.js";

const TOOLS = {
  b: "brush",
  l: "line",
  r: "rectangle",
  o: "ellipse",
  p: "outline",
  e: "eraser",
  w: "blur",
  j: "smudge",
  g: "fill",
  i: "pick",
  v: "select",
};
const LENSES = { h: "heat", t: "noise", u: "result" };
const TRANSFORMS = { "[": { factor: 1 / 1.05 }, "]": { factor: 1.05 }, "<": { degrees: -1 }, ">": { degrees: 1 } };
const ARROWS = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] };

/** @param {import("./view.js").StrokesView} view */
export function press(view, event) {
  if (["color", "text"].includes(event.target.type) || !isUsed(view, event)) return;
  claim(event);
  if (event.key !== "Enter") view.pointer.hand.tell();
}

/** Does what a key means; returns whether it means anything. */
function isUsed(view, event) {
  const key = event.key.toLowerCase();
  const command = event.ctrlKey || event.metaKey;
  if (command && event.target.type === "button") return false; // there the graph's own undo hears the keys
  if (event.altKey) return isUsedForLayers(view, event.code);
  if (view.desk.active.picture && isUsedForPicture(view, key, command)) return true;
  if (key === "z") view.step(event.shiftKey ? 1 : -1);
  else if (key === "y" && command) view.step(1);
  else if (key === "d" && command) view.actions.duplicate();
  else if (key === "a" && command) view.selection.all();
  else if (command) return false;
  else if (TOOLS[key]) view.controls.choose(TOOLS[key]);
  else if (LENSES[key]) view.see(LENSES[key]);
  else if (TRANSFORMS[key] && view.selectedStroke) view.selection.nudge(TRANSFORMS[key]);
  else if (key === "[" || key === "]") view.change("size", nextSize(view.brushSize, key), true);
  else if (key === "0") view.sight.fit();
  else if (key === "+" || key === "-") view.sight.zoomBy(key === "+" ? 1.4 : 1 / 1.4, view.pointer.hand.onSheet);
  else if (key === "m") view.sight.mirror();
  else if (key === "4" || key === "6") view.sight.turn(key === "6" ? 1 : -1);
  else if (key === "x") view.swapColors();
  else if (key === "f") view.whole.toggle();
  else if (key === "s") view.actions.save();
  else if (key === "n") view.actions.add();
  else if (key === "c") view.actions.lasso();
  else if (key === "k") view.actions.layers();
  else if (key === "escape") leave(view);
  else if (key === "," || key === ".") view.selection.step(key === "." ? 1 : -1);
  else if (key === "pageup" || key === "pagedown")
    view.selection.raise((key === "pageup" ? 1 : -1) * (event.shiftKey ? Infinity : 1));
  else if (key === "?") view.room.keys.toggle();
  else return isOnStage(view, event) && isUsedOnStage(view, key, event);
  return true;
}

/** In the whole window, nothing else may have the focus. */
function isOnStage({ easel, panel }, { target }) {
  return target === easel || !panel.contains(target);
}

/** The keys of the brush and of strokes, where there is a picture in their place. */
function isUsedForPicture({ desk, actions }, key, command) {
  if (command) return false;
  if (TRANSFORMS[key]) desk.nudge(TRANSFORMS[key]);
  else if (key === "," || key === ".") desk.nudge({ degrees: key === "." ? 1 : -1 });
  else if (key === "pageup" || key === "pagedown") actions[key === "pageup" ? "raise" : "lower"]();
  else return false;
  return true;
}

/** By the place of the key: with Alt, some layouts write other letters. */
function isUsedForLayers(view, code) {
  if (code !== "BracketRight" && code !== "BracketLeft") return false;
  view.desk.step(code === "BracketRight" ? 1 : -1);
  return true;
}

function isUsedOnStage(view, key, event) {
  const { pointer } = view;
  if (key === " ") pointer.holdSpace(true);
  else if (ARROWS[key] && view.desk.active.picture && view.settings.tool !== "lasso")
    view.desk.nudge({ way: wayOf(view, key, event) });
  else if (key === "enter" && pointer.corners && !pointer.hand.at) pointer.close();
  else if (key === "enter") pointer.hand.enter();
  else if (key === "backspace" && pointer.isBusy) pointer.takeBack();
  else if (key === "delete" || key === "backspace") view.actions.remove();
  else if (ARROWS[key] && view.selectedStroke) view.moveSelected(wayOf(view, key, event));
  else if (ARROWS[key]) pointer.hand.move(directionOf(view, key), event.shiftKey);
  else return false;
  return true;
}

/** Where an arrow points on the picture. */
function directionOf({ sight }, key) {
  const [x, y] = ARROWS[key];
  return sight.wayOnSheet({ x, y });
}

/** The same in pixels of the picture. */
function wayOf(view, key, { shiftKey }) {
  const { x, y } = directionOf(view, key);
  return shiftKey ? { x: 10 * x, y: 10 * y } : { x, y };
}

/** Ends what is being done, then the selection, then the view over the whole window. */
function leave(view) {
  if (view.room.keys.close() || view.pointer.hand.end() || view.pointer.cancel()) return;
  if (view.selectedStroke) return view.selection.choose([]);
  if (view.pointer.hand.leave()) return;
  if (view.settings.tool === "lasso") view.change("tool", view.desk.active.picture ? "select" : "brush", true);
  else if (view.desk.active.picture) view.desk.leaveAlone();
  else view.whole.close();
}

function nextSize(size, key) {
  const next = key === "]" ? Math.max(size * 1.15, size + 1) : Math.min(size / 1.15, size - 1);
  return Math.round(clamp(next, 1, WIDEST));
}

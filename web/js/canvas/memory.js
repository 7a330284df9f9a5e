/** What the canvas remembers beside the drawing: steps to undo, and how the tools were set. */

import { EMPTY, isColor, readDrawing, writeDrawing } from "./document.js";

const KEY = "DiffusionPath.StrokeCanvas";
const MOST_STEPS = 200;

/** How the tools are set before anybody has touched them. */
const STANDARD = {
  tool: "brush",
  color: "#3b6ea5",
  previous: "#e8edf0",
  opacity: 1,
  hardness: 0.8,
  grain: 0,
  t0: 0.6,
  importance: 1,
  smoothing: 0.3,
  pressure: true,
  gradient: false, // whether areas are filled from one colour to the previous one
  loop: false, // whether the tool for selecting draws a lasso
  folded: false,
  listed: false, // whether the list of layers lies over the picture
  recent: [], // colours of the last strokes, newest first
  sizes: { brush: 24, line: 8, eraser: 32, blur: 48, smudge: 48, sketch: 3 },
};

/** The settings of the last canvas that was used in this browser. */
export function rememberedSettings() {
  try {
    const saved = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    const fits = ([name, value]) => typeof value === typeof STANDARD[name];
    const known = Object.fromEntries(Object.entries(saved).filter(fits));
    const recent = Array.isArray(known.recent) ? known.recent.filter(isColor) : [];
    const sizes = { ...STANDARD.sizes, ...known.sizes };
    return { ...STANDARD, ...known, tool: "brush", sizes, recent };
  } catch {
    return { ...STANDARD, sizes: { ...STANDARD.sizes } };
  }
}

export function rememberSettings(settings) {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // a full or forbidden store costs the comfort, not the drawing
  }
}

const histories = new Map();

/**
 * Steps of one canvas. Undo in the graph, a change of tab or of renderer rebuilds the widget: `historyOf` finds
 * the steps again as long as the page is open.
 */
class History {
  steps = [{ text: "", drawing: EMPTY, complaint: "", lost: false }];
  at = 0;

  get now() {
    return this.steps[this.at];
  }

  /** A text from outside: one of the steps, or the start of new ones. */
  show(text) {
    if (this.now.text === text) return; // steps that change the background alone have the text of the one before
    const isIt = (step) => step.text === text; // the last one before now, which has the background of now
    const before = this.steps.slice(0, this.at).findLastIndex(isIt);
    const known = before >= 0 ? before : this.steps.findIndex(isIt);
    if (known >= 0) this.at = known;
    else [this.steps, this.at] = [[{ text, ...readDrawing(text) }], 0];
  }

  /** A drawing after an edit, and the background {before, after} of one that changes it; returns the text. */
  add(drawing, ground = null) {
    const text = writeDrawing(drawing);
    this.steps.splice(this.at + 1);
    this.steps.push({ text, drawing, complaint: "", lost: false, ground });
    if (this.steps.length > MOST_STEPS) this.steps.shift();
    this.at = this.steps.length - 1;
    return text;
  }

  /** Moves by -1 (undo) or 1 (redo); returns the text to save, or null if there is no such step. */
  move(by) {
    if (!this.steps[this.at + by]) return null;
    this.at += by;
    return this.now.text;
  }

  /** The background that such a move brings, or undefined where it leaves it. */
  groundAt(by) {
    return by < 0 ? this.now.ground?.before : this.steps[this.at + by]?.ground?.after;
  }
}

/** The steps of the canvas with this key that hold this text, else new ones. */
export function historyOf(key, text) {
  let history = key ? histories.get(key) : null;
  if (!history?.steps.some((step) => step.text === text)) {
    history = new History();
    if (key) histories.set(key, history);
    if (histories.size > 64) histories.delete(histories.keys().next().value);
  }
  history.show(text);
  return history;
}

const MOST_LAYERS = 2;
const layersByKey = new Map();

/** The layers of a canvas whose widget is gone: most come back, after undo in the graph or a change of tab. */
export function keepLayers(key, layers) {
  layersByKey.delete(key);
  layersByKey.set(key, layers);
  if (layersByKey.size > MOST_LAYERS) layersByKey.delete(layersByKey.keys().next().value);
}

/** The layers that were kept for this canvas if they have this size, for one that takes them. */
export function keptLayers(key, width, height) {
  const layers = layersByKey.get(key);
  if (!layers?.hasSize([width, height])) return null;
  layersByKey.delete(key);
  return layers;
}

/** What a stroke canvas has to say over the picture: sentences, and [text, click] of buttons. */

import { say } from "../common/language.js";

const MISSING = "A picture is missing from the input folder: put it back into diffusion_path, or drop it here again.";

/** An error whose message is a sentence for whoever uses the canvas. */
export class Told extends Error {}

/** What to say of an error: its own sentence, or what did not work with the words of the browser. */
export function sentenceOf(error, failed) {
  return error instanceof Told ? error.message : [say(failed), error?.message].filter(Boolean).join(" ");
}

/** The first thing that matters now. @param {import("./view.js").StrokesView} view */
export function noticesOf(view) {
  const { now } = view.history;
  if (view.host.readOnly) return ["The strokes come from the linked input."];
  if (now.lost) return [now.complaint, ["Go on with what is shown", () => accept(view)]];
  if (view.backgroundChanged) {
    const { print } = view.background;
    const keep = ["Keep the strokes", () => view.edit({ print })];
    const clear = ["Clear", () => view.edit({ strokes: [], print })];
    return ["The background has changed since this was drawn.", keep, clear];
  }
  if (view.notice) return view.notice;
  if (view.pictures.areMissing(now.drawing)) return [MISSING, ["Look again", () => view.pictures.retry()]];
  return [now.complaint || view.complaint].filter(Boolean);
}

function accept(view) {
  const { now } = view.history;
  now.lost = false;
  view.edit({ strokes: [...now.drawing.strokes] });
}

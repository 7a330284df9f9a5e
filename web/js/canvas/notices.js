/** What a stroke canvas has to say over the picture: sentences, and [text, click] of buttons. */

import { say } from "../common/language.js";

const MISSING = "A picture is missing from the input folder: put it back into diffusion_path, or drop it here again.";

const UNUSED = "t0 has no effect here: the outputs t0 and strength of this node are not connected.";

/** An error whose message is a sentence for whoever uses the canvas. mayPass: the same may work later. */
export class Told extends Error {
  mayPass = false;
}

/** What to say of an error: its own sentence, or what did not work with the words of the browser. */
export function sentenceOf(error, failed) {
  return error instanceof Told ? error.message : [say(failed), error?.message].filter(Boolean).join(" ");
}

/** The first thing that matters now. @param {import("./view.js").StrokesView} view */
export function noticesOf(view) {
  const { now } = view.history;
  if (view.host.readOnly) return ["The strokes come from the linked input."];
  if (now.lost) return [now.complaint, ["Go on with what is shown", () => accept(view)]];
  if (view.ground.hasChanged) {
    const { print } = view.background;
    const keep = ["Keep the strokes", () => view.edit({ print })];
    const clear = ["Clear", () => view.edit({ strokes: [], print })];
    return ["The background has changed since this was drawn.", keep, clear];
  }
  if (view.notice) return view.notice;
  if (view.pictures.areMissing(now.drawing)) return [MISSING, ["Look again", () => view.pictures.retry()]];
  return [now.complaint || view.complaint].filter(Boolean);
}

/** Says, once, that t0s have no effect: the node's outputs that carry them are not connected. */
export function tellUnused(view) {
  const { owner } = view.host;
  const isLoose = (name) => {
    const slot = owner.outputs?.findIndex((output) => output.name === name) ?? -1;
    return slot >= 0 && owner.isOutputConnected?.(slot) === false;
  };
  if (view.toldUnused || !["t0", "strength"].every(isLoose)) return;
  view.toldUnused = true;
  view.notify(UNUSED);
}

/** Says in the whole window, where the page's own words are out of sight, that a run has failed; "": no longer. */
export function tellFailure(view, message) {
  if (view.notice && view.notice === view.failure) view.notify("");
  if (!message || !view.whole.isOpen) return;
  const leave = () => (view.notify(""), view.whole.close());
  const sentence = [say("The graph has failed."), say(message)].join(" ");
  tellError(view, sentence, ["Back to the node", leave]);
  view.failure = view.notice;
}

/** Says that something went wrong, with buttons beside the one that it has been read. */
export function tellError(view, sentence, ...buttons) {
  view.notify(sentence, ...buttons, ["OK", () => view.notify("")]);
  view.isOffer = false;
  view.refresh();
}

function accept(view) {
  const { now } = view.history;
  now.lost = false;
  view.edit({ strokes: [...now.drawing.strokes] });
}

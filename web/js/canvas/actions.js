/** What the buttons of a stroke canvas do, by name. */

import { copyPicture, savePng, saveSvg } from "./export.js";
import { sentenceOf, tellFailure } from "./notices.js";

/** @param {import("./view.js").StrokesView} view */
export function actionsOf(view) {
  const { selection, desk, arrival } = view;
  /** A picture stands for what is selected, where somebody works on one. */
  const either = (what, ...given) => {
    return () => (desk.active.picture ? view.locked || desk[what](...given) : selection[what](...given));
  };
  const lost = (error) => view.notify(sentenceOf(error, "The picture could not be saved."));
  return {
    undo: () => view.step(-1),
    redo: () => view.step(1),
    clear: () => (desk.active.picture ? view.locked || desk.remove() : view.clear()),
    duplicate: either("duplicate"),
    raise: either("raise", 1),
    lower: either("raise", -1),
    remove: either("remove"),
    swap: () => view.swapColors(),
    paint: () => desk.chooseKind("paint"),
    sketch: () => desk.chooseKind("sketch"),
    add: () => view.locked || desk.add(),
    picture: () => arrival.choose(),
    lasso: () => arrival.lasso(),
    ground: () => arrival.offer(),
    zoomBy: (factor) => view.sight.zoomBy(factor),
    fit: () => view.sight.fit(),
    mirror: () => view.sight.mirror(),
    layers: () => view.turn("listed"),
    see: (lens) => view.see(lens),
    fold: () => view.turn("folded"),
    whole: () => view.whole.toggle(),
    save: () => view.room.saving.toggle(),
    png: () => savePng(view).catch(lost),
    svg: () => saveSvg(view).catch(lost),
    copy: () => copyPicture(view),
    failed: (message) => tellFailure(view, message),
  };
}

/** What the buttons of a stroke canvas do, by name. */

import { savePicture } from "./export.js";

/** @param {import("./view.js").StrokesView} view */
export function actionsOf(view) {
  const { selection, desk, arrival } = view;
  return {
    undo: () => view.step(-1),
    redo: () => view.step(1),
    clear: () => view.clear(),
    duplicate: () => selection.duplicate(),
    raise: () => selection.raise(1),
    lower: () => selection.raise(-1),
    remove: () => (desk.active.picture ? view.locked || desk.remove() : selection.remove()),
    swap: () => view.swapColors(),
    paint: () => desk.chooseKind("paint"),
    sketch: () => desk.chooseKind("sketch"),
    add: () => view.locked || desk.add(),
    picture: () => arrival.choose(),
    lasso: () => arrival.lasso(),
    zoomBy: (factor) => view.zoomBy(factor),
    fit: () => view.fit(),
    mirror: () => view.mirror(),
    layers: () => view.turn("listed"),
    fold: () => view.turn("folded"),
    whole: () => view.whole.toggle(),
    save: () => savePicture(view).catch(() => view.notify("The picture could not be saved.")),
  };
}

/** What lies below the strokes of a view, and the size that it gives them: it follows the node's links and widgets. */

import { isLinked, outputOf } from "../common/outputs.js";
import { Background, backgroundAddress, looksChanged, paletteOf, printOf } from "./background.js";
import { COLORS } from "./color.js";

const FIXED = ["#000000", "#ffffff", "#3f8f3a"]; // what photos rarely have: beside the colours of a background

export class Ground {
  /** @param {import("./view.js").StrokesView} view */
  constructor(view) {
    this.view = view;
    this.wanted = ""; // the address of the background
    this.coming = null; // a promise while it is loaded
    this.isAwaited = false; // it is linked, and only a run tells what it is
  }

  /** Looks at what may have changed outside: sizes, links, the background. */
  look() {
    const { view } = this;
    const { owner } = view.host;
    const seen = outputOf(owner)?.dpath_canvas?.[0];
    const address = backgroundAddress(owner, seen?.background);
    for (const name of ["width", "height"]) {
      const widget = view.host.beside(name);
      if (widget) widget.disabled = isLinked(owner, "background"); // they have no effect then
    }
    if (address !== this.wanted) this.coming = this.#load(address);
    const { arrived } = this;
    if (arrived) {
      [view.background, this.arrived] = [arrived.background, null];
      view.controls.setPalette(
        view.background
          ? [...paletteOf(view.background.picture.small, COLORS.length - FIXED.length), ...FIXED]
          : COLORS,
      );
    }
    view.lens?.look?.();
    const complaint = (seen?.complaints ?? []).join(" ");
    const { width, height } = view.background?.picture ?? { width: this.#side("width"), height: this.#side("height") };
    const isOther = width !== view.frame.width || height !== view.frame.height;
    if (isOther) view.pointer.settle(); // corners are set in pixels of the picture
    const isAwaited = isLinked(owner, "background") && !address && !view.background;
    if (arrived || isOther || complaint !== view.complaint || isAwaited !== this.isAwaited) {
      this.isAwaited = isAwaited;
      view.frame = { width, height };
      view.complaint = complaint;
      view.refresh();
    }
  }

  /** Whether the drawing was made on another background than the one that is there. */
  get hasChanged() {
    const { background, drawing } = this.view;
    return (
      !this.coming && !this.arrived && Boolean(background?.picture) && looksChanged(drawing.print, background.print)
    );
  }

  /** The background before stays until the new one is there. */
  async #load(address) {
    this.wanted = address;
    const picture = address ? await Background.load(address).catch(() => null) : null;
    if (this.wanted !== address) return;
    this.coming = null;
    this.arrived = { background: picture && { picture, print: printOf(picture.small) } };
    this.view.look();
  }

  #side(name) {
    const value = Math.round(Number(this.view.host.sibling(name)));
    return value >= 16 && value <= 16384 ? value : 512;
  }
}

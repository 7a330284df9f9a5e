/** The canvas over the whole window: its own elements, moved into a dialog and back. Nothing is copied. */

import { html } from "../common/elements.js";
import { keepKeys } from "../common/widget_host.js";

/** The page's settings (Ctrl+comma) would open behind this window. */
function keep(event) {
  if (event.key === ",") event.stopPropagation();
  else keepKeys(event);
}

export class WholeWindow {
  /** panel: what moves; moved(): it has another place and size now; press(event): a key while nothing has the focus. */
  constructor(panel, moved, press) {
    Object.assign(this, { panel, moved, dialog: null });
    this.stray = (event) => {
      if (event.target !== document.body && event.target !== this.dialog) return;
      press(event); // after a click beside all controls, or on one that is gone
      keep(event);
    };
  }

  get isOpen() {
    return this.dialog !== null;
  }

  toggle() {
    if (this.isOpen) this.close();
    else this.open();
  }

  open() {
    const back = html("button", { type: "button", click: () => this.close() }, "Back to the node");
    this.place = html("div", { class: "dpath-panel dpath-strokes dpath-away" }, "The drawing fills the window.", back);
    // Escape is the drawing's first: it ends a stroke, then a selection, then this.
    const listeners = { keydown: keep, cancel: (event) => event.preventDefault() };
    this.dialog = html("dialog", { class: "dpath-window", "aria-label": "Stroke canvas", ...listeners });
    this.panel.replaceWith(this.place);
    this.dialog.append(this.panel);
    document.body.append(this.dialog);
    this.dialog.showModal();
    document.addEventListener("keydown", this.stray, true);
    this.moved();
  }

  /** Returns whether it was open. */
  close() {
    if (!this.isOpen) return false;
    const { dialog } = this;
    this.dialog = null;
    document.removeEventListener("keydown", this.stray, true);
    this.place.replaceWith(this.panel);
    dialog.remove();
    this.moved();
    return true;
  }
}

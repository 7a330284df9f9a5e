/** The canvas over the whole window: its own elements, moved into a dialog and back. Nothing is copied. */

import { html } from "../common/elements.js";
import { keepKeys } from "../common/widget_host.js";

export class WholeWindow {
  /** panel: what moves; moved(): it has another place and size now. */
  constructor(panel, moved) {
    Object.assign(this, { panel, moved, dialog: null });
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
    const listeners = { keydown: keepKeys, cancel: (event) => event.preventDefault() };
    this.dialog = html("dialog", { class: "dpath-window", "aria-label": "Stroke canvas", ...listeners });
    this.panel.replaceWith(this.place);
    this.dialog.append(this.panel);
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.moved();
  }

  /** Returns whether it was open. */
  close() {
    if (!this.isOpen) return false;
    const { dialog } = this;
    this.dialog = null;
    this.place.replaceWith(this.panel);
    dialog.remove();
    this.moved();
    return true;
  }
}

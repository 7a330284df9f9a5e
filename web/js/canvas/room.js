/** The elements in the middle of a stroke canvas: the picture, what takes the pointer and the keys, banner and zoom. */

import { html, set } from "../common/elements.js";
import { say } from "../common/language.js";

export class Room {
  /** zoomBy(factor) and fit(): what the buttons below the picture do. */
  constructor({ zoomBy, fit }) {
    this.stage = html("canvas", { class: "dpath-picture", "aria-hidden": "true" });
    // Before it is pointed and typed at: the page, and other packs, leave every key to a text box that has the focus.
    // What cannot be written into opens no keyboard on a tablet and takes no handwriting.
    const quiet = { readonly: true, spellcheck: "false", "data-capture-wheel": "true" };
    this.easel = html("textarea", { class: "dpath-easel", ...quiet });
    this.banner = html("div", { class: "dpath-banner", role: "status", hidden: true });
    this.size = html("span", {});
    this.zoom = html("span", {});
    const button = (name, title, content, click) =>
      html("button", { type: "button", title, "aria-label": name, click }, content);
    const view = html(
      "div",
      { class: "dpath-view" },
      this.size,
      button("Zoom out", "Smaller (wheel, after a click on the picture)", "\u2212", () => zoomBy(1 / 1.4)),
      button("Fit", "Fit (0)", this.zoom, fit),
      button("Zoom in", "Larger (wheel, after a click on the picture; Space drags)", "+", () => zoomBy(1.4)),
    );
    this.element = html("div", { class: "dpath-room" }, this.stage, this.easel, this.banner, view);
  }

  /** Shows sentences and [text, click] of buttons over the picture; nothing hides the banner. */
  tell(...parts) {
    const shown = parts.map((part) =>
      typeof part === "string" ? say(part) : html("button", { type: "button", click: part[1] }, part[0]),
    );
    this.banner.hidden = !parts.length;
    this.banner.replaceChildren(...shown);
  }

  describe({ width, height }, count) {
    set(this.easel, { "aria-label": `Drawing of ${width} by ${height} pixels, ${count} strokes` });
  }
}

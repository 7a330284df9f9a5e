/** What the buttons and the keys of a stroke canvas do, as a list over the picture. */

import { html } from "../common/elements.js";

const MORE = [
  ["? Esc", "Show or hide this list"],
  ["V", "A second click in one place selects what lies below"],
  [", .", "Select the next stroke of the layer, or the one before it"],
  ["\u2190 \u2191 \u2192 \u2193", "Move what is selected, or a cross; Enter draws there"],
  ["Ctrl+A", "Select all strokes of the layer: sliders and colours then change all of them"],
  ["[ ]", "Size of the brush, or of what is selected"],
  ["< >", "Turn what is selected"],
  ["Alt+[ Alt+]", "Go to the layer below or above"],
];

export class KeyList {
  /** panel(): the element with the buttons that are listed; left(): it was closed. */
  constructor(panel, left) {
    Object.assign(this, { panel, left });
    const close = html("button", { type: "button", click: () => this.close() }, "Close");
    this.list = html("dl", { class: "dpath-key-list" });
    const title = html("strong", {}, "What the buttons and keys do");
    const look = { class: "dpath-keys", role: "region", "aria-label": "What the buttons and keys do", hidden: true };
    this.element = html(
      "div",
      { ...look, tabindex: 0 },
      html("div", { class: "dpath-keys-head" }, title, close),
      this.list,
    );
  }

  toggle() {
    if (this.close()) return;
    this.list.replaceChildren(...this.#rows());
    this.element.hidden = false;
  }

  /** Returns whether it was open. */
  close() {
    const { hidden } = this.element;
    this.element.hidden = true;
    if (!hidden) this.left();
    return !hidden;
  }

  /** The buttons with what they say of themselves, and keys that have no button. */
  #rows() {
    const row = (symbol, text) => html("div", {}, html("dt", {}, symbol), html("dd", {}, text));
    const said = new Set();
    const rows = [...this.panel().querySelectorAll("button[title]")].flatMap((button) => {
      const isRepeated = said.has(button.title) || button.matches(".dpath-swatch, .dpath-layer button");
      said.add(button.title);
      const [, key = button.textContent] = /\(([0-9A-Z?])\b|$/.exec(button.title);
      const symbol = button.querySelector("svg")?.cloneNode(true) ?? html("kbd", {}, key);
      return isRepeated ? [] : [row(symbol, button.title)];
    });
    return [...rows, ...MORE.map(([key, text]) => row(html("kbd", {}, key), text))];
  }
}

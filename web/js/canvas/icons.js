/** Drawings of one line, and buttons that show one. */

import { html, svg } from "../common/elements.js";

/** A drawing on 24 x 24. shape: its path. */
export function icon(shape) {
  return svg("svg", { viewBox: "0 0 24 24", "aria-hidden": true }, svg("path", { d: shape }));
}

/** Its name is what the title says before a key or an explanation, if `more` has no other one. */
export function iconButton(title, shape, click, more = {}) {
  const name = title.replace(/ \(.*|:.*/, "");
  return html("button", { type: "button", title, "aria-label": name, ...more, click }, icon(shape));
}

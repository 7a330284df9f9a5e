/** The elements in the middle of a stroke canvas: the picture, what takes the pointer and the keys, banner and zoom. */

import { html, set } from "../common/elements.js";
import { say } from "../common/language.js";
import { heatGradient } from "./heat.js";
import { iconButton } from "./icons.js";
import { KeyList } from "./key_list.js";
import { Menu } from "./menu.js";
import { Running } from "./running.js";

const MIRROR = "M12 3v18M9 7 4 17h5zM15 7l5 10h-5z";
const SLIDERS = "M4 7h9M17 7h3M4 17h3M11 17h9M15 5v4M9 15v4";
const PILE = "m12 4 9 5-9 5-9-5zM3 13.5l9 5 9-5";
const WARMTH = "M10 14V5a2 2 0 0 1 4 0v9a4 4 0 1 1-4 0zM12 17v-7";
const GRAIN = "M6 6h0M12 4h0M18 7h0M4 12h0M10 10h0M15 12h0M20 14h0M7 17h0M13 17h0M17 20h0M10 21h0M20 3h0";
const RESULT = "M4 4h16v10H4zM4 12l5-4 4 3 3-2 4 3M7 18h10M9 21h6";
const SAVE = "M12 4v11M7 11l5 5 5-5M4 20h16";
const PIXELS = "M4 4h16v16H4zM4 12h16M12 4v16M4 12h8v8H4z";
const VECTORS = "M4 19C8 4 16 4 20 19M3 18h3v3H3zM18 18h3v3h-3zM10.5 6h3v3h-3z";
const COPY = "M9 9h11v11H9zM15 9V4H4v11h5";
const WIDEN = "M4 9V4h5M20 15v5h-5M15 4h5v5M9 20H4v-5";

const AWAITED = "The background appears after the first run.";
const LAST_RESULT =
  "Show the last result of the graph behind the drawing, then alone (U); with Run set to On Change, it follows every stroke";

export class Room {
  /** What the buttons below the picture do: zoomBy(factor), fit(), mirror(), layers(), see(lens), fold(), whole(), png(), svg(), copy(), failed(message). */
  constructor({ zoomBy, fit, mirror, layers, see, fold, whole, png, svg: vectors, copy, failed }) {
    this.stage = html("canvas", { class: "dpath-picture", "aria-hidden": "true" });
    // Before it is pointed and typed at: the page, and other packs, leave every key to a text box that has the focus.
    // What cannot be written into opens no keyboard on a tablet and takes no handwriting.
    const quiet = { readonly: true, spellcheck: "false", "data-capture-wheel": "true" };
    const keys = { "aria-description": "Arrow keys move a cross, Enter draws there with the tool" };
    this.easel = html("textarea", { class: "dpath-easel", ...quiet, ...keys });
    this.banner = html("div", { class: "dpath-banner", role: "status", hidden: true });
    this.status = html("div", { class: "dpath-heat dpath-status", role: "status", hidden: true });
    this.size = html("span", {});
    this.zoom = html("span", {});
    const named = (name, title, shape, click) => iconButton(title, shape, click, { "aria-label": name });
    const zooming = (name, title, content, click) =>
      html("button", { type: "button", title, "aria-label": name, click }, content);
    this.mirror = named("Mirror the view", "Mirror the view (M): the drawing stays as it is", MIRROR, mirror);
    this.pile = named("Layers", "Show or hide the list of layers (K)", PILE, layers);
    const lens = (name, ...given) => [name, named(...given, () => see(name))];
    this.lenses = new Map([
      lens("heat", "t0 as colours", "Show the t0 of every place as a colour (H)", WARMTH),
      lens("noise", "What the model sees", "Show approximately what the model sees at the largest t0 (T)", GRAIN),
      lens("result", "Last result", LAST_RESULT, RESULT),
    ]);
    const home = () => this.easel.focus({ preventScroll: true });
    this.keys = new KeyList(() => this.element.parentElement, home);
    this.running = new Running({ failed, result: () => see("result") });
    const help = { type: "button", title: "What the buttons and keys do (?)", "aria-label": "Help" };
    const ask = html("button", { ...help, click: () => this.keys.toggle() }, "?");
    this.large = html("button", { type: "button", class: "dpath-large", click: whole }, "Draw large"); // beside the tools
    const range = html("span", { class: "dpath-heat-scale" });
    range.style.background = heatGradient();
    this.scale = html("div", { class: "dpath-heat", "aria-hidden": "true" }, "t0: 0", range, "1");
    this.level = html("span", {});
    this.caption = html("span", {});
    this.legend = html("div", { class: "dpath-heat" }, this.caption, this.level);
    this.fold = named("Sliders", "Show or hide the sliders", SLIDERS, fold);
    this.whole = named("Whole window", "Draw in the whole window (F; Escape returns)", WIDEN, whole);
    this.saving = new Menu(
      { name: "Save or copy", title: "Save or copy the picture (S)", shape: SAVE },
      [
        ["Save as PNG", PIXELS, png],
        ["Save as SVG", VECTORS, vectors],
        ["Copy the picture", COPY, copy],
      ],
      home,
    );
    const view = html(
      "div",
      { class: "dpath-view" },
      this.size,
      this.running.text,
      this.running.done,
      this.running.button,
      zooming("Zoom out", "Smaller (wheel, after a click on the picture or a tool)", "\u2212", () => zoomBy(1 / 1.4)),
      zooming("Fit", "Fit and upright (0); 4 and 6 turn the view", this.zoom, fit),
      zooming("Zoom in", "Larger (wheel, after a click on the picture or a tool; Space drags)", "+", () => zoomBy(1.4)),
      this.mirror,
      this.saving.button,
      ...this.lenses.values(),
      this.pile,
      this.fold,
      ask,
      this.whole,
    );
    this.element = html(
      "div",
      { class: "dpath-room" },
      this.stage,
      this.easel,
      this.scale,
      this.legend,
      this.status,
      this.banner,
      this.saving.element,
      this.keys.element,
      view,
      this.running.bar,
    );
  }

  /** Shows sentences and [text, click] of buttons over the picture; nothing hides the banner. */
  tell(...parts) {
    this.told = parts;
    const texts = parts.map((part) => (typeof part === "string" ? part : part[0]));
    if (this.texts?.join("/") === texts.join("/")) return; // a button stays under the hand
    this.texts = texts;
    const click = (i) => () => this.told[i]?.[1]();
    const shown = parts.map((part, i) =>
      typeof part === "string" ? say(part) : html("button", { type: "button", click: click(i) }, part[0]),
    );
    this.banner.hidden = !parts.length;
    this.banner.replaceChildren(...shown);
  }

  /** Says where the keys are and what they do; nothing hides it. */
  say(sentence) {
    this.status.hidden = !sentence;
    this.status.textContent = say(sentence);
  }

  /** How the view stands. */
  show({ sight, lens, ground }, { folded, listed }, isWhole) {
    this.stage.style.transform = sight.mirrored ? "scaleX(-1)" : "";
    for (const [item, on] of [
      [this.mirror, sight.mirrored],
      [this.pile, listed],
      ...[...this.lenses].map(([name, each]) => [each, name === lens?.name]),
      [this.fold, !folded],
      [this.whole, isWhole],
    ])
      set(item, { "aria-pressed": String(on) });
    this.pile.hidden = isWhole;
    this.running.button.hidden = !isWhole;
    if (lens?.name === "result") this.running.done.hidden = true;
    this.scale.hidden = lens?.name !== "heat";
    const caption = lens ? lens.caption : ground.isAwaited && AWAITED;
    this.legend.hidden = !caption;
    if (!caption) return;
    this.caption.textContent = say(caption);
    this.level.textContent = lens?.level ?? "";
    this.level.hidden = !lens?.level;
  }

  describe({ width, height }, count) {
    set(this.easel, { "aria-label": `Drawing of ${width} by ${height} pixels, ${count} strokes` });
  }
}

/** The controls of the stroke canvas: they show settings and report changes; what these mean is the view's. */

import { html, set } from "../common/elements.js";
import { say } from "../common/language.js";
import { clamp } from "../common/numbers.js";
import { claim } from "../common/widget_host.js";
import { hexOf } from "./color.js";
import { bringsPaint } from "./document.js";
import { iconButton } from "./icons.js";

const ARROW = "m6 3 12 9-6 1-3 6z";
const ARROW_WITH_LASSO = "m9 9 10 7-5 1-3 5zM8 17c-6 0-7-11 1-13 6-1 11 2 10 7";
const TOOLS = [
  ["brush", "Brush (B)", "M20 4c-3 1-9 7-11 10l2 2c3-2 8-8 9-12zM8 15c-2 0-3 2-3 3s-1 2-2 2c3 1 7 0 7-3z"],
  ["line", "Straight line (L): Shift keeps to steps of 15 degrees", "M5 19 19 5"],
  ["rectangle", "Rectangle (R): Shift makes it a square", "M4 6h16v12H4z"],
  ["ellipse", "Ellipse (O): Shift makes it a circle", "M3 12c0-9 18-9 18 0s-18 9-18 0z"],
  [
    "outline",
    "Area (P): draw its outline, or click its corners; Enter closes it, Backspace removes the last corner",
    "M5 9 14 4l6 7-4 8-9-1zM5 9v.1",
  ],
  ["eraser", "Eraser (E)", "m4 15 9-10 7 6-8 9H8zM9 9l7 7"],
  [
    "blur",
    "Blur (W): softens the paint of this layer; once more softens more",
    "M12 3c4 5 6 8 6 11a6 6 0 0 1-12 0c0-3 2-6 6-11zM9 14a3 3 0 0 0 3 3",
  ],
  [
    "smudge",
    "Smudge (J): drags the paint of this layer along, as a finger would",
    "M9 21v-6l-4-5c1-2 3-1 4 1V4c0-2 3-2 3 0v6l5 1c2 1 2 2 2 4l-1 6zM3 4c2-1 2 1 4 0M15 5c2-1 3 1 5 0",
  ],
  ["fill", "Fill an area (G)", "m11 4 8 8-7 7-8-8zM4 11h15M20 15c1 2 2 3 0 4-2-1-1-2 0-4z"],
  ["pick", "Pick a colour (I, or hold Alt)", "m4 20 1-4 8-8 3 3-8 8zM12 6l6 6M15 9l3-3c1-1 3 1 2 2l-2 3z"],
  [
    "select",
    "Select strokes (V; V again for a lasso): drag moves them, drag beside them selects many, Delete deletes",
    ARROW,
  ],
];
const ACTIONS = [
  ["undo", "Undo (Z or Ctrl+Z)", "M9 7 4 11l5 4M4 11h9c4 0 6 2 6 5v2"],
  ["redo", "Redo (Shift+Z or Ctrl+Y)", "m15 7 5 4-5 4M20 11h-9c-4 0-6 2-6 5v2"],
  ["clear", "Clear this layer", "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13M10 10v7M14 10v7"],
];
const ARRANGE = [
  ["duplicate", "Duplicate (Ctrl+D)", "M9 9h11v11H9zM15 9V4H4v11h5"],
  ["remove", "Delete (Delete)", "M6 6l12 12M18 6 6 18"],
  ["raise", "Bring forward (Page Up; with Shift to the top)", "M12 20V5M6 11l6-6 6 6"],
  ["lower", "Send backward (Page Down; with Shift to the bottom)", "M12 4v15M6 13l6 6 6-6"],
];
const KEEPS = "How far the model may go from this stroke (the t0 of SDEdit): 0 keeps it, 1 forgets it";
export const WIDEST = 400; // diameter of a brush in pixels, by its slider and by keys
const OPACITIES = {
  stroke: ["Stroke opacity", "How much of what is below is covered"],
  picture: ["Layer opacity", "How much of the whole layer is seen"],
};

const SLIDERS = [
  // First those that most tools have: they stay where they are.
  ["t0", "Freedom (t0)", KEEPS, 0, 1],
  ["importance", "Importance", "How closely sketch guidance follows this line", 0, 1],
  ["size", "Size", "Diameter in pixels ([ and ])", 1, WIDEST],
  ["opacity", ...OPACITIES.stroke, 0, 1],
  ["hardness", "Hardness", "1: a hard rim, 0: soft to the middle", 0, 1],
  ["grain", "Grain", "0: smooth, 1: a dry brush on rough paper", 0, 1],
  ["smoothing", "Smoothing", "Steadies the hand", 0, 0.95],
];

const MOST_RECENT = 8; // in one row of the whole window

const LAYERS = [
  ["paint", "Paint", "Paint: the picture that the model starts from"],
  ["sketch", "Sketch", "Sketch: lines that the model is to follow, with Sketch Guidance in the graph"],
];

export class Controls {
  /** @param {{change: (name: string, value: *, done: boolean) => void, action: (name: string) => void}} report */
  constructor({ change, action }) {
    this.change = change;
    const drawn = (list, click) =>
      list.map(([name, title, shape]) => [name, iconButton(title, shape, () => click(name))]);
    this.tools = new Map(drawn(TOOLS, (name) => change("tool", name, true)));
    this.actions = new Map(drawn([...ACTIONS, ...ARRANGE], action));
    const layer = ([name, text, title]) => {
      const click = () => action(name);
      return [name, html("button", { type: "button", title, click }, text)];
    };
    this.layers = new Map(LAYERS.map(layer));
    this.sliders = new Map(SLIDERS.map(([name, ...rest]) => [name, slider(name, ...rest, change)]));
    const color = (done) => () => change("color", this.color.value, done);
    this.color = colorInput("Colour", "dpath-color", { input: color(false), change: color(true) });
    this.code = codeField(
      (value) => change("color", value, true),
      () => this.color.value,
    );
    const paper = () => change("paper", this.paper.value, true);
    this.paper = colorInput("Colour of the paper", "dpath-color dpath-paper-color", { change: paper });
    this.pressure = html("input", { type: "checkbox", change: () => change("pressure", this.pressure.checked, true) });
    const pen = { class: "dpath-check", title: "A pen's pressure changes the width" };
    this.pen = html("label", pen, this.pressure, "Pen pressure");
    const shade = () => change("gradient", this.gradient.checked, true);
    this.gradient = html("input", { type: "checkbox", change: shade });
    const shades = {
      class: "dpath-check",
      title: "From the colour to the previous one; drag the dots of a selected area",
    };
    this.shades = html("label", shades, this.gradient, "Gradient");
    this.swatches = group("dpath-swatches", "Palette");
    this.recent = group("dpath-swatches dpath-recent", "Recent colours");
    const swap = { class: "dpath-previous", title: "Swap with the previous colour (X)" };
    const saying = { "aria-label": "Previous colour", click: () => action("swap") };
    this.previous = html("button", { type: "button", ...swap, ...saying });
    this.sheet = html("label", { class: "dpath-sheet" }, html("span", {}, "Paper"), this.paper);
    const inUse = html("div", { class: "dpath-in-use" }, this.color, this.previous);
    this.colors = html("div", { class: "dpath-colors" }, inUse, this.code, this.swatches, this.recent, this.sheet);
    const groups = [
      group("dpath-tabs", "Layer", ...this.layers.values()),
      group("dpath-toolgroup", "Tool", ...this.tools.values()),
      group("dpath-toolgroup", "Steps", ...ACTIONS.map(([name]) => this.actions.get(name))),
      group("dpath-toolgroup dpath-arrange", "Selection", ...ARRANGE.map(([name]) => this.actions.get(name))),
    ];
    this.head = html("div", { class: "dpath-toolbar", role: "toolbar", "aria-label": "Tools" }, ...groups);
    const labels = [...this.sliders.values()].map(({ label }) => label);
    const sliders = html("div", { class: "dpath-sliders" }, ...labels, this.pen, this.shades);
    this.foot = html("div", { class: "dpath-foot" }, this.colors, sliders);
  }

  /** Shows settings; `shown` names the numbers that mean something now. */
  show(settings, shown, { canUndo, canRedo, paperColor, hasBackground, hasSelection }) {
    const { tools, actions, colors } = this;
    for (const [name, item] of tools) press(item, name === settings.tool);
    const arrow = settings.loop ? ARROW_WITH_LASSO : ARROW;
    tools.get("select").querySelector("path").setAttribute("d", arrow);
    for (const name of ["blur", "smudge", "fill", "pick"]) tools.get(name).hidden = settings.kind === "sketch";
    for (const [name, item] of this.layers) press(item, name === settings.kind);
    actions.get("undo").disabled = !canUndo;
    actions.get("redo").disabled = !canRedo;
    for (const [name] of ARRANGE) actions.get(name).disabled = !hasSelection;
    this.#nameOpacity(OPACITIES[settings.kind] ?? OPACITIES.stroke);
    for (const [name, { label, input, output }] of this.sliders) {
      label.hidden = !shown.includes(name);
      if (label.hidden) continue;
      input.value = name === "size" ? sizeToTrack(settings.size) : settings[name];
      output.textContent = name === "size" ? String(Math.round(settings.size * 10) / 10) : settings[name].toFixed(2);
    }
    this.pressure.checked = settings.pressure;
    this.gradient.checked = Boolean(settings.gradient);
    this.shades.hidden = !shown.includes("gradient");
    this.pen.hidden = !shown.includes("smoothing");
    this.color.value = settings.color;
    if (document.activeElement !== this.code) this.code.value = settings.color;
    this.previous.style.backgroundColor = settings.previous;
    const palette = new Set([...this.swatches.children].map(({ dataset }) => dataset.color));
    const recent = settings.recent.filter((value) => !palette.has(value)).slice(0, MOST_RECENT);
    if (this.recentShown !== recent.join()) this.#fill(this.recent, recent);
    this.recentShown = recent.join();
    this.paper.value = paperColor;
    this.sheet.hidden = hasBackground;
    set(colors, { "data-off": settings.kind === "sketch" || !bringsPaint(settings) });
    for (const swatch of this.swatches.children) press(swatch, swatch.dataset.color === settings.color);
  }

  #nameOpacity([name, title]) {
    const { label, input } = this.sliders.get("opacity");
    label.firstChild.textContent = say(name);
    set(label, { title });
    set(input, { "aria-label": name });
  }

  setPalette(list) {
    this.#fill(this.swatches, list);
  }

  #fill(place, list) {
    const swatches = list.map((value) => {
      const names = { title: value, "aria-label": `Colour ${value}`, "data-color": value };
      const click = () => this.change("color", value, true);
      const swatch = html("button", { type: "button", class: "dpath-swatch", ...names, click });
      swatch.style.backgroundColor = value;
      return swatch;
    });
    place.replaceChildren(...swatches);
  }

  disable(off) {
    const controls = [...this.head.querySelectorAll("button"), ...this.foot.querySelectorAll("input, button")];
    for (const control of controls) control.disabled = off;
  }

  /** Takes a tool, if it can be taken now. */
  choose(name) {
    const item = this.tools.get(name);
    if (!item.hidden) item.click();
  }
}

function group(look, title, ...children) {
  return html("div", { class: look, role: "group", "aria-label": title }, ...children);
}

function colorInput(title, look, listeners) {
  return html("input", { type: "color", class: look, title, "aria-label": title, ...listeners });
}

/** Where a hex code is typed; what is none is not taken. */
function codeField(take, now) {
  const end = () => {
    const color = hexOf(field.value);
    field.value = color ?? now();
    set(field, { "aria-invalid": null });
    if (color && color !== now()) take(color);
  };
  const keydown = ({ key }) => {
    if (key === "Escape") field.value = now();
    if (key === "Escape" || key === "Enter") field.blur();
  };
  const input = () => set(field, { "aria-invalid": hexOf(field.value) ? null : "true" });
  const names = { title: "Colour as a hex code, with or without #", "aria-label": "Hex code of the colour" };
  const listeners = { input, keydown, blur: end, focus: () => field.select() };
  const look = { type: "text", class: "dpath-code", maxlength: 9, spellcheck: "false", autocomplete: "off" };
  const field = html("input", { ...look, ...names, ...listeners });
  return field;
}

function press(element, on) {
  element.setAttribute("aria-pressed", String(on));
}

function slider(name, text, title, low, high, change) {
  const isSize = name === "size";
  const bounds = isSize ? { min: 0, max: 1, step: 0.005 } : { min: low, max: high, step: 0.01 };
  const report = (done) => () => change(name, isSize ? trackToSize(Number(input.value)) : Number(input.value), done);
  const listeners = { input: report(false), change: report(true) };
  const input = html("input", { type: "range", ...bounds, "aria-label": text, ...listeners });
  const dblclick = () => typeInto(output, text, (value) => change(name, clamp(value, low, high), true));
  const output = html("output", { title: "Double-click to type a number", dblclick });
  const label = html("label", { class: "dpath-slider", title }, html("span", {}, text), output, input);
  return { label, input, output };
}

/** Puts a text box in the place of a number. */
function typeInto(output, name, take) {
  let done = false;
  const end = (keep) => {
    if (done) return;
    done = true;
    const value = Number(box.value.replace(",", "."));
    box.replaceWith(output);
    if (keep && box.value.trim() && Number.isFinite(value)) take(value);
  };
  const keydown = (event) => {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    claim(event);
    const track = box.parentElement?.querySelector("input[type=range]");
    end(event.key === "Enter");
    track?.focus(); // the canvas keeps the keys
  };
  const look = { type: "text", inputmode: "decimal", class: "dpath-number", maxlength: 8, "aria-label": name };
  const box = html("input", { ...look, keydown, blur: () => end(true) });
  box.value = output.textContent;
  output.replaceWith(box);
  box.focus();
  box.select();
}

/** The size slider is finer where sizes are small. */
function trackToSize(track) {
  const size = WIDEST ** track;
  return size < 10 ? Math.round(size * 2) / 2 : Math.round(size);
}

function sizeToTrack(size) {
  return Math.log(Math.max(size, 1)) / Math.log(WIDEST);
}

/** The controls of the stroke canvas: they show settings and report changes; what these mean is the view's. */

import { html, set, svg } from "./elements.js";

const TOOLS = [
  ["brush", "Brush (B)", "M20 4c-3 1-9 7-11 10l2 2c3-2 8-8 9-12zM8 15c-2 0-3 2-3 3s-1 2-2 2c3 1 7 0 7-3z"],
  ["line", "Straight line (L): Shift keeps to steps of 15 degrees", "M5 19 19 5"],
  ["eraser", "Eraser (E)", "m4 15 9-10 7 6-8 9H8zM9 9l7 7"],
  ["fill", "Fill an area (G)", "m11 4 8 8-7 7-8-8zM4 11h15M20 15c1 2 2 3 0 4-2-1-1-2 0-4z"],
  ["pick", "Pick a colour (I, or hold Alt)", "m4 20 1-4 8-8 3 3-8 8zM12 6l6 6M15 9l3-3c1-1 3 1 2 2l-2 3z"],
  ["select", "Select a stroke (V): drag moves, Delete deletes, comma and full stop step through", "m6 3 12 9-6 1-3 6z"],
];
const ACTIONS = [
  ["undo", "Undo (Z or Ctrl+Z)", "M9 7 4 11l5 4M4 11h9c4 0 6 2 6 5v2"],
  ["redo", "Redo (Shift+Z or Ctrl+Y)", "m15 7 5 4-5 4M20 11h-9c-4 0-6 2-6 5v2"],
  ["clear", "Clear this layer", "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13M10 10v7M14 10v7"],
];
const SLIDERS = [
  ["size", "Size", "Diameter in pixels ([ and ])", 1, 400],
  ["opacity", "Opacity", "How much of what is below is covered", 0, 1],
  ["hardness", "Hardness", "1: a hard rim, 0: soft to the middle", 0, 1],
  ["t0", "t0", "How far SDEdit may go from this stroke: 0 keeps it, 1 forgets it", 0, 1],
  ["importance", "Importance", "How closely sketch guidance follows this line", 0, 1],
  ["smoothing", "Smoothing", "Steadies the hand", 0, 0.95],
];

/**
 * @param {{change: (name: string, value: *, done: boolean) => void, action: (name: string) => void}} report
 */
export function buildControls({ change, action }) {
  const tools = new Map(TOOLS.map(([name, title, shape]) => [name, button(title, shape, () => change("tool", name, true))]));
  const layers = new Map(
    [["paint", "Paint", "Paint: the picture SDEdit starts from"], ["sketch", "Sketch", "Sketch lines for sketch guidance"]].map(
      ([name, text, title]) => [name, html("button", { type: "button", title, click: () => change("layer", name, true) }, text)],
    ),
  );
  const actions = new Map(ACTIONS.map(([name, title, shape]) => [name, button(title, shape, () => action(name))]));
  const sliders = new Map(SLIDERS.map(([name, ...rest]) => [name, slider(name, ...rest, change)]));
  const color = html("input", { type: "color", class: "dpath-color", title: "Colour", "aria-label": "Colour",
    input: () => change("color", color.value, false), change: () => change("color", color.value, true) });
  const paper = html("input", { type: "color", class: "dpath-color dpath-paper-color", title: "Colour of the paper",
    "aria-label": "Colour of the paper", change: () => change("paper", paper.value, true) });
  const pressure = html("input", { type: "checkbox", change: () => change("pressure", pressure.checked, true) });
  const pen = html("label", { class: "dpath-check", title: "A pen's pressure changes the width" }, pressure, "Pen pressure");
  const swatches = html("div", { class: "dpath-swatches", role: "group", "aria-label": "Palette" });
  const colors = html("div", { class: "dpath-colors" }, color, swatches, paper);
  const head = html("div", { class: "dpath-toolbar", role: "toolbar", "aria-label": "Tools" },
    html("div", { class: "dpath-tabs", role: "group", "aria-label": "Layer" }, ...layers.values()),
    html("div", { class: "dpath-toolgroup", role: "group", "aria-label": "Tool" }, ...tools.values()),
    html("div", { class: "dpath-toolgroup", role: "group", "aria-label": "Steps" }, ...actions.values()));
  const foot = html("div", { class: "dpath-foot" }, colors,
    html("div", { class: "dpath-sliders" }, ...[...sliders.values()].map(({ label }) => label), pen));

  /** Shows settings; `shown` names the numbers that mean something now. */
  function show(settings, shown, { canUndo, canRedo, paperColor, hasBackground }) {
    for (const [name, item] of tools) press(item, name === settings.tool);
    for (const name of ["fill", "pick"]) tools.get(name).hidden = settings.layer === "sketch";
    for (const [name, item] of layers) press(item, name === settings.layer);
    actions.get("undo").disabled = !canUndo;
    actions.get("redo").disabled = !canRedo;
    for (const [name, { label, input, output }] of sliders) {
      label.hidden = !shown.includes(name);
      if (label.hidden) continue;
      input.value = name === "size" ? sizeToTrack(settings.size) : settings[name];
      output.textContent = name === "size" ? String(Math.round(settings.size * 10) / 10) : settings[name].toFixed(2);
    }
    pressure.checked = settings.pressure;
    pen.hidden = !shown.includes("smoothing");
    color.value = settings.color;
    paper.value = paperColor;
    paper.hidden = hasBackground;
    set(colors, { "data-off": settings.layer === "sketch" || settings.tool === "eraser" });
    for (const swatch of swatches.children) press(swatch, swatch.dataset.color === settings.color);
  }

  function setPalette(list) {
    swatches.replaceChildren(...list.map((value) => {
      const swatch = html("button", { type: "button", class: "dpath-swatch", title: value, "aria-label": `Colour ${value}`,
        "data-color": value, click: () => change("color", value, true) });
      swatch.style.backgroundColor = value;
      return swatch;
    }));
  }

  function disable(off) {
    for (const control of [...head.querySelectorAll("button"), ...foot.querySelectorAll("input, button")])
      control.disabled = off;
  }

  /** Takes a tool, if it can be taken now. */
  function choose(name) {
    const item = tools.get(name);
    if (!item.hidden) item.click();
  }

  return { head, foot, show, setPalette, disable, choose };
}

function icon(shape) {
  return svg("svg", { viewBox: "0 0 24 24", "aria-hidden": true }, svg("path", { d: shape }));
}

function button(title, shape, click) {
  return html("button", { type: "button", title, "aria-label": title.replace(/ \(.*/, ""), click }, icon(shape));
}

function press(element, on) {
  element.setAttribute("aria-pressed", String(on));
}

function slider(name, text, title, low, high, change) {
  const isSize = name === "size";
  const bounds = isSize ? { min: 0, max: 1, step: 0.005 } : { min: low, max: high, step: 0.01 };
  const value = () => (isSize ? trackToSize(Number(input.value)) : Number(input.value));
  const input = html("input", { type: "range", ...bounds, "aria-label": text,
    input: () => change(name, value(), false), change: () => change(name, value(), true) });
  const output = html("output", {});
  const label = html("label", { class: "dpath-slider", title }, html("span", {}, text), output, input);
  return { label, input, output };
}

/** The size slider is finer where sizes are small. */
function trackToSize(track) {
  const size = 400 ** track;
  return size < 10 ? Math.round(size * 2) / 2 : Math.round(size);
}

function sizeToTrack(size) {
  return Math.log(Math.max(size, 1)) / Math.log(400);
}

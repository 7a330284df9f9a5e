/** The small parts of the curve editor: labels, grips, fields, icons. No side effects. */

import { html, svg } from "./elements.js";
import { FORMULAS } from "./schedule_math.js";

export function label(x, y, text, anchor) {
  return svg("text", { x, y, "text-anchor": anchor }, String(text));
}

export function upright(x, y, text) {
  return svg("text", { transform: `translate(${x} ${y}) rotate(-90)`, "text-anchor": "middle" }, text);
}

export function grip(name) {
  return svg("g", {
    class: "dpath-grip",
    "data-grip": name,
    tabindex: "0",
    role: "slider",
    "aria-label": { start: "Window start", end: "Window end" }[name],
    "aria-valuemin": 0,
    "aria-valuemax": 1,
  });
}

export function button(title, content, click, role = null) {
  return html("button", { type: "button", title, "aria-label": title, role, click }, content);
}

export function field(name, title, low) {
  const input = html("input", { type: "number", step: "0.01", min: low, max: 1, title, "aria-label": title });
  const show = (value) => {
    if (document.activeElement !== input || input.value === "" || Number(input.value) !== value) input.value = value;
    input.disabled = value === "";
  };
  return { input, show, label: html("label", {}, name, input) };
}

/** What the path is about, under its axis: grains that thin out towards the picture. */
export function noiseStrip({ left, right, bottom }) {
  let seed = 7;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const grains = [];
  for (let x = left; x < right - 1; x += 1.2) {
    const place = (x - left) / (right - left);
    if (random() > place ** 0.8)
      grains.push(`M${x.toFixed(1)} ${(bottom + 8 + 6 * random()).toFixed(1)}h1.4v1.4h-1.4z`);
  }
  return svg("path", { d: grains.join(""), class: "dpath-grain" });
}

export function icon(shape) {
  const trail =
    shape === "curve"
      ? [
          [0, 0.35],
          [0.35, 1],
          [0.65, 0.3],
          [1, 0],
        ]
      : Array.from({ length: 13 }, (_, k) => [k / 12, FORMULAS[shape](k / 12)]);
  const place = ([u, weight]) => [2 + u * 16, 12 - weight * 10];
  const dots =
    shape === "curve"
      ? trail.slice(1, 3).map((point) => svg("circle", { cx: place(point)[0], cy: place(point)[1], r: 2 }))
      : [];
  return svg(
    "svg",
    { viewBox: "0 0 20 14", width: 20, height: 14, "aria-hidden": true },
    svg("polyline", { points: trail.map((point) => place(point).join()).join(" ") }),
    ...dots,
  );
}

export function magnet() {
  return svg(
    "svg",
    { viewBox: "0 0 16 14", width: 16, height: 14, "aria-hidden": true },
    svg("path", { d: "M3 2v5a5 5 0 0 0 10 0V2M3 4.5h3M10 4.5h3M6 2v5a2 2 0 0 0 4 0V2" }),
  );
}

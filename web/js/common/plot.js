/** The parts of plots over the path, which runs from noise, left, to the picture, right. */

import { html, svg } from "./elements.js";

/** The room inside of an element's edges, and its whole size, in its own pixels. */
export function boxOf({ clientWidth, clientHeight }, { left, right, top, bottom }) {
  const [width, height] = [clientWidth || 300, clientHeight || 150];
  const [x1, y1] = [Math.max(width - right, left + 40), Math.max(height - bottom, top + 20)];
  return { left, top, right: x1, bottom: y1, width, height };
}

/** Where a pointer is in an element, which may be scaled with the graph, in the element's own pixels. */
export function placeIn(element, { clientX, clientY }) {
  const { left, top, width, height } = element.getBoundingClientRect();
  return { x: ((clientX - left) / width) * element.clientWidth, y: ((clientY - top) / height) * element.clientHeight };
}

export function label(x, y, text, anchor) {
  return svg("text", { x, y, "text-anchor": anchor }, String(text));
}

export function line(x1, y1, x2, y2, look) {
  return svg("line", { x1, y1, x2, y2, class: look });
}

/** A bar between two places and two heights, in any order; at least half a pixel of it is seen. */
export function bar(x0, x1, y0, y1, look) {
  const size = { width: Math.max(x1 - x0, 0.5), height: Math.max(Math.abs(y1 - y0), 0.5) };
  return svg("rect", { x: x0, y: Math.min(y0, y1), ...size, class: look });
}

/** The `points` of a polyline. */
export function pointsText(points) {
  return points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
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

export function button(title, content, click, role = null) {
  return html("button", { type: "button", title, "aria-label": title, role, click }, content);
}

/** A drawing in a button. */
export function icon(width, height, ...shapes) {
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": true }, ...shapes);
}

/** The key is the view's: the page must not delete or move the node by it. */
export function consume(event) {
  event.preventDefault();
  event.stopPropagation();
}

/** Elements in one expression. Text always goes in as text, never as HTML, and in the language of the page. */

import { say } from "./language.js";

const SVG = "http://www.w3.org/2000/svg";
const SPOKEN = new Set(["title", "aria-label", "aria-description", "aria-valuetext", "placeholder"]);

export function html(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** Sets attributes; null and false take one away, functions become listeners. */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === null || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : SPOKEN.has(name) ? say(value) : value);
  }
  return element;
}

/** Loads the style sheet of the pack once. */
export function style() {
  const { href } = new URL("../../css/widgets.css", import.meta.url);
  if (!document.querySelector(`link[href="${href}"]`)) document.head.append(html("link", { rel: "stylesheet", href }));
}

function filled(element, attributes, children) {
  set(element, attributes);
  const spoken = (child) => (typeof child === "string" ? say(child) : child);
  element.append(...children.filter((child) => child !== null).map(spoken));
  return element;
}

/** A button with a short list of what it can do, which opens above it. */

import { html, set } from "../common/elements.js";
import { claim } from "../common/widget_host.js";
import { icon, iconButton } from "./icons.js";

export class Menu {
  /** shape: of the icon; items: [text, shape, act()]; left(): the list was closed by a key. */
  constructor({ name, title, shape }, items, left) {
    this.left = left;
    const click = (event) => {
      event.stopPropagation(); // a click gives the focus to the stage, and would close the list
      this.toggle();
    };
    const look = { "aria-label": name, "aria-haspopup": "menu", "aria-expanded": "false" };
    this.button = iconButton(title, shape, click, look);
    const choose = (act) => () => {
      this.close();
      act();
    };
    const listed = items.map(([text, drawn, act]) =>
      html("button", { type: "button", role: "menuitem", click: choose(act) }, icon(drawn), html("span", {}, text)),
    );
    const keydown = (event) => this.#press(event);
    const focusout = ({ relatedTarget: to }) => {
      if (!this.element.contains(to) && to !== this.button) this.close();
    };
    const attributes = { class: "dpath-menu", role: "menu", "aria-label": name, hidden: true, keydown, focusout };
    this.element = html("div", attributes, ...listed);
  }

  toggle() {
    if (!this.element.hidden) return this.close();
    this.#show(true);
    this.element.firstChild.focus({ preventScroll: true });
  }

  close() {
    this.#show(false);
  }

  #show(on) {
    this.element.hidden = !on;
    set(this.button, { "aria-expanded": String(on) });
  }

  #press(event) {
    const items = [...this.element.children];
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) items.at((items.indexOf(document.activeElement) + by) % items.length).focus({ preventScroll: true });
    else if (event.key === "Escape") {
      this.close();
      this.left();
    } else if (event.key !== "Enter" && event.key !== " ") return;
    if (event.key !== "Enter" && event.key !== " ") claim(event);
    event.stopPropagation();
  }
}

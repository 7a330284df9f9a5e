/** The list of layers beside or over the picture: it shows them and reports what is clicked. */

import { html, set } from "../common/elements.js";
import { say } from "../common/language.js";
import { clamp } from "../common/numbers.js";
import { claim } from "../common/widget_host.js";
import { iconButton } from "./icons.js";
import { RowDrag } from "./layer_drag.js";
import { titleOf } from "./layers.js";

const EYE = "M2 12c4-7 16-7 20 0-4 7-16 7-20 0zM12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z";
const SHUT = "M2 12c4 7 16 7 20 0M5 16l-2 3M12 17.5v3.5M19 16l2 3";
const LOCKED = "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3";
const OPEN = "M6 11h12v9H6zM8.5 11V7a3.5 3.5 0 0 1 6.8-1.2";
const LASSO = "M4 10c0-8 16-8 16 0 0 5-8 6-12 4-2-1-1-4 1-3 2 1 0 5-2 5s-1 3-3 4";
const ACTIONS = [
  ["add", "New layer (N): takes the strokes that are selected", "M12 5v14M5 12h14"],
  ["picture", "Add a picture as a layer (or drop or paste one)", "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 8.5v.1"],
  ["lasso", "Cut out a part of a picture or of the background (C): draw around it", LASSO],
  ["ground", "Make this picture the background", "M4 3h16v10H4zM4 10l4-3 3 3 3-2 6 4M12 15v6M9 18l3 3 3-3"],
  ["raise", "Move the layer up", "M12 20V5M6 11l6-6 6 6"],
  ["lower", "Move the layer down", "M12 4v15M6 13l6 6 6-6"],
  ["rename", "Rename the layer (F2, or a double click on its name)", "M4 20l1-4L16 5l3 3L8 19zM13 8l3 3"],
  ["remove", "Delete the layer and what is on it", "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13M10 10v7M14 10v7"],
];

const CHOOSE = "Draw on this layer; drag it to another place; Shift and a click: send the selected strokes to it";

/** What the number beside a name is: of what is drawn on the layer, or of what will be. */
const NUMBERS = {
  paint: ["The t0 of the strokes on this layer", "New strokes on this layer begin with this t0."],
  sketch: ["The importance of the lines on this layer", "New lines on this layer begin with this importance."],
  picture: ["The t0 of this picture", "The t0 of this picture"],
};

export class LayerPanel {
  /** @param {import("./layer_desk.js").LayerDesk} desk; actions: what buttons of the canvas do, by name */
  constructor(desk, { add, picture, lasso, ground }) {
    this.desk = desk;
    this.rows = new Map(); // by id
    this.drag = new RowDrag(desk, (id) => this.rows.get(id)?.row);
    this.list = html("div", { class: "dpath-layer-list", role: "list", "aria-label": "Layers" });
    const acts = {
      ...{ add, picture, lasso, ground },
      raise: () => desk.raise(1),
      lower: () => desk.raise(-1),
      rename: () => this.rename(desk.active.id),
      remove: () => desk.remove(),
    };
    this.actions = new Map(ACTIONS.map(([name, title, shape]) => [name, iconButton(title, shape, acts[name])]));
    const slide = (done) => () => desk.change(desk.active.id, { opacity: Number(this.opacity.value) }, done);
    const range = { type: "range", min: 0, max: 1, step: 0.01, "aria-label": "Layer opacity" };
    this.opacity = html("input", { ...range, input: slide(false), change: slide(true) });
    this.share = html("output", {});
    const names = { class: "dpath-slider", title: "How much of the whole layer is seen" };
    const label = html("label", names, html("span", {}, "Layer opacity"), this.share, this.opacity);
    const bar = { class: "dpath-toolgroup", role: "group", "aria-label": "Layer" };
    const look = { class: "dpath-layers", role: "group", "aria-label": "Layers" };
    this.element = html(
      "div",
      { ...look, keydown: (event) => this.#press(event) },
      label,
      html("div", bar, ...this.actions.values()),
      this.list,
    );
  }

  /** Shows the layers, the uppermost first. */
  show(off) {
    const { desk } = this;
    const layers = desk.list;
    const { active } = desk;
    const cuts = desk.view.settings.tool === "lasso";
    set(this.actions.get("lasso"), { "aria-pressed": String(cuts) });
    const { drawing } = desk.view;
    const state = [active, off, drawing.layers, drawing.strokes];
    this.opacity.value = active.opacity;
    this.share.textContent = active.opacity.toFixed(2);
    if (this.state?.every((value, i) => value === state[i])) return;
    this.state = state;
    const focused = document.activeElement;
    for (const id of this.rows.keys()) if (!layers.some((layer) => layer.id === id)) this.rows.delete(id);
    const spans = desk.spans();
    const rows = layers.map((layer) => this.#rowOf(layer, layer === active, off, spans.get(layer.id))).reverse();
    if (rows.some((row, i) => this.list.children[i] !== row) || this.list.children.length !== rows.length) {
      this.list.replaceChildren(...rows);
      if (this.list.contains(focused)) focused.focus({ preventScroll: true });
    }
    const { offsetTop, offsetHeight } = this.rows.get(active.id).row;
    this.list.scrollTop = clamp(this.list.scrollTop, offsetTop + offsetHeight - this.list.clientHeight, offsetTop);
    this.actions.get("raise").disabled = off || !desk.canRaise(1);
    this.actions.get("lower").disabled = off || !desk.canRaise(-1);
    this.actions.get("remove").disabled = off || !desk.canRemove;
    for (const name of ["add", "picture", "lasso", "rename"]) this.actions.get(name).disabled = off;
    this.actions.get("ground").disabled = off || !active.picture || active.locked;
    this.opacity.disabled = off;
  }

  /** Puts a text box in the place of a name. */
  rename(id) {
    const { name } = this.rows.get(id);
    const layer = this.desk.list.find((each) => each.id === id);
    let done = false;
    const end = (keep) => {
      if (done) return;
      done = true;
      const hadFocus = box === document.activeElement;
      box.replaceWith(name);
      if (hadFocus) name.focus({ preventScroll: true });
      if (keep && (box.value.trim() || layer.name)) this.desk.rename(id, box.value.trim());
    };
    const keydown = (event) => {
      if (event.key === "Enter" || event.key === "Escape") {
        claim(event);
        end(event.key === "Enter");
      }
    };
    const look = { type: "text", maxlength: 60, class: "dpath-layer-name", "aria-label": "Name of the layer" };
    const box = html("input", { ...look, keydown, blur: () => end(true) });
    box.value = name.textContent;
    name.replaceWith(box);
    box.focus();
    box.select();
  }

  #rowOf(layer, isActive, off, span) {
    const { id } = layer;
    const { desk } = this;
    if (!this.rows.has(id)) {
      const take = (event) => (event.shiftKey && desk.view.selectedStroke ? desk.send(id) : desk.choose(id));
      const choose = (event) => this.drag.isOver || take(event);
      const eye = iconButton("Hide or show the layer", EYE, () => desk.toggle(id, "hidden"));
      const lock = iconButton("Lock or unlock the layer", OPEN, () => desk.toggle(id, "locked"));
      const dblclick = () => desk.view.locked || this.rename(id);
      const look = { type: "button", class: "dpath-layer-name", title: CHOOSE };
      const name = html("button", { ...look, click: choose, dblclick, ...this.drag.listeners(id) });
      const number = html("span", { class: "dpath-layer-default" });
      const row = html("div", { class: "dpath-layer", role: "listitem" }, eye, name, number, lock);
      this.rows.set(id, { row, eye, name, number, lock });
    }
    const { row, eye, name, number, lock } = this.rows.get(id);
    set(row, { "data-active": isActive, "data-hidden": layer.hidden, "data-kind": layer.kind });
    name.textContent = layer.name || say(titleOf(layer));
    set(name, { "aria-pressed": String(isActive) });
    showState(eye, layer.hidden ? SHUT : EYE, layer.hidden, off);
    showState(lock, layer.locked ? LOCKED : OPEN, layer.locked, off);
    const begin = layer.kind === "sketch" ? layer.importance : layer.t0;
    number.textContent = span || begin !== null ? numberOf(layer.kind, ...(span ?? [begin, begin])) : "";
    set(number, { title: NUMBERS[layer.kind][span ? 0 : 1] });
    return row;
  }

  /** Up and down walk through the names, F2 renames, Delete deletes. */
  #press(event) {
    if (event.key === "Escape" && this.drag.cancel()) return claim(event);
    const row = event.target.closest?.(".dpath-layer");
    if (!row || event.target.type === "text") return;
    const by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (by) this.desk[event.altKey ? "raise" : "step"](by);
    else if (event.key === "F2" && !this.desk.view.locked) this.rename(this.desk.active.id);
    else if (event.key === "Delete") this.desk.remove();
    else return;
    claim(event);
    if (event.key !== "F2") this.rows.get(this.desk.active.id).name.focus({ preventScroll: true });
  }
}

function numberOf(kind, ...span) {
  const [least, most] = span.map((value) => value.toFixed(2));
  const isOne = least === most;
  if (kind === "sketch") return say(isOne ? `importance ${least}` : `importance ${least}\u2013${most}`);
  return isOne ? `t0 ${least}` : `t0 ${least}\u2013${most}`;
}

function showState(element, shape, on, off) {
  set(element, { "aria-pressed": String(on) });
  element.disabled = off;
  element.querySelector("path").setAttribute("d", shape);
}

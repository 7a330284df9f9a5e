/** Rows of the list of layers that are dragged to another place; a finger has to rest first, or it scrolls the list. */

import { clamp } from "../common/numbers.js";
import { isSketch } from "./layers.js";

const LEAST_WAY = 4; // pixels that a click may move
const REST_MS = 350; // before a finger holds a row; a context menu would come after 500
const REST_REACH = 8; // pixels that it may move in that time

export class RowDrag {
  /** rowOf(id): the element of a layer. @param {import("./layer_desk.js").LayerDesk} desk */
  constructor(desk, rowOf) {
    Object.assign(this, { desk, rowOf, held: null, wasDrag: false });
  }

  /** Whether the click that follows was the end of a drag. */
  get isOver() {
    return this.wasDrag;
  }

  /** Listeners for what a layer is held by. */
  listeners(id) {
    const end = (keep) => (event) => this.held?.pointer === event.pointerId && this.#end(keep);
    return {
      pointerdown: (event) => this.#begin(event, id),
      pointermove: (event) => this.held?.pointer === event.pointerId && this.#move(event),
      pointerup: end(true),
      pointercancel: end(false),
      lostpointercapture: end(false),
      // What a finger would do instead: scroll the list, and open the menu of the node.
      touchmove: (event) => this.held?.isReady && event.preventDefault(),
      contextmenu: (event) => this.held && stop(event),
    };
  }

  /** Ends it without a change; returns whether there was anything to end. */
  cancel() {
    return this.held?.isMoved ? (this.#end(false), true) : false;
  }

  #begin(event, id) {
    if (event.button !== 0 || this.desk.view.locked) return;
    if (this.held) this.#end(false); // by another finger, or of a row that is gone
    const isReady = event.pointerType !== "touch";
    this.held = { id, pointer: event.pointerId, from: event.clientY, isReady, isMoved: false, gap: null };
    if (!isReady) this.rest = setTimeout(() => this.#lift(), REST_MS);
    event.currentTarget.setPointerCapture(event.pointerId);
  }

  #lift() {
    this.held.isReady = true;
    this.rowOf(this.held.id)?.toggleAttribute("data-dragged", true);
  }

  #move(event) {
    const { held } = this;
    const way = Math.abs(event.clientY - held.from);
    if (!held.isReady) return way < REST_REACH || this.#end(false);
    if (!held.isMoved && way < LEAST_WAY) return;
    held.isMoved = true;
    const pile = this.#pile;
    const above = pile.filter(({ id }) => middleOf(this.rowOf(id)) < event.clientY).length;
    held.gap = clamp(above, 0, pile.length);
    this.#mark(pile);
  }

  /** The layers among which this one can lie, as they are listed: the uppermost first. */
  get #pile() {
    const { list } = this.desk;
    const own = list.find(({ id }) => id === this.held.id);
    return own ? list.filter((layer) => isSketch(layer) === isSketch(own)).reverse() : [];
  }

  #mark(pile) {
    const { id, gap } = this.held;
    for (const [k, layer] of pile.entries()) {
      const row = this.rowOf(layer.id);
      row.toggleAttribute("data-dragged", layer.id === id);
      const side = k === gap ? "above" : k === gap - 1 && gap === pile.length ? "below" : null;
      if (side) row.dataset.drop = side;
      else delete row.dataset.drop;
      if (side) row.scrollIntoView({ block: "nearest" });
    }
  }

  #end(keep) {
    clearTimeout(this.rest);
    const { id, gap, isMoved } = this.held;
    const pile = this.#pile;
    for (const layer of pile) {
      this.rowOf(layer.id)?.removeAttribute("data-dragged");
      delete this.rowOf(layer.id)?.dataset.drop;
    }
    this.held = null;
    this.wasDrag = isMoved;
    setTimeout(() => (this.wasDrag = false));
    const isThere = pile.some((layer) => layer.id === id);
    if (keep && isMoved && isThere) this.desk.move(id, pile.slice(gap).find((layer) => layer.id !== id)?.id ?? null);
  }
}

function stop(event) {
  event.preventDefault();
  event.stopPropagation();
}

function middleOf(row) {
  const { top, height } = row.getBoundingClientRect();
  return top + height / 2;
}

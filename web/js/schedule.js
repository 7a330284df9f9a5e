/** The curve editor of Path Schedule: the text of `curve` drawn over the path, with its window and its shape. */
import { app } from "../../../scripts/app.js";

import { CurveView } from "./schedule/view.js";
import { isLinked, outputOf } from "./common/outputs.js";
import { captureUndo, hostWidget } from "./common/widget_host.js";

const LOOK_AGAIN_MS = 120;

/** Joins the view with the node: the text is the host's, everything else are widgets beside it. */
class ScheduleCurve {
  constructor(host) {
    this.host = host;
    this.text = host.value;
    this.snap = true;
    this.view = new CurveView({ onEdit: (change) => this.#edit(change), onCommit: () => this.#commit() });
    host.element.append(this.view.element);
    // Values beside it change in many ways (both renderers, undo, links, promotion), and no event tells of all.
    this.timer = setInterval(() => this.#refresh(), LOOK_AGAIN_MS);
    this.#refresh();
  }

  show(text) {
    this.text = text;
    this.#refresh();
  }

  changed() {
    this.#refresh();
  }

  setReadOnly() {
    // The page takes the element of a linked input away (both renderers or one, by its version); here it shows what comes
    // through the link.
    const { widget } = this.host;
    for (const hiding of widget ? ["computedDisabled", "connectionSuppressed"] : []) {
      widget[hiding] = false; // what the link has set already stays behind a property of our own
      Object.defineProperty(widget, hiding, { get: () => false, set() {}, configurable: true });
    }
    this.#refresh();
  }

  dispose() {
    clearInterval(this.timer);
  }

  #state() {
    const { host } = this;
    const run = outputOf(host.owner)?.dpath_schedule?.[0];
    // What comes through a link is known after a run; what is promoted is a widget still.
    const linked = (name) => host.node === host.owner && isLinked(host.owner, name);
    const beside = (name) => (linked(name) ? run?.[name] : undefined) ?? host.sibling(name);
    const number = (name, otherwise) => (Number.isFinite(Number(beside(name))) ? Number(beside(name)) : otherwise);
    const real = isLinked(host.owner, "sigmas") ? run : null;
    return {
      start: number("start", 1),
      end: number("end", 0.5),
      shape: beside("shape") ?? "constant",
      weight: number("weight", 1),
      text: this.text,
      snap: this.snap,
      steps: Math.max(1, real?.steps ?? number("steps", 20)),
      sigmas: real?.sigmas ?? null,
      positions: real?.positions ?? null,
      linked: host.readOnly ? { samples: run?.curve ?? null } : null,
    };
  }

  #refresh() {
    const state = this.#state();
    const look = JSON.stringify(state);
    if (look === this.look) return;
    this.look = look;
    this.view.show(state);
  }

  #edit({ text, snap, ...beside }) {
    this.text = text ?? this.text;
    this.snap = snap ?? this.snap;
    for (const [name, value] of Object.entries(beside)) {
      const widget = this.host.beside(name);
      if (!widget || widget.value === value) continue;
      widget.value = value;
      widget.callback?.(value);
    }
    this.#refresh();
    app.canvas?.setDirty(true, true);
  }

  #commit() {
    this.host.commit(this.text);
    captureUndo();
  }
}

hostWidget({
  type: "DPATH_CURVE",
  targets: { DPathSchedule: ["curve"] },
  minWidth: 320,
  minHeight: 250,
  build: (host) => new ScheduleCurve(host),
});

/**
 * Hosts a widget of our own on a node: an element whose value is the text of one of the node's STRING inputs.
 *
 *     import { hostWidget } from "./common/widget_host.js";
 *     hostWidget({
 *       type: "DPATH_CURVE",                          // unlike every core widget type
 *       targets: { DPathSchedule: ["curve"] },        // node id -> its STRING inputs
 *       minWidth: 320, minHeight: 200,                // pixels at zoom 1
 *       build: (host) => new CurveView(host),         // see View
 *     });
 *
 * Call it once per widget, in a module directly in web/js: ComfyUI loads every .js file below web/, and only those may do
 * anything then. Python declares a plain `io.String.Input("curve", default="", multiline=True)`: if the script cannot
 * load, people see the JSON text. The same element serves the classic canvas and Nodes 2.0. The host looks after: value
 * in the workflow, undo of the graph, copy and paste, reload, tabs, live change of renderer, linked inputs (read-only)
 * and promotion to a subgraph node. Nothing may be kept in the view that `host.value` does not hold, except for comfort.
 *
 * The rules for views:
 * - put elements into `host.element`; it fills the widget's room and never gets smaller than minHeight;
 * - call `host.commit(text)` once per finished edit (pointer up, key, menu), not while dragging;
 * - coordinates come from getBoundingClientRect() as ratios: the element is scaled with the graph;
 * - setPointerCapture on pointerdown and end on pointerup AND pointercancel;
 * - wheel, middle and right button go to the graph unless the view calls preventDefault on the event;
 * - keys typed inside the element never reach the graph, except for Ctrl+S, Ctrl+O, Ctrl+comma, Ctrl+Enter and the F keys.
 *
 * @typedef {object} View
 * @property {(text: string) => void} show       the value was set from outside: workflow, undo, paste, an API
 * @property {(readOnly: boolean) => void} [setReadOnly]  the input is linked or promoted: show, but do not edit
 * @property {() => void} [changed]               another widget or a link of the node changed
 * @property {() => void} [dispose]               the widget is gone: stop observers and timers
 *
 * @typedef {object} Spec
 * @property {string} type
 * @property {Record<string, string[]>} targets
 * @property {number} minWidth
 * @property {number} minHeight
 * @property {(host: WidgetHost) => View} build
 */
import { app } from "../../../../scripts/app.js";

import { html, set, style } from "./elements.js";
import { isLinked, linkOf } from "./outputs.js";

/** The page's number of the node that a subgraph's inputs come from. */
const SUBGRAPH_INPUTS = -10;

/** Keys of the graph that stay alive inside a widget: queue, save, open and the like. */
const GRAPH_KEYS = new Set(["s", "o", ",", "Enter", "F5", "F11", "F12"]);

/** What a view sees of its node. */
export class WidgetHost {
  /**
   * @param {Spec} spec
   * @param {object} node the node that shows the widget: the node itself, or a subgraph node it was promoted to
   * @param {string} name the input's name on that node
   * @param {object} owner the node whose input it is
   */
  constructor(spec, node, name, owner, store = null) {
    Object.assign(this, { spec, node, name, owner });
    this.store = store; // of a promoted widget: where its value lives
    this.text = "";
    this.readOnly = false;
    style();
    const size = `width: 100%; height: 100%; min-height: ${spec.minHeight}px; box-sizing: border-box`;
    const look = `${size}; position: relative; overflow: hidden`;
    this.element = html("div", { "data-widget": spec.type, "data-input": name, style: look, keydown: keepKeys });
    forwardToClassicCanvas(this);
    this.view = spec.build(this);
  }

  /** The text in the workflow. */
  get value() {
    return this.store ? String(this.store.value ?? "") : this.text;
  }

  /** Saves an edit of the view: the value, and one step of the graph's undo. */
  commit(text) {
    if (this.readOnly || text === this.value) return;
    this.keep(text);
    this.widget?.callback?.(text);
    this.node.graph?.setDirtyCanvas?.(true, true);
    captureUndo();
  }

  /** The value from outside. */
  receive(value) {
    const text = asText(value);
    const same = text === this.shown;
    this.keep(text);
    if (!same) this.view.show(text);
  }

  /** Another widget of the owning node; of a promoted one that which is promoted with it, if it is. */
  beside(name) {
    const { node, owner } = this;
    const link = node === owner ? null : linkOf(owner, name);
    const outer = isFromOutside(link) && node.inputs?.[link.origin_slot];
    return (outer && node.getWidgetFromSlot?.(outer)) || owner.widgets?.find((widget) => widget.name === name);
  }

  /** Its value, or undefined. */
  sibling(name) {
    return this.beside(name)?.value;
  }

  setReadOnly(readOnly) {
    if (readOnly === this.readOnly) return;
    this.readOnly = readOnly;
    this.element.toggleAttribute("data-read-only", readOnly);
    this.view.setReadOnly?.(readOnly);
  }

  keep(text) {
    this.shown = text;
    if (this.store) this.store.value = text;
    else this.text = text;
  }

  /** Options of addDOMWidget. */
  options() {
    return {
      getValue: () => this.value,
      setValue: (value) => this.receive(value),
      getMinHeight: () => this.spec.minHeight,
      hideOnZoom: false,
    };
  }
}

/** Registers a widget; see the top of this file. @param {Spec} spec */
export function hostWidget(spec) {
  app.registerExtension({
    name: `DiffusionPath.${spec.type}`,
    // Here and not in Python: without this script the input stays a text box.
    // And node by node, because R brings new definitions, which no hook sees as a whole.
    beforeRegisterNodeDef(_, { name: node, input: groups }) {
      for (const name of spec.targets[node] ?? []) {
        const input = groups?.required?.[name] ?? groups?.optional?.[name];
        if (!String(input?.[0]).split(",").includes("STRING")) continue; // alone, or with types that may be linked
        input[1] = { ...input[1], widgetType: spec.type, multiline: false };
      }
    },
    getCustomWidgets: () => ({ [spec.type]: (node, name, input) => addTo(spec, node, name, input) }),
    nodeCreated(node) {
      if (node.isSubgraphNode?.()) allowPromotion(spec, node);
    },
  });
}

/** Makes the step of the graph's undo that core makes by itself only for its own widgets. */
export function captureUndo() {
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
  (tracker?.captureCanvasState ?? tracker?.checkState)?.call(tracker);
}

/** Adds a widget that only shows something: it is neither saved nor sent. */
export function addDisplay(spec, node, name, more = {}) {
  const host = new WidgetHost(spec, node, name, node);
  const options = { ...host.options(), ...more, serialize: false, socketless: true };
  attach(host, node.addDOMWidget(name, spec.type, host.element, options)).serialize = false;
  return host;
}

function attach(host, widget) {
  host.widget = widget;
  // The page's side panel writes its own width into a widget, and the classic canvas would then draw it as narrow.
  Object.defineProperty(widget, "width", { get: () => undefined, set() {}, configurable: true });
  // In Nodes 2.0 the input's tooltip would open over the tools, which have their own: the page shows no blank one.
  Object.defineProperty(widget, "tooltip", { get: () => " ", set() {}, configurable: true });
  chain(widget, "onRemove", () => host.view.dispose?.());
  return widget;
}

function addTo(spec, node, name, input) {
  let host;
  try {
    host = new WidgetHost(spec, node, name, node);
  } catch (error) {
    console.error("Diffusion Path: the text is shown instead of", spec.type, error);
    return app.widgets.STRING(node, name, ["STRING", { ...input?.[1], multiline: true }], app);
  }
  const widget = attach(host, node.addDOMWidget(name, spec.type, host.element, host.options()));
  host.receive(input?.[1]?.default ?? "");
  chain(node, "onConnectionsChange", () => queueMicrotask(() => follow(host)));
  chain(node, "onConfigure", () => queueMicrotask(() => (follow(host), takePlace(host))));
  chain(node, "onWidgetChanged", () => host.view.changed?.());
  return { widget, minWidth: spec.minWidth, minHeight: spec.minHeight };
}

function follow(host) {
  host.setReadOnly(isLinked(host.owner, host.name));
  host.view.changed?.();
}

/**
 * Nodes 2.0 keeps a node on the page while undo rebuilds the graph under it, and with the node the element of the widget
 * that is gone: what is drawn there would be lost. The new element takes its place.
 */
export function takePlace({ node, element }) {
  const { widget, input } = element.dataset;
  const inside = `[data-node-id="${node.id}"] [data-widget="${widget}"][data-input="${CSS.escape(input)}"]`;
  const shown = document.querySelector(inside);
  if (shown && shown !== element) shown.replaceWith(element);
}

/**
 * Shows the widget on a subgraph node when it is promoted. Core does that for text boxes alone, and what follows is
 * its private interface (frontend 1.47): whatever is missing, core's own way is taken.
 */
function allowPromotion(spec, node) {
  const core = node.createPromotedHostWidget;
  const parts = globalThis.comfyAPI?.domWidget;
  if (typeof core !== "function" || !parts?.DOMWidgetImpl || !parts.addWidget || !node._projectPromotedWidget) return;
  node.createPromotedHostWidget = function (input, widgetId, source) {
    if (source?.type !== spec.type) return core.call(this, input, widgetId, source);
    try {
      return promoted(spec, this, input, widgetId, source, parts);
    } catch (error) {
      console.warn("Diffusion Path: this version of ComfyUI shows no promoted", spec.type, error);
      return core.call(this, input, widgetId, source);
    }
  };
}

function promoted(spec, node, input, widgetId, source, parts) {
  const store = node._projectPromotedWidget(input); // its value is the one saved with the subgraph node
  const owner = source.node ? seenFrom(node, source.node) : node;
  const host = new WidgetHost(spec, node, input.name, owner, store);
  const [{ element }, options] = [host, host.options()];
  const widget = attach(host, new parts.DOMWidgetImpl({ node, name: input.name, type: spec.type, element, options }));
  host.receive(host.value);
  Object.defineProperty(widget, "widgetId", { value: widgetId, configurable: true });
  // Only registers the widget; given the real node it would be added a second time.
  parts.addWidget({ addCustomWidget() {}, graph: true }, widget);
  queueMicrotask(() => takePlace(host));
  return widget;
}

/** A node inside of a subgraph as one of the subgraph's nodes has it: what comes through an input comes from there. */
function seenFrom(outer, node) {
  const getInputNode = (slot) => {
    const link = node.getInputLink?.(slot);
    if (!isFromOutside(link)) return node.getInputNode?.(slot);
    // Of a subgraph node, frontend 1.58 gives by the method of this name what an output comes from.
    const from = outer.graph && globalThis.LiteGraph.LGraphNode.prototype.getInputLink.call(outer, link.origin_slot);
    return from ? outer.graph.getNodeById(from.origin_id) : null;
  };
  const get = (_, name) => {
    if (name === "getInputNode") return getInputNode;
    return typeof node[name] === "function" ? node[name].bind(node) : node[name];
  };
  return new Proxy(node, { get });
}

function isFromOutside(link) {
  return Number(link?.origin_id) === SUBGRAPH_INPUTS;
}

/** In the classic canvas an element swallows what it does not use; Nodes 2.0 hands it on by itself. */
function forwardToClassicCanvas({ element, node }) {
  const canvasOf = () => (globalThis.LiteGraph?.vueNodesMode ? null : app.canvas);
  let dragging = false;
  const end = (event) => {
    if (dragging) canvasOf()?.processMouseUp(event);
    dragging = false;
  };
  set(element, {
    wheel: (event) => event.defaultPrevented || canvasOf()?.processMouseWheel(event),
    pointerdown: (event) => {
      if (event.button !== 1 || event.defaultPrevented || !canvasOf()) return;
      dragging = true;
      element.setPointerCapture(event.pointerId);
      app.canvas.processMouseDown(event);
    },
    pointermove: (event) => dragging && canvasOf()?.processMouseMove(event),
    pointerup: end,
    pointercancel: end,
    contextmenu: (event) => {
      if (event.defaultPrevented || !canvasOf()) return;
      event.preventDefault();
      app.canvas.processContextMenu(node, event);
    },
  });
}

/** Keys typed in a widget stay there, but for those of the graph that are to work everywhere. */
export function keepKeys(event) {
  const command = event.ctrlKey || event.metaKey;
  const forGraph = GRAPH_KEYS.has(event.key) && (command || event.key.startsWith("F"));
  if (!forGraph) event.stopPropagation();
}

/**
 * A key that a view has used is nobody else's. The graph's undo listens before everyone and reads the key a frame later,
 * and where the queue runs on every change it does so in text boxes, too: there it finds no Ctrl any more.
 */
export function claim(event) {
  event.preventDefault();
  for (const name of ["ctrlKey", "metaKey"]) Object.defineProperty(event, name, { value: false });
}

function asText(value) {
  if (typeof value === "string") return value;
  return value == null ? "" : JSON.stringify(value);
}

/** Adds to what a callback does. */
export function chain(object, name, added) {
  const before = object[name];
  object[name] = function (...given) {
    const result = before?.apply(this, given);
    added.apply(this, given);
    return result;
  };
}

/**
 * The report of a node's last run, on the node: what Python sends as `ui.PreviewText`, which the page itself shows on
 * core's Preview as Text alone. The widget comes with the first report and is neither saved nor sent.
 */
import { app } from "../../../scripts/app.js";

import { html } from "./common/elements.js";
import { clamp } from "./common/numbers.js";
import { outputOf } from "./common/outputs.js";
import { addDisplay, chain, takePlace } from "./common/widget_host.js";

const NAME = "report on the node"; // unlike every input
const LEAST = 40; // pixels at zoom 1
const MOST = 170; // longer ones scroll, or get more room with a larger node

class Report {
  constructor(host) {
    this.host = host;
    this.text = html("pre", { class: "dpath-report-text" });
    const look = { class: "dpath-panel dpath-report", role: "status", "data-capture-wheel": "true", tabindex: "0" };
    // Text is for selecting and, where it is long, for scrolling; without the focus the wheel is the graph's.
    const pointerdown = (event) => event.button === 0 && event.stopPropagation();
    const wheel = (event) => {
      const scrolls = this.element.scrollHeight > this.element.clientHeight && document.activeElement === this.element;
      if (scrolls && !event.ctrlKey && !event.metaKey) event.stopPropagation();
    };
    this.element = html("div", { ...look, pointerdown, wheel }, this.text);
    host.element.append(this.element);
    this.observer = new ResizeObserver(() => this.#fit());
    this.observer.observe(this.text);
  }

  show(text) {
    this.text.textContent = text;
  }

  dispose() {
    this.observer.disconnect();
  }

  /** As much room as the text takes at this width. */
  #fit() {
    const { spec, element, node } = this.host;
    const { offsetWidth, offsetHeight } = this.text;
    if (!offsetWidth || !offsetHeight) return; // not shown, or, as frontend 1.58 begins, without a width
    spec.minHeight = clamp(offsetHeight + 12, LEAST, MOST);
    element.style.minHeight = `${spec.minHeight}px`;
    const [width, needed] = [node.size[0], node.computeSize()[1]];
    if (node.size[1] < needed) node.setSize([width, needed]);
    node.graph?.setDirtyCanvas?.(true, true);
  }
}

function update(node) {
  if (!node.comfyClass?.startsWith("DPath")) return;
  const lines = outputOf(node)?.text;
  const text = Array.isArray(lines) ? lines.join("\n") : "";
  const shown = node.widgets?.find(({ name }) => name === NAME);
  if (text || shown) (shown ?? added(node)).value = text;
}

function added(node) {
  const spec = { type: "DPATH_REPORT", minWidth: 0, minHeight: LEAST, build: (host) => new Report(host) };
  const host = addDisplay(spec, node, NAME, { hideInPanel: true });
  queueMicrotask(() => {
    takePlace(host);
    node.graph?.setDirtyCanvas?.(true, true); // it has no width before it was drawn
  });
  return host.widget;
}

/** Every node of the workflow, those in subgraphs too. */
function updateAll() {
  const root = app.rootGraph;
  for (const graph of [root, ...(root?.subgraphs?.values() ?? [])]) graph?.nodes.forEach(update);
}

app.registerExtension({
  name: "DiffusionPath.Report",
  nodeCreated(node) {
    chain(node, "onExecuted", () => update(node));
  },
  // A workflow that comes back brings its outputs back: after the graph with a change of tab, before it with undo.
  onNodeOutputsUpdated: updateAll,
  afterConfigureGraph: updateAll,
});

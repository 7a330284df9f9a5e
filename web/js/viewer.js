/** The path viewer of Path Filmstrip: shows what the last run sent, keeps nothing. */
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";

import { style } from "./elements.js";
import { outputOf } from "./outputs.js";
import { PathView } from "./path_view.js";
import { chain, takePlace, WidgetHost } from "./widget_host.js";

const SPEC = { type: "DPATH_VIEWER", minWidth: 320, minHeight: 290, build: (host) => new Viewer(host) };

class Viewer {
  constructor(host) {
    this.host = host;
    this.view = new PathView();
    host.element.append(this.view.element);
    style("path_widgets.css");
  }

  show() {}

  /** The output of a run, or none. */
  executed(output) {
    const numbers = output?.dpath_path?.[0];
    const frames = output?.dpath_frames ?? [];
    if (!numbers || frames.length !== numbers.levels.length * numbers.names.length) return;
    const rows = numbers.names.map((_, row) =>
      frames.slice(row * numbers.levels.length, (row + 1) * numbers.levels.length),
    );
    this.view.show({ ...numbers, frames: rows.map((row) => row.map(address)) });
  }

  dispose() {
    this.view.show(null);
  }
}

function address({ filename, subfolder, type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

app.registerExtension({
  name: `DiffusionPath.${SPEC.type}`,
  nodeCreated(node) {
    if (node.comfyClass !== "DPathFilmstrip") return;
    const host = new WidgetHost(SPEC, node, "viewer", node);
    const widget = node.addDOMWidget("viewer", SPEC.type, host.element, {
      ...host.options(),
      serialize: false,
      socketless: true,
    });
    node.setSize([Math.max(node.size[0], SPEC.minWidth + 20), node.size[1]]);
    widget.serialize = false; // neither in the prompt nor in the saved values
    chain(widget, "onRemove", () => host.view.dispose());
    chain(node, "onExecuted", (output) => host.view.executed(output));
    // What an earlier run sent comes back with undo and with the tab.
    chain(node, "onConfigure", () => queueMicrotask(() => (takePlace(host), host.view.executed(outputOf(node)))));
  },
});

/** The path viewer of Path Filmstrip: shows what the last run sent, keeps nothing. */
import { app } from "../../../scripts/app.js";

import { addressOf, outputOf } from "./common/outputs.js";
import { PathView } from "./filmstrip/view.js";
import { addDisplay, chain, takePlace } from "./common/widget_host.js";

const LOOK_AGAIN_MS = 200;
const SPEC = { type: "DPATH_VIEWER", minWidth: 320, minHeight: 290, build: (host) => new Viewer(host) };

class Viewer {
  constructor(host) {
    this.host = host;
    this.view = new PathView();
    host.element.append(this.view.element);
    // Output comes with a run, with undo and with a change of tab, and the page tells of the first alone.
    this.timer = setInterval(() => this.#look(), LOOK_AGAIN_MS);
  }

  show() {}

  dispose() {
    clearInterval(this.timer);
    this.view.show(null);
  }

  #look() {
    const output = outputOf(this.host.node);
    const [numbers, frames] = [output?.dpath_path?.[0], output?.dpath_frames ?? []];
    if (!numbers || frames[0]?.filename === this.shown) return;
    this.shown = frames[0]?.filename;
    const count = numbers.levels.length;
    const rows = numbers.names.map((_, row) => frames.slice(row * count, (row + 1) * count).map(addressOf));
    if (rows.every((row) => row.length === count)) this.view.show({ ...numbers, frames: rows });
  }
}

app.registerExtension({
  name: `DiffusionPath.${SPEC.type}`,
  nodeCreated(node) {
    if (node.comfyClass !== "DPathFilmstrip") return;
    const host = addDisplay(SPEC, node, "viewer");
    node.setSize([Math.max(node.size[0], SPEC.minWidth + 20), node.size[1]]);
    chain(node, "onConfigure", () => queueMicrotask(() => takePlace(host)));
  },
});

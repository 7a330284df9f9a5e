/** A picture that is dropped or pasted on the canvas becomes its background, by way of a Load Image. */

import { api } from "../../../../scripts/api.js";

import { captureUndo } from "../common/widget_host.js";
import { sourceOf } from "./background.js";

const GAP = 60; // between a new Load Image and the canvas

/** Listeners for an element of the canvas. failed(sentence): what to say if it cannot become the background. */
export function pictureListeners(owner, failed) {
  const take = (event, list) => {
    const file = [...(list ?? [])].find(({ type }) => type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    event.stopPropagation(); // the page would add a Load Image of its own
    toBackground(owner, file).catch((error) => failed(error instanceof Refusal ? error.message : FAILED));
  };
  const hasFiles = ({ dataTransfer }) => dataTransfer?.types.includes("Files");
  const allow = (event) => hasFiles(event) && (event.preventDefault(), event.stopPropagation());
  return {
    dragover: allow,
    dragenter: allow,
    drop: (event) => take(event, event.dataTransfer?.files),
    paste: (event) => take(event, event.clipboardData?.files),
  };
}

const FAILED = "The picture could not be uploaded: connect a Load Image to background instead.";

class Refusal extends Error {}

async function toBackground(owner, file) {
  const slot = owner.inputs.findIndex(({ name }) => name === "background");
  const source = sourceOf(owner, slot);
  const isLoader = source?.type === "LoadImage";
  if (source && !isLoader)
    throw new Refusal("background is connected to another node: disconnect it to drop a picture.");
  const name = await uploaded(file);
  const loader = isLoader ? source : newLoader(owner, slot);
  const widget = loader.widgets.find((each) => each.name === "image");
  const { values } = widget.options;
  if (Array.isArray(values) && !values.includes(name)) values.push(name);
  widget.value = name;
  widget.callback?.(name);
  owner.graph.setDirtyCanvas?.(true, true);
  captureUndo();
}

async function uploaded(file) {
  const body = new FormData();
  body.append("image", file);
  const answer = await api.fetchApi("/upload/image", { method: "POST", body });
  if (!answer.ok) throw new Error(`${answer.status}`);
  const { name, subfolder } = await answer.json();
  return subfolder ? `${subfolder}/${name}` : name;
}

function newLoader(owner, slot) {
  const loader = globalThis.LiteGraph.createNode("LoadImage");
  loader.pos = [owner.pos[0] - loader.size[0] - GAP, owner.pos[1]];
  owner.graph.add(loader);
  loader.connect(0, owner, slot);
  return loader;
}

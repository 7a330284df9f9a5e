/** What a view asks of its node: what its last run sent to the page, and which of its inputs are linked. */
import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";

export function outputOf(node) {
  const { graph } = node;
  if (!graph) return undefined;
  // Nodes inside of subgraphs are known by the subgraph's id and their own.
  const key = graph === graph.rootGraph || !graph.rootGraph ? String(node.id) : `${graph.id}:${node.id}`;
  return app.nodeOutputs?.[key];
}

export function isLinked(node, name) {
  return linkOf(node, name) !== null;
}

/** The link into the input called `name`, or null. The page warns of who reads a slot's own `link`. */
export function linkOf(node, name) {
  const slot = node.inputs?.findIndex((input) => input.name === name) ?? -1;
  return (slot >= 0 && node.graph && node.getInputLink?.(slot)) || null;
}

/** The address of a picture that a node has sent. */
export function addressOf(file) {
  return api.apiURL(`/view?${new URLSearchParams(file)}`);
}

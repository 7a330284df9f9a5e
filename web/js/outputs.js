/** What a node sent to the page in its last run. No side effects. */
import { app } from "../../../scripts/app.js";

export function outputOf(node) {
  const { graph } = node;
  if (!graph) return undefined;
  // Nodes inside of subgraphs are known by the subgraph's id and their own.
  const key = graph === graph.rootGraph || !graph.rootGraph ? String(node.id) : `${graph.id}:${node.id}`;
  return app.nodeOutputs?.[key];
}

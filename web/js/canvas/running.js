/** Runs the graph from the whole window, where the page's own button and progress are out of sight. */

import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";

import { html } from "../common/elements.js";
import { say } from "../common/language.js";
import { iconButton } from "./icons.js";

const PLAY = "M7 4v16l13-8z";
const ENDS = ["execution_success", "execution_error", "execution_interrupted"];

export class Running {
  constructor() {
    this.button = iconButton("Run the graph (Ctrl+Enter)", PLAY, run);
    this.bar = html("progress", { class: "dpath-progress", max: 1, hidden: true, "aria-label": "The graph runs" });
    this.text = html("span", { class: "dpath-progress-text", hidden: true });
    this.listeners = {
      execution_start: () => this.#show("Running"),
      progress: ({ detail: { value, max } }) => this.#show(`Running: ${value} of ${max}`, value / max),
      ...Object.fromEntries(ENDS.map((name) => [name, () => this.#show("")])),
    };
    for (const [name, listener] of Object.entries(this.listeners)) api.addEventListener(name, listener);
  }

  dispose() {
    for (const [name, listener] of Object.entries(this.listeners)) api.removeEventListener(name, listener);
  }

  #show(text, share = null) {
    this.bar.hidden = this.text.hidden = !text;
    this.text.textContent = say(text);
    if (share === null) this.bar.removeAttribute("value");
    else this.bar.value = share;
  }
}

function run() {
  const { command } = app.extensionManager ?? {};
  if (command?.execute) command.execute("Comfy.QueuePrompt");
  else app.queuePrompt(0);
}

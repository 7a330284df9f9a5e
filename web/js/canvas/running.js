/** Runs the graph from the whole window, where the page's own button, progress and errors are out of sight. */

import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";

import { html } from "../common/elements.js";
import { say } from "../common/language.js";
import { iconButton } from "./icons.js";

const PLAY = "M7 4v16l13-8z";
const LOOK_MS = 100; // between two looks at whether the page is still sending the graph
const LONGEST = 300; // characters of an error

export class Running {
  /** failed(message): the graph was refused or has ended with an error, or, "", runs again; result(): show what it made. */
  constructor({ failed, result }) {
    this.failed = failed;
    this.button = iconButton("Run the graph (Ctrl+Enter)", PLAY, run);
    this.done = html("button", { type: "button", class: "dpath-done", hidden: true, click: result }, "Show the result");
    this.bar = html("progress", { class: "dpath-progress", max: 1, hidden: true, "aria-label": "The graph runs" });
    this.text = html("span", { class: "dpath-progress-text", hidden: true });
    this.listeners = {
      promptQueueing: () => this.#send(),
      promptQueued: () => (this.isQueued = true),
      execution_start: () => this.#show("Running"),
      progress: ({ detail: { value, max } }) => this.#show(`Running: ${value} of ${max}`, value / max),
      execution_interrupted: () => this.#show(""),
      execution_success: () => {
        this.#show("");
        this.done.hidden = false;
      },
      execution_error: ({ detail }) => {
        this.#show("");
        this.failed(sentence(detail.node_type, detail.exception_message));
      },
    };
    for (const [name, listener] of Object.entries(this.listeners)) api.addEventListener(name, listener);
  }

  dispose() {
    clearInterval(this.sending);
    for (const [name, listener] of Object.entries(this.listeners)) api.removeEventListener(name, listener);
  }

  #show(text, share = null) {
    this.bar.hidden = this.text.hidden = !text;
    this.text.textContent = say(text);
    if (share === null) this.bar.removeAttribute("value");
    else this.bar.value = share;
    this.done.hidden = true;
  }

  /** No event tells that a graph was refused: it was sent, and is not in the queue. */
  #send() {
    this.isQueued = false;
    this.failed("");
    clearInterval(this.sending);
    this.sending = setInterval(() => {
      if (app.processingQueue) return;
      clearInterval(this.sending);
      if (!this.isQueued) this.failed(refusal());
    }, LOOK_MS);
  }
}

function run() {
  const { command } = app.extensionManager ?? {};
  if (command?.execute) command.execute("Comfy.QueuePrompt");
  else app.queuePrompt(0);
}

/** What ComfyUI has against the graph. */
function refusal() {
  const [first] = Object.values(app.lastNodeErrors ?? {});
  const { message, details } = first?.errors?.[0] ?? {};
  return message
    ? sentence(first.class_type, [message, details].filter(Boolean).join(": "))
    : "ComfyUI has refused it.";
}

function sentence(type, message) {
  const name = globalThis.LiteGraph?.registered_node_types?.[type]?.title ?? type;
  const [line] = String(message ?? "").split("\n");
  return `${name}: ${line.slice(0, LONGEST)}`;
}

/** The canvas over the whole window: its own elements, moved into a dialog and back. Nothing is copied. */

import { app } from "../../../../scripts/app.js";

import { html } from "../common/elements.js";
import { keepKeys } from "../common/widget_host.js";

/** Dialogs of the page, which are children of its body. */
const DIALOGS = ":is([role='dialog'], [role='alertdialog'], .p-dialog-mask, .p-toast-message)";
const FIELDS = "input, textarea, button";
/** What the page would do on these keys with Ctrl; since frontend 1.58 it hears none of them while a dialog is open. */
const COMMANDS = {
  s: "Comfy.SaveWorkflow",
  o: "Comfy.OpenWorkflow",
  ",": "Comfy.ShowSettingsDialog",
  Enter: "Comfy.QueuePrompt",
  "Shift+Enter": "Comfy.QueuePromptFront",
  "Alt+Enter": "Comfy.Interrupt",
};

export class WholeWindow {
  /** panel: what moves; moved(): it has another place and size now; press(event): a key while nothing has the focus. */
  constructor(panel, moved, press) {
    Object.assign(this, { panel, moved, dialog: null, isBehind: false });
    this.stray = (event) => {
      if (event.target !== document.body && event.target !== this.dialog) return;
      if (this.isBehind) return;
      press(event); // after a click beside all controls, or on one that is gone
      passOn(event);
    };
    this.watch = new MutationObserver(() => this.#giveWay());
  }

  get isOpen() {
    return this.dialog !== null;
  }

  toggle() {
    if (this.isOpen) this.close();
    else this.open();
  }

  open() {
    const back = html("button", { type: "button", click: () => this.close() }, "Back to the node");
    this.place = html("div", { class: "dpath-panel dpath-strokes dpath-away" }, "The drawing fills the window.", back);
    // Escape is the drawing's first: it ends a stroke, then a selection, then this.
    const listeners = { keydown: passOn, cancel: (event) => event.preventDefault() };
    this.dialog = html("dialog", { class: "dpath-window", "aria-label": "Stroke canvas", ...listeners });
    this.panel.replaceWith(this.place);
    this.dialog.append(this.panel);
    document.body.append(this.dialog);
    this.dialog.showModal();
    document.addEventListener("keydown", this.stray, true);
    this.watch.observe(document.body, { childList: true });
    this.moved();
  }

  /** Returns whether it was open. */
  close() {
    if (!this.isOpen) return false;
    const { dialog } = this;
    this.dialog = null;
    this.isBehind = false;
    this.watch.disconnect();
    document.removeEventListener("keydown", this.stray, true);
    this.place.replaceWith(this.panel);
    dialog.remove();
    this.moved();
    return true;
  }

  /** A dialog of the page lies over the window as long as it is open; a modal window would hide and freeze it. */
  #giveWay() {
    const other = [...document.body.children].find((each) => each !== this.dialog && isDialog(each));
    if (Boolean(other) === this.isBehind) return;
    this.isBehind = Boolean(other);
    this.dialog.close();
    if (other) this.dialog.show();
    else this.dialog.showModal();
    const first = () => (other ? other.querySelector(FIELDS) : this.panel.querySelector(".dpath-easel"));
    setTimeout(() => other?.contains(document.activeElement) || first()?.focus({ preventScroll: true }));
  }
}

/** Does what a key means for the graph, and keeps the others. */
function passOn(event) {
  const modifiers = (event.shiftKey ? "Shift+" : "") + (event.altKey ? "Alt+" : "");
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key; // whatever Caps Lock says
  const isCommand = (event.ctrlKey || event.metaKey) && !event.getModifierState("AltGraph");
  const command = isCommand && COMMANDS[modifiers + key];
  if (!command) return keepKeys(event);
  event.preventDefault();
  event.stopPropagation(); // an older page would do it once more
  if (!event.repeat) app.extensionManager.command.execute(command);
}

function isDialog(element) {
  return element.matches(DIALOGS) || element.querySelector(`:scope > ${DIALOGS}`) !== null;
}

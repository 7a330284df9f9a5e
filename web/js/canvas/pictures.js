/** Pictures that are laid on a drawing: in the input folder, named by the hash of their content. */

import { api } from "../../../../scripts/api.js";

import { addressOf } from "../common/outputs.js";
import { Background } from "./background.js";
import { corners } from "./coverage.js";
import { Told } from "./notices.js";
import { sha256 } from "./sha256.js";

const FOLDER = "diffusion_path"; // in the input folder; nodes/stroke_canvas.py reads it
const UNREADABLE = "The browser cannot read this picture: save it as PNG or JPEG first.";
const TOO_LARGE = "The picture is too large for this ComfyUI: make it smaller, or raise --max-upload-size.";
const OUT_OF_REACH = "ComfyUI cannot be reached: the picture was not added.";
const DIGITS = 32;
const ENDINGS = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp" };

/** The pictures of one canvas, each loaded when it is first drawn. */
export class Pictures {
  /** changed(): one of them has come, or is found to be missing. */
  constructor(changed) {
    Object.assign(this, { changed, known: new Map() });
  }

  /** What to draw at `scale` pixels for each of its own; null while it is not there. */
  at(file, scale) {
    if (!this.known.has(file)) this.#load(file);
    return this.known.get(file).picture?.at(scale, this.changed) ?? null;
  }

  /** All pixels, or null. */
  async whole(file) {
    if (!this.known.has(file)) this.#load(file);
    await this.known.get(file).coming;
    return (await this.known.get(file).picture?.whole()) ?? null;
  }

  /** The file itself, or null. */
  async fileOf(file) {
    await this.whole(file);
    return this.known.get(file).picture?.file ?? null;
  }

  isMissing(file) {
    return this.known.get(file)?.missing === true;
  }

  /** Whether a picture that should be seen is missing. */
  areMissing({ layers }) {
    return layers.some(({ picture, hidden }) => picture && !hidden && this.isMissing(picture.file));
  }

  /** Looks again for those that were missing. */
  retry() {
    for (const [file, { missing }] of this.known) if (missing) this.known.delete(file);
    this.changed();
  }

  #load(file) {
    const entry = { picture: null, missing: false };
    this.known.set(file, entry);
    const address = addressOf({ filename: file, subfolder: FOLDER, type: "input" });
    const came = (picture) => Object.assign(entry, { picture });
    entry.coming = Background.load(address, true)
      .then(came, () => Object.assign(entry, { missing: true }))
      .then(() => this.changed());
  }
}

/** Puts a picture into the input folder. @returns {Promise<{file: string, pixels: number[]}>} */
export async function uploaded(picture) {
  const bitmap = await createImageBitmap(picture).catch(() => Promise.reject(new Told(UNREADABLE)));
  const pixels = [bitmap.width, bitmap.height];
  const blob = ENDINGS[picture.type] ? picture : await asPng(bitmap);
  bitmap.close();
  const name = `${(await hashOf(await blob.arrayBuffer())).slice(0, DIGITS)}.${ENDINGS[blob.type]}`;
  const body = new FormData();
  body.append("image", blob, name);
  body.append("subfolder", FOLDER);
  body.append("overwrite", "true"); // by the same content, or by what was damaged
  await sent(body);
  return { file: name, pixels };
}

/** Sends a form with a picture; the answer. */
export async function sent(body) {
  const answer = await api.fetchApi("/upload/image", { method: "POST", body }).catch(() => null);
  if (answer?.ok) return answer;
  if (answer?.status === 413) throw new Told(TOO_LARGE);
  const sentence = answer ? `ComfyUI refused the picture with the answer ${answer.status}.` : OUT_OF_REACH;
  throw Object.assign(new Told(sentence), { mayPass: true });
}

async function hashOf(buffer) {
  if (!globalThis.crypto?.subtle) return sha256(new Uint8Array(buffer));
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", buffer));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function asPng(source) {
  const canvas = Object.assign(document.createElement("canvas"), { width: source.width, height: source.height });
  canvas.getContext("2d").drawImage(source, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/**
 * A part of a picture as a picture of its own, transparent beside the ring, and its centre in pixels of the picture;
 * null where nothing of it is inside of the ring. ring: x, y, x, y, ...
 */
export async function cutOut(background, ring) {
  const [lowX, lowY, highX, highY] = corners([ring]);
  const [left, top] = [Math.max(0, Math.floor(lowX)), Math.max(0, Math.floor(lowY))];
  const [right, bottom] = [Math.min(background.width, Math.ceil(highX)), Math.min(background.height, Math.ceil(highY))];
  if (right - left < 2 || bottom - top < 2) return null;
  const size = { width: right - left, height: bottom - top };
  const canvas = Object.assign(document.createElement("canvas"), size);
  const context = canvas.getContext("2d");
  context.beginPath();
  for (let i = 0; i < ring.length; i += 2) context.lineTo(ring[i] - left, ring[i + 1] - top);
  context.fill();
  context.globalCompositeOperation = "source-in";
  context.drawImage(await background.whole(), -left, -top);
  if (isClear(canvas)) return null;
  return { blob: await asPng(canvas), x: (left + right) / 2, y: (top + bottom) / 2 };
}

/** Whether a canvas has nothing on it, as far as a small copy shows. */
function isClear(source) {
  const canvas = Object.assign(document.createElement("canvas"), { width: 32, height: 32 });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, 32, 32);
  return context.getImageData(0, 0, 32, 32).data.every((value, i) => i % 4 !== 3 || value === 0);
}

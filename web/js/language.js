/** Fetches what the widgets say in the language of the page. */

import { app } from "../../../scripts/app.js";

import { learn } from "./common/language.js";

const LANGUAGES = ["es", "fr", "ja", "ko", "pt-BR", "ru", "zh", "zh-TW"];

app.registerExtension({
  name: "DiffusionPath.Language",
  async init() {
    const language = app.extensionManager?.setting?.get("Comfy.Locale");
    if (!LANGUAGES.includes(language)) return;
    const answer = await fetch(new URL(`../words/${language}.json`, import.meta.url)).catch(() => null);
    if (answer?.ok) learn(await answer.json());
  },
});

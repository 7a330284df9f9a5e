/**
 * What the widgets say, in the language of the page: say("Undo"). English is in the code; other languages are lists of
 * it, web/words/<language>.json, where # stands for a number: "step # of #". A translation may number them: #2, #1.
 */

const NUMBER = /#[0-9a-f]{6}\b|-?\d+(?:\.\d+)?(?:e[+-]\d+)?/g;
let words = null;

/** Takes a language's list of words; null for English. */
export function learn(list) {
  words = list;
}

export function say(text) {
  if (!words) return text;
  if (Object.hasOwn(words, text)) return words[text];
  const numbers = text.match(NUMBER);
  const pattern = numbers && text.replace(NUMBER, "#");
  if (!pattern || !Object.hasOwn(words, pattern)) return text;
  let next = 0;
  return words[pattern].replace(/#(\d?)/g, (_, place) => numbers[place ? place - 1 : next++]);
}

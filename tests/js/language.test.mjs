/** What the widgets say in the language of the page. */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { learn, say } from "../../web/js/common/language.js";

afterEach(() => learn(null));

test("English is in the code", () => assert.equal(say("step 3 of 20"), "step 3 of 20"));

test("numbers are put where the translation wants them", () => {
  learn({ Undo: "Zurück", "step # of #": "#2 Schritte, der #1.", "#": "Nr. #", "Colour #": "Farbe #" });
  assert.equal(say("Undo"), "Zurück");
  assert.equal(say("step 3 of 20"), "20 Schritte, der 3.");
  assert.equal(say("-1.5e-7"), "Nr. -1.5e-7");
  assert.equal(say("Colour #00ff10"), "Farbe #00ff10");
  assert.equal(say("a text that is not in the list, 3"), "a text that is not in the list, 3");
  assert.equal(say("toString"), "toString");
});

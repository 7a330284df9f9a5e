/** Colours as they are typed. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { hexOf } from "../../web/js/canvas/color.js";

test("hex codes are read with and without #, short and long, and nothing else is", () => {
  assert.equal(hexOf("#C5281e"), "#c5281e");
  assert.equal(hexOf(" c5281e "), "#c5281e");
  assert.equal(hexOf("#fa3"), "#ffaa33");
  assert.equal(hexOf("fa3"), "#ffaa33");
  for (const text of ["", "#", "fa", "fa33", "#12345", "#1234567", "red", "#ggg", "##fff"])
    assert.equal(hexOf(text), null);
});

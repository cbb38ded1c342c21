import assert from "node:assert/strict";
import { test } from "node:test";
import { deedText, sizeText } from "./drift_text.js";

/** @param {object | null} deed */
const drift = (deed) => /** @type {any} */ ({ n: 27, hands: 1, deed });

test("how much a drift was seen in is told with the number of players", () => {
  assert.equal(sizeText(drift(null)).replaceAll("\u00a0", " "), "Seen in 27 labelled drawings by 1 player");
});

test("what was done about it is told, or why nothing was", () => {
  assert.equal(deedText(drift(null)), "Nothing was done yet.");
  assert.equal(deedText(drift({ action: "freeze", outcome: "done", message: "" })), "Learning is frozen.");
  assert.equal(deedText(drift({ action: "retrain", outcome: "refused", message: "cooldown" })), "Not rebuilt: cooldown.");
});

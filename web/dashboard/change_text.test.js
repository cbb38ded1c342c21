import assert from "node:assert/strict";
import { test } from "node:test";
import { changeText } from "./change_text.js";

/** @param {object} more */
const change = (more) => /** @type {any} */ ({ type: "model", model: "xgboost", version: "4", note: "", ...more });

test("a change is told in a sentence, with what was noted of it", () => {
  assert.equal(changeText(change({ event: "promoted", note: "99.0 % on MNIST" }), "XGBoost"), "XGBoost 4 now answers: 99.0 % on MNIST");
  assert.equal(changeText(change({ event: "resting", note: "3 failures" }), "XGBoost"), "XGBoost rests: 3 failures");
  assert.equal(changeText(change({ event: "policy", part: "shown", lead: true }), "XGBoost"), "XGBoost is shown, and shown first");
});

test("a lesson is no news", () => {
  assert.equal(changeText(change({ event: "learned" }), "River"), null);
});

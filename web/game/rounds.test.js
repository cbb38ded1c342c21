import assert from "node:assert/strict";
import { test } from "node:test";
import { know } from "../lib/models.js";
import { favourite, reply, round, tally } from "./rounds.js";

/** @param {string} model @param {number} label @param {number} p */
function guess(model, label, p = 0.9) {
  const probabilities = new Array(10).fill((1 - p) / 9);
  probabilities[label] = p;
  return /** @type {import("../lib/protocol.js").Guess} */ ({ type: "guess", model, label, probabilities });
}

/** @param {number | null} label @param {number} guessed */
function labelled(label, guessed) {
  const one = round("d", [], 400, null);
  one.label = label;
  one.guesses.set("river", guess("river", guessed));
  return one;
}

test("a streak ends with a wrong guess and starts again", () => {
  assert.deepEqual(tally([labelled(1, 1), labelled(2, 7), labelled(3, 3), labelled(4, 4)], "river"), { n: 4, right: 3, streak: 2 });
});

test("a drawing without the player's label counts for nobody", () => {
  assert.deepEqual(tally([labelled(1, 1), labelled(null, 7)], "river"), { n: 1, right: 1, streak: 1 });
});

test("a model that did not answer is neither right nor wrong", () => {
  assert.deepEqual(tally([labelled(1, 1)], "xgboost"), { n: 0, right: 0, streak: 0 });
});

test("the favourite is what the models together hold most likely", () => {
  assert.equal(favourite([guess("a", 1, 0.5), guess("b", 7, 0.99)]), 7);
  know([{ model: "all", kind: "blend", hue: null, order: 0 }]);
  assert.equal(favourite([guess("a", 1, 0.5), guess("b", 7, 0.99), guess("all", 1, 0.5)]), 1);
  assert.equal(favourite([]), null);
});

test("nobody is made to say yes to a guess that is not what they were asked for", () => {
  assert.deepEqual([reply(9, 9), reply(9, 7), reply(9, null)], ["Yes, it is a 9", "No, it is a 9", "It is a 9"]);
});

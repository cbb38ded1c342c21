import assert from "node:assert/strict";
import { test } from "node:test";
import { asked, gain, lines, money } from "./facts.js";

test("large amounts have two decimals, small ones two digits that say something", () => {
  assert.deepEqual(["83.95", "1007.4", "0.115", "0.000479167", "0.04780", "0", "-2.5"].map(money), ["$83.95", "$1,007.40", "$0.12", "$0.00048", "$0.048", "$0.00", "−$2.50"]);
  assert.equal(money(null), "–");
});

/** @param {object} more */
const endpoint = (more) => /** @type {any} */ ({ per_month: "83.95", break_even: 100_000, guesses_per_hour: 1000, ...more });

test("how much a model is asked is told with how long it was counted", () => {
  assert.equal(asked(endpoint({}), 59), "1\u202f000 guesses an hour, by the last 59 minutes");
  assert.equal(asked(endpoint({ guesses_per_hour: null }), 0), "not counted yet");
});

test("what a training bought has a sign, and nothing is told that nobody knows", () => {
  const bought = (/** @type {string | null} */ points, /** @type {string | null} */ per) => gain(/** @type {any} */ ({ points, points_per_cent: per }));
  assert.equal(bought("2.000000", "6.956522"), "+2.00 points, +7.0 a cent");
  assert.equal(bought("-0.41", null), "−0.41 points");
  assert.equal(bought("0.000000", "0.000000"), "±0.00 points, ±0.0 a cent");
  assert.equal(bought(null, null), null);
});

test("the lines cross where both cost the same", () => {
  const drawn = lines(endpoint({}));
  assert.ok(drawn);
  const { always, from, to, even, here } = drawn;
  assert.ok(Math.abs(from + (to - from) * even - always) < 1e-9);
  assert.ok(Math.abs(even - 5 / 7) < 1e-9);
  assert.ok(here !== null && Math.abs(here - 3 / 7) < 1e-9);
  assert.equal(lines(endpoint({ break_even: null })), null);
  assert.equal(lines(endpoint({ guesses_per_hour: 0 }))?.here, null);
});

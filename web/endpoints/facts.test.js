import assert from "node:assert/strict";
import { test } from "node:test";
import { cost, health, total, trouble } from "./facts.js";

/** @param {object} more */
const endpoint = (more) => /** @type {any} */ ({ status: "InService", reason: "", resting: null, unavailable: null, cost_per_hour_usd: 0.115, ...more });

test("an hour and a month are told, or that it is not known", () => {
  assert.equal(cost(0.115), "$0.115 an hour, $83.95 a month");
  assert.equal(cost(null), "not known");
});

test("what is not known is left out of the sum", () => {
  assert.equal(total([endpoint({}), endpoint({ cost_per_hour_usd: null }), endpoint({})]), 0.23);
  assert.equal(total([endpoint({ cost_per_hour_usd: null })]), null);
});

test("an endpoint is well, busy, resting, failed or not here", () => {
  const told = [{}, { status: "Updating" }, { resting: "failed" }, { status: "Failed" }, { status: "Unavailable", unavailable: "no such machine" }];
  assert.deepEqual(told.map((more) => health(endpoint(more)).kind), ["good", "busy", "away", "bad", "away"]);
  assert.equal(trouble(endpoint({ resting: "failed" })), "failed");
  assert.equal(trouble(endpoint({})), null);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { triedRows, triggerText, waiting } from "./queue.js";

/** @param {object} fields */
const job = (fields) => /** @type {any} */ ({ state: "queued", position: 1, trigger: "hand", by: "ada", reason: "", ...fields });

test("those that wait are told in their order, and no other", () => {
  const told = waiting([job({ state: "running", position: null }), job({ position: 2 }), job({ position: 1 }), job({ state: "done" })]);
  assert.deepEqual(told.map(({ position }) => position), [1, 2]);
});

test("what began a rebuild is told with the reason", () => {
  assert.equal(triggerText(job({})), "asked for by ada");
  assert.equal(triggerText(job({ by: "" })), "asked for by an operator", "who is told to operators alone");
  assert.equal(triggerText(job({ trigger: "count", by: "trainer", reason: "512 new labels" })), "because of new labels: 512 new labels");
});

test("settings that are tried are told with what is known of each, and the one that was kept", () => {
  const [kept, waits] = triedRows([
    { hyperparameters: { max_depth: "6", eta: "0.1" }, status: "done", accuracy: 0.98214, seconds: 21.4, cost: 0.00123, kept: true },
    { hyperparameters: { max_depth: "4", eta: "0.1" }, status: "waiting", accuracy: null, seconds: 0, cost: null, kept: false },
  ]);
  assert.deepEqual(kept, { kept: true, cells: ["eta=0.1 max_depth=6", "kept", "98.21 %", "21", "$0.0012"] });
  assert.deepEqual(waits?.cells, ["eta=0.1 max_depth=4", "waiting", "", "", ""]);
});

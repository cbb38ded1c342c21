import assert from "node:assert/strict";
import { test } from "node:test";
import { Outbox } from "./outbox.js";

const [a, b, c] = [{ type: "draw", drawing_id: "a" }, { type: "draw", drawing_id: "b" }, { type: "correct", drawing_id: "a" }];

/** @returns {Outbox} */
function filled() {
  const outbox = new Outbox();
  outbox.add("a", a);
  outbox.add("b", b);
  outbox.add("correction of a", c);
  return outbox;
}

test("what was not answered for is sent again in its first order, what was is not", () => {
  const outbox = filled();
  assert.deepEqual(outbox.due(0, 0), [a, b, c]);
  outbox.settle("b");
  outbox.settle("b");
  assert.deepEqual(outbox.due(1, 0), [a, c]);
});

test("what was sent just now is not due yet", () => {
  const outbox = filled();
  outbox.due(1000, 5000);
  assert.deepEqual(outbox.due(5999, 5000), []);
  assert.deepEqual(outbox.due(6000, 5000), [a, b, c]);
});

test("what is about a drawing that the server refuses goes with it", () => {
  const outbox = filled();
  outbox.drop("a");
  assert.deepEqual(outbox.due(0, 0), [b]);
});

test("it is empty when all is settled", () => {
  const outbox = filled();
  for (const id of ["a", "b", "correction of a"]) outbox.settle(id);
  assert.equal(outbox.empty, true);
});

test("nothing of another player is sent", () => {
  const outbox = filled();
  outbox.clear();
  assert.deepEqual([outbox.due(0, 0), outbox.empty], [[], true]);
});

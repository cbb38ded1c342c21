import assert from "node:assert/strict";
import { test } from "node:test";
import { perDigit, quantile, stretches, ticks, trailing, wilson } from "./counts.js";

test("an interval is wide for few, narrow for many, and never leaves 0..1", () => {
  const few = wilson({ n: 10, correct: 10 });
  const many = wilson({ n: 1000, correct: 1000 });
  assert.ok(few && many);
  assert.ok(Math.abs(few.low - 0.7225) < 0.001); // n / (n + z^2)
  assert.ok(few.high > 0.999 && few.high <= 1 && many.low > few.low);
  const half = wilson({ n: 100, correct: 50 });
  assert.ok(half && Math.abs(half.low - 0.4038) < 0.001 && Math.abs(half.high - 0.5962) < 0.001);
});

test("nothing counted is no share", () => {
  assert.equal(wilson({ n: 0, correct: 0 }), null);
  assert.equal(quantile(new Array(12).fill(0), 0.5), null);
});

test("a quantile lies in the bucket where it falls", () => {
  const buckets = [0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0];
  assert.equal(quantile(buckets, 0.5), 15);
  assert.equal(quantile([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5], 0.5), Infinity);
  assert.equal(quantile([10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0], 0.5), 5);
});

test("a digit's accuracy is counted over what was meant, not over what was guessed", () => {
  const confusion = new Array(100).fill(0);
  confusion[7 * 10 + 7] = 8;
  confusion[7 * 10 + 1] = 2;
  confusion[1 * 10 + 7] = 5;
  assert.deepEqual(perDigit(confusion)[7], { n: 10, correct: 8 });
  assert.deepEqual(perDigit(confusion)[1], { n: 5, correct: 0 });
});

test("the accuracy over time looks back a while and forgets what is older", () => {
  const samples = trailing([[1020, 2, 0], [1000, 4, 4], [1010, 0, 0], [1100, 2, 2]], 60);
  assert.deepEqual(samples.map(({ at, n, correct }) => [at, n, correct]), [[1010, 4, 4], [1030, 6, 4], [1110, 2, 2]]);
});

test("a line is broken where nothing happened for long", () => {
  const samples = trailing([[0, 1, 1], [10, 1, 1], [500, 1, 1]], 60);
  assert.deepEqual(stretches(samples, 120).map((part) => part.length), [2, 1]);
});

test("an axis has round numbers within its range", () => {
  assert.deepEqual(ticks(0.8, 1, 4).map((tick) => tick.toFixed(2)), ["0.80", "0.85", "0.90", "0.95", "1.00"]);
  assert.deepEqual(ticks(0, 100, 5), [0, 20, 40, 60, 80, 100]);
});

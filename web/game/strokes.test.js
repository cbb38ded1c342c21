import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_BYTES, MAX_POINTS, MAX_STROKES, extent, fitted, moved, path, points, scaled, simplified } from "./strokes.js";

/** @param {number} n @param {(i: number) => [number, number]} at */
const stroke = (n, at) => Array.from({ length: n }, (_, i) => /** @type {[number, number, number]} */ ([...at(i), i * 4]));

test("a straight line needs its two ends only", () => {
  assert.equal(simplified(stroke(100, (i) => [i, 2 * i]), 0.1).length, 2);
});

test("a simplified curve is nowhere further off than the tolerance", () => {
  const circle = stroke(400, (i) => [200 + 150 * Math.cos(i / 60), 200 + 150 * Math.sin(i / 60)]);
  const few = simplified(circle, 1);
  assert.ok(few.length < 60);
  for (const [x, y] of few) assert.ok(Math.abs(Math.hypot(x - 200, y - 200) - 150) < 1);
  assert.deepEqual([few[0], few.at(-1)], [circle[0], circle.at(-1)]);
});

test("whatever is scribbled fits the server's limits", () => {
  const scribble = Array.from({ length: 80 }, () => stroke(500, () => [Math.random() * 600, Math.random() * 600]));
  const fit = fitted(scribble);
  assert.ok(fit.length <= MAX_STROKES);
  assert.ok(points(fit) <= MAX_POINTS);
  assert.ok(JSON.stringify(fit).length <= MAX_BYTES);
  assert.ok(fit.every((one) => one.length > 0));
});

test("an ordinary drawing keeps every point", () => {
  const seven = [stroke(60, (i) => [i * 3, 10]), stroke(80, (i) => [180 - i, 10 + i * 3])];
  assert.deepEqual(fitted(seven), seven);
});

test("points that lie together are kept once", () => {
  const line = stroke(1, () => [10, 10]);
  assert.equal(moved(line, 10.2, 10.2), false);
  assert.equal(moved(line, 11, 10), true);
  assert.equal(moved([], 0, 0), true);
});

test("a drawing grows with its pad and keeps its times", () => {
  assert.deepEqual(scaled([[[10, 20, 5]]], 1.5), [[[15, 30, 5]]]);
});

test("a drawing is as large as its longer side", () => {
  assert.equal(extent([[[10, 10, 0], [15, 90, 9]], [[12, 50, 20]]]), 80);
  assert.equal(extent([[[10, 10, 0]]]), 0);
});

test("a small picture of a drawing lies centred in its square", () => {
  assert.equal(path([[[0, 0, 0], [0, 100, 9]]], 40, 5), "M20.0 5.0L20.0 35.0");
  assert.equal(path([[[7, 7, 0]]], 40, 5), "M20.0 20.0h0");
});

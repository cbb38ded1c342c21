import assert from "node:assert/strict";
import { test } from "node:test";
import { causes, sentence } from "./health.js";

test("nothing is said while all is well", () => {
  assert.equal(sentence({ status: "ok", missing: {} }), "");
});

test("who does not guess is named, in the order in which they are shown", () => {
  const missing = { mxnet: "refused", xgboost: "refused" };
  const titles = { xgboost: "XGBoost", mxnet: "MXNet CNN, small" };
  assert.equal(sentence({ status: "degraded", missing, titles }), "XGBoost and MXNet CNN do not guess at the moment.");
  assert.equal(sentence({ status: "degraded", missing: { kmeans: "late" }, titles: { kmeans: "K-Means" } }), "K-Means does not guess at the moment.");
  assert.equal(causes({ status: "degraded", missing }), "mxnet: refused\nxgboost: refused");
});

test("that nothing is learned is said once, with what becomes of corrections", () => {
  const told = sentence({ status: "degraded", missing: { learning: "down", "learning of yours": "down", mxnet: "down" }, titles: { mxnet: "MXNet" } });
  assert.match(told, /^MXNet does not guess at the moment\. The models do not learn at the moment: your corrections are saved/);
  assert.doesNotMatch(told, /Your own model/);
  assert.match(sentence({ status: "degraded", missing: { "learning of yours": "down" } }), /^Your own model does not learn/);
});

test("a game that is down says that it comes back, and no technical word", () => {
  const told = sentence({ status: "unavailable", missing: { kafka: "it did not acknowledge a drawing within 0.5 s: is it up?" } });
  assert.match(told, /cannot guess at the moment/);
  assert.doesNotMatch(told, /kafka|acknowledge/);
});

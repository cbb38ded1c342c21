import assert from "node:assert/strict";
import { test } from "node:test";
import { know } from "../lib/models.js";
import { field, interval, isBase, judged, kind, measure, newestFirst, status, inWords } from "./facts.js";

/** @param {string} text */
const plain = (text) => text.replaceAll("\u00a0", " ");
/** @param {object} more */
const version = (more) => /** @type {any} */ ({ version: "4", status: "approved", created: null, ...more });

test("the page names the champion, or that a bandit picks one, and how many challenge it", () => {
  const models = (/** @type {string[]} */ ...standings) => standings.map((each, i) => /** @type {any} */ ({ standing: each, model: `m${i}`, title: `M${i}, a model` }));
  assert.equal(field(models("champion", "challenger", "shadow", "challenger")), "M0 is the champion, shown first, with 2 challengers");
  assert.equal(field(models("challenger", "off")), "a bandit picks each player's champion among 1 challenger");
});

test("a canary says which share of the players it answers", () => {
  const candidate = /** @type {const} */ ({ version: "4", role: "canary", share: 0.1, note: "", at: "" });
  assert.equal(plain(status(version({ status: "canary" }), candidate)), "canary 10 %");
  assert.equal(status(version({ status: "champion" }), candidate), "champion");
});

test("what nobody has judged has no accuracy", () => {
  const none = { n: 0, correct: 0, share: null, low: null, high: null };
  assert.equal(interval(none), null);
  assert.equal(judged(none), "not judged yet");
  assert.equal(judged({ ...none, n: 1234 }), "n = 1\u202f234");
});

test("measures have their units", () => {
  const measured = /** @type {[string, number][]} */ ([["mnist_accuracy", 0.9913], ["seconds", 48.21], ["rounds", 75], ["loss", 0.0312345]]);
  assert.deepEqual(measured.map(([name, value]) => plain(measure(name, value))), ["99.1 %", "48.2 s", "75", "0.03123"]);
  assert.equal(inWords("mnist_accuracy"), "MNIST accuracy");
});

test("the newest version comes first, and what has no date last", () => {
  const versions = [version({ version: "a" }), version({ version: "b", created: "2026-11-22T10:00:00Z" }), version({ version: "c", created: "2026-11-22T11:00:00Z" })];
  assert.deepEqual(newestFirst(versions).map((each) => each.version), ["c", "b", "a"]);
  assert.deepEqual([isBase("base1"), isBase("3")], [true, false]);
});

test("each kind of model is said in words, and a player's own by what it builds on", () => {
  know([{ model: "brook", title: "Brook, learns at once", kind: "online", hue: 1, order: 1 }]);
  assert.equal(kind(/** @type {any} */ ({ kind: "personal" })), "Each player's own: Brook, and what they have taught");
  assert.match(kind(/** @type {any} */ ({ kind: "batch" })), /SageMaker/);
});

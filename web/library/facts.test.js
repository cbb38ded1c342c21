import assert from "node:assert/strict";
import { test } from "node:test";
import { know } from "../lib/models.js";
import { besides, compared, field, interval, isBase, judged, kind, measure, newestFirst, rolledOut, status, inWords } from "./facts.js";

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
  assert.equal(plain(status(version({ status: "canary" }), [candidate])), "canary 10 %");
  assert.equal(status(version({ status: "champion" }), [candidate]), "champion");
});

test("versions beside the champion are told side by side, and a version's way to the players step by step", () => {
  const live = { champion: "3", tries: 2, people: 9, judged: 80, won: 3, lost: 1, difference: 0.02, low: -0.01, high: 0.05, better: 3, worse: 1, chance: 0.2, allowed: 0.01 };
  const [canary, shadow] = besides([
    { version: "4", role: "canary", share: 0.25, watched: true, note: "", at: "", on_live: live, cost_per_hour_usd: 0.115 },
    { version: "5", role: "shadow", share: 0, note: "", at: "", on_live: null, cost_per_hour_usd: null },
  ]);
  assert.deepEqual([canary.role, canary.drawings, canary.difference, canary.cost].map(plain), ["canary 25 %, watched", "80 of 9 players", "+2.0, \u22121.0 to +5.0", "$0.115 an hour"]);
  assert.deepEqual([shadow.role, shadow.drawings, shadow.cost], ["shadow", "none yet", "–"]);
  const steps = /** @type {any} */ ([{ step: "share", at: "2026-11-30T10:00:00Z", champion: "3", share: 0.05, why: "let through" }, { step: "rolled-back", at: "2026-11-30T11:00:00Z", champion: "3", share: 0, why: "worse" }]);
  assert.deepEqual(rolledOut(steps).map(([, what]) => plain(what)), ["5 % of the players, beside 3: let through", "rolled back, beside 3: worse"]);
  assert.deepEqual(rolledOut(undefined), []);
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

test("how a version did beside the champion is told slice by slice, and what it still needs", () => {
  const ten = Array(10).fill(0);
  const told = {
    champion: "2", tries: 3, people: 8, judged: 245, difference: 0.011, low: -0.029, high: 0.054, better: 4, worse: 2, quantiles: [-0.05, 0, 0.01, 0.02, 0.1], needs_people: 58, needs_drawings: 1800,
    digit_judged: [20, 10, ...ten.slice(2)], digit_won: [3, ...ten.slice(1)], digit_lost: [1, 2, ...ten.slice(2)], newest_judged: 0, newest_won: 0, newest_lost: 0, mnist_won: 12, mnist_lost: 13,
    device_judged: { unknown: 0, mouse: 200, touch: 45 }, device_won: { mouse: 3 }, device_lost: { touch: 2 },
  };
  const lines = Object.fromEntries(compared(told).map(([name, value]) => [name, plain(value)]));
  assert.equal(lines.beside, "2, try 3");
  assert.equal(lines["on people"], "+1.1 points, \u22122.9 to +5.4, on 245 drawings");
  assert.equal(lines.people, "8: better for 4, worse for 2");
  assert.equal(lines["by digit"], "0: +2 of 20, 1: \u22122 of 10");
  assert.equal(lines["by device"], "mouse: +3 of 200, touch: \u22122 of 45");
  assert.equal(lines.needs, "1\u202f800 more drawings, of 58 other people");
  assert.deepEqual(compared(null), []);
});

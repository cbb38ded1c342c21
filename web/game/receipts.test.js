import assert from "node:assert/strict";
import { test } from "node:test";
import { know } from "../lib/models.js";
import { lines, merged, summary } from "./receipts.js";

know([
  { model: "all", title: "All", kind: "blend", hue: null, order: 0 },
  { model: "river", title: "River", kind: "online", hue: 205, order: 1 },
  { model: "mine", title: "Mine", kind: "personal", hue: 350, order: 2 },
  { model: "xgboost", title: "XGBoost", kind: "batch", hue: 44, order: 3 },
]);

/** @type {import("../lib/protocol.js").Receipt} */
const receipt = {
  type: "receipt",
  correction_id: "c",
  drawing_id: "d",
  outcome: "learned",
  models: {
    xgboost: { version_before: "base1", version_after: "base1", p_before: 0.03, p_after: 0.03 },
    river: { version_before: "mnist1+41", version_after: "mnist1+42", p_before: 0.12, p_after: 0.81 },
  },
};

test("a receipt tells first who learned, how its belief moved and which version came of it", () => {
  const [river, xgboost] = lines(receipt, (model) => model);
  assert.equal(river.text.replaceAll("\u00a0", " "), "river learned it: 12 % → 81 %");
  assert.equal(river.note, "version mnist1+41 → +42");
  assert.equal(xgboost.text.replaceAll("\u00a0", " "), "xgboost gave it 3 %");
  assert.match(xgboost.note, /rebuilt/);
});

test("a model that was sure already is not said to have learned", () => {
  const sure = { version_before: "mnist1+41", version_after: "mnist1+42", p_before: 0.99912, p_after: 0.99931 };
  const [river] = lines({ ...receipt, models: { river: sure } }, (model) => model);
  assert.equal(river.text.replaceAll("\u00a0", " "), "river knew it already: 99.9 %");
});

test("a model that gives it as little as before is not said to know it", () => {
  const newcomer = { version_before: "mnist3+0", version_after: "mnist3+1", p_before: 0.0001, p_after: 0.0002 };
  const [river] = lines({ ...receipt, models: { river: newcomer } }, (model) => model);
  assert.equal(river.text.replaceAll("\u00a0", " "), "river still gives it 0.0 %");
});

test("why a lesson counts less is told whoever tells first", () => {
  const less = /** @type {const} */ ({ ...receipt, outcome: "weighted", why: "so far" });
  const own = /** @type {const} */ ({ ...receipt, models: {} });
  for (const both of [merged(less, own), merged(own, less)]) {
    assert.deepEqual([both.outcome, both.why], ["weighted", "so far"]);
    assert.equal(summary(both), "Learned, with less weight than most: so far.");
  }
});

test("a lesson that waits for a frozen model is not said to be learned, whoever tells first", () => {
  const waits = /** @type {const} */ ({ ...receipt, outcome: "weighted", why: "later", frozen: true });
  const own = /** @type {const} */ ({ ...receipt, models: {} });
  for (const both of [merged(waits, own), merged(own, waits)]) assert.equal(summary(both), "Kept for later: later.");
});

test("a correction that taught nothing says so", () => {
  assert.match(summary({ ...receipt, outcome: "quarantined" }), /did not learn/);
  assert.match(summary({ ...receipt, outcome: "superseded" }), /later answer/);
  assert.equal(summary({ ...receipt, outcome: "superseded", why: "you have taken it back" }), "No longer counts: you have taken it back.");
});

test("a correction that was not taken says why", () => {
  const why = "no finished drawing of yours has this id, or it is over a week old";
  assert.equal(summary({ ...receipt, outcome: "refused", models: {}, why }), `Not accepted: ${why}.`);
});

test("the learner and the player's own model tell one by one, and are shown together", () => {
  const own = { version_before: "own2+0", version_after: "own2+1", p_before: 0.12, p_after: 0.97 };
  const second = /** @type {const} */ ({ ...receipt, models: { mine: own } });
  for (const [first, next] of [[receipt, second], [second, receipt]]) {
    const both = merged(merged(null, first), next);
    assert.deepEqual(lines(both, (model) => model).map(({ model }) => model), ["river", "mine", "xgboost"]);
  }
  assert.equal(lines(second, () => "Mine")[0].note, "knows 1 of your drawings");
});

test("another answer to a drawing is learned although the player's own model knows no more drawings", () => {
  const again = { version_before: "own3+1", version_after: "own3+1", p_before: 0.01, p_after: 0.99 };
  const [mine] = lines({ ...receipt, models: { mine: again } }, () => "Mine");
  assert.deepEqual([mine.learned, mine.text.startsWith("Mine learned it:"), mine.note], [true, true, "knows 1 of your drawings"]);
});

test("what did not learn says why, each kind in its way", () => {
  const same = { version_before: "3", version_after: "3", p_before: 0.4, p_after: 0.4 };
  const told = lines({ ...receipt, models: { all: same, mine: same, xgboost: same } }, (model) => model);
  assert.deepEqual(told.map(({ note }) => note), ["changes with the others", "learned nothing from it", "learns when rebuilt"]);
});

test("a receipt of another correction begins anew", () => {
  const other = /** @type {const} */ ({ ...receipt, correction_id: "c2", models: {} });
  assert.deepEqual(merged(receipt, other), other);
});

test("what is said of the whole outlives a plain receipt that comes after it", () => {
  assert.equal(merged({ ...receipt, outcome: "superseded" }, receipt).outcome, "superseded");
});

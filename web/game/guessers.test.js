import assert from "node:assert/strict";
import { test } from "node:test";
import { know } from "../lib/models.js";
import { Lead, agreement, lessons, listed, cardState, shownVersion } from "./guessers.js";

/** @typedef {import("../lib/protocol.js").Guess} Guess */

know([
  { model: "all", title: "All", kind: "blend", hue: null, order: 0 },
  { model: "xgboost", title: "XGBoost", kind: "batch", hue: 44, order: 1 },
  { model: "brook", title: "Brook, learns at once", kind: "online", hue: 205, order: 2 },
  { model: "mine", title: "Mine", kind: "personal", hue: 350, order: 3 },
]);

const names = { mxnet: "MXNet CNN", kmeans: "K-Means" };
/** @param {string} model */
const name = (model) => /** @type {Record<string, string>} */ (names)[model] ?? model;

/** @param {string} model @param {Partial<Guess>} more */
function guess(model, more = {}) {
  return /** @type {Guess} */ ({ type: "guess", drawing_id: "d", model, version: "3", label: 7, final: true, hops: {}, ...more });
}

/** @param {string} model @param {object} more */
const known = (model, more = {}) => ({ model, version: "3", title: model, ...more });

test("a guesser waits for its answer, and then has it", () => {
  assert.equal(cardState(known("xgboost"), undefined, undefined, false, name).state, "empty");
  assert.equal(cardState(known("xgboost"), undefined, undefined, true, name).state, "waiting");
  assert.equal(cardState(known("xgboost"), guess("xgboost"), undefined, true, name).state, "final");
  assert.equal(cardState(known("xgboost"), guess("xgboost", { final: false }), undefined, false, name).state, "preview");
});

test("an answer to a part of the drawing is none to the finished one", () => {
  assert.equal(cardState(known("xgboost"), guess("xgboost", { final: false }), undefined, true, name).state, "waiting");
});

test("who was too slow is late, who failed rests, and both say why", () => {
  const missed = /** @type {const} */ ({ type: "missed", drawing_id: "d", model: "xgboost", why: "over 250 ms" });
  assert.deepEqual(cardState(known("xgboost"), undefined, { ...missed, resting: false }, true, name), { state: "late", mark: "late", note: "over 250 ms" });
  assert.equal(cardState(known("xgboost"), undefined, { ...missed, resting: true }, true, name).state, "resting");
  assert.equal(cardState(known("xgboost", { resting: "3 failures" }), undefined, undefined, false, name).note, "3 failures");
});

test("an answer counts more than the rest that followed it", () => {
  assert.equal(cardState(known("xgboost", { resting: "failed" }), guess("xgboost"), undefined, true, name).state, "final");
  assert.equal(cardState(known("xgboost", { resting: "failed" }), guess("xgboost", { final: false }), undefined, false, name).state, "resting");
});

test("who cannot be here says why", () => {
  const { state, note } = cardState(known("mxnet", { unavailable: "needs Linux on x86-64" }), undefined, undefined, true, name);
  assert.deepEqual([state, note], ["unavailable", "needs Linux on x86-64"]);
});

test("the blend says who is not in it and why", () => {
  const { note } = cardState(known("all"), guess("all", { left_out: { mxnet: "resting", kmeans: "late" } }), undefined, true, name);
  assert.equal(note, "without MXNet CNN (resting) and K-Means (late)");
  assert.equal(cardState(known("all"), guess("all"), undefined, true, name).note, "all models, together");
});

test("while the pen moves the blend does not say who is late", () => {
  const early = guess("all", { final: false, left_out: { mxnet: "resting", kmeans: "late" } });
  assert.equal(cardState(known("all"), early, undefined, false, name).note, "without MXNet CNN (resting)");
});

test("a canary and a stand-in are marked", () => {
  const early = cardState(known("xgboost"), guess("xgboost", { role: "canary", version: "4" }), undefined, true, name);
  assert.deepEqual([early.mark, early.note], ["early", "you see version 4 early"]);
  const instead = cardState(known("xgboost"), guess("xgboost", { fallback: "canary 4 did not answer" }), undefined, true, name);
  assert.deepEqual([instead.mark, instead.note], ["stand-in", "version 3 stands in: canary 4 did not answer"]);
});

test("a player's own model says how many of their drawings it knows", () => {
  const note = (/** @type {string} */ version) => cardState(known("mine", { version }), undefined, undefined, false, name).note;
  assert.equal(note("own2+12"), "knows 12 drawings of yours");
  assert.equal(note("own2+1"), "knows 1 drawing of yours");
  assert.equal(note("own2"), "as Brook, until your first answer");
  assert.equal(note(/** @type {any} */ (null)), "Brook, and what you teach it");
  assert.deepEqual([lessons("own2+12"), lessons("base1"), lessons("")], [12, 0, 0]);
});

test("a version that would tell a player nothing is not shown", () => {
  const shown = ["all", "mine", "brook", "xgboost"].map((model) => shownVersion(model, "3"));
  assert.deepEqual([shown, shownVersion("xgboost", null)], [["", "", "3", "3"], ""]);
});

test("who is shown first is settled by finished drawings: previews move no card", () => {
  const lead = new Lead();
  const all = ["all", "xgboost", "river"];
  assert.equal(lead.of(all), "all");
  assert.equal(lead.hear(guess("river", { lead: "river", final: false })), true);
  assert.equal(lead.hear(guess("river", { lead: "xgboost", final: false })), false);
  assert.equal(lead.of(all), "river");
  assert.equal(lead.hear(guess("river", { lead: "xgboost" })), true);
  assert.equal(lead.hear(guess("river", { lead: "xgboost" })), false);
  assert.equal(lead.of(all), "xgboost");
});

test("where a policy names the one to be shown first, it is obeyed", () => {
  const lead = new Lead();
  lead.obey([known("xgboost", { lead: false }), known("river", { lead: true })]);
  assert.equal(lead.of(["xgboost", "river"]), "river");
  lead.obey([known("xgboost", { lead: false })]);
  assert.equal(lead.of(["xgboost", "river"]), "river");
});

test("where the one to be shown first is not there, the first in order is", () => {
  const lead = new Lead();
  assert.deepEqual([lead.of(["xgboost", "river"]), lead.of([])], ["xgboost", null]);
});

test("how many agree is counted without the blend", () => {
  const guesses = [guess("all", { label: 1 }), guess("xgboost"), guess("river"), guess("kmeans", { label: 1 })];
  assert.deepEqual(agreement(guesses), { digit: 7, n: 2, of: 3 });
  assert.equal(agreement([guess("all")]), null);
});

test("a list reads as people write it", () => {
  assert.deepEqual([listed([]), listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])], ["", "a", "a and b", "a, b and c"]);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { ends, note, overTime, told } from "./honest.js";

/** @param {object} more */
const estimate = (more = {}) => ({ picked: 50, known: 40, share: 0.9, low: 0.75, high: 0.98, least: 0.72, most: 0.92, ...more });
/** @param {object} more */
const honest = (more = {}) => ({ whole: estimate(), free: estimate({ picked: 20, known: 10, least: 0.4, most: 0.9 }), silent: 10, unasked: 20, versions: {}, digits: [], confusion: [], recent: [], ...more });

test("of nothing there is no interval", () => {
  assert.equal(ends(undefined), null);
  assert.equal(ends(estimate({ known: 0, share: null, low: null, high: null })), null);
  assert.equal(told(undefined), "as it is: not known yet");
});

test("an estimate is told with its interval and with how many drawings are known", () => {
  assert.match(told(honest()), /^as it is: 90\.0.% \(75\.0.% to 98\.0.%, n = 40\)$/);
});

test("the line over time leaves out what is not known", () => {
  const recent = [{ at: 60, estimate: estimate() }, { at: 120, estimate: estimate({ share: null }) }];
  assert.deepEqual(overTime(honest({ recent })), [{ at: 60, n: 40, correct: 36, share: 0.9, low: 0.75, high: 0.98 }]);
});

test("who was silent is said, and what it could change", () => {
  assert.match(note("picks", [honest()]), /40 of 50 drawings that chance picked\. Of 20 drawn freely, players said of 50.% what they were, so .* 40\.0.% to 90\.0.% of those/);
  assert.match(note("picks", [honest({ unasked: 0, silent: 0, whole: estimate({ known: 50 }) })]), /50 of 50 .* that the game had asked for\. The/);
  assert.match(note("picks", []), /picked no drawing yet/);
  assert.match(note("labels", []), /mostly what is wrong/);
});

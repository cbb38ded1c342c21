import assert from "node:assert/strict";
import { test } from "node:test";
import { halves, headline, kept, reach, sentence, spelled, timeLeft, words } from "./player_card_text.js";

/** @param {Partial<import("../lib/protocol.js").MemoryCard>} given @returns {import("../lib/protocol.js").MemoryCard} */
const card = (given) => ({
  type: "card", request_id: "r", version: "own2+34", lessons: 34, most: 256, size: 9000, both: 34, own_alone: 4, shared_alone: 1,
  lift: 0.08824, low: -0.05, high: 0.21, reset_until: null, ...given,
});
/** @param {Partial<import("../lib/protocol.js").MemoryCard>} given */
const said = (given) => words(card(given), "River").join(" ");

test("a lead is told in times and points, with the interval in words", () => {
  assert.equal(
    said({ low: 0.012 }),
    "On your 34 labelled drawings yours was right 3 more times than everybody’s model, River." +
      " That is 8.8 points better; for your hand it is between 1.2 and 21 points better, with 95 per cent certainty.",
  );
});

test("what may be chance is called chance", () => {
  assert.match(said({}), /8\.8 points better, but may be chance: for your hand it is anything from 5 points worse to 21 points better/);
  assert.match(said({ low: 0, high: 0.2 }), /may be chance/);
});

test("a model that is worse is said to be, and one that is equal too", () => {
  const worse = said({ own_alone: 1, shared_alone: 2, lift: -0.03, low: -0.09, high: -0.01 });
  assert.match(worse, /everybody’s model, River, was right one more time than yours/);
  assert.match(worse, /3 points worse; for your hand it is between 1 and 9 points worse/);
  const equal = said({ own_alone: 1, shared_alone: 1, lift: 0, low: -0.1, high: 0.1 });
  assert.match(equal, /as often as everybody’s model, River\. For your hand it may be anything from 10 points worse to 10 points better/);
});

test("only drawings that both have guessed are compared, and only the newest are remembered", () => {
  assert.match(said({ both: 30 }), /^On 30 of your 34 labelled drawings, which both have guessed, yours/);
  assert.match(said({ both: 1, lessons: 1 }), /^On your one labelled drawing yours/);
  assert.match(said({ lessons: 256 }), /It remembers your newest 256 drawings\.$/);
  assert.doesNotMatch(said({}), /newest/);
});

test("without lessons, or with nothing to compare, no figure is made up", () => {
  const nothing = { both: 0, own_alone: 0, shared_alone: 0, lift: null, low: null, high: null };
  assert.match(said({ ...nothing, lessons: 0 }), /answers as everybody’s, River, until/);
  assert.match(said({ ...nothing, lessons: 3 }), /nothing to compare yet/);
  assert.deepEqual([headline(null).value, headline(0.08824), headline(-0.02).of], [
    "–", { value: "8.8", of: "points better than everybody’s model" }, "points worse than everybody’s model",
  ]);
});

test("an axis holds its interval", () => {
  assert.deepEqual([reach(-0.02, 0.21), reach(-0.4, 0.1), reach(0, 0), reach(-0.1, 0.15), reach(-1, 1)], [0.25, 0.4, 0.05, 0.15, 1]);
});

test("a code is read as people type it, and what cannot be one is not sent", () => {
  assert.deepEqual(spelled(" bcdfg-hjklm "), { code: "BCDFGHJKLM", why: "" });
  assert.equal(halves("BCDFGHJKLM"), "BCDFG HJKLM");
  assert.match(spelled("BCDFG").why, /ten letters; this one has 5/);
  assert.match(spelled("BCDFGHJKL7").why, /letters only/);
  assert.match(spelled("  ").why, /Type the ten letters/);
});

test("a code says how long it is good, and when it is not any more", () => {
  assert.deepEqual([600_000, 59_001, 1].map(timeLeft), ["good once, for 10 min 0 s", "good once, for 1 min 0 s", "good once, for 1 s"]);
  assert.deepEqual([0, -5000].map(timeLeft), Array(2).fill("too old now: ask for another"));
});

test("an error is a sentence, without the names of the protocol", () => {
  assert.equal(sentence("this code is too old; ask for a new one"), "This code is too old; ask for a new one.");
  assert.equal(sentence("code: Value error, a code is 10 letters"), "A code is 10 letters.");
});

test("a file is named by its format and day, and reads as the server wrote it", () => {
  const file = kept({ type: "memory", format: "gamenight-memory-1", at: "2026-11-29T12:00:00Z", drawings: [{ label: 7 }] });
  assert.equal(file.name, "gamenight-memory-1-2026-11-29.json");
  assert.deepEqual(JSON.parse(file.text), { format: "gamenight-memory-1", at: "2026-11-29T12:00:00Z", drawings: [{ label: 7 }] });
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { change, count, duration, percent, plural, usd, versions } from "./format.js";
import { axisFrom } from "./interval.js";
import { byPlace, colour, know, kindOf, shared, short } from "./models.js";
import { backoff, described } from "./socket.js";
import { uuid } from "./uuid.js";

/** With common spaces. @param {string} text */
const plain = (text) => text.replaceAll("\u00a0", " ");

test("a share is never rounded to certainty", () => {
  assert.deepEqual([1, 0.997, 0.5, 0.004, 0].map((share) => plain(percent(share))), ["100 %", ">99 %", "50 %", "<1 %", "0 %"]);
});

test("a change that whole numbers would hide is shown with a decimal", () => {
  assert.equal(plain(change(0.12, 0.81)), "12 % → 81 %");
  assert.equal(plain(change(0.9912, 0.9938)), "99.1 % → 99.4 %");
});

test("a model is called by its title up to the comma, or by its name", () => {
  assert.equal(short({ model: "river", title: "River, learns from every correction" }, "river"), "River");
  assert.equal(short(undefined, "yours"), "yours");
});

test("a version that goes on shows only what changed", () => {
  assert.equal(versions("mnist1+41", "mnist1+42"), "mnist1+41 → +42");
  assert.equal(versions("2", "3"), "2 → 3");
  assert.equal(versions("mnist1+9", "mnist2+0"), "mnist1+9 → mnist2+0");
  assert.equal(versions("base1", "base1"), "base1");
});

test("numbers read as people write them", () => {
  assert.deepEqual([count(7), count(1234567)], ["7", "1\u202f234\u202f567"]);
  assert.deepEqual([plural(1, "drawing"), plural(0, "drawing")], ["1 drawing", "0 drawings"]);
  assert.deepEqual([3.14159, 123.4, 12_345].map((ms) => plain(duration(ms))), ["3.1 ms", "123 ms", "12.3 s"]);
});

test("each failure waits longer, up to a limit, and never all clients at once", () => {
  assert.deepEqual([1, 2, 3, 20].map((failures) => backoff(failures, 1006, 1)), [250, 500, 1000, 8000]);
  assert.equal(backoff(20, 1006, 0), 4000);
});

test("a client that was thrown out for abuse waits long at once", () => {
  assert.equal(backoff(1, 1008, 0), 15_000);
});

test("the state of the connection is said in words, with the server's reason", () => {
  assert.equal(described({ name: "open" }), "Live");
  assert.match(described({ name: "waiting", retryMs: 500, reason: "restarting" }), /restarting/);
});

test("a drawing's id is a UUID without a secure context too", () => {
  const insecure = /** @type {Crypto} */ ({ getRandomValues: (/** @type {any} */ array) => crypto.getRandomValues(array) });
  const pattern = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
  assert.match(uuid(), pattern);
  assert.match(uuid(insecure), pattern);
  assert.notEqual(uuid(insecure), uuid(insecure));
});

test("an axis of shares holds what is known well, and is not stretched by a few drawings", () => {
  const well = { share: 0.96, low: 0.93, high: 0.98 };
  const few = { share: 0.5, low: 0.1, high: 0.9 };
  assert.deepEqual([axisFrom([well, null]), axisFrom([{ ...well, low: 0.81 }, few]), axisFrom([few]), axisFrom([])], [0.9, 0.8, 0.1, 0.9]);
});

test("models stand in the order that the server says, the unknown ones last", () => {
  const names = ["zeta", "yours", "alpha", "river", "everyone", "xgboost"];
  know(["everyone", "xgboost", "river", "yours"].map((model, order) => ({ model, hue: null, order })));
  assert.deepEqual([...names].sort(byPlace), ["everyone", "xgboost", "river", "yours", "alpha", "zeta"]);
  know([{ model: "xgboost", hue: 44, order: 9 }]);
  assert.deepEqual([...names].sort(byPlace), ["everyone", "river", "yours", "xgboost", "alpha", "zeta"]);
});

test("models have the colours that the server says, and one that it has said nothing of has that of ink", () => {
  know([{ model: "river", hue: 205, order: 1 }, { model: "everyone", hue: null, order: 0 }]);
  know([{ model: "river" }]);
  assert.deepEqual(colour("river"), { "data-hue": 205, "--angle": 205 });
  assert.deepEqual(colour("everyone"), { "data-hue": "none" });
  assert.deepEqual(colour("something-new"), { "data-hue": "none" });
});

test("a model's kind is what the server says, and the shared model is the first that learns online", () => {
  assert.equal(shared(), "what all players have taught");
  know([
    { model: "pond", title: "Pond", kind: "online", hue: 1, order: 5 },
    { model: "brook", title: "Brook, learns at once", kind: "online", hue: 2, order: 4 },
    { model: "xgboost", title: "XGBoost", kind: "batch", hue: 3, order: 1 },
  ]);
  assert.deepEqual(["brook", "xgboost", "something-new"].map(kindOf), ["online", "batch", undefined]);
  assert.equal(shared(), "Brook");
});

test("money reads as money", () => {
  assert.deepEqual([0.115, 0.69, 83.95, 1234.5].map(usd), ["$0.115", "$0.69", "$83.95", "$1,234.50"]);
});

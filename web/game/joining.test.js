import assert from "node:assert/strict";
import { test } from "node:test";
import { Joining } from "./joining.js";

const ada = { name: "Ada", room: "BCDF", seat: "of Ada" };

test("a page joins with its seat, and as a guest where it is nobody", () => {
  assert.deepEqual(new Joining().opened(ada), { type: "join", name: "Ada", room: "BCDF", seat: "of Ada", questions: true });
  assert.equal(new Joining().opened({ name: "", room: null, seat: null }).name, "Guest");
});

test("a code takes the place of the seat and the room, and is given again on the next connection until it is answered", () => {
  const joining = new Joining();
  joining.carry("BCDFGHJKLM");
  const join = { type: "join", name: "Ada", room: null, code: "BCDFGHJKLM", questions: true };
  assert.deepEqual([joining.opened(ada), joining.opened(ada), joining.carrying], [join, join, true]);
  assert.deepEqual([joining.drop(), joining.drop()], [true, false]);
  assert.equal(joining.opened(ada).seat, "of Ada");
});

test("a code that is refused leaves the player who they were", () => {
  const joining = new Joining();
  joining.carry("BCDFGHJKLM");
  joining.opened(ada);
  const join = joining.refused("bad_code", ada);
  assert.deepEqual([join?.seat, join?.room, join?.code], ["of Ada", "BCDF", undefined]);
});

test("a seat that is refused makes the player a guest, once a connection", () => {
  const joining = new Joining();
  joining.opened(ada);
  const join = joining.refused("bad_seat", ada);
  assert.deepEqual([join?.name, join?.room, join?.seat], ["Guest", null, null]);
  assert.equal(joining.refused("busy", ada), null);
  joining.opened(ada);
  assert.equal(joining.refused("bad_seat", ada)?.seat, null);
});

test("an error that is not about the join costs nobody their seat or code", () => {
  const joining = new Joining();
  joining.carry("BCDFGHJKLM");
  joining.opened(ada);
  assert.deepEqual([joining.refused("not_joined", ada), joining.refused("too_fast", ada), joining.carrying], [null, null, true]);
});

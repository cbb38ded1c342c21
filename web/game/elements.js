// @ts-check
/** The elements of the game's page. */

import { h, the } from "../lib/dom.js";

export const page = {
  agreement: the("agreement", HTMLElement),
  another: the("another", HTMLButtonElement),
  cards: the("cards", HTMLElement),
  check: the("check", HTMLElement),
  checkLater: the("check-later", HTMLButtonElement),
  checkText: the("check-text", HTMLElement),
  checkYes: the("check-yes", HTMLButtonElement),
  clear: the("clear", HTMLButtonElement),
  come: the("come", HTMLButtonElement),
  confirm: the("confirm", HTMLButtonElement),
  connection: the("connection", HTMLElement),
  digits: the("digits", HTMLElement),
  free: the("free", HTMLInputElement),
  lead: the("lead", HTMLElement),
  name: the("name", HTMLInputElement),
  newcomer: the("newcomer", HTMLElement),
  others: /** @type {HTMLElement} */ (the("cards", HTMLElement).parentElement),
  own: the("own", HTMLButtonElement),
  past: the("past", HTMLElement),
  pastSection: the("past-section", HTMLElement),
  prompt: the("prompt", HTMLElement),
  receipt: the("receipt", HTMLElement),
  room: the("room", HTMLElement),
  receiptLines: the("receipt-lines", HTMLElement),
  receiptTitle: the("receipt-title", HTMLElement),
  spoken: the("spoken", HTMLElement),
  status: the("status", HTMLElement),
  toasts: the("toasts", HTMLElement),
  withdraw: the("withdraw", HTMLButtonElement),
};

export const canvas = the("pad", HTMLCanvasElement);
export const paper = /** @type {HTMLElement} */ (canvas.parentElement);

/** A button for each digit, and the models that see it. */
export const digits = Array.from({ length: 10 }, (_, digit) => {
  const votes = h("span", { class: "votes", "aria-hidden": "true" });
  const button = h("button", { type: "button", "aria-pressed": "false", disabled: true }, String(digit), votes);
  page.digits.append(button);
  return { button, votes };
});

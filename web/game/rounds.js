// @ts-check
/** The drawings of this visit and what became of them: guesses, labels, who was right. Pure. */

import { kindOf } from "../lib/models.js";

/**
 * @typedef {import("../lib/protocol.js").Guess} Guess
 * @typedef {import("../lib/protocol.js").Missed} Missed
 * @typedef {import("../lib/protocol.js").Receipt} Receipt
 * @typedef {import("./strokes.js").Stroke} Stroke
 *
 * @typedef {object} Round One finished drawing.
 * @property {string} id The drawing_id.
 * @property {Stroke[]} strokes
 * @property {number} side Of the pad, in CSS pixels.
 * @property {number | null} asked
 * @property {boolean} saved Whether the server has said that it is kept.
 * @property {Map<string, Guess>} guesses By model.
 * @property {Map<string, Missed>} missed Who did not answer, by model.
 * @property {string | null} correction The id of the player's last correction of it.
 * @property {number | null} label What the player last said that it is.
 * @property {Receipt | null} receipt Of that correction.
 * @property {boolean} check Whether chance has picked it, and its player may be asked whether the guess was right.
 *
 * @typedef {{n: number, right: number, streak: number}} Tally
 */

/** @param {string} id @param {Stroke[]} strokes @param {number} side @param {number | null} asked @returns {Round} */
export function round(id, strokes, side, asked) {
  return { id, strokes, side, asked, saved: false, guesses: new Map(), missed: new Map(), correction: null, label: null, receipt: null, check: false };
}

/** How a model did on the drawings that the player has labelled.
 * @param {Round[]} rounds In the order drawn.
 * @param {string} model
 * @returns {Tally} `streak`: right ones in a row, up to the last.
 */
export function tally(rounds, model) {
  const sum = { n: 0, right: 0, streak: 0 };
  for (const { label, guesses } of rounds) {
    const guess = guesses.get(model);
    if (label === null || !guess) continue;
    const right = guess.label === label;
    sum.n += 1;
    sum.right += right ? 1 : 0;
    sum.streak = right ? sum.streak + 1 : 0;
  }
  return sum;
}

/** The digit that the models together hold most likely: what the blend says, or what comes of multiplying where it is not there.
 * @param {Iterable<Guess>} guesses
 * @returns {number | null} None without guesses.
 */
export function favourite(guesses) {
  const sums = new Array(10).fill(0);
  let any = false;
  for (const { model, label, probabilities } of guesses) {
    if (kindOf(model) === "blend") return label;
    any = true;
    probabilities.forEach((p, digit) => (sums[digit] += Math.log(Math.max(p, 1e-6))));
  }
  return any ? sums.indexOf(Math.max(...sums)) : null;
}

/** What Enter would say of a finished drawing: yes to what is guessed, or no, where the player was asked for another digit.
 * @param {number} likely What it most likely is.
 * @param {number | null} guessed What the models say; null: nothing yet.
 */
export function reply(likely, guessed) {
  if (guessed === null) return `It is a ${likely}`;
  return `${guessed === likely ? "Yes" : "No"}, it is a ${likely}`;
}

/** What a drawing most likely is: the digit that was asked for, or what the models hold most likely. @param {Round} one */
export function expected(one) {
  return one.asked ?? favourite(one.guesses.values());
}

// @ts-check
/** What the player's card says, in words: what their own model has learned, how it compares, a code, a file. Pure. */

import { count } from "../lib/format.js";

/**
 * @typedef {import("../lib/protocol.js").MemoryCard} MemoryCard
 * @typedef {import("../lib/protocol.js").MemoryFile} MemoryFile
 */

const CODE_LENGTH = 10;

/** What there is to say of a model that has learned so much.
 * @param {MemoryCard} card
 * @param {string} shared What the model is called that learns from all players.
 * @returns {string[]} Sentences.
 */
export function words(card, shared) {
  if (card.lessons === 0) return [`Your model answers as everybody’s, ${shared}, until you tell the models what you drew.`];
  const full = card.lessons >= card.most ? [`It remembers your newest ${count(card.most)} drawings.`] : [];
  return [...compared(card, shared), ...full];
}

/** @param {MemoryCard} card @param {string} shared */
function compared({ lessons, both, own_alone: own, shared_alone: others, lift, low, high }, shared) {
  if (lift === null || low === null || high === null) return ["There is nothing to compare yet: that takes drawings on which both models have guessed."];
  const where = both === lessons ? `On your ${drawings(both)}` : `On ${count(both)} of your ${count(lessons)} labelled drawings, which both have guessed,`;
  const ahead = own - others;
  const name = `everybody’s model, ${shared}`;
  if (ahead > 0) return [`${where} yours was right ${times(ahead)} than ${name}.`, certainty(lift, low, high)];
  if (ahead < 0) return [`${where} ${name}, was right ${times(-ahead)} than yours.`, certainty(lift, low, high)];
  return [`${where} yours was right as often as ${name}.`, certainty(lift, low, high)];
}

/** @param {number} lift @param {number} low @param {number} high */
function certainty(lift, low, high) {
  const between = low * high > 0;
  const [near, far] = [low, high].map(Math.abs).sort((a, b) => a - b);
  if (between) return `That is ${side(lift)}; for your hand it is between ${figure(near)} and ${figure(far)} points ${high > 0 ? "better" : "worse"}, with 95 per cent certainty.`;
  const range = `from ${side(low)} to ${side(high)}, with 95 per cent certainty`;
  return lift === 0 ? `For your hand it may be anything ${range}.` : `That is ${side(lift)}, but may be chance: for your hand it is anything ${range}.`;
}

/** The lift as a figure and what it is a figure of.
 * @param {number | null} lift
 * @returns {{value: string, of: string}}
 */
export function headline(lift) {
  const of = `points ${lift !== null && lift < 0 ? "worse" : "better"} than everybody’s model`;
  return { value: lift === null ? "–" : figure(lift), of };
}

/** How far an axis reaches to each side of nought that holds an interval: a multiple of five points.
 * @param {number} low
 * @param {number} high
 * @returns {number} In 0.05..1.
 */
export function reach(low, high) {
  return Math.max(0.05, Math.ceil(Math.max(-low, high) * 20 - 1e-9) / 20);
}

/** A share in points, without its sign. @param {number} share */
function figure(share) {
  return String(Math.round(Math.abs(share) * 1000) / 10);
}

/** @param {number} share */
function side(share) {
  const points = figure(share);
  return `${points} ${points === "1" ? "point" : "points"} ${share < 0 ? "worse" : "better"}`;
}

/** @param {number} n */
function times(n) {
  return n === 1 ? "one more time" : `${count(n)} more times`;
}

/** @param {number} n */
function drawings(n) {
  return n === 1 ? "one labelled drawing" : `${count(n)} labelled drawings`;
}

/** What a reset does.
 * @param {string} shared What the model is called that learns from all players.
 */
export function warning(shared) {
  return `Your model forgets everything that you have drawn until now, and answers as ${shared} does. What everybody’s model has learned from you stays. This cannot be undone.`;
}

/** What is said of a reset that nobody has done yet: the page sends it until somebody has. */
export const PENDING =
  "Your reset is still on its way: while this page stays open it is done as soon as the game can, and forgets what you have drawn by then.";

/** Read a code as a person writes it.
 * @param {string} text
 * @returns {{code: string, why: string}} Why it cannot be one; empty: it may be.
 */
export function spelled(text) {
  const code = text.toUpperCase().replace(/[\s-]/g, "");
  if (code === "") return { code, why: "Type the ten letters that your other device shows." };
  if (/[^A-Z]/.test(code)) return { code, why: "A code has letters only." };
  return { code, why: code.length === CODE_LENGTH ? "" : `A code has ten letters; this one has ${code.length}.` };
}

/** A code in two halves, as it is easiest to copy by hand. @param {string} code */
export function halves(code) {
  return `${code.slice(0, CODE_LENGTH / 2)} ${code.slice(CODE_LENGTH / 2)}`;
}

/** How long a code is valid.
 * @param {number} ms Until it is not.
 */
export function timeLeft(ms) {
  const s = Math.ceil(ms / 1000);
  if (s <= 0) return "too old now: ask for another";
  const minutes = Math.floor(s / 60);
  return `good once, for ${minutes > 0 ? `${minutes} min ` : ""}${s % 60} s`;
}

/** What the server says of a mistake, as a sentence.
 * @param {string} message
 */
export function sentence(message) {
  const said = message.replace(/^\w+: Value error, /, "");
  return `${said.charAt(0).toUpperCase()}${said.slice(1)}${/[.!?…]$/.test(said) ? "" : "."}`;
}

/** The file in which a player keeps what their model remembers.
 * @param {MemoryFile} file
 * @returns {{name: string, text: string}}
 */
export function kept({ type, ...file }) {
  return { name: `${file.format}-${file.at.slice(0, 10)}.json`, text: `${JSON.stringify(file, null, 2)}\n` };
}

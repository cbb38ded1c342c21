// @ts-check
/** What there is to say of costs, and where the lines of their chart run. Pure. */

import { count, plural } from "../lib/format.js";

/**
 * @typedef {{way: "always" | "to zero" | "serverless", per_month: string | null, note: string}} Way
 *
 * @typedef {object} EndpointCost
 * @property {string} model
 * @property {string} title
 * @property {string[]} instances
 * @property {string | null} unpriced
 * @property {string | null} per_hour Dollars, as all money, in decimal text.
 * @property {string | null} per_month
 * @property {string | null} per_year
 * @property {number | null} guesses_per_hour
 * @property {number | null} finished_per_hour
 * @property {number | null} share
 * @property {string | null} per_thousand
 * @property {string | null} per_correct
 * @property {Way[]} ways
 * @property {number | null} break_even
 * @property {string | null} cheapest
 *
 * @typedef {object} TrainingCost
 * @property {string} model
 * @property {string} version
 * @property {string} at
 * @property {number | null} seconds
 * @property {string} instances
 * @property {string | null} cost
 * @property {string | null} points
 * @property {string | null} points_per_cent
 * @property {string | null} further_right_each
 * @property {string} warning
 *
 * @typedef {{model: string, at: string, outcome: string, seconds: number, cost: string | null}} TrainingInVain
 *
 * @typedef {object} Costs
 * @property {{as_of: string, region: string, source: string, stale: string | null}} prices
 * @property {number} minutes
 * @property {number | null} assumed
 * @property {number} memory_gb
 * @property {EndpointCost[]} endpoints
 * @property {TrainingCost[]} trainings
 * @property {TrainingInVain[]} in_vain
 * @property {string} per_hour
 * @property {string} per_month
 * @property {string} per_year
 * @property {string} trained
 * @property {string} trained_in_vain
 */

export const WAYS = { always: "Always there", "to zero": "Scaled to zero", serverless: "Serverless" };

/** An amount with two decimals, or with two digits that say something where it is small.
 * @param {string | null} amount In dollars, decimal.
 */
export function money(amount) {
  if (amount === null) return "–";
  const dollars = Number(amount);
  const size = Math.abs(dollars);
  const digits = size === 0 || size >= 0.1 ? 2 : Math.min(12, 1 - Math.floor(Math.log10(size)));
  const [whole, part] = size.toFixed(digits).split(".");
  return `${dollars < 0 ? "−" : ""}$${String(whole).replace(/\B(?=(\d{3})+$)/g, ",")}.${part}`;
}

/** How much a model is asked. @param {EndpointCost} endpoint @param {number} minutes */
export function asked({ guesses_per_hour: rate }, minutes) {
  if (rate === null) return "not counted yet";
  return `${count(Math.round(rate))} guesses an hour, by the last ${plural(minutes, "minute")}`;
}

/** What a training bought, in words; null: nobody knows. @param {TrainingCost} training */
export function gain({ points, points_per_cent: perCent }) {
  if (points === null) return null;
  const won = `${signed(Number(points), 2)} points`;
  return perCent === null ? won : `${won}, ${signed(Number(perCent), 1)} a cent`;
}

/** @param {number} number @param {number} digits */
function signed(number, digits) {
  const text = Math.abs(number).toFixed(digits);
  return `${Number(text) === 0 ? "±" : number < 0 ? "−" : "+"}${text}`;
}

/** The chart's axis: guesses an hour, from 1 to 10 million, in powers of ten. */
export const POWERS = 7;

/** Where the lines of a chart run, in shares of its width and height from the lower left.
 * @param {EndpointCost} endpoint
 * @returns {{always: number, from: number, to: number, even: number, here: number | null} | null} Heights of the one line, and of
 *   the other's both ends; how far to the right they cross, and where the game is now. Null: it cannot be drawn.
 */
export function lines({ per_month: month, break_even: even, guesses_per_hour: rate }) {
  const flat = Number(month);
  if (!flat || !even) return null;
  const crossing = Math.log10(even) / POWERS;
  const here = rate === null || rate < 1 ? null : Math.min(1, Math.log10(rate) / POWERS);
  const height = 0.5;
  const steep = Math.min(0.8, 0.48 / crossing); // so that it begins above the axis
  return { always: height, from: height - crossing * steep, to: height + (1 - crossing) * steep, even: crossing, here };
}

// @ts-check
/** Estimates by drawings that chance picked, in the forms in which the dashboard shows counts. Pure. */

import { percent, percent1 } from "../lib/format.js";

/**
 * @typedef {import("../lib/protocol.js").Estimate} Estimate
 * @typedef {import("../lib/protocol.js").Honest} Honest
 * @typedef {import("./counts.js").Interval} Interval
 * @typedef {import("./counts.js").Sample} Sample
 */

/** A share with its interval.
 * @param {Estimate | undefined} estimate
 * @returns {Interval | null} None where nothing is known.
 */
export function ends(estimate) {
  if (!estimate || estimate.share === null || estimate.low === null || estimate.high === null) return null;
  return { share: estimate.share, low: estimate.low, high: estimate.high };
}

/** The line over time.
 * @param {Honest | undefined} honest
 * @returns {Sample[]}
 */
export function overTime(honest) {
  return (honest?.recent ?? []).flatMap(({ at, estimate }) => {
    const interval = ends(estimate);
    return interval ? [{ at, n: estimate.known, correct: Math.round(interval.share * estimate.known), ...interval }] : [];
  });
}

/** A model's estimate in a line.
 * @param {Honest | undefined} honest
 */
export function told(honest) {
  const interval = ends(honest?.whole);
  if (!honest || !interval) return "as it is: not known yet";
  return `as it is: ${percent1(interval.share)} (${percent1(interval.low)} to ${percent1(interval.high)}, n = ${honest.whole.known})`;
}

/** How the numbers come about.
 * @param {"labels" | "picks"} how
 * @param {Honest[]} all
 */
export function note(how, all) {
  if (how === "labels") return "Shares of the drawings that players have labelled. They label mostly what is wrong, so models look worse than they are.";
  const most = all.reduce((best, each) => (best && best.whole.picked >= each.whole.picked ? best : each), /** @type {Honest | null} */ (null));
  if (!most) return "Chance has picked no drawing yet. It picks some of those of pages that show questions.";
  const { unasked, silent, whole, free } = most;
  const bounds = free.least === null || free.most === null || silent === 0 ? "" : `, so models are right on ${percent1(free.least)} to ${percent1(free.most)} of those`;
  const freely = unasked === 0 ? "" : ` Of ${unasked} drawn freely, players said of ${percent((unasked - silent) / unasked)} what they were${bounds}.`;
  return `Estimated from ${whole.known} of ${whole.picked} drawings that chance picked${whole.known === whole.picked ? ", of digits that the game had asked for" : ""}.${freely} The intervals hold however often one looks.`;
}

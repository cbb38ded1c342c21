// @ts-check
/** What there is to say of endpoints: what they cost, how they are, who answers. Pure. */

import { usd } from "../lib/format.js";

/**
 * @typedef {object} Variant
 * @property {string} variant
 * @property {string} version
 * @property {"champion" | "previous" | "canary" | "shadow" | "other"} role
 * @property {number} weight
 * @property {number} players The share of the players that it answers now, in 0..1.
 * @property {number} instances
 * @property {string} instance_type
 * @property {import("../library/facts.js").Version | null} papers The version as the library has it.
 *
 * @typedef {object} Endpoint
 * @property {string} model
 * @property {string} title
 * @property {number | null} hue
 * @property {number} order
 * @property {import("../library/facts.js").Standing} standing Of the model.
 * @property {string} endpoint
 * @property {string} arn
 * @property {string} status
 * @property {string} reason
 * @property {string | null} created
 * @property {string | null} modified
 * @property {string | null} resting
 * @property {string | null} resting_since
 * @property {string | null} unavailable
 * @property {number | null} cost_per_hour_usd
 * @property {Variant[]} variants
 * @property {{n: number, p50_ms: number, p95_ms: number} | null} latency
 */

/** Hours of a month, as AWS reckons. */
const MONTH_H = 730;

/** What an hour and a month cost.
 * @param {number | null} perHour In dollars; null: not known.
 */
export function cost(perHour) {
  if (perHour === null) return "not known";
  return `${usd(perHour)} an hour, ${usd(perHour * MONTH_H)} a month`;
}

/** What all cost together, of those of which it is known.
 * @param {Endpoint[]} endpoints
 * @returns {number | null} Dollars an hour; null: of none is it known.
 */
export function total(endpoints) {
  const known = endpoints.flatMap(({ cost_per_hour_usd: dollars }) => (dollars === null ? [] : [dollars]));
  return known.length ? known.reduce((sum, each) => sum + each, 0) : null;
}

/** The status of an endpoint, and how good that is.
 * @param {Endpoint} endpoint
 * @returns {{status: string, kind: "good" | "busy" | "bad" | "away"}}
 */
export function health({ status, resting, unavailable }) {
  if (unavailable && (status === "Unavailable" || status === "Unknown")) return { status, kind: "away" };
  if (status === "Failed" || status === "OutOfService") return { status, kind: "bad" };
  if (resting) return { status: `${status}, resting`, kind: "away" };
  return { status, kind: status === "InService" ? "good" : "busy" };
}

/** Why it is not as it should be; null: it is. @param {Endpoint} endpoint */
export function trouble({ reason, resting, unavailable }) {
  return unavailable || resting || reason || null;
}

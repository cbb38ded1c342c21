// @ts-check
/** What the library says of models and their versions, in words. Pure. */

import { count, percent, percent1, plural, time, usd } from "../lib/format.js";
import { shared, short } from "../lib/models.js";

/**
 * @typedef {import("../lib/protocol.js").Model} Model
 * @typedef {import("../lib/interval.js").Interval} Interval
 *
 * @typedef {{n: number, correct: number, share: number | null, low: number | null, high: number | null}} Live
 *
 * @typedef {object} BesideChampion
 * @property {string} champion
 * @property {number} tries
 * @property {number} people
 * @property {number} judged
 * @property {number} difference
 * @property {number} low
 * @property {number} high
 * @property {number} better
 * @property {number} worse
 * @property {number[]} quantiles
 * @property {number} needs_people
 * @property {number} needs_drawings
 * @property {number[]} digit_judged
 * @property {number[]} digit_won
 * @property {number[]} digit_lost
 * @property {Record<string, number>=} device_judged
 * @property {Record<string, number>=} device_won
 * @property {Record<string, number>=} device_lost
 * @property {number} newest_judged
 * @property {number} newest_won
 * @property {number} newest_lost
 * @property {number} mnist_won
 * @property {number} mnist_lost
 *
 * @typedef {object} LiveBeside
 * @property {string} champion
 * @property {number} tries
 * @property {number} people
 * @property {number} judged
 * @property {number} won
 * @property {number} lost
 * @property {number} difference
 * @property {number} low
 * @property {number} high
 * @property {number} better
 * @property {number} worse
 * @property {number} chance
 * @property {number} allowed
 *
 * @typedef {object} RolloutStep
 * @property {"share" | "promoted" | "rolled-back" | "stopped"} step
 * @property {string} at
 * @property {string} champion
 * @property {number} share
 * @property {string} why
 * @property {LiveBeside | null} live
 *
 * @typedef {object} Version
 * @property {string} version
 * @property {"champion" | "previous" | "canary" | "shadow" | "approved" | "undecided" | "refused" | "failed"} status
 * @property {string | null} created
 * @property {string} arn
 * @property {string} digest
 * @property {string} artifact
 * @property {Record<string, string>} lineage
 * @property {Record<string, number>} metrics
 * @property {string} gate
 * @property {BesideChampion | null} [beside]
 * @property {LiveBeside | null} [on_live]
 * @property {RolloutStep[]} [rollout] Its way to the players by policy, and back; the oldest step first.
 * @property {string} failed
 * @property {Live} live
 * @property {Live} as_shadow
 * @property {boolean} [best] Of an online model and the experiments beside it.
 *
 * @typedef {object} Candidate
 * @property {string} version
 * @property {"canary" | "shadow"} role
 * @property {number} share
 * @property {boolean} [watched] Whether the policy moves it on, or back.
 * @property {string} note
 * @property {string} at
 * @property {LiveBeside | null} [on_live]
 * @property {number | null} [cost_per_hour_usd]
 * @typedef {"champion" | "challenger" | "shadow" | "off"} Standing
 * @typedef {Model & {standing: Standing, cost_per_hour_usd: number | null, previous: string | null, candidate: Candidate | null, candidates?: Candidate[], live: Live, versions: Version[]}} LibraryModel
 */

const KINDS = {
  batch: () => "Trained on SageMaker, answers at an endpoint",
  online: () => "Learns from every correction, within a second",
  personal: () => `Each player's own: ${shared()}, and what they have taught`,
  blend: () => "The combined guess of all models that answer in time",
};

/** @param {Model} model */
export function kind(model) {
  return model.kind ? KINDS[model.kind]() : "";
}

const STANDINGS = {
  champion: "Its guess is shown first",
  challenger: "Shown beside the champion, or picked by the bandit",
  shadow: "Asked and scored, but not shown",
  off: "Not asked",
};

/** What a standing means, for a tooltip. @param {Standing} standing */
export function meaning(standing) {
  return STANDINGS[standing];
}

/** Who is the champion, and how many challenge it. @param {{standing: Standing, title: string, model: string}[]} models */
export function field(models) {
  const champion = models.find((model) => model.standing === "champion");
  const challengers = plural(models.filter((model) => model.standing === "challenger").length, "challenger");
  if (!champion) return `a bandit picks each player's champion among ${challengers}`;
  return `${short(champion, champion.model)} is the champion, shown first, with ${challengers}`;
}

/** What a version is to its model; the best of an online model and its experiments says so besides.
 * @param {Version} version
 * @param {Candidate[]} candidates
 */
export function status({ version, status: named, best }, candidates) {
  const canary = named === "canary" && candidates.find((one) => one.version === version);
  const share = canary ? ` ${percent(canary.share)}` : "";
  return `${named}${share}${best ? ", best so far" : ""}`;
}

/** Whether a version was made from MNIST alone. @param {string} version */
export function isBase(version) {
  return version.startsWith("base");
}

/** @param {Live} live @returns {Interval | null} None where nothing was counted. */
export function interval({ share, low, high }) {
  return share === null || low === null || high === null ? null : { share, low, high };
}

/** @param {Live} live */
export function judged(live) {
  return live.n === 0 ? "not judged yet" : `n = ${count(live.n)}`;
}

/** A measure with its unit: names of shares say so, times are in seconds.
 * @param {string} name
 * @param {number} value
 */
export function measure(name, value) {
  if (/accuracy|share|agree/.test(name) && value >= 0 && value <= 1) return percent1(value);
  if (/(^|_)(s|seconds)$/.test(name)) return `${value.toFixed(1)}\u00a0s`;
  if (/_ms$/.test(name)) return `${value.toFixed(1)}\u00a0ms`;
  return Number.isInteger(value) ? count(value) : String(Number(value.toPrecision(4)));
}

/** A measure's name as people read it. @param {string} name */
export function inWords(name) {
  return name.replace(/_(s|ms|seconds)$/, "").replaceAll("_", " ").replace(/\bmnist\b/, "MNIST");
}

/** A difference of shares in points, with its sign. @param {number} difference */
export function points(difference) {
  return `${difference < 0 ? "\u2212" : "+"}${Math.abs(difference * 100).toFixed(1)}`;
}

/** How a version did beside the champion, slice by slice. @param {BesideChampion | null | undefined} told @returns {[string, string][]} */
export function compared(told) {
  if (!told) return [];
  /** @type {[string, string][]} */
  const lines = [["beside", `${told.champion}${told.tries > 1 ? `, try ${told.tries}` : ""}`]];
  if (told.people) {
    const [least, quarter, median, most, greatest] = told.quantiles.map(points);
    lines.push(
      ["on people", `${points(told.difference)} points, ${points(told.low)} to ${points(told.high)}, on ${plural(told.judged, "drawing")}`],
      ["people", `${told.people}: better for ${told.better}, worse for ${told.worse}`],
      ["one by one", `${least} to ${greatest}, half of them ${quarter} to ${most}, median ${median}`],
      ["by digit", told.digit_judged.flatMap((n, digit) => (n ? [`${digit}: ${balance(told.digit_won[digit], told.digit_lost[digit])} of ${n}`] : [])).join(", ")],
    );
  }
  const devices = Object.entries(told.device_judged ?? {}).filter(([, n]) => n);
  if (told.people && devices.length) lines.push(["by device", devices.map(([device, n]) => `${device}: ${balance(told.device_won?.[device] ?? 0, told.device_lost?.[device] ?? 0)} of ${n}`).join(", ")]);
  if (told.newest_judged) lines.push(["newest", `${balance(told.newest_won, told.newest_lost)} of ${plural(told.newest_judged, "drawing")}`]);
  lines.push(["MNIST", `${told.mnist_won} won, ${told.mnist_lost} lost`]);
  if (told.needs_people) lines.push(["needs", `${plural(told.needs_drawings, "more drawing")}, of ${told.needs_people === 1 ? "another person" : `${count(told.needs_people)} other people`}`]);
  return lines;
}

/** How a version does as a shadow, on the drawings that both have guessed. @param {LiveBeside | null | undefined} told @returns {[string, string][]} */
export function onLive(told) {
  if (!told) return [];
  return [
    ["beside", told.champion],
    ["difference", `${points(told.difference)} points, ${points(told.low)} to ${points(told.high)} however often one looks`],
    ["drawings", `${count(told.judged)} of ${plural(told.people, "player")}: ${told.won} won, ${told.lost} lost`],
    ["players", `better for ${told.better}, worse for ${told.worse}`],
    ["by chance", `in ${percent1(told.chance)} of the cases; promoted at ${percent1(told.allowed)}`],
  ];
}

/** What each version beside the champion is, and how it does: a row for each.
 * @param {Candidate[]} candidates
 * @returns {{version: string, role: string, drawings: string, difference: string, chance: string, cost: string}[]}
 */
export function besides(candidates) {
  return candidates.map(({ version, role, share, watched, on_live: live, cost_per_hour_usd: cost }) => ({
    version,
    role: role === "canary" ? `canary ${percent(share)}${watched ? ", watched" : ""}` : "shadow",
    drawings: live?.judged ? `${count(live.judged)} of ${plural(live.people, "player")}` : "none yet",
    difference: live?.judged ? `${points(live.difference)}, ${points(live.low)} to ${points(live.high)}` : "–",
    chance: live?.judged ? `${percent1(live.chance)}; promoted at ${percent1(live.allowed)}` : "–",
    cost: cost === null || cost === undefined ? "–" : `${usd(cost)} an hour`,
  }));
}

const STEPS = { share: "", promoted: "answers everybody", "rolled-back": "rolled back", stopped: "stopped" };

/** A version's way to the players by policy, and back, a line a step. @param {RolloutStep[] | undefined} steps @returns {[string, string][]} */
export function rolledOut(steps) {
  return (steps ?? []).map(({ step, at, champion, share, why }) => [
    time(at),
    `${step === "share" ? `${percent(share)} of the players` : STEPS[step]}, beside ${champion}: ${why}`,
  ]);
}

/** @param {number} won @param {number} lost */
function balance(won, lost) {
  return won === lost ? "±0" : `${won < lost ? "\u2212" : "+"}${Math.abs(won - lost)}`;
}

/** Versions, the newest first; what has no date stands last. @param {Version[]} versions */
export function newestFirst(versions) {
  return [...versions].sort((a, b) => (b.created ?? "").localeCompare(a.created ?? ""));
}

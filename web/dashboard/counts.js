// @ts-check
/** From counts to what they mean: shares with their uncertainty, quantiles, lines over time. Pure; only counts travel. */

/**
 * @typedef {import("../lib/protocol.js").Score} Score
 * @typedef {{n: number, correct: number}} Counted
 * @typedef {{share: number, low: number, high: number}} Interval
 * @typedef {{at: number, n: number, correct: number} & Interval} Sample
 */

/** Upper bounds of the latency counts, in ms; one more count holds what is above the last (contracts/events.py). */
export const LATENCY_MS = [5, 10, 20, 35, 50, 80, 120, 150, 250, 500, 1000];
export const WINDOW_S = 10;

/** A share with its 95 per cent interval, which stays honest for few counts and near 0 and 1.
 *
 * Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
 * @param {Counted} counted
 * @returns {Interval | null} None where nothing was counted.
 */
export function wilson({ n, correct }) {
  if (n === 0) return null;
  const z = 1.96;
  const p = correct / n;
  const spread = z * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  const scale = 1 + (z * z) / n;
  const middle = p + (z * z) / (2 * n);
  return { share: p, low: Math.max(0, (middle - spread) / scale), high: Math.min(1, (middle + spread) / scale) };
}

/** A quantile of the latency, even within its bucket.
 * @param {number[]} buckets
 * @param {number} q In 0..1.
 * @returns {number | null} In ms; Infinity: above the last bound; None where nothing was counted.
 */
export function quantile(buckets, q) {
  const total = buckets.reduce((sum, n) => sum + n, 0);
  if (total === 0) return null;
  let below = 0;
  for (const [i, n] of buckets.entries()) {
    if (n > 0 && below + n >= q * total) {
      if (i === LATENCY_MS.length) return Infinity;
      const from = i === 0 ? 0 : LATENCY_MS[i - 1];
      return from + ((q * total - below) / n) * (LATENCY_MS[i] - from);
    }
    below += n;
  }
  return Infinity;
}

/** What was counted for each digit that was meant.
 * @param {number[]} confusion
 * @returns {Counted[]} Ten.
 */
export function perDigit(confusion) {
  return Array.from({ length: 10 }, (_, digit) => ({
    n: confusion.slice(digit * 10, digit * 10 + 10).reduce((sum, n) => sum + n, 0),
    correct: confusion[digit * 11],
  }));
}

/** The accuracy over the last while, at each window in which something was counted.
 * @param {Score["recent"]} recent In any order.
 * @param {number} whileS How far each sample looks back, in seconds.
 * @returns {Sample[]} In the order of time; `at` is the end of the window, in Unix seconds.
 */
export function trailing(recent, whileS) {
  const windows = recent.filter(([, n]) => n > 0).sort((a, b) => a[0] - b[0]);
  /** @type {Sample[]} */ const samples = [];
  const sum = { n: 0, correct: 0 };
  let oldest = 0;
  for (const [start, n, correct] of windows) {
    sum.n += n;
    sum.correct += correct;
    for (; windows[oldest][0] <= start - whileS; oldest += 1) {
      sum.n -= windows[oldest][1];
      sum.correct -= windows[oldest][2];
    }
    samples.push({ at: start + WINDOW_S, ...sum, .../** @type {Interval} */ (wilson(sum)) });
  }
  return samples;
}

/** The samples in stretches that have no long silence inside.
 * @param {Sample[]} samples
 * @param {number} gapS In seconds.
 * @returns {Sample[][]}
 */
export function stretches(samples, gapS) {
  /** @type {Sample[][]} */ const parts = [];
  for (const sample of samples) {
    const last = parts.at(-1)?.at(-1);
    if (last && sample.at - last.at <= gapS) parts[parts.length - 1].push(sample);
    else parts.push([sample]);
  }
  return parts;
}

/** Round numbers between two, about as many as asked for.
 * @param {number} low
 * @param {number} high
 * @param {number} wanted
 * @returns {number[]}
 */
export function ticks(low, high, wanted) {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999) ?? 10 * power;
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

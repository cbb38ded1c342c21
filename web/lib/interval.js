// @ts-check
/** A share with its 95 per cent interval, as a dot on a bar. */

import { svg } from "./dom.js";
import { percent1 } from "./format.js";

/** @typedef {{share: number, low: number, high: number}} Interval */

/** An interval this wide says little: it does not stretch the axis. */
const WIDE = 0.3;

/** Where an axis begins that ends at 100 per cent and holds all intervals but the wide ones: a multiple of five per cent.
 * @param {(Interval | null)[]} intervals
 * @returns {number} In 0..0.9.
 */
export function axisFrom(intervals) {
  const telling = intervals.filter((each) => each !== null && each.high - each.low < WIDE);
  return Math.min(0.9, ...(telling.length ? telling : intervals).flatMap((each) => (each ? [Math.floor(each.low * 20) / 20] : [])));
}

/** @param {Interval} interval @param {number} from Where the axis begins, in 0..1. */
export function intervalBar({ share, low, high }, from) {
  /** @param {number} value */
  const x = (value) => `${Math.max(0, ((value - from) / (1 - from)) * 100).toFixed(2)}%`;
  return svg(
    "svg",
    { class: "interval-bar", role: "img", "aria-label": `between ${percent1(low)} and ${percent1(high)}` },
    svg("line", { class: "axis", x1: "0%", x2: "100%", y1: 8, y2: 8 }),
    svg("line", { class: "interval", x1: x(low), x2: x(high), y1: 8, y2: 8 }),
    svg("circle", { cx: x(share), cy: 8, r: 5 }),
  );
}

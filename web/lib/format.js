// @ts-check
/** Numbers as people read them; a number and its unit never part at the end of a line. */

/** A share as per cent: whole numbers, but never 100 for less than all, nor 0 for more than nothing.
 * @param {number} share In 0..1.
 * @returns {string}
 */
export function percent(share) {
  const rounded = Math.round(share * 100);
  if (rounded === 100 && share < 0.9995) return ">99\u00a0%";
  if (rounded === 0 && share > 0.0005) return "<1\u00a0%";
  return `${rounded}\u00a0%`;
}

/** A share as per cent with one decimal, for what was measured on many.
 * @param {number} share In 0..1.
 */
export function percent1(share) {
  return `${(share * 100).toFixed(1)}\u00a0%`;
}

/** How a share changed, with a decimal where whole numbers would look alike.
 * @param {number} before In 0..1.
 * @param {number} after In 0..1.
 */
export function change(before, after) {
  const [from, to] = [percent(before), percent(after)];
  return from === to ? `${percent1(before)} → ${percent1(after)}` : `${from} → ${to}`;
}

/** A time in ms.
 * @param {number} ms
 */
export function duration(ms) {
  if (ms < 10) return `${ms.toFixed(1)}\u00a0ms`;
  return ms < 10_000 ? `${Math.round(ms)}\u00a0ms` : `${(ms / 1000).toFixed(1)}\u00a0s`;
}

/** A day and a time of day, as short as can be: "22 Nov, 21:30".
 * @param {string} iso
 */
export function time(iso) {
  return new Date(iso).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}

/** A count with narrow spaces between thousands.
 * @param {number} n
 */
export function count(n) {
  return String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** How a version went on: of an online model, "mnist1+41 → +42"; of another, "2 → 3".
 * @param {string} before
 * @param {string} after
 */
export function versions(before, after) {
  if (before === after) return after;
  const [generation, lessons] = after.split("+");
  return lessons !== undefined && before.startsWith(`${generation}+`) ? `${before} → +${lessons}` : `${before} → ${after}`;
}

/** One "drawing", two "drawings".
 * @param {number} n
 * @param {string} noun
 */
export function plural(n, noun) {
  return `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
}

/** An amount of dollars.
 * @param {number} dollars
 */
export function usd(dollars) {
  const digits = dollars.toFixed(dollars < 1 ? 3 : 2).replace(/(\.\d\d)0$/, "$1");
  return `$${digits.replace(/\B(?=(\d{3})+\.)/g, ",")}`;
}

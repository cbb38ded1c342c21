// @ts-check
/** Strokes as data: what may be sent, how little of it is enough, and how it looks small. Pure. */

/**
 * @typedef {[number, number, number]} Point x, y in CSS pixels of the pad, y downwards; ms since the drawing began.
 * @typedef {Point[]} Stroke
 */

/** The server's limits (contracts/drawing.py). A frame may have 64 KiB; 60 leave room for what is around the strokes. */
export const MAX_STROKES = 64;
export const MAX_POINTS = 4096;
export const MAX_BYTES = 60 * 1024;

/** @param {Stroke[]} strokes */
export function points(strokes) {
  return strokes.reduce((sum, stroke) => sum + stroke.length, 0);
}

/** Whether a point lies far enough from the one before it to be worth keeping.
 * @param {Stroke} stroke
 * @param {number} x
 * @param {number} y
 * @param {number} gap In CSS pixels.
 */
export function moved(stroke, x, y, gap = 0.75) {
  const last = stroke.at(-1);
  return !last || Math.hypot(x - last[0], y - last[1]) >= gap;
}

/** The strokes with a tenth of a pixel and whole milliseconds: a third of the bytes, none of the shape.
 * @param {Stroke[]} strokes
 * @returns {Stroke[]}
 */
export function rounded(strokes) {
  return strokes.map((stroke) => stroke.map(([x, y, t]) => [Math.round(x * 10) / 10, Math.round(y * 10) / 10, Math.round(t)]));
}

/** The points of a stroke without which it would be off by more than a tolerance; first and last stay.
 *
 * Source: Ramer 1972, Douglas and Peucker 1973; with a stack instead of recursion.
 * @param {Stroke} stroke
 * @param {number} tolerance In CSS pixels.
 * @returns {Stroke}
 */
export function simplified(stroke, tolerance) {
  if (stroke.length < 3) return stroke;
  const kept = new Uint8Array(stroke.length);
  kept[0] = kept[stroke.length - 1] = 1;
  /** @type {[number, number][]} */
  const spans = [[0, stroke.length - 1]];
  for (let span = spans.pop(); span; span = spans.pop()) {
    const [first, last] = span;
    let far = tolerance;
    let at = -1;
    for (let i = first + 1; i < last; i += 1) {
      const gap = distance(stroke[i], stroke[first], stroke[last]);
      if (gap > far) [far, at] = [gap, i];
    }
    if (at >= 0) {
      kept[at] = 1;
      spans.push([first, at], [at, last]);
    }
  }
  return stroke.filter((_, i) => kept[i]);
}

/** The strokes, made simpler until they are within the server's limits.
 * @param {Stroke[]} strokes
 * @param {number} maxPoints
 * @param {number} maxBytes Of the strokes as JSON.
 * @returns {Stroke[]}
 */
export function fitted(strokes, maxPoints = MAX_POINTS, maxBytes = MAX_BYTES) {
  let fit = rounded(strokes.filter((stroke) => stroke.length > 0).slice(0, MAX_STROKES));
  for (let tolerance = 0.25; points(fit) > maxPoints || JSON.stringify(fit).length > maxBytes; tolerance *= 2) {
    fit = fit.map((stroke) => simplified(stroke, tolerance));
  }
  return fit;
}

/** The strokes on a pad of another size.
 * @param {Stroke[]} strokes
 * @param {number} factor
 * @returns {Stroke[]}
 */
export function scaled(strokes, factor) {
  return strokes.map((stroke) => stroke.map(([x, y, t]) => [x * factor, y * factor, t]));
}

/** The strokes as the `d` of an SVG path, centred in a square.
 * @param {Stroke[]} strokes
 * @param {number} side
 * @param {number} margin
 */
export function path(strokes, side, margin) {
  const all = strokes.flat();
  const [left, right] = range(all.map(([x]) => x));
  const [top, bottom] = range(all.map(([, y]) => y));
  const longer = extent(strokes);
  const scale = longer > 0 ? (side - 2 * margin) / longer : 1;
  /** @param {Point} point */
  const place = ([x, y]) =>
    `${(side / 2 + (x - (left + right) / 2) * scale).toFixed(1)} ${(side / 2 + (y - (top + bottom) / 2) * scale).toFixed(1)}`;
  return strokes.map((stroke) => `M${stroke.map(place).join("L")}${stroke.length === 1 ? "h0" : ""}`).join("");
}

/** The longer side of what is drawn, in CSS pixels.
 * @param {Stroke[]} strokes
 */
export function extent(strokes) {
  const all = strokes.flat();
  const [left, right] = range(all.map(([x]) => x));
  const [top, bottom] = range(all.map(([, y]) => y));
  return Math.max(right - left, bottom - top);
}

/** @param {number[]} values @returns {[number, number]} */
function range(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

/** From a point to a segment.
 * @param {Point} p @param {Point} a @param {Point} b
 */
function distance(p, a, b) {
  const dx = b[0] - a[0];
  const dy = b[1] - a[1];
  const length = dx * dx + dy * dy;
  const along = length ? Math.max(0, Math.min(1, ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / length)) : 0;
  return Math.hypot(p[0] - a[0] - along * dx, p[1] - a[1] - along * dy);
}

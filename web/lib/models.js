// @ts-check
/** What a model is called, its place and its colour: as the server says them, the same on every page. */

/** @typedef {{model: string, hue?: number | null, order?: number}} Look */

/** @type {Map<string, {hue: number | null, order: number}>} */
const looks = new Map();

/** Take note of how models look: call it with whatever the server says of models, before they are drawn.
 * @param {Look[]} models
 */
export function know(models) {
  for (const { model, hue, order } of models) if (order !== undefined) looks.set(model, { hue: hue ?? null, order });
}

/** The attributes that give an element a model's colour, `--hue` in the styles: an angle that base.css makes a colour of, or that of
 * ink. A model that the server has said nothing of has an angle by its name.
 * @param {string} model
 * @returns {Record<string, string | number>}
 */
export function colour(model) {
  const look = looks.get(model);
  if (look?.hue === null) return { "data-hue": "none" };
  if (look) return { "data-hue": look.hue, "--angle": look.hue };
  let sum = 0;
  for (const letter of model) sum = (sum * 31 + letter.charCodeAt(0)) % 360;
  return { "data-hue": sum, "--angle": sum };
}

/** Which of two models is shown before the other; those that nobody knows come last, by name.
 * @param {string} a
 * @param {string} b
 * @returns {number} As `sort` wants it.
 */
export function byPlace(a, b) {
  const [first, second] = [a, b].map((model) => looks.get(model)?.order ?? Number.MAX_SAFE_INTEGER);
  return first - second || a.localeCompare(b);
}

/** A model's name where there is little room: its title up to the first comma.
 * @param {{model: string, title?: string} | undefined} known
 * @param {string} model
 * @returns {string}
 */
export function short(known, model) {
  return known?.title?.split(",", 1)[0] || model;
}

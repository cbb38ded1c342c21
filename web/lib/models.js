// @ts-check
/** What a model is called, its place and its colour: the same on every page, whatever order models arrive in. */

/** In the order in which they are shown (contracts/events.py). */
const ORDER = ["everyone", "xgboost", "tensorflow", "mxnet", "kmeans", "river", "yours"];
/** In the order of their colours in base.css. */
const COLOURED = ["river", "xgboost", "tensorflow", "kmeans", "yours", "mxnet", "everyone"];

/** The number of a model's colour, as base.css has them; models that nobody knows share six by their name.
 * @param {string} model
 * @returns {number} 1 to 7.
 */
export function hue(model) {
  const place = COLOURED.indexOf(model);
  if (place >= 0) return place + 1;
  let sum = 0;
  for (const letter of model) sum = (sum * 31 + letter.charCodeAt(0)) % 6;
  return sum + 1;
}

/** Which of two models is shown before the other; those that nobody knows come last, by name.
 * @param {string} a
 * @param {string} b
 * @returns {number} As `sort` wants it.
 */
export function byPlace(a, b) {
  const [first, second] = [a, b].map((model) => (ORDER.indexOf(model) + ORDER.length + 1) % (ORDER.length + 1));
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

// @ts-check
/** What a model is called, and its colour: the same on every page, whatever order models arrive in. */

const KNOWN = ["river", "xgboost", "tensorflow", "kmeans", "yours", "mxnet"];

/** The number of a model's colour, as base.css has them; models that nobody knows share what is left by their name.
 * @param {string} model
 * @returns {number} 1 to 6.
 */
export function hue(model) {
  const place = KNOWN.indexOf(model);
  if (place >= 0) return place + 1;
  let sum = 0;
  for (const letter of model) sum = (sum * 31 + letter.charCodeAt(0)) % 6;
  return sum + 1;
}

/** A model's name where there is little room: its title up to the first comma.
 * @param {{model: string, title?: string} | undefined} known
 * @param {string} model
 * @returns {string}
 */
export function short(known, model) {
  return known?.title?.split(",", 1)[0] || model;
}

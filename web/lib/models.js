// @ts-check
/** What the server says of models, the same on every page: what one is called, its kind, its place and its colour. */

/**
 * @typedef {import("./protocol.js").Kind} Kind
 * @typedef {{model: string, title?: string, kind?: Kind, hue?: number | null, order?: number}} Look
 */

/** By name. @type {Map<string, Look>} */
const looks = new Map();

/** Take note of what models are: call it with whatever the server says of models, before they are drawn.
 * @param {Look[]} models
 */
export function know(models) {
  for (const look of models) if (look.order !== undefined) looks.set(look.model, look);
}

/** The attributes that give an element a model's colour, `--hue` in the styles: an angle that base.css makes a colour of, or that of
 * ink. So has a model that the server has said nothing of.
 * @param {string} model
 * @returns {Record<string, string | number>}
 */
export function colour(model) {
  const hue = looks.get(model)?.hue ?? null;
  return hue === null ? { "data-hue": "none" } : { "data-hue": hue, "--angle": hue };
}

/** Of what kind a model is.
 * @param {string} model
 * @returns {Kind | undefined} Undefined: the server has said nothing of it.
 */
export function kindOf(model) {
  return looks.get(model)?.kind;
}

/** What the model that learns from all players is called, the first of them where there are several: each player's own builds on it.
 * @returns {string}
 */
export function shared() {
  const [first] = [...looks.values()].filter(({ kind }) => kind === "online").sort((a, b) => byPlace(a.model, b.model));
  return first ? short(first, first.model) : "what all players have taught";
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
 * @param {{model?: string, title?: string} | undefined} known
 * @param {string} model
 * @returns {string}
 */
export function short(known, model) {
  return known?.title?.split(",", 1)[0] || model;
}

// @ts-check
/** What happened to a model, in a sentence. Pure. */

/** @typedef {import("../lib/protocol.js").ModelChanged} ModelChanged */

/** @type {Record<ModelChanged["event"], ((name: string, version: string | null) => string) | null>} */
const TOLD = {
  published: (name, version) => `${name} ${version} was trained`,
  promoted: (name, version) => `${name} ${version} now answers`,
  "rolled-back": (name, version) => `${name} ${version} answers again`,
  canary: (name) => `${name} tries a version on some players`,
  shadow: (name) => `${name} has a shadow`,
  untried: (name) => `a version of ${name} is no candidate any more`,
  policy: (name) => `the policy for ${name} has changed`,
  resting: (name) => `${name} rests`,
  back: (name) => `${name} is back`,
  available: (name) => `${name} is available`,
  unavailable: (name) => `${name} is unavailable`,
  frozen: (name) => `${name} is frozen: it learns nothing for now`,
  thawed: (name) => `${name} learns again`,
  learned: null, // several times a second: the version that is shown tells it
  endpoint: null, // the page of the endpoints shows it
};

/** What is written of a change.
 * @param {ModelChanged} change
 * @param {string} name What the model is called.
 * @returns {string | null} None: nothing that a watcher would want to be told.
 */
export function changeText({ event, note, version, part, lead }, name) {
  if (event === "policy" && !note) return `${name} is ${part}${lead ? ", and shown first" : ""}`;
  const told = TOLD[event];
  return told ? `${told(name, version)}${note ? `: ${note}` : ""}` : null;
}

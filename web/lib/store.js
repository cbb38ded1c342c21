// @ts-check
/** What this browser remembers of its player. A browser may forbid it: then nothing is remembered, and all else works. */

/** @param {string} key @returns {string | null} */
export function remembered(key) {
  try {
    return localStorage.getItem(`gamenight.${key}`);
  } catch {
    return null;
  }
}

/** @param {string} key @param {string} value */
export function remember(key, value) {
  try {
    localStorage.setItem(`gamenight.${key}`, value);
  } catch {
    // private windows and full disks: the game goes on, the seat is new next time
  }
}

/** @param {string} key */
export function forget(key) {
  try {
    localStorage.removeItem(`gamenight.${key}`);
  } catch {
    // nothing is remembered here
  }
}
